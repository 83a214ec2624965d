"""Sampling replies: batched, resumable, and the same for a prompt whatever is in its batch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.utils import ModelOutput

from persuasion_lib.core.progress import Progress
from persuasion_lib.core.records import Message, content_id
from persuasion_lib.core.store import KeyedLog
from persuasion_lib.models.loading import Tokenizer, end_tokens, prompt_ids
from persuasion_lib.models.room import free_bytes

LIKELIEST = 1024        # tokens among which the nucleus is looked for first
LOGIT_COPIES = 6        # logits, scores, sorted and summed probabilities
AT_ONCE_ON_GPU = 128    # replies: on an H100 one took .07 s, and .16 s when 32 were sampled at once
DROP_EVERY = 32         # tokens after which replies that have ended leave the batch
# Of prompts in one call: on a CPU more need much memory and are no faster.
PREFILL_TOKENS = {"cpu": 1024, "cuda": 32_768}


PLAIN_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


class SamplingSettings(Protocol):
    """What `pairs` and `generation` of the configuration have in common."""

    temperature: float
    top_p: float
    max_new_tokens: int
    batch_size: int


@dataclass(frozen=True)
class Sampling:
    """Such settings for a test of ours: a batch by itself, of the whole distribution."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Request:
    """One reply to sample; `key` makes its random numbers its own."""

    key: str
    prompt: list[Message]


@dataclass(frozen=True)
class Generation:
    """A sampled reply; `finish` is "stop" (end of turn) or "length" (cut off by the cap)."""

    text: str
    finish: str
    tokens: int


