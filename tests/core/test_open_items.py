"""What a judge did not answer is asked again by the next run, and said until then."""

import json

import pytest

from persuasion_lib import label_ai
from persuasion_lib.cli import main
from persuasion_lib.core import runner
from persuasion_lib.core.manifest import conditions, manifest_path, read_manifest, state
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import pair_row
from persuasion_lib.core.stage import start
from persuasion_lib.core.store import write_jsonl
from worlds.fakeserver import FakeServer
from worlds.judging_world import MARKED_KEY, pairs_of

CLAUDE = ["label_ai.judge=anthropic", "label_ai.repeat_fraction=0", "label_ai.both_orders=false",
          "rate_limiting.requests_per_minute=6000", "judging.calibrate=false"]


@pytest.fixture
def pool(project, monkeypatch):
    write_jsonl(project / "data/demo/preferences/ai_pool_responses.jsonl",
                map(pair_row, pairs_of(6)))
    monkeypatch.setenv("ANTHROPIC_API_KEY", MARKED_KEY)
    return project


def run_01(server, monkeypatch):
    """Notebook 01 without its tables; returns its manifest."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    run = start("label_ai", "demo", CLAUDE)
    outcome = label_ai.label(run, label_ai.pairs_of(run), label_ai.judge_of(run))
    label_ai.write_labels(run, label_ai.label(run, [], label_ai.judge_of(run), "human_pool"),
                          "human_pool")
    label_ai.write_labels(run, outcome)
    run.finish(**outcome.counts)
    return run


def test_a_refused_pair_stays_open_and_the_next_run_asks_just_that_one(pool, monkeypatch):
    with FakeServer([None, "refusal", None, "max-tokens"]) as server:
        config = run_01(server, monkeypatch).config
        condition, reasons = state(config, "label_ai")
        assert (condition, [(r.kind, r.text) for r in reasons]) == (
            "stale", [("open", "2 pairs of the ai_pool have no label yet")])
        found, = read_manifest(config, "label_ai")["open"].values()
        assert (found["count"], found["of"], found["why"]) == (2, 6, {"refusal": 1, "cut": 1})
        run_01(server, monkeypatch)
    assert len(server.requests) == 6 + 2
    assert state(config, "label_ai") == ("done", [])


def test_a_repeat_that_is_refused_stays_open_although_every_pair_has_its_label(pool, monkeypatch):
    """About half of the six pairs are asked a second time; the log then loses those answers."""
    monkeypatch.setitem(globals(), "CLAUDE", [*CLAUDE, "label_ai.repeat_fraction=0.5"])
    with FakeServer() as server:
        run_01(server, monkeypatch)
        repeated = len(server.requests) - 6
        port = int(server.url.rpartition(":")[2])       # another address would be another judge
    assert repeated > 0
    log = pool / "data/demo/preferences/ai_judgments.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    write_jsonl(log, [row for row in rows if row["sample"] == 0])
    with FakeServer(["refusal"], port=port) as server:
        config = run_01(server, monkeypatch).config
        assert [r.text for r in state(config, "label_ai")[1]] == [
            "1 repeated questions of the ai_pool have no answer yet"]
        run_01(server, monkeypatch)
    assert len(server.requests) == repeated + 1
    assert state(config, "label_ai") == ("done", [])


def test_a_pair_that_is_always_refused_is_asked_once_a_run(pool, monkeypatch):
    with FakeServer(["refusal"] * 50) as server:
        for runs in (1, 2, 3):
            run_01(server, monkeypatch)
            assert len(server.requests) == 6 * runs


def test_later_stages_use_what_is_there_and_say_that_something_is_open(pool, monkeypatch):
    with FakeServer(["refusal"]) as server:
        config = run_01(server, monkeypatch).config
    write_jsonl(pool / "data/demo/preferences/human_pool_labeled.jsonl", [])
    run = start("validate", "demo", CLAUDE)
    assert any("01_label_ai is not complete, and what is there is used: 1 pairs of the ai_pool"
               in text for text in run.warnings)
    run.without = set(STAGES["validate"].writes)
    run.finish()
    assert "01_label_ai" not in str(conditions(config)["validate"])


def test_status_and_run_print_every_note_of_a_stage_once_and_wrapped(pool, monkeypatch, capsys):
    with FakeServer(["refusal"]) as server:
        config = run_01(server, monkeypatch).config
    path = manifest_path(config, STAGES["label_ai"])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": [
        "word " * 30, "a name with \x1b[31m colour"]}))
    arguments = [part for text in CLAUDE for part in ("--set", text)]
    assert main(["status", *arguments]) == 0
    said = capsys.readouterr().out
    assert "01_label_ai     stale   1 pairs of the ai_pool have no label yet\n    ! 1 of 6" in said
    assert said.count("(1 refusal;") == 1 and "\x1b" not in said
    assert "word\n      word" in said


def test_a_run_that_leaves_something_open_goes_on_and_ends_with_status_1(
        pool, monkeypatch, capsys):
    with FakeServer(["refusal"]) as server:
        run_01(server, monkeypatch)
    monkeypatch.setattr(runner, "run", lambda *_, **__: ["label_ai"])
    arguments = [part for text in CLAUDE for part in ("--set", text)]
    assert main(["run", "--only", "label_ai", *arguments]) == 1
    printed = capsys.readouterr()
    assert "planned 6, done 5   OPEN: 1 pairs of the ai_pool have no label yet" in printed.out
    assert "open: 01_label_ai: 1 pairs of the ai_pool have no label yet." in printed.err
    assert main(["run", "--only", "analysis", *arguments]) == 0
