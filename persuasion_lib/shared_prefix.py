"""Shared-prefix DPO: each prompt goes through the model once for its two replies.

trl's DPOTrainer sends [prompt | chosen] and [prompt | rejected] as two padded rows and asks the
model for log-probabilities. Here one row without padding holds [prompt | chosen | rejected] of
every pair: positions restart after the prompt, and attention lets a reply see its prompt and
itself, never the other reply (the layout is described in arXiv 2410.20305). The head runs on the
positions that predict a completion token alone, and stores no logits. trl gets what it got
before, so its losses, metrics and evaluation stay as they are; loss and gradients are equal.

It rests on how trl 1.16 calls the model (`fused_lm_head=True`); the version is pinned, and
`dpo.engine: trl` is the stock path, against which the tests compare.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners import lora
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from trl.trainer.utils import FusedCausalLMOutput

from persuasion_lib.errors import ConfigError

NAME = "shared_prefix"
HEAD_ROWS = 128     # rows of logits at a time: 78 MB in float32 with Qwen's vocabulary
IGNORED = -100      # a label that is no target


@dataclass(frozen=True)
class Layout:
    """A batch of pairs in one row.

    `tokens` and `positions` have shape (1, T). `parts` has the lengths of prompt, chosen and
    rejected of the first pair, of the second, and so on. `predicting` has, for every completion
    token in the order of trl's batch (all chosen rows, then all rejected ones), the index of the
    token before it.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    parts: list[int]
    predicting: torch.Tensor


def lay_out(input_ids: torch.Tensor, labels: torch.Tensor) -> Layout:
    """The layout of trl's batch, ids and labels of shape (2 × pairs, length), chosen rows first."""
    is_target = labels != IGNORED
    starts, counts = is_target.int().argmax(1).tolist(), is_target.sum(1).tolist()
    half, at = len(input_ids) // 2, 0
    tokens, positions, parts = [], [], []
    predicting: list[list[int]] = [[] for _ in input_ids]
    for chosen, rejected in zip(range(half), range(half, 2 * half), strict=True):
        prompt = starts[chosen]
        first, second = at + prompt, at + prompt + counts[chosen]
        end = second + counts[rejected]
        tokens += [input_ids[chosen, :prompt + counts[chosen]],
                   input_ids[rejected, prompt:prompt + counts[rejected]]]
        positions += [range(prompt + counts[chosen]), range(prompt, prompt + counts[rejected])]
        parts += [prompt, counts[chosen], counts[rejected]]
        predicting[chosen] = list(range(first - 1, second - 1))
        predicting[rejected] = [first - 1, *range(second, end - 1)]
        at = end
    device = input_ids.device
    return Layout(torch.cat(tokens)[None],
                  torch.tensor([p for part in positions for p in part], device=device)[None],
                  parts, torch.tensor([i for row in predicting for i in row], device=device))


def _attend(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
            attention_mask: torch.Tensor | None, scaling: float | None = None,
            dropout: float = 0.0, parts: list[int] | None = None,
            **kwargs: Any) -> tuple[torch.Tensor, None]:
    """Attention of a shared-prefix row; of anything else (generation, say) the usual one."""
    if parts is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout,
                                      scaling=scaling, **kwargs)
    key = repeat_kv(key, module.num_key_value_groups)
    value = repeat_kv(value, module.num_key_value_groups)
    attend = functools.partial(scaled_dot_product_attention, dropout_p=dropout, scale=scaling)
    # Split, not sliced: the gradient of a split is one concatenation, of each slice a whole row.
    rows = zip(*(x.split(parts, 2) for x in (query, key, value)), strict=True)
    found = []
    for prompt, *replies in zip(rows, rows, rows, strict=True):     # one iterator, three at a time
        found.append(attend(*prompt, is_causal=True))
        for reply in replies:
            seen = [torch.cat(both, 2) for both in zip(prompt[1:], reply[1:], strict=True)]
            mask = causal_lower_right(reply[0].shape[2], seen[0].shape[2])
            found.append(attend(reply[0], *seen, attn_mask=mask))
    return torch.cat(found, 2).transpose(1, 2).contiguous(), None


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
    mean, top = wide.mean(-1), wide.amax(-1, keepdim=True)
    target = wide.gather(-1, targets[:, None])[:, 0] - top[:, 0]
    odds = (wide := wide - top).exp()
    total = odds.sum(-1)
    entropy = total.log() - torch.linalg.vecdot(odds, wide) / total
    logits.copy_(odds.div_(total[:, None]))
    return target - total.log(), entropy, mean, target >= 0


