"""Shared-prefix DPO: each prompt goes through the model once for its two replies.

trl's DPOTrainer sends [prompt | chosen] and [prompt | rejected] as two padded rows and asks the
model for log-probabilities. Here one row without padding holds [prompt | chosen | rejected] of
every pair: positions restart after the prompt, and attention lets a reply see its prompt and
itself, never the other reply (the layout is described in arXiv 2410.20305). The head runs on the
positions that predict a completion token alone, and stores no logits. trl gets what it got
before, so its losses, metrics and evaluation stay as they are; loss and gradients are equal.

It rests on how trl 1.16 calls the model (`fused_lm_head=True`); pyproject allows trl 1.16 alone.
`dpo.engine: trl` is the stock path, against which the tests compare.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask
from trl.trainer.utils import FusedCausalLMOutput

from persuasion_lib.core.errors import ConfigError
from persuasion_lib.models.fused_lora import fuse_adapters
from persuasion_lib.training.completion_head import CompletionHead
from persuasion_lib.training.row_attention import Layout, attend

NAME = "shared_prefix"
IGNORED = -100      # a label that is no target
# Of an example's mean log-probability, between this engine and the plain model.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 4e-2}       # seen: 4e-6, 6e-3


# From trl's batch, ids and labels of shape (rows, length), to its layout.
LayOut = Callable[[torch.Tensor, torch.Tensor], Layout]


def lay_out(input_ids: torch.Tensor, labels: torch.Tensor) -> Layout:
    """The layout of trl's batch, ids and labels of shape (2 × pairs, length), chosen rows first."""
    is_target = labels != IGNORED
    starts = is_target.int().argmax(1).tolist()
    counts = is_target.sum(1).tolist()
    pairs = len(input_ids) // 2
    tokens = []
    positions: list[int] = []
    parts: list[int] = []
    follows: list[int | None] = []
    predicting: list[range | list[int]] = [[] for _ in input_ids]
    at = 0      # where the next pair begins in the row
    for chosen, rejected in zip(range(pairs), range(pairs, 2 * pairs), strict=True):
        prompt = starts[chosen]
        first = at + prompt                     # of the chosen reply
        second = first + counts[chosen]         # of the rejected reply
        end = second + counts[rejected]
        tokens += [input_ids[chosen, :prompt + counts[chosen]],
                   input_ids[rejected, prompt:prompt + counts[rejected]]]
        # Both replies follow the prompt: positions go back to its end for the second.
        positions += [*range(prompt + counts[chosen]), *range(prompt, prompt + counts[rejected])]
        follows += [None, len(parts), len(parts)]
        parts += [prompt, counts[chosen], counts[rejected]]
        # A token is predicted at the place before it; the first of either reply by the last of
        # the prompt, although the chosen reply lies between that and the rejected one.
        predicting[chosen] = range(first - 1, second - 1)
        predicting[rejected] = [first - 1, *range(second, end - 1)]
        at = end
    device = input_ids.device
    return Layout(torch.cat(tokens)[None], torch.tensor(positions, device=device)[None], parts,
                  follows, torch.tensor([i for row in predicting for i in row], device=device))


def share_prefixes(model: PreTrainedModel, longest: int) -> None:
    """Make a model that trl's DPOTrainer has prepared compute each prompt of a pair once.

    No prompt with one of its replies may be longer than `longest` tokens.

    Raises:
        ConfigError: the architecture has attention or a head that this engine cannot express,
            known from its settings or found by computing an example in both ways.
    """
    compute_in_one_row(model, longest, lay_out, f"dpo.engine {NAME}")


