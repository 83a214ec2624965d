"""The section of notebook 03 that asks the judge about minds that really changed."""

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import pytest

from persuasion_lib import validate
from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import STAGES, inputs_of
from persuasion_lib.core.stage import StageRun
from persuasion_lib.data.minds import read_outcomes
from persuasion_lib.judging.plan import Plan
from persuasion_lib.judging.roles import AT_ONCE_HERE
from worlds.fakeserver import FakeServer
from worlds.judging_world import MARKED_KEY, child_environment


def opened(*overrides):
    return StageRun(STAGES["validate"], load_config("demo", [*overrides]), {})


def test_where_nobody_is_asked_nothing_is_written_and_06_misses_nothing(project):
    run = opened("minds.pairs=0")
    assert "Nobody is asked" in validate.plan_of_minds(run, read_outcomes(run))
    assert validate.ask_about_minds(run, []) == []
    assert "minds_judged" in run.without and not run.path("minds_judgments").exists()
    assert "minds_judged" not in inputs_of(run.config, STAGES["analysis"])
    assert "minds_judged" in inputs_of(opened().config, STAGES["analysis"])


def test_both_orders_are_planned_asked_once_and_kept(project):
    run = opened("minds.pairs=25")
    pairs = read_outcomes(run)
    plan = validate.plan_of_minds(run, pairs)
    assert isinstance(plan, Plan) and plan.calls == 50
    judged = validate.ask_about_minds(run, pairs)
    log = run.path("minds_judgments").read_text()
    assert len(judged) == 25 and len(log.splitlines()) == 50
    assert {label.pair.metadata["really"] for label in judged} == {"1", "2"}
    again = validate.ask_about_minds(opened("minds.pairs=25"), pairs)
    assert again == judged and run.path("minds_judgments").read_text() == log
    assert "chance is 50 %" in validate.minds_in_words(run, judged, {})


def test_a_judge_that_is_asked_beside_labels_of_another_is_not_said_to_have_labelled(project):
    run = opened("minds.pairs=25")
    judged = validate.ask_about_minds(run, read_outcomes(run))
    brought = [replace(judged[0], labeled_by="somebody/else")]
    said = validate.minds_in_words(run, judged, {"rlaif": brought})
    assert ("offline/stand-in gave none of the AI labels to learn from: somebody/else did, and of "
            "that judge this says nothing.") in said
    assert "gave none" not in validate.minds_in_words(run, judged, {"rlaif": judged})


def test_the_judge_is_not_told_what_won(project):
    run = opened("minds.pairs=25")
    validate.ask_about_minds(run, read_outcomes(run))
    for line in run.path("minds_judgments").read_text().splitlines():
        assert "really" not in json.dumps(json.loads(line))


def test_a_trial_asks_about_no_more_than_its_number(project):
    assert len(read_outcomes(opened("label_ai.max_examples=5"))) == 5


def test_a_judge_without_a_key_is_refused_before_anything_is_asked(project):
    run = opened("minds.pairs=5", "label_ai.judge=anthropic", "minds.path=mine.jsonl")
    (project / "mine.jsonl").write_text(json.dumps(
        {"prompt": [{"role": "user", "content": "x"}], "won": "a", "lost": "b"}))
    with pytest.raises(Exception, match="ANTHROPIC_API_KEY"):
        validate.plan_of_minds(run, read_outcomes(run))


# ---- at a server, killed

CHILD = """
import sys
from persuasion_lib import validate
from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.stage import StageRun
from persuasion_lib.data.minds import read_outcomes
run = StageRun(STAGES["validate"], load_config("demo", sys.argv[1:]), {})
validate.ask_about_minds(run, read_outcomes(run))
"""


def test_killed_no_answer_on_disk_is_asked_again_and_the_file_is_that_of_a_calm_run(project,
                                                                                   monkeypatch):
    for name, value in {"JUDGE_KEY": MARKED_KEY, "PERSUASION_BATCH": "1"}.items():
        monkeypatch.setenv(name, value)
    with FakeServer(latency_s=0.05) as server:
        settings = ["minds.pairs=25", "label_ai.judge=here", "servers.here={base_url: "
                    f'"{server.url}/v1", model: m, price: [1, 1], api_key_env: JUDGE_KEY}}']
        child = subprocess.Popen([sys.executable, "-c", CHILD, *settings],
                                 env=child_environment(server))
        while len(server.requests) < 25 and child.poll() is None:
            time.sleep(0.005)
        child.kill()
        child.wait()
        run = opened(*settings)
        kept = read_log(run.path("minds_judgments"))
        validate.ask_about_minds(run, read_outcomes(run))
        bodies = Counter(json.dumps(request["body"], sort_keys=True)
                         for request in server.requests)
        resumed = run.path("minds_judged").read_bytes()
        rows = read_log(run.path("minds_judgments"))
        run.path("minds_judgments").unlink()
        validate.ask_about_minds(run, read_outcomes(run))
    assert 10 < len(kept) < 50 == len(rows) and rows[:len(kept)] == kept
    assert len(bodies) == 50 + 3                # and the three known answers
    # Asked again is only what was under way at the kill.
    assert bodies.total() - len(bodies) <= AT_ONCE_HERE + 1     # and one known answer anew
    assert resumed == run.path("minds_judged").read_bytes()


def read_log(path):
    """The whole lines of a log; a kill may have cut the last one short."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
