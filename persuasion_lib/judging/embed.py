"""Embeddings: in chunks, checked, cached by content. A few calls, so one at a time."""

import base64
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError, JudgingStopped
from persuasion_lib.core.keys import kept_at
from persuasion_lib.core.records import content_id
from persuasion_lib.core.store import KeyedLog
from persuasion_lib.judging.faults import broken_reply
from persuasion_lib.judging.local_embedder import embed_here
from persuasion_lib.judging.pace import Budget, patiently
from persuasion_lib.judging.plan import Plan
from persuasion_lib.judging.replies import body_of
from persuasion_lib.judging.replies import count as tokens_of
from persuasion_lib.judging.roles import embedder_of, place_of, price_of, settings_of
from persuasion_lib.judging.rows import Cost

CHUNK_TEXTS = 256           # the API takes 2,048 texts and
CHUNK_TOKENS = 200_000      # 300,000 tokens a request
TEXT_TOKENS = 8_000         # and 8,192 a text
USUAL_TOKENS = 400          # of a reply that is still to be written


def embed(texts: Sequence[str], config: Config, *, cache: Path) -> np.ndarray:
    """One row of norm 1 per text, float64; what `cache` holds is not asked again.

    Raises:
        DataError: a text is empty or too long to embed, or the cache is of another model.
        JudgingStopped: the provider cannot or may not answer; chunks that arrived are saved.
    """
    if config.similarity.embedder == "offline":
        from persuasion_lib.demo.standins import embed as stand_in

        return stand_in(list(texts))
    for number, text in enumerate(texts):
        if not text.strip() or _tokens(text) > TEXT_TOKENS:
            problem = "too long" if text.strip() else "empty"
            raise DataError(f"text {number} of {len(texts)} is {problem} and cannot be embedded; "
                            "leave it out of the similarity")
    if config.similarity.embedder == "local":
        return embed_here(texts, config, cache=cache)
    keys = _keys(texts, config)
    text_of = dict(zip(keys, texts, strict=True))
    cost = Cost()
    with KeyedLog(cache, each=cost.add) as log:
        missing = log.missing(keys)
        if missing:
            _fetch({key: text_of[key] for key in missing}, config, log, cost.at_most_usd)
        rows = [log.by_key[key] for key in keys]
    return _of_one_model(rows, cache, embedder_of(config)[1])


def _of_one_model(rows: Sequence[Mapping[str, Any]], cache: Path, model: str) -> np.ndarray:
    """The vectors of rows of a cache, if one model made them all."""
    vectors = [_stored(row) for row in rows]
    usual = Counter(map(len, vectors)).most_common(1)
    said = Counter(row["answered"] for row in rows if row.get("answered")).most_common(1)
    for row, vector in zip(rows, vectors, strict=True):
        problem = ""
        if row.get("model") != model:
            problem = f"is a vector of {row.get('model')}, and the embedder is {model}"
        elif row.get("answered") and row["answered"] != said[0][0]:
            problem = f"was given by {row['answered']}, and others by {said[0][0]}"
        elif not abs(np.linalg.norm(vector.astype(float)) - 1) < 1e-3:
            problem = "holds no vector of length 1"
        elif len(vector) != usual[0][0]:
            problem = (f"has {len(vector)} numbers and others have {usual[0][0]}, so two models "
                       f"were called {model}")
        if problem:
            lines = cache.read_text(encoding="utf-8").splitlines()
            at = next(at for at, line in enumerate(lines, start=1) if row["key"] in line)
            raise DataError(f"{cache}:{at} {problem}. Such vectors cannot be compared. Move the "
                            "file away and run notebooks/05_evaluate.ipynb again: the texts are "
                            "embedded anew.")
    return np.stack(vectors).astype(np.float64) if vectors else np.empty((0, 0))


def _stored(row: Mapping[str, Any]) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(row["vector"], validate=True), "<f4")
    except (KeyError, TypeError, ValueError):
        return np.empty(0, "<f4")


def _keys(texts: Sequence[str], config: Config) -> list[str]:
    provider, model = embedder_of(config)
    place = place_of(config, provider)
    # A model of OpenAI's name elsewhere may be another one.
    named = () if provider == "openai" else (provider,)
    address = kept_at(place.api, place.same_as or place.endpoint)
    whose = (*named, address) if address else named
    return [content_id("embed", model, text, *whose, length=40) for text in texts]


def _tokens(text: str) -> float:
    """A high estimate: three characters a token."""
    return len(text) / 3


