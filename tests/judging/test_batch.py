"""Message Batches: half the price, never created twice, resumed after anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from persuasion_lib.core.errors import ConfigError, JudgingStopped
from persuasion_lib.judging import batch, pace
from persuasion_lib.judging.tasks.compare import LabelOutcome, label_pairs
from worlds.fakeserver import FakeServer
from worlds.judging_world import judge_at, pairs_of, right_labels


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BACKOFF_S", (0.01, 0.05))
    monkeypatch.setattr(batch, "POLL_S", 0.01)


def label(server: FakeServer, monkeypatch: Any, folder: Path, count: int = 9,
          **fields: Any) -> LabelOutcome:
    judge = judge_at(server, monkeypatch, **fields)
    return label_pairs(pairs_of(count), judge, log=folder / "judgments.jsonl", mode="batch")


def labels(outcome: LabelOutcome) -> dict[str, str]:
    return {item.pair.pair_id: item.label for item in outcome.labeled}


def test_a_batch_gives_the_same_labels_at_half_the_price(monkeypatch, tmp_path):
    with FakeServer(batch_polls=3) as server:
        batched = label(server, monkeypatch, tmp_path / "batch")
        assert not server.requests
        online = label_pairs(pairs_of(9), judge_at(server, monkeypatch), log=tmp_path / "online")
    assert labels(batched) == labels(online) == right_labels(9)
    assert batched.ledger.usd == pytest.approx(online.ledger.usd / 2)
    assert batched.ledger.run_usd == batched.ledger.usd


def test_a_lost_reply_to_create_does_not_make_a_second_batch(monkeypatch, tmp_path):
    with FakeServer() as server:
        server.batch_faults = ["lost"]
        outcome = label(server, monkeypatch, tmp_path)
    assert (len(server.batches), server.billed) == (1, 18)
    assert labels(outcome) == right_labels(9)


def test_a_create_that_failed_for_certain_is_tried_again(monkeypatch, tmp_path):
    with FakeServer() as server:
        server.batch_faults = ["529", "429-ms"]
        outcome = label(server, monkeypatch, tmp_path)
    assert (len(server.batches), outcome.done) == (1, 9)


def test_a_refused_batch_says_why_and_leaves_nothing_open(monkeypatch, tmp_path):
    with FakeServer() as server:
        server.batch_faults = ["402"]
        with pytest.raises(JudgingStopped, match="credit"):
            label(server, monkeypatch, tmp_path)
        assert label(server, monkeypatch, tmp_path).done == 9
    assert len(server.batches) == 1


def test_an_interrupted_wait_is_resumed_with_the_same_batch(monkeypatch, tmp_path):
    with FakeServer(batch_polls=3) as server:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(batch.time, "sleep", _interrupt)
            label(server, monkeypatch, tmp_path)
        outcome = label(server, monkeypatch, tmp_path)
    assert (len(server.batches), outcome.done) == (1, 9)


def test_a_kill_between_intent_and_answer_finds_the_batch_again(monkeypatch, tmp_path):
    with FakeServer() as server:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(batch, "wait", _interrupt)
            server.batch_faults = ["lost"]
            label(server, monkeypatch, tmp_path)
        outcome = label(server, monkeypatch, tmp_path)
    assert (len(server.batches), outcome.done) == (1, 9)


def test_expired_and_failed_questions_are_asked_again(monkeypatch, tmp_path):
    kinds = ("expired", "succeeded", "errored", "succeeded", "canceled", "succeeded")
    with FakeServer() as server:
        server.batch_results = lambda number: kinds[number % 6]
        outcome = label(server, monkeypatch, tmp_path)
    assert labels(outcome) == right_labels(9)
    assert len(server.batches) == 2
    assert 0 < len(server.requests) < 18


def test_a_batch_is_cut_to_what_the_budget_can_pay_in_the_worst_case(monkeypatch, tmp_path):
    with FakeServer() as server:
        outcome = label(server, monkeypatch, tmp_path, count=15, budget_usd=0.1)
        sizes = [len(made["requests"]) for made in server.batches.values()]
        assert (outcome.done, sum(sizes)) == (15, 30)
        assert max(sizes) < 10
        with pytest.raises(JudgingStopped, match="budget_usd"):
            label(server, monkeypatch, tmp_path, count=30, budget_usd=outcome.ledger.usd + 0.001)
    assert outcome.ledger.usd < 0.1


def test_a_judge_without_batches_says_so(monkeypatch, tmp_path):
    with FakeServer() as server, pytest.raises(ConfigError, match="mode=online"):
        label_pairs(pairs_of(1), judge_at(server, monkeypatch, "openai"),
                    log=tmp_path / "judgments.jsonl", mode="batch")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
