"""What people ranked is checked as what they compared: threats are named, clean rankings pass."""

import random

import pytest

from persuasion_lib.checks import audit as audit_of
from persuasion_lib.checks.measured import NotMeasured
from persuasion_lib.checks.people import in_a_hurry, one_key
from persuasion_lib.core.config import load_config
from persuasion_lib.core.rankings import Ranking, comparison_row, mean_ranks
from persuasion_lib.core.store import write_jsonl
from worlds.scratch import ROOT

MODELS = ["base", "sft", "rlhf", "rlaif"]
PROMPT = [{"role": "user", "content": "Tea is best."}]


def order(rng, replies):
    """Somebody who reads: better models stand above, but for chance."""
    return sorted(MODELS, key=lambda model: MODELS.index(model) + rng.gauss(0, 2))


def ranked(choose=order, *, seconds=40.0, again=True, n=30):
    rng = random.Random(0)
    found = []
    for number in range(n):
        replies = {model: f"{model[0]}{number} " + "word " * rng.randint(10, 60)
                   for model in MODELS}
        first = choose(rng, replies)
        second = first if again else rng.sample(MODELS, 4)
        ranks = [mean_ranks([[model] for model in each]) for each in (first, second)]
        found.append(Ranking(f"e{number}", PROMPT, replies, ranks[0], "ada",
                             ranks[1] if number < 8 else None, {"seconds": seconds}))
    return found


def said(tmp_path, rankings):
    write_jsonl(tmp_path / "human_comparisons.jsonl", map(comparison_row, rankings))
    given = audit_of.gather([tmp_path])
    assert not given.notes
    found, _ = audit_of.audit(given, load_config("demo", root=ROOT), {})
    return {finding.check: finding.state for finding in found}


def test_rankings_of_somebody_who_reads_are_fine(tmp_path):
    found = said(tmp_path, ranked())
    assert set(found.values()) == {"fine"} and len(found) == 4


@pytest.mark.parametrize(("threat", "check", "state"), [
    ({"seconds": 1.0}, "rankings faster than reading", "stop"),
    ({"again": False}, "rankings unlike their repeat", "stop"),
    ({"choose": lambda rng, replies: MODELS}, "people rank one order", "warn"),
    ({"choose": lambda rng, replies: sorted(MODELS, key=lambda m: -len(replies[m]))},
     "people rank by length", "warn")])
def test_rankings_that_nobody_can_believe_are_named(tmp_path, threat, check, state):
    assert said(tmp_path, ranked(**threat))[check] == state


def test_what_a_file_of_rankings_lacks_is_said(tmp_path):
    found = said(tmp_path, ranked(n=3))
    assert set(found.values()) == {"not checked"}


def log(places, seconds=9.0, n=30):
    return [{"event": "ranking", "key": str(k), "shown": ["x", "y", "z"], "seconds": seconds,
             "places": [[name] for name in places(k)]} for k in range(n)]


def test_the_log_of_a_ranking_shows_haste_and_one_order_of_the_slots():
    turns = log(lambda k: ["xyz", "zyx", "yxz"][k % 3])
    assert one_key(turns).value == pytest.approx(1 / 3) and in_a_hurry(turns).value == 0
    assert one_key(log(lambda k: "xyz")).value == 1
    assert in_a_hurry(log(lambda k: "xyz", seconds=1.0)).value == 1
    with pytest.raises(NotMeasured):
        one_key(log(lambda k: "xyz", n=3))