def compute_in_one_row(model: PreTrainedModel, longest: int, lay_out: LayOut, engine: str) -> None:
    """Make a model that a trainer of trl has prepared compute each batch as one row.

    Only the call that trl makes for log-probabilities changes; generation stays as it is. No row
    of a batch may be longer than `longest` tokens; `engine` is how errors call the setting.

    Raises:
        ConfigError: as `share_prefixes`.
    """
    if reasons := _misfits(model, longest):
        raise _does_not_fit(engine, model, *reasons)
    example = _example(model)
    plain = _plain_log_probs(model, **example)
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    fuse_adapters(model)
    stock = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: PreTrainedModel, input_ids: torch.Tensor | None = None,
                attention_mask: torch.Tensor | None = None, labels: torch.Tensor | None = None,
                fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if fused_lm_head:
            return _log_probs(self, lay_out(input_ids, labels), labels)
        return stock(input_ids, attention_mask=attention_mask, labels=labels, **kwargs)

    model.forward = types.MethodType(forward, model)
    with torch.no_grad():
        found = model(**example, fused_lm_head=True).log_probs
    error = (found - plain).abs().mean()
    if not error <= TOLERANCE[model.dtype] * plain.abs().mean():    # a NaN is no fit
        raise _does_not_fit(engine, model, f"log-probabilities differ by {error:.2g} nats a token "
                                           "from those of the plain model")


def _misfits(model: PreTrainedModel, longest: int) -> list[str]:
    """What the settings of a model have that this layout or `CompletionHead` cannot express."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    window = getattr(config, "sliding_window", None) or longest
    # A window over all that there is to see is full attention.
    kinds = {*(getattr(config, "layer_types", None) or [])} - {"full_attention",
                                                               "sliding_attention"}
    holds = {
        "its attention cannot be replaced": not model._supports_attention_backend,
        f"it has layers of {', '.join(sorted(kinds))}": kinds,
        f"its attention sees {window} tokens of a row of up to {longest}": window < longest,
        "its head has a bias": getattr(head, "bias", None) is not None,
        "its head is trained": head.weight.requires_grad,
        "its logits are capped": getattr(config, "final_logit_softcapping", None),
        "its loss has a part for routers": getattr(config, "output_router_logits", False)}
    return [reason for reason, found in holds.items() if found]


def _does_not_fit(engine: str, model: PreTrainedModel, *reasons: str) -> ConfigError:
    return ConfigError(f"{engine} does not fit {type(model).__name__}: {'; '.join(reasons)}. "
                       f"Set {engine.split()[0]}=trl.")


def _example(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """One pair of random tokens, a prompt of 8 with replies of 24, as a model takes a batch."""
    ids = torch.randint(model.config.get_text_config().vocab_size, (2, 32),
                        generator=torch.Generator().manual_seed(0)).to(model.device)
    ids[1, :8] = ids[0, :8]
    labels = ids.clone()
    labels[:, :8] = IGNORED
    return {"input_ids": ids, "labels": labels}


@torch.no_grad()
def _plain_log_probs(model: PreTrainedModel, input_ids: torch.Tensor,
                     labels: torch.Tensor) -> torch.Tensor:
    """Of every target by the model's own attention and head, (rows, length - 1)."""
    logits = model(input_ids=input_ids).logits[:, :-1].float()
    return -cross_entropy(logits.mT, labels[:, 1:], ignore_index=IGNORED, reduction="none")


def _log_probs(model: PreTrainedModel, layout: Layout,
               labels: torch.Tensor) -> FusedCausalLMOutput:
    is_target = labels[:, 1:] != IGNORED
    hidden = model.base_model(
        input_ids=layout.tokens, position_ids=layout.positions, use_cache=False,
        # Of four axes, so that it is passed on as it is; `attend` does not look at it.
        attention_mask=torch.zeros(1, 1, 1, 1, dtype=model.dtype, device=model.device),
        layout=layout).last_hidden_state[0, layout.predicting]
    found = CompletionHead.apply(hidden * _logit_scale(model),
                                 model.get_output_embeddings().weight, labels[:, 1:][is_target])
    log_probs, entropy, mean_logits, is_top1 = (
        x.new_zeros(is_target.shape).masked_scatter(is_target, x) for x in found)
    return FusedCausalLMOutput(loss=-found[0].mean(), log_probs=log_probs, entropy=entropy,
                               mean_logits=mean_logits, is_top1=is_top1, label_mask=is_target)


def _logit_scale(model: PreTrainedModel) -> float:
    """By what a model multiplies its logits: Cohere's name for it, or Granite's, who divides."""
    config = model.config.get_text_config()
    divisor = getattr(config, "logits_scaling", None) or 1.0
    return getattr(config, "logit_scale", None) or 1 / divisor
