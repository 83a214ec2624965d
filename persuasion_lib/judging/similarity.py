"""How close replies come to the oracle's, and what such a number means."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persuasion_lib.core.config import Config
from persuasion_lib.core.records import Example, content_id, render_text
from persuasion_lib.judging.embed import embed

ORACLE = "oracle"
PROMPT = "prompt"
Texts = dict[tuple[str, str], str]      # (who wrote it: a model, ORACLE or PROMPT; example) -> text


def texts_of(examples: Sequence[Example], responses: Mapping[str, Mapping[str, Any]],
             oracle: Mapping[str, str]) -> Texts:
    """What is embedded: prompts, replies and oracle replies; an empty one has no similarity."""
    texts = {(ORACLE, key): text for key, text in oracle.items()}
    for example in examples:
        texts[PROMPT, example.example_id] = render_text(example.prompt)
    for key, replies in responses.items():
        for model, reply in replies.items():
            texts[model, key] = reply.text
    return {place: text for place, text in texts.items() if text.strip()}


def to_oracle(texts: Texts, responses: Mapping[str, Collection[str]], config: Config, *,
              cache: Path) -> dict[str, dict[str, Any]]:
    """Cosine similarity of each reply to its example's oracle reply; None where there is none.

    Args:
        responses: by example, the models.

    Returns:
        per example `scores` by model, and `baselines` that say what such a number means: the
        example's `oracle` reply and each of the `responses` against the oracle's reply to
        `other_example`, drawn by a hash, and the `prompt` against the oracle's reply to it.
    """
    vectors = dict(zip(texts, embed(list(texts.values()), config, cache=cache), strict=True))
    others = another([key for who, key in texts if who == ORACLE], config.seed)

    def cosine(who: str, example: str, to: str | None) -> float | None:
        if (who, example) not in vectors or (ORACLE, to) not in vectors:
            return None
        a = vectors[who, example]
        b = vectors[ORACLE, to]
        return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))

    found = {}
    for key, models in responses.items():
        other = others.get(key)
        found[key] = {
            "scores": {model: cosine(model, key, key) for model in models},
            "baselines": {"other_example": other, "oracle": cosine(ORACLE, key, other),
                          "prompt": cosine(PROMPT, key, key),
                          "responses": {model: cosine(model, key, other) for model in models}}}
    return found


def another(ids: Collection[str], seed: int) -> dict[str, str]:
    """For each id another one, each once, in an order that a hash draws; none for a lone id."""
    order = sorted(ids, key=lambda key: content_id(seed, "another", key, length=32))
    if len(order) < 2:
        return {}
    return dict(zip(order, order[1:] + order[:1], strict=True))
