"""An estimate of the peak memory of a training step, told before hours are spent on it."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from persuasion_lib.training.completion_head import HEAD_ROWS

# Values kept per token and layer for the backward pass, in units of the hidden (h) and the
# feed-forward (f) width: norms, projections, rotated queries, attention and its adapters' inputs;
# gate, up, their product and the activation. By measured peaks (tests/training/test_memory.py).
KEPT_HIDDEN = 14
KEPT_INNER = 5
# In bfloat16 peft hands its adapters their inputs in float32: copies that only our engine spares.
STOCK_HIDDEN = 20
# trl's head on a GPU: rows and columns of logits at a time, overwritten by their own gradient. On a
# CPU the same step was measured to take what whole rows of logits would.
TILE_ROWS, TILE_COLUMNS = 4096, 32768
WORKSPACE = 0.9e9           # bytes of the interpreter and its libraries


@dataclass(frozen=True)
class Step:
    """What a training step holds: `tokens` in one micro-batch, `heads` rows through the head.

    `columns` of the vocabulary are computed at a time; None: all, with what float32 adds to them.
    """

    parameters: int
    trained: int
    layers: int
    hidden: int
    inner: int
    vocabulary: int
    tokens: int
    heads: int
    weight_bytes: float     # per parameter: 4, 2, or about 0.55 in 4 bits
    value_bytes: int        # per activation
    checkpointing: bool = False
    kept_hidden: int = KEPT_HIDDEN
    columns: int | None = None


def estimate(step: Step) -> dict[str, float]:
    """Bytes by part, and `peak`, their sum."""
    per_layer = step.tokens * (step.kept_hidden * step.hidden + KEPT_INNER * step.inner)
    kept = step.layers * step.tokens * step.hidden + per_layer if step.checkpointing else (
        step.layers * per_layer)
    # logits, their exponentials, a copy; or one tile
    head = (step.heads * step.columns * step.value_bytes if step.columns else
            3.0 * 4 * step.heads * step.vocabulary)
    parts = {
        "weights": step.parameters * step.weight_bytes,
        "adapters and optimizer": step.trained * 16.0,     # weight, gradient, two moments, float32
        "activations": float(kept * step.value_bytes),
        "head": float(head),
        "libraries": 0.0 if torch.cuda.is_available() else WORKSPACE}
    return parts | {"peak": sum(parts.values())}


def step_of(model: Any, *, prompt: float, reply: float, pairs: int,
            engine: Literal["shared_prefix", "trl"], checkpointing: bool) -> Step:
    """The step of a PEFT model on `pairs` pairs of such mean lengths, in tokens."""
    config = model.config.get_text_config()
    shared = engine == "shared_prefix"
    tokens = round(pairs * (prompt + 2 * reply if shared else 2 * (prompt + reply)))
    tiled = not shared and torch.cuda.is_available()
    rows = min(HEAD_ROWS, tokens) if shared else tokens
    is_short = model.dtype.itemsize < 4
    return Step(
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        layers=config.num_hidden_layers, hidden=config.hidden_size,
        inner=_inner(config), vocabulary=config.vocab_size, tokens=tokens,
        heads=min(TILE_ROWS, round(2 * pairs * reply)) if tiled else rows,
        columns=min(TILE_COLUMNS, config.vocab_size) if tiled else None,
        kept_hidden=STOCK_HIDDEN if is_short and not shared else KEPT_HIDDEN,
        weight_bytes=0.55 if getattr(model, "is_loaded_in_4bit", False) else model.dtype.itemsize,
        value_bytes=model.dtype.itemsize, checkpointing=checkpointing)


def _inner(config: Any) -> int:
    """Width inside a layer's feed-forward part, by any of its names; usually four hidden ones."""
    named = (getattr(config, name, None) for name in ("intermediate_size", "ffn_dim", "n_inner"))
    return next((width for width in named if width), 4 * config.hidden_size)


def advice(parts: dict[str, float], free: float) -> str:
    """One line: the estimate, and what to change when it is more than there is.

    `free` are the bytes that the step can have, with those that its weights have already.
    """
    line = (f"estimated peak memory {parts['peak'] / 1e9:.1f} GB of the {free / 1e9:.1f} GB it can "
            "have")
    if parts["peak"] <= 0.95 * free:
        return line
    return (f"{line}. Lower per_device_train_batch_size and raise gradient_accumulation_steps; or "
            "set training.gradient_checkpointing=true, or model.load_in_4bit=true.")
