"""How far a policy has moved from its reference, and alarms with advice."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from persuasion_lib.core.records import Message
from persuasion_lib.models.chat import closing_ids
from persuasion_lib.models.loading import Tokenizer, prompt_ids
from persuasion_lib.models.sampling import Generation, Request, Sampling, sample_batch
from persuasion_lib.training.history import validation_points

# An alarm is advice, not a stop. Bounds are those at which replies visibly change, chosen by us.
MAX_KL_PER_TOKEN = 0.5      # nats
MAX_LENGTH_RATIO = 1.5      # sampled replies against those before training, either way, and then
LENGTH_ERRORS = 2.0         # only if their mean differs by so many standard errors of the pairs
MIN_KL = 0.5                # and by more than a trace: nats per reply. At .07 a few replies of many
                            # tokens made a ratio of 2.26.
# Adam moves a weight by about a learning rate an update. With rates that fit hundreds of updates,
# 9 were seen to teach nothing, and the demo's 66 enough at ten times those rates.
MIN_UPDATES = 20
MAX_DISPLACEMENT = 0.25     # share of the chosen replies' log-probability lost


@dataclass(frozen=True)
class Drift:
    """How far sampled replies of the policy are from the reference, over some prompts.

    `kl` is in nats per reply: for each sampled token the full divergence of the two next-token
    distributions, summed. `tokens` are the lengths of the replies, in the order of the prompts.
    """

    kl: float
    tokens: tuple[int, ...]
    replies: tuple[str, ...] = ()

    @property
    def reply_tokens(self) -> float:
        """The mean length in tokens."""
        return statistics.fmean(self.tokens)

    def length_error(self, before: "Drift") -> float:
        """The standard error of the mean change in length, prompt by prompt, in tokens."""
        changes = [now - then for now, then in zip(self.tokens, before.tokens, strict=True)]
        if len(changes) < 2:
            return math.inf
        return statistics.stdev(changes) / math.sqrt(len(changes))


@torch.no_grad()
def drift(model: Any, tokenizer: Tokenizer, prompts: Sequence[list[Message]], *,
          max_new_tokens: int, seed: int) -> Drift:
    """Sample a reply of `model` (a PeftModel) per prompt; its adapter off is the reference."""
    was_training = model.training
    replies = sampled(model, tokenizer, prompts, max_new_tokens=max_new_tokens, seed=seed)
    divergences = []
    for prompt, reply in zip(prompts, replies, strict=True):
        start = prompt_ids(tokenizer, prompt)
        said = tokenizer(reply.text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*start, *said, closing_ids(tokenizer)[0]]], device=model.device)
        policy = _next_token_logps(model, ids, len(start))
        with model.disable_adapter():
            reference = _next_token_logps(model, ids, len(start))
        divergences.append(float((policy.exp() * (policy - reference)).sum()))
    model.train(was_training)
    return Drift(sum(divergences) / len(prompts), tuple(reply.tokens for reply in replies),
                 tuple(reply.text for reply in replies))


@torch.no_grad()
def sampled(model: Any, tokenizer: Tokenizer, prompts: Sequence[list[Message]], *,
            max_new_tokens: int, seed: int) -> list[Generation]:
    """A reply per prompt, by random numbers of their own: training is not disturbed.

    The model is left in evaluation mode.
    """
    model.eval()
    requests = [Request(f"drift:{n}", prompt) for n, prompt in enumerate(prompts)]
    # At temperature 1 and over the whole vocabulary, as the definition of KL asks for.
    return sample_batch(model, tokenizer, requests, Sampling(max_new_tokens), seed=seed)


def _next_token_logps(model: PreTrainedModel, ids: torch.Tensor, start: int) -> torch.Tensor:
    """(reply tokens, vocabulary): the distributions from which ids[start:] were drawn."""
    keep = ids.shape[1] - start + 1
    return model(input_ids=ids, logits_to_keep=keep).logits[0, :-1].float().log_softmax(-1)


def alarms(history: Sequence[Mapping[str, Any]], *, keeps_best: bool = True) -> list[str]:
    """What the validation points of a DPO run warn of, each with advice.

    `history` is trl's log; its first validation point is the state before training. They are of
    the point that is kept: that of the least loss, or the last.
    """
    points = validation_points(history)
    if len(points) < 2:
        return []
    first = points[0]
    best = (min(points[1:], key=lambda point: _or_inf(point.get("eval_loss"))) if keeps_best
            else points[-1])
    found = []
    if (updates := points[-1]["step"]) < MIN_UPDATES:
        found.append(f"only {updates} updates, fewer than {MIN_UPDATES}: hardly anything can have "
                     "been learned. Use more pairs, lower dpo.gradient_accumulation_steps, or "
                     "raise the learning_rate.")
    if _or_inf(best.get("eval_loss")) >= first["eval_loss"]:
        found.append("validation loss never fell below its value before training: nothing was "
                     "learned that generalises. Check the labels (ties, noise), or lower the "
                     "learning_rate.")
    before = first.get("eval_logps/chosen")
    after = best.get("eval_logps/chosen")
    if before and after is not None and (before - after) / abs(before) > MAX_DISPLACEMENT:
        found.append(f"likelihood displacement: the chosen replies lost {before - after:.0f} of "
                     f"{abs(before):.0f} nats while the margin grew. Lower the learning_rate, "
                     "raise dpo.beta, or use pairs that differ more.")
    return found + _drift_alarms(first, best)


def _drift_alarms(first: Mapping[str, Any], best: Mapping[str, Any]) -> list[str]:
    if best.get("eval_kl") is None or not first.get("eval_reply_tokens"):
        return []
    found = []
    per_token = best["eval_kl"] / max(best["eval_reply_tokens"], 1)
    ratio = best["eval_reply_tokens"] / first["eval_reply_tokens"]
    if per_token > MAX_KL_PER_TOKEN:
        found.append(f"the policy is {per_token:.2f} nats per token away from SFT on held-out "
                     "prompts. Raise dpo.beta, or lower the learning_rate.")
    change = abs(best["eval_reply_tokens"] - first["eval_reply_tokens"])
    # Absent in logs of earlier versions; null where one prompt was watched.
    error = _or_inf(best.get("eval_reply_tokens_error", 0.0))
    is_sure = change > LENGTH_ERRORS * error and best["eval_kl"] > MIN_KL
    if is_sure and not 1 / MAX_LENGTH_RATIO <= ratio <= MAX_LENGTH_RATIO:
        found.append(f"replies to held-out prompts are {ratio:.2f} times as long as before "
                     "training. See the length test of notebook 03: the labels may reward length.")
    return found


def _or_inf(value: float | None) -> float:
    return math.inf if value is None or not math.isfinite(value) else value
