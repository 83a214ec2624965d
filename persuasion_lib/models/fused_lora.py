"""LoRA layers as one product: faster to train and to sample from, with the same results.

peft computes base and adapters one after the other, over the whole output each time, and on
bfloat16 weights copies inputs and outputs to float32 and back. `fuse_adapters` replaces the
forward pass of a model's plain LoRA layers; all others stay peft's.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft.tuners import lora

from persuasion_lib.models.frozen_adapter import frozen_of

BLOCK_ROWS = 512


class LoraProduct(torch.autograd.Function):
    """x Wᵀ + bias + (x Aᵀ) Bᵀ, the low-rank part added in place in both directions.

    A and B stay float32; they are rounded to the type of x for the products, as autocast would.
    A frozen adapter adds its rows to A and columns to B, and gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
                a: torch.Tensor, b: torch.Tensor, *frozen: torch.Tensor) -> torch.Tensor:
        """Shapes (N, in), (out, in), (out,), (rank, in), (out, rank) to (N, out).

        `frozen` is nothing, or another A and B.
        """
        ctx.rank = len(a)
        a, b = a.to(x.dtype), b.to(x.dtype)
        if frozen:
            a, b = torch.cat([a, frozen[0]]), torch.cat([b, frozen[1]], 1)
        inner = x @ a.T
        ctx.save_for_backward(x, weight, a, b, inner)
        return _product(x, weight, bias).addmm_(inner, b.T)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of x, A and B; weight, bias and a frozen adapter have none."""
        x, weight, a, b, inner = ctx.saved_tensors
        through = gradient @ b
        to_x = (_product(gradient, weight.T).addmm_(through, a) if ctx.needs_input_grad[0]
                else None)
        to_a = (through[:, :ctx.rank].T @ x).float()
        to_b = (inner[:, :ctx.rank].T @ gradient).T.float()
        return to_x, None, None, to_a, to_b, *[None] * (len(ctx.needs_input_grad) - 5)


def _product(x: torch.Tensor, weight: torch.Tensor,
             bias: torch.Tensor | None = None) -> torch.Tensor:
    """x Wᵀ + bias. On CPUs a product with few columns is made from blocks of rows.

    oneDNN gives about a thousand rows, the length of a pair, to one thread of two: 1,012 rows
    of 4,864 numbers times a matrix of 896 columns took 8.0 ms at once, 4.7 ms in blocks.
    """
    linear = torch.nn.functional.linear
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or weight.shape[0] > weight.shape[1]:
        return linear(x, weight, bias)
    blocks = [linear(rows, weight, bias) for rows in x.split(BLOCK_ROWS)]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def fuse_adapters(model: torch.nn.Module, *, fixed: bool = False) -> None:
    """Make every plain LoRA layer of `model` one product for its base and all its adapters.

    Args:
        fixed: no adapter will change any more, so that what is made of them may be kept. Nothing
            tells a change: an optimizer's fused step leaves even a tensor's version as it was.
    """
    for layer in model.modules():
        if isinstance(layer, lora.Linear):
            layer.kept_products = {} if fixed else None
            layer.forward = functools.partial(_forward, layer, layer.forward)


def _forward(layer: lora.Linear, stock: Callable[..., torch.Tensor], x: torch.Tensor,
             *arguments: Any, **options: Any) -> torch.Tensor:
    base = layer.get_base_layer()
    names = [] if layer.disable_adapters else [n for n in layer.active_adapters
                                               if n in layer.lora_A]
    if arguments or options or not _is_plain(layer, names, x, base.weight):
        return stock(x, *arguments, **options)
    rows = x.flatten(0, -2)
    frozen = frozen_of(base)
    if not names and not frozen:
        product = _product(rows, base.weight, base.bias)
    elif layer.kept_products is None or torch.is_grad_enabled():
        trained = _side_by_side(layer, names) if names else ()
        product = LoraProduct.apply(rows, base.weight, base.bias, *trained, *frozen)
    else:
        a, b = _kept(layer, names, frozen, x.dtype)
        product = _product(rows, base.weight, base.bias).addmm_(rows @ a.T, b.T)
    return product.view(*x.shape[:-1], -1)


def _side_by_side(layer: lora.Linear, names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """A and scaled B of several adapters as those of one."""
    a = [layer.lora_A[name].weight for name in names]
    b = [layer.lora_B[name].weight * layer.scaling[name] for name in names]
    return (a[0], b[0]) if len(names) == 1 else (torch.cat(a), torch.cat(b, 1))


def _kept(layer: lora.Linear, names: list[str], frozen: Sequence[torch.Tensor],
          dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of all adapters rounded to `dtype`, made once for each choice of adapters.

    While tokens are sampled they stay the same, and on a GPU to join them took longer than to use
    them.
    """
    key = (*names, dtype)
    if key not in layer.kept_products:
        pairs = [_side_by_side(layer, names)] if names else []
        pairs += [frozen] if frozen else []
        layer.kept_products[key] = (torch.cat([a.to(dtype) for a, _ in pairs]),
                                    torch.cat([b.to(dtype) for _, b in pairs], 1))
    return layer.kept_products[key]


def _is_plain(layer: lora.Linear, names: list[str], x: torch.Tensor,
              weight: torch.Tensor) -> bool:
    """No dropout, DoRA or bias of adapters in float32, and no autocast that changes x's type."""
    return not layer.merged and not layer.fan_in_fan_out and x.dtype == weight.dtype and not (
        torch.is_autocast_enabled(x.device.type) and x.dtype == torch.float32) and all(
        isinstance(layer.lora_dropout[name], torch.nn.Identity) and not layer.lora_bias[name]
        and name not in layer.lora_variant and layer.lora_A[name].weight.dtype == torch.float32
        for name in names)
