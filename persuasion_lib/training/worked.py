"""DPO on one pair by hand: its four log-probabilities, margin and loss, and what is masked."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch

from persuasion_lib.core.config import Config
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.records import LabeledPair, Message
from persuasion_lib.core.show import NEUTRAL
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.lineage import reference_of
from persuasion_lib.models.loading import Tokenizer, load_tokenizer, prompt_ids

SHOWN_PROMPT = 60       # tokens of a long prompt that are shown at either end


def sequence_logps(family: ModelFamily, name: str, pairs: Sequence[LabeledPair]) -> list[float]:
    """Log-probability in nats of each chosen reply with its end of turn under a model.

    Computed plainly from the logits, one pair at a time, to check the trainer independently.
    """
    with family.use(name) as model:
        return [reply_logp(model, family.tokenizer, pair.pair.prompt, pair.chosen)
                for pair in pairs]


@torch.no_grad()
def reply_logp(model: Any, tokenizer: Tokenizer, prompt: list[Message], reply: str) -> float:
    """Log-probability in nats of one reply with its end of turn, plainly from the logits."""
    start, whole = row_ids(tokenizer, prompt, reply)
    ids = torch.tensor([whole], device=model.device)
    logps = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
    return float(logps.gather(-1, ids[0, 1:, None])[start - 1:].sum())


def row_ids(tokenizer: Tokenizer, prompt: list[Message], reply: str) -> tuple[int, list[int]]:
    """How many tokens the prompt has, and those of prompt, reply and end of turn as DPO has them.

    The first are masked: they are read and teach nothing.
    """
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": reply}],
                                          return_dict=False)
    return len(prompt_ids(tokenizer, prompt)), whole


@dataclass(frozen=True)
class WorkedPair:
    """One pair under one policy; `policy` and `reference` are (chosen, rejected), in nats.

    `names` are those of the two models.
    """

    names: tuple[str, str]
    policy: tuple[float, float]
    reference: tuple[float, float]
    beta: float
    label_smoothing: float = 0.0
    loss_type: str = "sigmoid"

    @property
    def rewards(self) -> tuple[float, float]:
        """beta times what policy and reference differ by, for (chosen, rejected)."""
        return tuple(self.beta * (ours - theirs)
                     for ours, theirs in zip(self.policy, self.reference, strict=True))

    @property
    def margin(self) -> float:
        """trl's `rewards/margins`: the reward of the chosen reply minus that of the rejected."""
        chosen, rejected = self.rewards
        return chosen - rejected

    @property
    def loss(self) -> float | None:
        """The loss of this pair; None for a `dpo.loss_type` with another formula."""
        if self.loss_type != "sigmoid":
            return None
        return ((1 - self.label_smoothing) * _minus_log_sigmoid(self.margin)
                + self.label_smoothing * _minus_log_sigmoid(-self.margin))

    def _repr_markdown_(self) -> str:
        (a, b), (c, d) = self.policy, self.reference
        r, s = self.rewards
        lost = (f"loss = {self._formula()} = **{self.loss:.4f}**" if self.loss is not None
                else f"the loss of `dpo.loss_type={self.loss_type}` has another formula")
        return "\n".join([
            "| log-probability (nats) | chosen $y_w$ | rejected $y_l$ |", "|---|--:|--:|",
            f"| policy: `{self.names[0]}` | {a:.3f} | {b:.3f} |",
            f"| reference: `{self.names[1]}` | {c:.3f} | {d:.3f} |",
            f"| reward = {self.beta:g} × (policy − reference) | {r:+.4f} | {s:+.4f} |", "",
            f"margin = {r:+.4f} − ({s:+.4f}) = **{self.margin:+.4f}**, {lost}"])

    def _formula(self) -> str:
        if not self.label_smoothing:
            return "−log σ(margin)"
        noise = self.label_smoothing
        return f"−{1 - noise:g} log σ(margin) − {noise:g} log σ(−margin)"


def _minus_log_sigmoid(x: float) -> float:
    """Without overflow for large margins of either sign."""
    return max(-x, 0) + math.log1p(math.exp(-abs(x)))


def work_out(config: Config, pair: LabeledPair, name: str, *, trained: bool) -> WorkedPair:
    """The pair by hand in the training of the model `name`, before its first step or after."""
    policy = name if trained else FAMILY[name].starts_as
    reference = reference_of(config, name)
    family = ModelFamily(config, [policy])
    found = {}
    for each in {policy, reference}:
        with family.use(each) as model:
            found[each] = tuple(reply_logp(model, family.tokenizer, pair.pair.prompt, reply)
                                for reply in (pair.chosen, pair.rejected))
    return WorkedPair((policy, reference), found[policy], found[reference], config.dpo.beta,
                      config.dpo.label_smoothing, config.dpo.loss_type)


class Tokens:
    """The tokens of a pair as HTML, one box each; masked ones are grey and teach nothing."""

    def __init__(self, config: Config, pair: LabeledPair) -> None:
        tokenizer = load_tokenizer(config)
        self._rows = {}
        for which, reply in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            start, ids = row_ids(tokenizer, pair.pair.prompt, reply)
            self._rows[which] = (list(_pieces(tokenizer, ids[:start])),
                                 list(_pieces(tokenizer, ids[start:])), start, len(ids) - start)

    def _repr_html_(self) -> str:
        return "".join(
            f"<p><b>{which}</b>: {masked} masked tokens, {learned} that teach<br>"
            f"{_boxes(_shortened(prompt), f'color:{NEUTRAL}')}"
            f"{_boxes(reply, 'font-weight:600;border-bottom:2px solid')}</p>"
            for which, (prompt, reply, masked, learned) in self._rows.items())

    def __repr__(self) -> str:
        return "\n".join(f"{which}: {masked} masked tokens, then {' | '.join(reply)}"
                         for which, (_, reply, masked, _) in self._rows.items())


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[str]:
    """The text of each token; those that make one character only together are one piece."""
    held: list[int] = []
    for token in ids:
        held.append(token)
        text = tokenizer.decode(held)
        if not text.endswith("\ufffd") or len(held) == 4:       # UTF-8 has four bytes at most
            yield text
            held = []
    if held:
        yield tokenizer.decode(held)


def _shortened(pieces: list[str]) -> list[str]:
    left_out = len(pieces) - 2 * SHOWN_PROMPT
    if left_out <= 0:
        return pieces
    return [*pieces[:SHOWN_PROMPT], f" … {left_out} more … ", *pieces[-SHOWN_PROMPT:]]


def _boxes(pieces: Sequence[str], style: str) -> str:
    """Whole, wrapped and escaped; a line break is also seen as a sign."""
    return "".join(
        f'<span style="{style};white-space:pre-wrap;margin-right:2px;'
        f'background:rgba(128,136,144,.13)">{escape(piece).replace(chr(10), "⏎<br>")}</span>'
        for piece in pieces)
