"""One DPO step on the full shape of Qwen2.5-0.5B, three ways, side by side.

    make bench PART=dpo      # about 14 minutes on two cores

*earlier*: as the earlier public run did it: a separate reference model, gradient checkpointing,
padding, the head on every position. *trl*: trl's best flags, a precomputed reference and no
checkpointing. *shared*: this project's engine. Weights are random; lengths are those met in
practice (prompts of 485 tokens, replies of 256). Every repetition starts the three one after the
other, each in a process of its own, so that noise of the machine meets all of them and the peak
memory is that process's alone.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

KINDS = ("earlier", "trl", "shared")
PROMPTS, REPLY = (470, 485, 500), 256       # tokens
REPETITIONS = 3                             # of one step per length, after one each to warm up
VOCABULARY = 151_936


def run() -> list[dict[str, Any]]:
    """Results in the form of `results/bench/bench.json`."""
    measured: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for number in range(REPETITIONS):
        for kind in KINDS:
            done = subprocess.run([sys.executable, "-m", "benchmarks.dpo", kind],
                                  capture_output=True, text=True, check=True)
            measured[kind].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"dpo {number + 1}/{REPETITIONS} {kind}: {measured[kind][-1]}", flush=True)
    return results(measured)


def results(measured: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """The four figures from the repetitions of each kind."""
    step = {kind: [m["step_s"] for m in measured[kind]] for kind in KINDS}
    stage = [m["step_s"] + m["reference_s"] for m in measured["shared"]]
    memory = {kind: [m["peak_gb"] for m in measured[kind]] for kind in KINDS}
    extra = {"dtype": measured["shared"][0]["dtype"], "repetitions": REPETITIONS,
             "seconds": {kind: statistics.median(step[kind]) for kind in KINDS},
             "peak_gb": {kind: max(memory[kind]) for kind in KINDS},
             "share_of_matmul_peak": statistics.median(
                 m["share_of_matmul_peak"] for m in measured["shared"])}
    return [ratio("dpo_step_vs_earlier", step["earlier"], step["shared"], 5.0, extra),
            ratio("dpo_step_vs_trl", step["trl"], step["shared"], 3.0, extra),
            ratio("dpo_stage_vs_earlier", step["earlier"], stage, 3.5, extra | {
                "note": "one pass with its reference pass; the human stages share theirs"}),
            ratio("dpo_memory_vs_earlier", memory["shared"], memory["earlier"], 0.7, extra,
                   less_is_better=True)]


def ratio(name: str, above: list[float], below: list[float], goal: float, extra: dict[str, Any],
          *, less_is_better: bool = False) -> dict[str, Any]:
    """A result: the median of `above` / `below`, repetition by repetition."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    value = statistics.median(ratios)
    return {"name": name, "value": value, "spread": [min(ratios), max(ratios)], "unit": "ratio",
            "goal": f"{'<=' if less_is_better else '>='} {goal}",
            "met": value <= goal if less_is_better else value >= goal, **extra}


def measure(kind: str) -> dict[str, Any]:
    """Seconds per step and per reference pass of one pair, and the peak memory of this process."""
    import torch

    trainer = _trainer(kind)
    began: list[float] = []

    def seconds(work: Any) -> float:
        began.append(time.monotonic())
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.monotonic() - began[-1]

    batches = list(trainer.get_train_dataloader())
    trainer.current_gradient_accumulation_steps = 1      # `train` sets it
    optimizer = trainer.create_optimizer()

    def step(batch: Any) -> None:
        trainer.training_step(trainer.model, dict(batch))
        optimizer.step()
        optimizer.zero_grad()

    for batch in batches:       # memory that a process gets for the first time is slow
        step(batch)
    took = [seconds(lambda batch=batch: step(batch)) for batch in batches]
    trainer.model.eval()
    reference = seconds(lambda: trainer.compute_ref_log_probs(
        trainer.model, trainer._prepare_inputs(dict(batches[1])))) if kind == "shared" else 0.0
    peak = (torch.cuda.max_memory_allocated() if torch.cuda.is_available()
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return {"step_s": statistics.mean(took), "reference_s": reference, "peak_gb": peak / 1e9,
            "dtype": str(trainer.model.dtype), "share_of_matmul_peak": _flops(trainer.model)
            / statistics.mean(took) / _matmul_peak(trainer.model.dtype)}


def _trainer(kind: str) -> Any:
    """trl's trainer on random rows; `kind` is one of KINDS."""
    import torch
    import transformers
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    from persuasion_lib.training.shared_prefix import share_prefixes

    transformers.utils.logging.set_verbosity_error()
    model = _model()
    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=1, report_to="none",
        max_length=1024, activation_checkpointing=kind == "earlier", disable_tqdm=True,
        bf16=model.dtype == torch.bfloat16, use_cpu=not torch.cuda.is_available())
    text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    trainer = DPOTrainer(
        model=model, ref_model=_model() if kind == "earlier" else None, args=arguments,
        train_dataset=text, processing_class=_tokenizer(),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear",
                               task_type="CAUSAL_LM"))
    if kind == "shared":
        share_prefixes(trainer.model.get_base_model(), arguments.max_length)
    trainer.precompute_ref_logps = kind != "earlier"
    trainer.train_dataset = Dataset.from_list(_rows())
    return trainer


def _rows() -> list[dict[str, Any]]:
    import numpy as np

    rng = np.random.default_rng(0)

    def ids(count: int) -> list[int]:
        return rng.integers(10, VOCABULARY, count).tolist()

    return [{"prompt_ids": ids(length), "chosen_ids": ids(REPLY), "rejected_ids": ids(REPLY),
             "ref_chosen_logps": -3000.0, "ref_rejected_logps": -3000.0} for length in PROMPTS]


def _model() -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from persuasion_lib.models.loading import has_fast_bfloat16

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if has_fast_bfloat16() else torch.float32)
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True))
    torch.set_default_dtype(torch.float32)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>",
                                   unk_token="<unk>")


def _flops(model: Any) -> float:
    """Multiplications and additions that one shared step needs: forward and backward by input.

    Two per weight and token each way (frozen weights get no gradient); attention scores and
    weighted values over half of each causal square; the head forward and p · W.
    """
    config, prompt = model.config, statistics.mean(PROMPTS)
    head = config.vocab_size * config.hidden_size
    body = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "lora" not in n
               ) - head
    tokens = prompt + 2 * REPLY
    seen = prompt ** 2 / 2 + 2 * (REPLY * prompt + REPLY ** 2 / 2)
    attention = 3 * 4 * config.num_hidden_layers * config.hidden_size * seen
    return 2 * 2 * body * tokens + attention + 2 * 2 * head * 2 * REPLY


def _matmul_peak(dtype: Any) -> float:
    """Operations per second of a large matrix product on this machine now."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.randn(n, 896, dtype=dtype, device=device) for n in (1024, 4864))
    best = 0.0
    for _ in range(10):
        began = time.monotonic()
        for _ in range(5):
            a @ b.T
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 5 * 2 * 1024 * 896 * 4864 / (time.monotonic() - began))
    return best


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
