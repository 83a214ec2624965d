"""Both engines on a GPU, in under eight minutes: same numbers as trl's, and how fast and large.

    benchmarks/gpu.sh WHEELS results.json       # a machine with PyTorch and no network

Every figure is written as soon as it is there. A part that fails or comes too late says so in one
sentence and the others go on. `BENCH_PARTS=qlora,dpo` runs those that begin so. Without a GPU,
`BENCH_SHAPES=tiny` checks that everything runs, and `BENCH_SECONDS=3600` gives a slow machine the
time for it.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT_S = float(os.environ.get("BENCH_SECONDS", 450))       # no part begins later
TRAINED = "qwen2.5-0.5b"    # the shape of speed and memory
COMPARED = "smollm2-135m"   # of parity, which float32 is part of
DPO_BATCHES = (1, 4, 16)    # pairs
SFT_BATCHES = (8, 32)       # rows
SAMPLED = (32, 128)         # replies at once
ROUNDS = 3                  # of all batches; the middle one counts
LIGER = "trl with Liger's layers"
Figures = dict[str, Any]


def main(output: Path) -> None:
    """Measure part by part, and write all that is known after each."""
    import torch

    began = time.monotonic()
    only = os.environ.get("BENCH_SHAPES")
    trained, compared = only or TRAINED, only or COMPARED
    found: Figures = {"machine": machine(), "results": {}}
    for name, part in parts(trained, compared):
        found["results"][name] = (outcome(part) if time.monotonic() - began < LIMIT_S
                                  else {"skipped": "no time was left"})
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        found["seconds"] = round(time.monotonic() - began, 1)
        output.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(name, json.dumps(found["results"][name]), flush=True)
    print(output)


def parts(trained: str, compared: str) -> list[tuple[str, Callable[[], Figures]]]:
    """What is measured, the most wanted first, as far as BENCH_PARTS wants it."""
    wanted = tuple(os.environ.get("BENCH_PARTS", "").split(","))
    return [part for part in _parts(trained, compared) if part[0].startswith(wanted)]


def _parts(trained: str, compared: str) -> list[tuple[str, Callable[[], Figures]]]:
    listed: list[tuple[str, Callable[[], Figures]]] = [
        (f"parity {engine}", lambda engine=engine: parity(engine, compared))
        for engine in ("dpo", "sft")]
    for batch in DPO_BATCHES:
        listed += [(f"dpo {kind}, {batch} pairs",
                    lambda kind=kind, batch=batch: dpo_step(kind, trained, batch))
                   for kind in ("trl", "shared")]
    for batch in SFT_BATCHES:
        listed += [(f"sft {kind}, {batch} rows",
                    lambda kind=kind, batch=batch: sft_step(kind, trained, batch))
                   for kind in ("trl", "packed", "conversations")]
    listed += [("qlora", lambda: qlora(trained)),
               ("dpo earlier, 1 pair", lambda: dpo_step("earlier", trained, 1))]
    listed += [(f"generation stock, {batch} replies", lambda batch=batch: stock(trained, batch))
               for batch in SAMPLED]
    listed += [(f"generation ours, {batch} replies",
                lambda batch=batch: generation("ours", trained, batch)) for batch in SAMPLED]
    listed += [("generation copies", lambda: generation("copies", trained, 2))]
    # Last: Liger changes functions of transformers for the whole process.
    listed += [(f"dpo {LIGER}, {batch} pairs", lambda batch=batch: dpo_step(LIGER, trained, batch))
               for batch in DPO_BATCHES]
    return listed + [(f"sft {LIGER}, {batch} rows",
                      lambda batch=batch: sft_step(LIGER, trained, batch))
                     for batch in SFT_BATCHES]


def outcome(part: Callable[[], Figures]) -> Figures:
    """The figures of a part, or the first line of what went wrong."""
    try:
        return part()
    except Exception as error:      # whatever it is, the other parts are worth having
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[:1]}"}


def machine() -> Figures:
    """What this is measured on."""
    import platform
    from importlib.metadata import version

    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {"device": device, "python": platform.python_version(), "torch": torch.__version__,
            **{name: version(name) for name in ("transformers", "trl", "peft")}}


def parity(engine: str, shape: str) -> Figures:
    """Loss and relative error of the adapters' gradient, in bfloat16, against trl in float32."""
    import torch

    ours = {"dpo": "shared", "sft": "packed"}[engine]
    exact_loss, exact = gradient(engine, "trl", shape, torch.float32)
    found = {"loss in float32": exact_loss}
    for kind, dtype in ((ours, torch.float32), ("trl", torch.bfloat16), (ours, torch.bfloat16)):
        loss, slope = gradient(engine, kind, shape, dtype)
        name = f"{kind}, {str(dtype).removeprefix('torch.')}"
        found |= {f"loss error of {name}": abs(loss - exact_loss),
                  f"gradient error of {name}": float((slope - exact).norm() / exact.norm())}
    return found


