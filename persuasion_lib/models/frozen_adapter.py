"""An adapter that stays frozen under others: in the layers of the base, never in its weights.

Merged into weights in bfloat16, half of what SFT changes would be less than their rounding. Here
each layer adds its adapter to its own product, so that the base with SFT is a plain model again:
trl puts a new adapter on it and takes the model without that one as the reference.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel, load_peft_weights
from peft.tuners import lora
from transformers import PreTrainedModel

from persuasion_lib.core.errors import LineageError


def freeze_under(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter of `folder` in every layer that has one.

    Raises:
        LineageError: it is more than LoRA on linear layers below the head.
    """
    check_is_plain(folder)
    adapted = PeftModel.from_pretrained(model, folder)
    head = model.get_output_embeddings()
    for part in adapted.modules():
        if not isinstance(part, lora.LoraLayer):
            continue
        layer = part.get_base_layer()
        if layer is head or part.lora_variant:
            raise _no_ground(folder, "the head" if layer is head else "a variant of LoRA")
        a = part.lora_A["default"].weight
        b = part.lora_B["default"].weight * part.scaling["default"]
        # Rounded as every product would round them.
        _put_under(layer, a.to(model.dtype), b.to(model.dtype))
    return adapted.unload()


def check_is_plain(folder: Path) -> None:
    """Refuse an adapter that is more than two matrices a layer.

    Raises:
        LineageError: it trains biases, norms, embeddings or whole modules, or is DoRA.
    """
    others = [key for key in load_peft_weights(folder, device="cpu")
              if not key.endswith((".lora_A.weight", ".lora_B.weight"))]
    if others:
        raise _no_ground(folder, others[0])


def _no_ground(folder: Path, what: str) -> LineageError:
    return LineageError(f"the adapter in {folder} changes more than plain LoRA on linear layers "
                        f"({what}), so no other can be trained on it. Provide sft_train.jsonl "
                        "instead, and SFT is trained here.")


def _put_under(layer: torch.nn.Module, a: torch.Tensor, b: torch.Tensor) -> None:
    layer.register_buffer("frozen_a", a.detach(), persistent=False)
    layer.register_buffer("frozen_b", b.detach(), persistent=False)
    layer.register_forward_hook(_add)


def _add(layer: torch.nn.Module, given: tuple[torch.Tensor, ...],
         product: torch.Tensor) -> torch.Tensor:
    a, b = frozen_of(layer)
    return product + (given[0].to(a.dtype) @ a.T @ b.T).to(product.dtype)


@contextmanager
def without_frozen(model: torch.nn.Module) -> Iterator[None]:
    """The model as it is without the adapter under its layers, for the time of a `with` block."""
    kept = [(layer, layer.frozen_b.clone()) for layer in model.modules() if frozen_of(layer)]
    for layer, _ in kept:
        layer.frozen_b.zero_()
    try:
        yield
    finally:
        for layer, b in kept:
            layer.frozen_b.copy_(b)


def frozen_of(layer: torch.nn.Module) -> tuple[torch.Tensor, ...]:
    """A (rank, in) and B (out, rank) of the adapter under a layer; nothing where there is none."""
    return (layer.frozen_a, layer.frozen_b) if hasattr(layer, "frozen_a") else ()
