"""What the measurements of training share: models by shape, ways of memory, lone processes.

Weights are random: only shapes count for speed and memory.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": {
        "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 896,
        "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "tie_word_embeddings": True},
    "smollm2-135m": {
        "model_type": "llama", "vocab_size": 49_152, "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "tie_word_embeddings": True},
    "tiny": {
        "model_type": "qwen2", "vocab_size": 500, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "tie_word_embeddings": True}}
# glibc gives memory back as soon as it is free, and the system clears each page that is taken
# again. `keeps` are the settings of the kernels of `persuasion run`.
ALLOCATORS = ("stock", "keeps")
REPETITIONS = int(os.environ.get("BENCH_REPETITIONS", "2"))


def shapes() -> list[str]:
    """The shapes to measure; BENCH_SHAPES=tiny checks that a part runs."""
    return os.environ.get("BENCH_SHAPES", "smollm2-135m,qwen2.5-0.5b").split(",")


def model(shape: str, dtype: Any = None) -> Any:
    """A model of random weights: bfloat16 where that is fast, on the GPU if there is one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from persuasion_lib.models.loading import has_fast_bfloat16, quiet

    quiet()
    settings = dict(SHAPES[shape])
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model(settings.pop("model_type"), **settings),
            dtype=dtype or (torch.bfloat16 if has_fast_bfloat16() else torch.float32))


def in_4_bits(model: Any) -> Any:
    """The same model read again with its weights in 4 bits."""
    import tempfile

    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return AutoModelForCausalLM.from_pretrained(folder, quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16))


def tokenizer() -> Any:
    """A tokenizer that a trainer asks for and that nothing here needs."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>",
                                   unk_token="<unk>")


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes, with what a GPU does for it."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    began = time.monotonic()
    work()
    wait()
    return time.monotonic() - began


def step_seconds(trainer: Any, batches: Sequence[Any], *, warm: Sequence[Any]) -> float:
    """Mean seconds of a training step over `batches`, after one on each of `warm`."""
    trainer.current_gradient_accumulation_steps = 1      # `train` sets it
    optimizer = trainer.create_optimizer()

    def step(batch: Any) -> None:
        trainer.training_step(trainer.model, dict(batch))
        optimizer.step()
        optimizer.zero_grad()

    for batch in warm:
        step(batch)
    return seconds(lambda: [step(batch) for batch in batches]) / len(batches)


def peak_gb() -> float:
    """The most memory so far: what PyTorch had of the GPU, or this process of the machine."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def side_by_side(part: str, kinds: Sequence[str], shape: str,
                 *arguments: str) -> dict[str, dict[str, list[Any]]]:
    """`python -m benchmarks.PART kind shape …`, kinds in turn: results by allocator and kind.

    Each in a process of its own, so that noise of the machine meets all of them and a peak is
    that process's alone.
    """
    from persuasion_lib.core.kernel import KEEPS_MEMORY

    found: dict[str, dict[str, list[Any]]] = {a: {kind: [] for kind in kinds} for a in ALLOCATORS}
    clean = {k: v for k, v in os.environ.items() if k not in KEEPS_MEMORY}
    for number in range(REPETITIONS):
        for allocator in ALLOCATORS:
            for kind in kinds:
                done = subprocess.run(
                    [sys.executable, "-m", f"benchmarks.{part}", kind, shape, *arguments],
                    env=clean | (KEEPS_MEMORY if allocator == "keeps" else {}),
                    stdout=subprocess.PIPE, text=True, check=True)
                found[allocator][kind].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{part} {number + 1}/{REPETITIONS} {shape}, {allocator} allocator, {kind}: "
                      f"{found[allocator][kind][-1]}", flush=True)
    return found


def ratio(name: str, above: list[float], below: list[float], goal: float, extra: dict[str, Any],
          *, less_is_better: bool = False) -> dict[str, Any]:
    """A result: the median of `above` / `below`, repetition by repetition."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    value = statistics.median(ratios)
    return {"name": name, "value": value, "spread": [min(ratios), max(ratios)], "unit": "ratio",
            "goal": f"{'<=' if less_is_better else '>='} {goal}",
            "met": value <= goal if less_is_better else value >= goal, **extra}


def named(name: str, shape: str, allocator: str) -> str:
    """A result's name: plain for the usual shape and allocator, else with what is other."""
    usual = {"qwen2.5-0.5b": [], "smollm2-135m": ["smollm2"]}
    return "_".join([name, *usual.get(shape, [shape]),
                     *(["kept_memory"] if allocator == "keeps" else [])])
