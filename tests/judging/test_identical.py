"""The same reply twice is a tie that nobody is asked about, and the same models share a rank."""

import pytest

from persuasion_lib.core.records import Pair
from persuasion_lib.judging.plan import plan
from persuasion_lib.judging.tasks.compare import label_pairs, pair_questions
from persuasion_lib.judging.tasks.rank import rank
from persuasion_lib.reporting.evaluation_file import Judgment
from persuasion_lib.reporting.evaluation_rows import mean_scores
from worlds.fakeserver import FakeServer, candidates_in
from worlds.judging_world import judge_at

CATS = [{"role": "user", "content": "Cats beat dogs."}]
PAIRS = [Pair("same", CATS, "Dogs listen.", " Dogs listen.\n"),
         Pair("other", CATS, "Dogs listen.", "Dogs listen!!")]


@pytest.fixture
def server():
    with FakeServer() as server:
        yield server


def test_one_reply_twice_is_a_tie_that_nobody_is_asked_about(server, monkeypatch, tmp_path):
    judge = judge_at(server, monkeypatch)
    outcome = label_pairs(PAIRS, judge, log=tmp_path / "log", repeat_fraction=1.0)
    same, other = outcome.rows()
    assert same["metadata"]["is_equal"] and same["metadata"]["identical"]
    assert "nobody was asked" in same["metadata"]["reasoning"]
    assert "identical" not in other["metadata"]
    assert len(server.requests) == 4 and outcome.flips == 0     # two orders of one pair, twice
    asked = pair_questions(PAIRS[:1], judge, both_orders=True, seed=0)
    assert plan(asked, judge, log=tmp_path / "log").calls == 0


def ranked(server, monkeypatch, tmp_path, replies, **how):
    judge = judge_at(server, monkeypatch, role="evaluate")
    return rank({"e": CATS}, {"e": replies}, judge, log=tmp_path / "log", **how)["e"]


def test_a_reply_of_two_models_is_shown_once_and_they_share_its_rank(server, monkeypatch, tmp_path):
    verdicts = ranked(server, monkeypatch, tmp_path, orders=2, replies={
        "base": "yes", "sft": "longest", "rlhf": "longest ", "rlaif": "middle"})
    shown = [candidates_in(str(request["body"]["messages"][0]["content"]))
             for request in server.requests]
    assert [sorted(texts.values()) for texts in shown] == [["longest", "middle", "yes"]] * 2
    for verdict in verdicts:
        assert verdict.ranking == ("sft", "rlhf", "rlaif", "base")
        assert verdict.tied == (("sft", "rlhf"),)
        assert sorted(verdict.position_map.values()) == ["base", "rlaif", "sft"]
    judgment = Judgment(ranking=list(verdicts[0].ranking), tied=[["sft", "rlhf"]])
    # Ranks 1.5, 1.5, 3 and 4 of four: (4 - rank) / 3.
    assert mean_scores([judgment], ["base", "sft", "rlhf", "rlaif"]) == pytest.approx(
        {"base": 0, "sft": 2.5 / 3, "rlhf": 2.5 / 3, "rlaif": 1 / 3})


def test_where_all_replies_are_the_same_nobody_is_asked_and_all_are_equal(
        server, monkeypatch, tmp_path):
    verdict, = ranked(server, monkeypatch, tmp_path, {"base": "yes", "sft": "yes", "rlhf": "yes "})
    assert not server.requests and "nobody was asked" in verdict.explanation
    judgment = Judgment(ranking=list(verdict.ranking), tied=[list(verdict.tied[0])])
    assert set(mean_scores([judgment], verdict.ranking).values()) == {0.5}