class Nucleus(TopPLogitsWarper):
    """The nucleus of the stock warper, without sorting the vocabulary where its top holds it.

    Of 151,936 tokens a trained model's nucleus has some hundred at most; sorting all of them is
    a third of the time of a step on a CPU.
    """

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores with -inf outside the nucleus; shapes (batch, length) and (batch, vocabulary)."""
        top = scores.topk(min(LIKELIEST, scores.shape[-1])).values
        share = (top - scores.logsumexp(-1, keepdim=True)).exp().cumsum(-1)
        if not (share[:, -1] >= self.top_p).all():
            return super().__call__(input_ids, scores)
        last = (share < self.top_p).sum(-1, keepdim=True)       # the token that fills the nucleus
        return scores.masked_fill(scores < top.gather(-1, last), self.filter_value)


class InverseCDF(LogitsProcessor):
    """Chooses each token by one prepared uniform number per row and step.

    With it greedy decoding is exact sampling, and a reply depends on its own numbers alone,
    not on the other rows of the batch or on how often the run was interrupted.
    """

    def __init__(self, uniforms: torch.Tensor, prompt_length: int) -> None:
        self.uniforms = uniforms            # (batch, max_new_tokens)
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave only the chosen token; shapes (batch, length) and (batch, vocabulary)."""
        step = input_ids.shape[1] - self.prompt_length
        cumulative = scores.float().softmax(-1).cumsum(-1)
        target = self.uniforms[:, step:step + 1] * cumulative[:, -1:]
        chosen = torch.searchsorted(cumulative, target, right=True)
        chosen = chosen.clamp_max(scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


def _uniforms(requests: Sequence[Request], seed: int, length: int) -> torch.Tensor:
    rows = [np.random.default_rng([seed, int(content_id(r.key), 16)]).random(length)
            for r in requests]
    return torch.tensor(np.array(rows), dtype=torch.float32)


def _processors(settings: SamplingSettings, uniforms: torch.Tensor,
                prompt_length: int) -> LogitsProcessorList:
    if settings.temperature == 0:
        return LogitsProcessorList()
    processors = LogitsProcessorList([TemperatureLogitsWarper(settings.temperature)])
    if settings.top_p < 1:
        processors.append(Nucleus(settings.top_p))
    processors.append(InverseCDF(uniforms, prompt_length))
    return processors


@torch.no_grad()
def sample_batch(model: PreTrainedModel, tokenizer: Tokenizer, requests: Sequence[Request],
                 settings: SamplingSettings, *, seed: int) -> list[Generation]:
    """One reply per request; a prompt of several requests goes through the model once.

    Models that keep no plain cache of keys and values answer one request after the other.
    """
    ends = end_tokens(model, tokenizer)
    return [_generation(tokenizer, row, ends)
            for row in reply_ids(model, tokenizer, requests, settings, ends, seed=seed)]


def reply_ids(model: PreTrainedModel, tokenizer: Tokenizer, requests: Sequence[Request],
              settings: SamplingSettings, ends: list[int], *, seed: int) -> list[list[int]]:
    """The tokens of each reply, with what may follow its end.

    The cache of keys and values always holds all tokens but the last, which is where `generate`
    goes on. Rows that have ended leave the batch every DROP_EVERY tokens.
    """
    cap = settings.max_new_tokens
    uniforms = _uniforms(requests, seed, cap).to(model.device)
    prefilled = _prefill(model, tokenizer, requests)
    if prefilled is None:
        return [_alone(model, tokenizer, request, settings, row[None], ends)
                for request, row in zip(requests, uniforms, strict=True)]
    ids, mask, cache = prefilled
    length = ids.shape[1]
    replies: list[list[int]] = [[] for _ in requests]
    rows = torch.arange(len(requests), device=model.device)     # those that are still at work
    while len(rows) and ids.shape[1] - length < cap:
        options = GenerationConfig(
            do_sample=False, max_new_tokens=min(DROP_EVERY, cap + length - ids.shape[1]),
            eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
        ids = model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=cache, generation_config=options,
            logits_processor=_processors(settings, uniforms[rows], length))
        for row, tokens in zip(rows.tolist(), ids[:, length:].tolist(), strict=True):
            replies[row] = tokens
        has_ended = torch.isin(ids[:, length:], ids.new_tensor(ends)).any(1)
        going = has_ended.logical_not().nonzero()[:, 0]
        mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        rows = rows[going]
        ids = ids[going]
        mask = mask[going]
        cache.batch_select_indices(going)
    return replies


def _alone(model: PreTrainedModel, tokenizer: Tokenizer, request: Request,
           settings: SamplingSettings, uniforms: torch.Tensor, ends: list[int]) -> list[int]:
    """The tokens of one reply by `generate` alone, with whatever state the model keeps itself."""
    ids = torch.tensor([prompt_ids(tokenizer, request.prompt)], device=model.device)
    options = GenerationConfig(
        do_sample=False, max_new_tokens=settings.max_new_tokens, eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id)
    whole = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=options,
        logits_processor=_processors(settings, uniforms, ids.shape[1]))
    return whole[0, ids.shape[1]:].tolist()


