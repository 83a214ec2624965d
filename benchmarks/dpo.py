"""One DPO step, three ways, side by side, by shape and allocator.

    make bench PART=dpo      # about 45 minutes on two cores

*earlier*: as the earlier public run did it: a separate reference model, gradient checkpointing,
padding, the head on every position. *trl*: trl's best flags, a precomputed reference and no
checkpointing. *shared*: this project's engine. Weights are random; lengths are those met in
practice (prompts of 485 tokens, replies of 256).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from typing import Any

from benchmarks import shapes

KINDS = ("earlier", "trl", "shared")
PROMPTS, REPLY = (470, 485, 500), 256       # tokens


def run() -> list[dict[str, Any]]:
    """Results in the form of `results/bench/bench.json`."""
    return [result for shape in shapes.shapes()
            for allocator, measured in shapes.side_by_side("dpo", KINDS, shape).items()
            for result in results(measured, shape, allocator)]


def results(measured: dict[str, list[dict[str, float]]], shape: str,
            allocator: str) -> list[dict[str, Any]]:
    """The four figures from the repetitions of each kind."""
    step = {kind: [m["step_s"] for m in measured[kind]] for kind in KINDS}
    stage = [m["step_s"] + m["reference_s"] for m in measured["shared"]]
    memory = {kind: [m["peak_gb"] for m in measured[kind]] for kind in KINDS}
    extra = {"dtype": measured["shared"][0]["dtype"], "repetitions": shapes.REPETITIONS,
             "seconds": {kind: statistics.median(step[kind]) for kind in KINDS},
             "peak_gb": {kind: max(memory[kind]) for kind in KINDS},
             "share_of_matmul_peak": statistics.median(
                 m["share_of_matmul_peak"] for m in measured["shared"])}

    def name(what: str) -> str:
        return shapes.named(what, shape, allocator)

    return [shapes.ratio(name("dpo_step_vs_earlier"), step["earlier"], step["shared"], 5.0, extra),
            shapes.ratio(name("dpo_step_vs_trl"), step["trl"], step["shared"], 3.0, extra),
            shapes.ratio(name("dpo_stage_vs_earlier"), step["earlier"], stage, 3.5, extra | {
                "note": "one pass with its reference pass; the human stages share theirs"}),
            shapes.ratio(name("dpo_memory_vs_earlier"), memory["shared"], memory["earlier"], 0.7,
                         extra, less_is_better=True)]


def measure(kind: str, shape: str) -> dict[str, Any]:
    """Seconds per step and per reference pass of one pair, and the peak memory of this process."""
    trainer = dpo_trainer(kind, shape)
    batches = list(trainer.get_train_dataloader())
    took = shapes.step_seconds(trainer, batches, warm=batches)
    trainer.model.eval()
    reference = shapes.seconds(lambda: trainer.compute_ref_log_probs(
        trainer.model, trainer._prepare_inputs(dict(batches[1])))) if kind == "shared" else 0.0
    return {"step_s": took, "reference_s": reference, "peak_gb": shapes.peak_gb(),
            "dtype": str(trainer.model.dtype), "share_of_matmul_peak": _flops(trainer.model)
            / took / _matmul_peak(trainer.model.dtype)}


def dpo_trainer(kind: str, shape: str, batch: int = 1, dtype: Any = None) -> Any:
    """trl's trainer on random rows; `kind` is one of KINDS."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    from persuasion_lib.training.shared_prefix import share_prefixes

    model = shapes.model(shape, dtype)
    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch, report_to="none",
        max_length=1024, activation_checkpointing=kind == "earlier", disable_tqdm=True,
        bf16=model.dtype == torch.bfloat16, use_cpu=not torch.cuda.is_available())
    text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    trainer = DPOTrainer(
        model=model, ref_model=shapes.model(shape) if kind == "earlier" else None, args=arguments,
        train_dataset=text, processing_class=shapes.tokenizer(),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear",
                               task_type="CAUSAL_LM"))
    if kind == "shared":
        share_prefixes(trainer.model.get_base_model(), arguments.max_length)
    trainer.precompute_ref_logps = kind != "earlier"
    trainer.train_dataset = Dataset.from_list(_rows(model.config.vocab_size, batch))
    return trainer


def _rows(vocabulary: int, batch: int) -> list[dict[str, Any]]:
    """Three batches of pairs of random tokens."""
    import numpy as np

    rng = np.random.default_rng(0)

    def ids(count: int) -> list[int]:
        return rng.integers(10, vocabulary, count).tolist()

    return [{"prompt_ids": ids(length), "chosen_ids": ids(REPLY), "rejected_ids": ids(REPLY),
             "ref_chosen_logps": -3000.0, "ref_rejected_logps": -3000.0}
            for length in PROMPTS for _ in range(batch)]


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
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))
