"""The head on the positions that predict a target alone, without storing logits."""

from typing import Any

import torch

HEAD_ROWS = 256     # rows of logits at a time: 78 MB in bfloat16 with Qwen's vocabulary


class CompletionHead(torch.autograd.Function):
    """Log-probability of each target under `hidden @ weight.T`, a few rows at a time.

    With p the predicted distribution, d log p[y] / d hidden = weight[y] − p · weight. It is formed
    while the logits are there, so that backward neither stores nor recomputes them. The weight
    gets no gradient: the head is frozen.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor,
                targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(N, H), (V, H), (N,) to log-probability, entropy, mean logit and is-top-1, each (N,)."""
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        found = []
        for at in range(0, len(hidden), HEAD_ROWS):
            rows = slice(at, at + HEAD_ROWS)
            logits = hidden[rows] @ weight.T
            # On a CPU one row at a time: it fits into the cache, where eight passes cost little.
            step = 1 if logits.device.type == "cpu" else HEAD_ROWS
            for part, target in zip(logits.split(step), targets[rows].split(step), strict=True):
                found.append(_softmax_(part, target))
            if slope is not None:
                slope[rows] = weight[targets[rows]] - logits @ weight
        ctx.save_for_backward(slope)
        result = tuple(torch.cat(values) for values in zip(*found, strict=True))
        ctx.mark_non_differentiable(*result[1:])
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        """Gradient of the hidden states from that of the log-probabilities."""
        slope, = ctx.saved_tensors
        return gradient[:, None].to(slope.dtype) * slope, None, None


def _softmax_(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Turn logits (N, V) into probabilities in place; returns what `CompletionHead` returns."""
    wide = logits.float()
    mean = wide.mean(-1)
    top = wide.amax(-1, keepdim=True)
    target = wide.gather(-1, targets[:, None])[:, 0] - top[:, 0]
    odds = (wide := wide - top).exp()
    total = odds.sum(-1)
    entropy = total.log() - torch.linalg.vecdot(odds, wide) / total
    logits.copy_(odds.div_(total[:, None]))
    return target - total.log(), entropy, mean, target >= 0