def gradient(engine: str, kind: str, shape: str, dtype: Any) -> tuple[float, Any]:
    """Loss and gradient of the first batch, at the same random weights for every type of number.

    They are rounded to bfloat16 for float32 too, so that only the arithmetic differs.
    """
    import torch

    from benchmarks import dpo, sft

    trainer = (dpo.dpo_trainer(kind, shape, 2, dtype) if engine == "dpo"
               else sft.sft_trainer(kind, shape, sft.BATCH, dtype))
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            if weight.dim() == 2:
                weight.copy_((0.02 * torch.randn(weight.shape, generator=drawn)).bfloat16())
    adapters = [p for p in trainer.model.parameters() if p.requires_grad]
    batch = trainer.data_collator([trainer.train_dataset[at] for at in range(2)])
    trainer.current_gradient_accumulation_steps = 1
    loss = float(trainer.training_step(trainer.model, batch))
    return loss, torch.cat([p.grad.float().flatten().cpu() for p in adapters])


def dpo_step(kind: str, shape: str, pairs: int) -> Figures:
    """Seconds of a step, the peak, and what was estimated for it."""
    from benchmarks import dpo
    from persuasion_lib.training.memory import estimate, step_of

    trainer = dpo.dpo_trainer(kind, shape, pairs)
    figures = steps(trainer, kind)
    guess = estimate(step_of(
        trainer.model, prompt=sum(dpo.PROMPTS) / len(dpo.PROMPTS), reply=dpo.REPLY, pairs=pairs,
        engine="shared_prefix" if kind == "shared" else "trl", checkpointing=kind == "earlier"))
    return figures | {"estimated_gb": guess["peak"] / 1e9}


def sft_step(kind: str, shape: str, rows: int) -> Figures:
    """Seconds of a step of so many rows, and the peak."""
    from benchmarks import sft

    return steps(sft.sft_trainer(kind, shape, rows), kind)


def steps(trainer: Any, kind: str) -> Figures:
    """Seconds of a step in the middle round, the slowest and fastest rounds, and the peak.

    Raises:
        ImportError: Liger's layers are asked for and not installed.
    """
    from benchmarks import shapes

    if kind == LIGER:
        from transformers.integrations.liger import apply_liger_kernel

        # The head stays trl's own, which is fused too.
        apply_liger_kernel(trainer.model, {"fused_linear_cross_entropy": False})
    batches = list(trainer.get_train_dataloader())
    shapes.step_seconds(trainer, batches, warm=batches)
    rounds = [shapes.step_seconds(trainer, batches, warm=[]) for _ in range(ROUNDS)]
    rows = statistics.mean(len(batch["input_ids"]) for batch in batches)
    return {"step_s": statistics.median(rounds), "spread": [min(rounds), max(rounds)],
            "rows": rows, "peak_gb": shapes.peak_gb()}


def stock(shape: str, replies: int, *, prompt: int = 485, new: int = 64) -> Figures:
    """Seconds a reply of one call of `generate`, and the peak; random weights end no reply."""
    import torch
    from transformers import GenerationConfig

    from benchmarks import shapes

    model = shapes.model(shape).eval()
    ids = torch.randint(3, model.config.vocab_size, (replies, prompt), device=model.device)
    plain = GenerationConfig(do_sample=True, max_new_tokens=new, min_new_tokens=new, top_p=0.9,
                             eos_token_id=None, pad_token_id=0)

    def sample() -> None:
        with torch.no_grad():
            model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=plain)

    sample()
    return {"reply_s": shapes.seconds(sample) / replies, "peak_gb": shapes.peak_gb()}


def generation(kind: str, shape: str, replies: int) -> Figures:
    """Seconds of a pair and of an answer of five systems; see benchmarks/generation.py."""
    from benchmarks import generation as measured

    with tempfile.TemporaryDirectory() as folder:
        measured.build_systems(Path(folder), shape)
        return measured.measure(kind, Path(folder), replies)


def qlora(shape: str) -> Figures:
    """A DPO step of one pair on weights in 4 bits."""
    import torch

    if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
        return {"skipped": "QLoRA needs an NVIDIA GPU and the package bitsandbytes"}
    from benchmarks import shapes

    stock = shapes.model
    shapes.model = lambda name, dtype=None: shapes.in_4_bits(stock(name, dtype))
    try:
        return dpo_step("shared", shape, 1)
    finally:
        shapes.model = stock


if __name__ == "__main__":
    main(Path(sys.argv[1]))
