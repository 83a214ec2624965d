"""Embeddings: in order, complete, finite, cached by content."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import DataError, JudgingStopped
from persuasion_lib.core.store import KeyedLog, read_jsonl, write_jsonl
from persuasion_lib.judging import pace
from persuasion_lib.judging.embed import embed, embedding_plan
from worlds.fakeserver import FakeServer, vector_for
from worlds.judging_world import judge_at


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(pace, "BACKOFF_S", (0.01, 0.02))


def config_at(server: FakeServer, monkeypatch: Any, *overrides: str) -> Config:
    judge_at(server, monkeypatch)
    return load_config("full", overrides)


def unit(text: str) -> np.ndarray:
    vector = np.asarray(vector_for(text), dtype="<f4").astype(float)
    return vector / np.linalg.norm(vector)


TEXTS = ["a b", "c d", "e f", "a b"]


@pytest.mark.parametrize("fault", [None, "shuffled", "short", "nan", "dimension", "429-ms", "500"])
def test_whatever_the_server_sends_each_text_gets_its_own_vector(fault, quick, monkeypatch,
                                                                 tmp_path):
    with FakeServer([fault]) as server:
        vectors = embed(TEXTS, config_at(server, monkeypatch), cache=tmp_path / "cache")
    assert vectors.shape == (4, 8)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert vector == pytest.approx(unit(text), abs=1e-6)
    assert len(server.requests) == (1 if fault in (None, "shuffled") else 2)
    assert server.requests[0]["body"]["input"] == ["a b", "c d", "e f"]


def test_what_the_cache_holds_is_not_asked_again(quick, monkeypatch, tmp_path):
    with FakeServer() as server:
        config = config_at(server, monkeypatch)
        first = embed(TEXTS, config, cache=tmp_path / "cache")
        assert np.array_equal(embed(TEXTS, config, cache=tmp_path / "cache"), first)
        embed([*TEXTS, "new"], config, cache=tmp_path / "cache")
    assert [request["body"]["input"] for request in server.requests] == [
        ["a b", "c d", "e f"], ["new"]]
    with KeyedLog(tmp_path / "cache") as log:
        paid = sum(row.get("usd", 0) for row in log.by_key.values())
        assert paid == pytest.approx(14 * 0.13 / 1e6)


@pytest.mark.parametrize(("change", "problem"), [
    ({"model": "other-embedder"}, "cache:2 is a vector of other-embedder"),
    ({"vector": base64.b64encode(unit("a")[:4].astype("<f4")).decode()}, "no vector of length 1"),
    ({"vector": base64.b64encode(np.eye(4, dtype="<f4")[0]).decode()},
     "cache:2 has 4 numbers and others have 8, so two models were called"),
    ({"vector": base64.b64encode(np.full(8, np.nan, "<f4")).decode()}, "no vector of length 1"),
    ({"vector": "???"}, "no vector of length 1"), ({"vector": None}, "no vector of length 1")])
def test_a_cache_of_another_model_is_refused_with_its_line(change, problem, quick, monkeypatch,
                                                           tmp_path):
    with FakeServer() as server:
        config = config_at(server, monkeypatch)
        embed(TEXTS, config, cache=tmp_path / "cache")
        rows = read_jsonl(tmp_path / "cache", dict, made_by="05")
        rows[1] |= change
        write_jsonl(tmp_path / "cache", rows)
        with pytest.raises(DataError, match=problem):
            embed(TEXTS, config, cache=tmp_path / "cache")


def test_many_texts_go_in_chunks(quick, monkeypatch, tmp_path):
    texts = [f"text {i}" for i in range(600)]
    with FakeServer() as server:
        vectors = embed(texts, config_at(server, monkeypatch), cache=tmp_path / "cache")
    assert [len(request["body"]["input"]) for request in server.requests] == [256, 256, 88]
    assert vectors[599] == pytest.approx(unit("text 599"), abs=1e-6)


def test_an_empty_text_is_refused_before_any_call(quick, monkeypatch, tmp_path):
    with FakeServer() as server, pytest.raises(DataError, match="text 1 of 2 is empty"):
        embed(["a", " "], config_at(server, monkeypatch), cache=tmp_path / "cache")
    assert not server.requests


def test_an_empty_account_and_a_small_budget_stop_at_once(quick, monkeypatch, tmp_path):
    with FakeServer(["429-quota"]) as server:
        with pytest.raises(JudgingStopped, match="credit"):
            embed(TEXTS, config_at(server, monkeypatch), cache=tmp_path / "cache")
        assert len(server.requests) == 1
        with pytest.raises(JudgingStopped, match="budget_usd"):
            embed(TEXTS, config_at(server, monkeypatch, "judging.budget_usd=1e-9"),
                  cache=tmp_path / "cache")
        assert len(server.requests) == 1


def test_the_stand_in_embeds_offline(tmp_path):
    vectors = embed(["a b", "a b", "c d"], load_config("demo"), cache=tmp_path / "cache")
    assert vectors[0] @ vectors[1] == pytest.approx(1.0)
    assert vectors[0] @ vectors[2] == pytest.approx(0.0)


def test_the_plan_of_embeddings_counts_what_the_cache_lacks(quick, monkeypatch, tmp_path):
    with FakeServer() as server:
        config = config_at(server, monkeypatch)
        before = embedding_plan(TEXTS, config, cache=tmp_path / "cache", unknown=5)
        embed(TEXTS[:2], config, cache=tmp_path / "cache")
        after = embedding_plan(TEXTS, config, cache=tmp_path / "cache")
    assert (before.calls, before.known, after.calls, after.known) == (1, 0, 1, 2)
    assert before.usd[1] > after.usd[1] > 0