def embedding_plan(texts: Sequence[str], config: Config, *, cache: Path, unknown: int = 0) -> Plan:
    """What `embed` would cost; `unknown` texts are still to be written and of a usual length."""
    budget = config.judging.budget_usd
    if config.similarity.embedder == "offline":
        return Plan(judge="offline/word counts", endpoint="this process", budget_usd=budget)
    if config.similarity.embedder == "local":
        return Plan(judge=f"local/{config.similarity.local_model}", endpoint="this process",
                    budget_usd=budget)
    rows = KeyedLog.rows_in(cache)
    by_key = dict(zip(_keys(texts, config), texts, strict=True))
    missing = [text for key, text in by_key.items() if key not in rows]
    tokens = int(sum(_tokens(text) for text in missing)) + unknown * USUAL_TOKENS
    provider, model = embedder_of(config)
    usd = tokens * price_of(config, provider, model)[0] / 1e6
    calls = math.ceil((len(missing) + unknown) / CHUNK_TEXTS)
    endpoint = place_of(config, provider).endpoint
    return Plan(judge=f"{provider}/{model}", endpoint=endpoint, budget_usd=budget,
                calls=calls, known=len(by_key) - len(missing), tokens_in=tokens,
                usd=(0.7 * usd, usd))


def _chunks(missing: Mapping[str, str]) -> Iterator[dict[str, str]]:
    chunk: dict[str, str] = {}
    tokens = 0.0
    for key, text in missing.items():
        if chunk and (len(chunk) == CHUNK_TEXTS or tokens + _tokens(text) > CHUNK_TOKENS):
            yield chunk
            chunk = {}
            tokens = 0.0
        chunk[key] = text
        tokens += _tokens(text)
    if chunk:
        yield chunk


def _fetch(missing: Mapping[str, str], config: Config, log: KeyedLog, spent_usd: float) -> None:
    """Embed the missing texts chunk by chunk; each chunk is on disk before the next call."""
    provider, model = embedder_of(config)
    price = price_of(config, provider, model)[0] / 1e6
    budget = Budget(config.judging.budget_usd, spent_usd)
    extra = settings_of(config, provider).extra_body
    with place_of(config, provider).line().client(blocking=True) as client:
        for chunk in _chunks(missing):
            worst_usd = sum(_tokens(text) + 10 for text in chunk.values()) * price
            if not budget.take(worst_usd):
                raise JudgingStopped(budget.refusal(worst_usd))
            create = partial(client.embeddings.with_raw_response.create, model=model,
                             input=list(chunk.values()), extra_body=extra or None)
            answered, vectors, tokens = patiently(
                lambda create=create, chunk=chunk: _read(create(), len(chunk)),
                f"embedding with {model}")
            cost = {"unknown_usd": worst_usd} if tokens is None else {
                "usd": tokens * price, "input_tokens": tokens}
            budget.settle(worst_usd, cost.get("usd", worst_usd))
            rows = [{"key": key, "model": model, "answered": answered,
                     "vector": base64.b64encode(vector).decode()}
                    for key, vector in zip(chunk, vectors, strict=True)]
            rows[0] |= {"calls": 1, **cost}
            log.extend(rows)


def _read(raw: Any, count: int) -> tuple[str | None, np.ndarray, int | None]:
    """The model that answered, if it says so, its vectors, and tokens."""
    # The SDK's own reader would lose a server's words, and may crash.
    body = body_of(raw.http_response)
    answered = body.get("model")
    return (answered if isinstance(answered, str) else None, *checked(body, count))


def _vector(row: Mapping[str, Any]) -> list[float]:
    """The numbers of a vector, sent as a list or as base64 of float32."""
    sent = row.get("embedding")
    try:
        raw = np.frombuffer(base64.b64decode(sent), "<f4") if isinstance(sent, str) else sent
        return [float(number) for number in raw]
    except (TypeError, ValueError):
        raise broken_reply("an embedding is no list of numbers") from None


def checked(body: Mapping[str, Any], count: int) -> tuple[np.ndarray, int | None]:
    """The vectors of a reply as float32 in the order asked, norm 1, and its tokens (None: absurd).

    Raises:
        Fault: (retry) rows are missing, doubled, of unequal length, not finite, or zero.
    """
    data = body.get("data")
    sent = [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []
    known = all(isinstance(row.get("index"), int) for row in sent)
    if not known or sorted(row["index"] for row in sent) != list(range(count)):
        raise broken_reply(f"the reply does not have {count} rows in a known order")
    rows = [_vector(row) for row in sorted(sent, key=lambda row: row["index"])]
    if len({len(row) for row in rows}) != 1:
        raise broken_reply("the vectors differ in length")
    if not rows[0]:
        raise broken_reply("a vector has no numbers")
    vectors = np.asarray(rows, dtype="<f4")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or not (norms > 1e-6).all():
        raise broken_reply("a vector is not finite or zero")
    usage = body.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    return (vectors / norms).astype("<f4"), tokens_of(tokens, of="texts")
