"""Embeddings: in chunks, checked, cached by content. A few calls, so one at a time."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError, JudgingStopped, PersuasionError
from persuasion_lib.core.records import content_id
from persuasion_lib.core.store import AppendLog
from persuasion_lib.judging.clients import openai_endpoint, openai_key, price_of
from persuasion_lib.judging.faults import Fault, classify
from persuasion_lib.judging.plan import Plan
from persuasion_lib.judging.rows import Ledger, cost_of
from persuasion_lib.judging.run import BACKOFF_S, ITEM_TRIES

CHUNK_TEXTS = 256           # the API takes 2,048 texts and
CHUNK_TOKENS = 200_000      # 300,000 tokens a request
TEXT_TOKENS = 8_000         # and 8,192 a text
USUAL_TOKENS = 400          # of a reply that is still to be written


def embed(texts: Sequence[str], config: Config, *, cache: Path) -> np.ndarray:
    """One row of norm 1 per text, float64; what `cache` holds is not asked again.

    Raises:
        DataError: a text is empty or too long to embed.
        JudgingStopped: the provider cannot or may not answer; chunks that arrived are saved.
    """
    if config.similarity.embedder == "offline":
        from persuasion_lib.demo.standins import embed as stand_in

        return stand_in(list(texts))
    for number, text in enumerate(texts):
        if not text.strip() or len(text) / 3 > TEXT_TOKENS:
            problem = "too long" if text.strip() else "empty"
            raise DataError(f"text {number} of {len(texts)} is {problem} and cannot be embedded; "
                            "leave it out of the similarity")
    keys = _keys(texts, config)
    with AppendLog(cache) as log:
        known = {row["key"]: row["vector"] for row in log.rows}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            _fetch(missing, config, log)
            known = {row["key"]: row["vector"] for row in log.rows}
    vectors = [np.frombuffer(base64.b64decode(known[key]), "<f4") for key in keys]
    return np.stack(vectors).astype(np.float64)


def _keys(texts: Sequence[str], config: Config) -> list[str]:
    model = config.openai.embedding_model
    return [content_id("embed", model, text, length=40) for text in texts]


def embedding_plan(texts: Sequence[str], config: Config, *, cache: Path, unknown: int = 0) -> Plan:
    """What `embed` would cost; `unknown` texts are still to be written and of a usual length."""
    budget = config.judging.budget_usd
    if config.similarity.embedder == "offline":
        return Plan("offline/word counts", "this process", 0, 0, 0, (0.0, 0.0), budget, "seconds",
                    False, "online", "")
    known: set[str] = set()
    if cache.exists():
        with AppendLog(cache) as log:
            known = {row["key"] for row in log.rows}
    keyed = dict(zip(_keys(texts, config), texts, strict=True))
    missing = {key: text for key, text in keyed.items() if key not in known}
    tokens = int(sum(len(text) / 3 for text in missing.values())) + unknown * USUAL_TOKENS
    model = config.openai.embedding_model
    usd = tokens * price_of(config, model)[0] / 1e6
    return Plan(f"openai/{model}", openai_endpoint(config),
                math.ceil((len(missing) + unknown) / CHUNK_TEXTS), len(keyed) - len(missing),
                tokens, (0.7 * usd, usd), budget, "seconds", False, "online", "")


def embedding_ledger(cache: Path) -> Ledger:
    """What the embeddings in a cache cost."""
    with AppendLog(cache) as log:
        return Ledger(**asdict(cost_of(log.rows)), purpose="embed")


def _chunks(missing: dict[str, str]) -> Iterator[dict[str, str]]:
    chunk: dict[str, str] = {}
    tokens = 0.0
    for key, text in missing.items():
        if chunk and (len(chunk) == CHUNK_TEXTS or tokens + len(text) / 3 > CHUNK_TOKENS):
            yield chunk
            chunk, tokens = {}, 0.0
        chunk[key], tokens = text, tokens + len(text) / 3
    if chunk:
        yield chunk


def _fetch(missing: dict[str, str], config: Config, log: AppendLog) -> None:
    """Embed the missing texts chunk by chunk; each chunk is on disk before the next call."""
    from openai import OpenAI

    model, endpoint = config.openai.embedding_model, openai_endpoint(config)
    price, spent = price_of(config, model)[0] / 1e6, cost_of(log.rows).usd
    with OpenAI(api_key=openai_key(config.root, endpoint), base_url=endpoint, max_retries=0,
                timeout=config.openai.timeout) as client:
        for chunk in _chunks(missing):
            worst = sum(len(text) / 3 + 10 for text in chunk.values()) * price
            if spent + worst > config.judging.budget_usd:
                raise JudgingStopped(f"embedding needs about ${spent + worst:.2f}, more than "
                                     "judging.budget_usd. Raise it to go on.")
            vectors, tokens = _ask(client, model, list(chunk.values()))
            spent += tokens * price
            rows: list[dict[str, Any]] = [
                {"key": key, "model": model, "vector": base64.b64encode(vector).decode()}
                for key, vector in zip(chunk, vectors, strict=True)]
            rows[0] |= {"calls": 1, "usd": tokens * price, "input_tokens": tokens}
            log.extend(rows)


def _ask(client: Any, model: str, texts: list[str]) -> tuple[np.ndarray, int]:
    """Vectors in the order of `texts` and the tokens paid for, after as many tries as it takes."""
    for attempt in range(ITEM_TRIES):
        try:
            return checked(client.embeddings.create(model=model, input=texts), len(texts))
        except PersuasionError:
            raise
        except Exception as error:
            fault = classify(error)
        if fault.action in ("stop", "item"):
            raise JudgingStopped(f"embedding with {model}: {fault.message}") from None
        wait_s = min(BACKOFF_S[1], BACKOFF_S[0] * 2**attempt)
        time.sleep(wait_s if fault.wait_s is None else fault.wait_s)
    raise JudgingStopped(f"embedding with {model} failed {ITEM_TRIES} times, the last time: "
                         f"{fault.message}. Run again later; what arrived is saved.")


def checked(reply: Any, count: int) -> tuple[np.ndarray, int]:
    """The vectors of a reply as float32 in the order asked, norm 1, and its tokens.

    Raises:
        Fault: (retry) rows are missing, doubled, of unequal length, not finite, or zero.
    """
    data = getattr(reply, "data", None)
    if not isinstance(data, list) or sorted(row.index for row in data) != list(range(count)):
        raise Fault("broken reply", "retry", f"the reply does not have {count} rows in "
                    "a known order", unknown_cost=True)
    rows = [row.embedding for row in sorted(data, key=lambda row: row.index)]
    if len({len(row) for row in rows}) != 1:
        raise Fault("broken reply", "retry", "the vectors differ in length", unknown_cost=True)
    vectors = np.asarray(rows, dtype="<f4")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or not (norms > 1e-6).all():
        raise Fault("broken reply", "retry", "a vector is not finite or zero", unknown_cost=True)
    usage = getattr(reply, "usage", None)
    return (vectors / norms).astype("<f4"), int(usage.total_tokens if usage else 0)
