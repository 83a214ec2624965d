"""Is the base model fit for the experiment? Asked before the first hour of training."""

import torch
from transformers import AutoConfig, PreTrainedModel

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError, LineageError, MissingInput
from persuasion_lib.models.loading import (
    Tokenizer,
    adapted_tokenizer,
    base_folder,
    prompt_ids,
)
from persuasion_lib.models.sampling import Request, Sampling, reply_ids

# How far a sampled token may be below the likeliest, in logits: what two ways to compute one
# differ by.
MAX_LOST = {torch.float32: 1e-2, torch.bfloat16: 0.5}
CHOOSE = "Choose another model.base, for example Qwen/Qwen2.5-0.5B-Instruct."
SAMPLED = ("pairs.max_new_tokens", "generation.max_new_tokens")
LENGTHS = ("data.max_prompt_tokens", "data.max_response_tokens", *SAMPLED, "dpo.max_length")
GREEDY = Sampling(max_new_tokens=12, temperature=0.0)
PROMPTS = ("Why?", "Why should I change my view? I have held it for as long as I can think.")


def check_model(config: Config) -> tuple[str, list[str]]:
    """What is wrong with the base model ("" if nothing is), and what is adapted; without weights.

    The demo's model is made by notebook 00, so that it may be missing.
    """
    try:
        notes = adapted_tokenizer(config, whole=False)[1]
        check_length(config)
        return "", notes
    except MissingInput as error:
        return ("" if config.model.base == "demo" else str(error)), []
    except (LineageError, DataError) as error:
        return str(error), []


def check_length(config: Config) -> None:
    """Refuse a model that was made for fewer tokens than the settings will give it.

    Raises:
        LineageError: says how many it takes, and which settings want more.
    """
    most = context_of(config)
    # Peeked at: that they fit changes no outcome.
    prompt, target, reply, answer, pair = map(config.peek, LENGTHS)
    wanted = max(prompt + max(target, reply, answer), pair)
    if most and wanted > most:
        raise LineageError(f"{config.model.base} was made for {most:,} tokens, and the settings "
                           f"give it up to {wanted:,}. Lower {', '.join(LENGTHS)}.")


def context_of(config: Config) -> int | None:
    """The tokens that the base model was made for; None where it does not say."""
    known = AutoConfig.from_pretrained(base_folder(config, whole=False)).get_text_config()
    return getattr(known, "max_position_embeddings", None)


@torch.no_grad()
def check_sampling(model: PreTrainedModel, tokenizer: Tokenizer, name: str) -> None:
    """Refuse a model whose sampled tokens are not the likeliest by its plain logits.

    Two prompts of unlike length, so that one is padded; greedily, so that the likeliest is known.

    Raises:
        LineageError: it cannot be sampled from, or gives other tokens than its logits do.
    """
    requests = [Request(text, [{"role": "user", "content": text}]) for text in PROMPTS]
    try:
        replies = reply_ids(model, tokenizer, requests, GREEDY, [], seed=0)
        lost = [_lost(model, prompt_ids(tokenizer, request.prompt), reply)
                for request, reply in zip(requests, replies, strict=True)]
    except Exception as error:
        raise LineageError(f"{name} ({type(model).__name__}) cannot be sampled from here "
                           f"({type(error).__name__}: {str(error):.120}). {CHOOSE}") from error
    if not max(lost) <= MAX_LOST[model.dtype]:      # a NaN is no fit
        raise LineageError(f"what is sampled from {name} ({type(model).__name__}) is not what its "
                           f"logits say: a token was {max(lost):.2g} below the likeliest. {CHOOSE}")


def _lost(model: PreTrainedModel, prompt: list[int], reply: list[int]) -> float:
    """How far a token of the reply is at most below the likeliest, in logits."""
    ids = torch.tensor([prompt + reply], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1:-1].float()
    picked = logits.gather(-1, ids[0, len(prompt):, None])[:, 0]
    return float((logits.amax(-1) - picked).max())
