"""Two replies per prompt: how many are sampled, by whom, which two are kept, and on which side."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

from persuasion_lib.core.config import Config
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import Example, Pair, content_id
from persuasion_lib.core.sections import Pairs
from persuasion_lib.core.store import KeyedLog
from persuasion_lib.data.gates import is_poor
from persuasion_lib.data.server import sample_from_server
from persuasion_lib.models.compose import load_sft
from persuasion_lib.models.lineage import weights_hash
from persuasion_lib.models.loading import load_tokenizer
from persuasion_lib.models.sampling import Generation, Request, sample

Replies = Callable[[Sequence[Request], Pairs, str], Mapping[str, Generation]]


@contextmanager
def reply_source(config: Config) -> Iterator[Replies]:
    """What answers requests with given settings: the SFT model here, or the server that has it."""
    tokenizer = load_tokenizer(config)
    weights = weights_hash(config, "sft")
    both = content_id(weights_hash(config, "base"), weights)    # two bases may have one adapter
    if config.pairs.server:
        yield lambda requests, settings, desc: sample_from_server(
            config, requests, settings, tokenizer, weights=weights)
        return
    model = load_sft(config)
    with KeyedLog(path_of(config, "pool_generations")) as log:
        yield lambda requests, settings, desc: sample(
            model, tokenizer, requests, settings, seed=config.seed, model_hash=both, log=log,
            desc=desc)


def sample_pairs(config: Config, examples: Sequence[Example], source: Replies, *,
                 desc: str) -> list[Pair]:
    """One pair per example; replies that a log holds already are not sampled again."""
    temperatures = _temperatures(config.pairs)
    replies: dict[str, Generation] = {}
    for temperature in dict.fromkeys(temperatures):
        requests = [Request(f"{e.example_id}:{n}", e.prompt) for e in examples
                    for n, own in enumerate(temperatures, start=1) if own == temperature]
        settings = config.pairs.model_copy(update={"temperature": temperature})
        replies |= source(requests, settings, desc)
    numbers = range(1, len(temperatures) + 1)
    return [_pair(e, [replies[f"{e.example_id}:{n}"] for n in numbers], config) for e in examples]


def _temperatures(settings: Pairs) -> list[float]:
    """The temperature of each reply that is sampled for a prompt."""
    if settings.contrast == "temperatures":
        return [settings.temperature, settings.contrast_temperature]
    replies = settings.best_of if settings.contrast == "best_of_n" else 2
    return [settings.temperature] * replies


def _pair(example: Example, replies: Sequence[Generation], config: Config) -> Pair:
    """The two replies that are kept; with a contrast a hash says which of them is `a`."""
    settings = config.pairs
    kept = (0, 1)
    contrast: dict[str, Any] = {}
    if settings.contrast == "best_of_n":
        kept, similarity = _most_different(replies)
        contrast = {"of": len(replies), "similarity": round(similarity, 4)}
    if settings.contrast != "none":
        # Else the slot would give away which reply was sampled hotter, or first.
        if int(content_id("side", config.seed, example.example_id), 16) % 2:
            kept = kept[::-1]
        temperatures = _temperatures(settings)
        contrast |= {"kind": settings.contrast, "replies": [n + 1 for n in kept],
                     "temperatures": [temperatures[n] for n in kept]}
    first, second = (replies[n] for n in kept)
    metadata = {**example.metadata, "finish": [first.finish, second.finish],
                "tokens": [first.tokens, second.tokens]}
    if contrast:
        metadata["contrast"] = contrast
    if settings.server:
        metadata["server_model"] = settings.server_model
    return Pair(example.example_id, example.prompt, first.text, second.text, metadata)


def _most_different(replies: Sequence[Generation]) -> tuple[tuple[int, int], float]:
    """The two replies with the least cosine of word counts, and that cosine.

    Replies that were cut off, are empty or loop would win by their defect, so that they are taken
    only where fewer than two others are left.
    """
    sound = [n for n, g in enumerate(replies) if g.finish == "stop" and not is_poor(g.text)]
    choice = sound if len(sound) > 1 else range(len(replies))
    words = [Counter(re.findall(r"\w+", g.text.lower())) for g in replies]
    similarity = {(a, b): _cosine(words[a], words[b]) for a, b in combinations(choice, 2)}
    best = min(similarity, key=similarity.__getitem__)
    return best, similarity[best]


def _cosine(a: Counter[str], b: Counter[str]) -> float:
    norm = math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))
    return sum(a[word] * b[word] for word in a) / norm if norm else 0.0