class LoraProduct(torch.autograd.Function):
    """x Wᵀ + bias + scale · (x Aᵀ) Bᵀ, the low-rank part added in place in both directions.

    As separate operations it would pass over every output three times more, and in bfloat16 copy
    every input and output to float32 and back. A and B stay float32; they are rounded to the
    type of x for the products, as autocast would.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
                a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
        """Shapes (N, in), (out, in), (out,), (rank, in), (out, rank) to (N, out)."""
        a, b = a.to(x.dtype), b.to(x.dtype)
        inner = x @ a.T
        ctx.save_for_backward(x, weight, a, b, inner)
        ctx.scale = scale
        return torch.nn.functional.linear(x, weight, bias).addmm_(inner, b.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of x, A and B; weight and bias are frozen."""
        x, weight, a, b, inner = ctx.saved_tensors
        through = (gradient @ b).mul_(ctx.scale)
        to_x = (gradient @ weight).addmm_(through, a) if ctx.needs_input_grad[0] else None
        return (to_x, None, None, (through.T @ x).float(),
                (inner.T @ gradient).T.float().mul(ctx.scale), None)


def _fuse_adapters(model: PreTrainedModel) -> None:
    """One product for base and adapter of every LoRA layer that is plain: no dropout, no DoRA."""
    for layer in model.modules():
        if isinstance(layer, lora.Linear) and not layer.use_dora.get("default") and isinstance(
                layer.lora_dropout["default"], torch.nn.Identity):
            layer.forward = functools.partial(_lora_forward, layer, layer.forward)


def _lora_forward(layer: lora.Linear, stock: Callable[..., torch.Tensor], x: torch.Tensor,
                  *arguments: Any, **options: Any) -> torch.Tensor:
    weight, a, b = (part.weight for part in (
        layer.get_base_layer(), layer.lora_A["default"], layer.lora_B["default"]))
    plain = layer.active_adapters == ["default"] and not (layer.disable_adapters or layer.merged)
    if not plain or x.dtype != weight.dtype or a.dtype != torch.float32 or (
            torch.is_autocast_enabled(x.device.type) and x.dtype == torch.float32):
        return stock(x, *arguments, **options)
    product = LoraProduct.apply(x.flatten(0, -2), weight, layer.get_base_layer().bias, a, b,
                                layer.scaling["default"])
    return product.view(*x.shape[:-1], -1)


def share_prefixes(model: PreTrainedModel) -> None:
    """Make a model that trl's DPOTrainer has prepared compute each prompt of a pair once.

    Only the call that trl makes for log-probabilities changes; generation stays as it is.

    Raises:
        ConfigError: the architecture has attention that this layout cannot express, or its head
            is trained.
    """
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    head = model.get_output_embeddings()
    if not model._supports_attention_backend or kinds != {"full_attention"} or (
            head.bias is not None or head.weight.requires_grad):
        raise ConfigError(f"dpo.engine shared_prefix does not fit {type(model).__name__} (layers: "
                          f"{', '.join(sorted(kinds))}). Set dpo.engine=trl.")
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    _fuse_adapters(model)
    stock = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: PreTrainedModel, input_ids: torch.Tensor | None = None,
                attention_mask: torch.Tensor | None = None, labels: torch.Tensor | None = None,
                fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if fused_lm_head:
            return _log_probs(self, input_ids, labels)
        return stock(input_ids, attention_mask=attention_mask, labels=labels, **kwargs)

    model.forward = types.MethodType(forward, model)


def _log_probs(model: PreTrainedModel, input_ids: torch.Tensor,
               labels: torch.Tensor) -> FusedCausalLMOutput:
    layout, is_target = lay_out(input_ids, labels), labels[:, 1:] != IGNORED
    hidden = model.base_model(
        input_ids=layout.tokens, position_ids=layout.positions, use_cache=False,
        attention_mask={"full_attention": None}, parts=layout.parts).last_hidden_state[0]
    found = CompletionHead.apply(hidden[layout.predicting], model.get_output_embeddings().weight,
                                 labels[:, 1:][is_target])
    log_probs, entropy, mean_logits, is_top1 = (
        x.new_zeros(is_target.shape).masked_scatter(is_target, x) for x in found)
    return FusedCausalLMOutput(loss=-found[0].mean(), log_probs=log_probs, entropy=entropy,
                               mean_logits=mean_logits, is_top1=is_top1, label_mask=is_target)