def _prefill(model: PreTrainedModel, tokenizer: Tokenizer,
             requests: Sequence[Request]) -> tuple[torch.Tensor, torch.Tensor, Cache] | None:
    """Left-padded ids and mask, (requests, length), and the cache of all tokens but the last.

    None where that is no plain cache of keys and values, as with the states of Mamba.
    """
    prompts = [tuple(prompt_ids(tokenizer, request.prompt)) for request in requests]
    distinct = list(dict.fromkeys(prompts))
    batch = tokenizer.pad({"input_ids": [list(prompt) for prompt in distinct]},
                          padding_side="left", return_tensors="pt").to(model.device)
    ids = batch["input_ids"]
    mask = batch["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    rows = max(1, PREFILL_TOKENS.get(ids.device.type, 1024) // ids.shape[1])
    decoder = model.get_decoder()       # without the head: no logits are needed yet
    parts = [_plain_cache(decoder(
        input_ids=ids[at:at + rows, :-1], attention_mask=mask[at:at + rows, :-1],
        position_ids=positions[at:at + rows, :-1], use_cache=True))
        for at in range(0, len(ids), rows)]
    cache = parts[0]
    if cache is None:
        return None
    for layer, *others in zip(*(part.layers for part in parts), strict=True):
        layer.keys = torch.cat([layer.keys, *(other.keys for other in others)])
        layer.values = torch.cat([layer.values, *(other.values for other in others)])
    owner = torch.tensor([distinct.index(prompt) for prompt in prompts], device=model.device)
    cache.batch_select_indices(owner)
    return ids[owner], mask[owner], cache


def _plain_cache(output: ModelOutput) -> Cache | None:
    """The cache of a decoder's output if each of its layers holds keys and values, and no more."""
    cache = output.get("past_key_values")
    layers = getattr(cache, "layers", [])
    are_plain = [type(layer) in PLAIN_LAYERS and layer.keys is not None for layer in layers]
    return cache if layers and all(are_plain) else None


def _generation(tokenizer: Tokenizer, ids: list[int], ends: list[int]) -> Generation:
    length = next((at for at, token in enumerate(ids) if token in ends), None)
    finish = "length" if length is None else "stop"
    ids = ids[:length]
    return Generation(tokenizer.decode(ids, skip_special_tokens=True).strip(), finish, len(ids))


def sample(model: PreTrainedModel, tokenizer: Tokenizer, requests: Sequence[Request],
           settings: SamplingSettings, *, seed: int, model_hash: str, log: KeyedLog,
           desc: str) -> dict[str, Generation]:
    """One reply per request by its key; those already in `log` are read, not sampled again.

    Prompts of like length share a batch, so that little is padding. `model_hash` names the
    weights: another model, prompt, seed or setting never finds an old reply.
    """
    stored = {r.key: _storage_key(r, settings, seed, model_hash) for r in requests}
    todo = sorted((r for r in requests if stored[r.key] not in log.by_key),
                  key=lambda r: sum(len(m["content"]) for m in r.prompt))
    saved = len(requests) - len(todo)
    with Progress(len(todo), f"{desc} ({saved} saved before)" if saved else desc) as progress:
        longest = prompt_ids(tokenizer, todo[-1].prompt) if todo else []
        rows = rows_that_fit(model, len(longest) + settings.max_new_tokens, settings.batch_size,
                             free_bytes(), on_gpu=model.device.type == "cuda")
        for at in range(0, len(todo), rows):
            part = todo[at:at + rows]
            replies = sample_batch(model, tokenizer, part, settings, seed=seed)
            log.extend([{"key": stored[request.key], **asdict(reply)}
                        for request, reply in zip(part, replies, strict=True)])
            progress.update(len(part))
    rows = {key: log.by_key[stored[key]] for key in stored}
    return {key: Generation(row["text"], row["finish"], row["tokens"])
            for key, row in rows.items()}


def rows_that_fit(model: PreTrainedModel, tokens: int, wanted: int, free: float, *,
                  on_gpu: bool = False) -> int:
    """As many replies at once as wanted, or as half of `free` bytes hold: at least one.

    A GPU gets AT_ONCE_ON_GPU where more are not wanted: it waits for the start of each step.
    Of a row, keys and values of its tokens are kept in every layer, and the logits of a step in
    float32 several times over.
    """
    config = model.config.get_text_config()
    all_heads = getattr(config, "num_attention_heads", None) or 1
    heads = getattr(config, "num_key_value_heads", None) or all_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // all_heads
    kept = 2 * tokens * config.num_hidden_layers * heads * size * model.dtype.itemsize
    row = kept + LOGIT_COPIES * 4 * config.vocab_size
    wanted = max(wanted, AT_ONCE_ON_GPU) if on_gpu else wanted
    return max(1, min(wanted, int(free / 2 / row)))


def _storage_key(request: Request, settings: SamplingSettings, seed: int, model_hash: str) -> str:
    return content_id(request.key, request.prompt, settings.temperature, settings.top_p,
                      settings.max_new_tokens, seed, model_hash)


def truncation(generations: Sequence[Generation]) -> dict[str, Any]:
    """How many replies there are, how many were cut off by the cap, and their mean length."""
    cut = sum(g.finish == "length" for g in generations)
    return {"replies": len(generations), "truncated": cut,
            "truncated_share": cut / len(generations) if generations else float("nan"),
            "mean_tokens": float(np.mean([g.tokens for g in generations]))}


