"""Several annotators: every check of people looks at each of them, and names who."""

from __future__ import annotations

from persuasion_lib.checks.check import look
from persuasion_lib.checks.material import of_labels
from persuasion_lib.checks.registry import checks_of
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.labeling.agreement import judge_against_annotator, sentences
from persuasion_lib.labeling.votes import joined, majority
from worlds.labeling_pool import make_pairs

PAIRS = make_pairs(80)


def said(pair, label, *, seconds=60.0, swapped=False, again=None):
    how = {"seconds": seconds, "shown_swapped": swapped, "flagged": False, "note": ""}
    return LabeledPair(type(pair)(pair.pair_id, pair.prompt, pair.response_a, pair.response_b,
                                  {**pair.metadata, **how}), label, "human", again=again)


def fair(number):
    return "ab"[number * 7 % 5 % 2]


# 80 pairs: ann reads; ben answers 28 words in a second; cleo takes what stands first; dan tosses
# a coin at repeats; eve copies the judge.
PEOPLE = {
    "ann": lambda n, pair: said(pair, fair(n), swapped=n % 2 == 0),
    "ben": lambda n, pair: said(pair, fair(n), seconds=1.0, swapped=n % 2 == 0),
    "cleo": lambda n, pair: said(pair, "b" if n % 2 else "a", swapped=n % 2 == 1),
    "dan": lambda n, pair: said(pair, fair(n), swapped=n % 2 == 0, again="ab"[n // 2 % 2]),
    "eve": lambda n, pair: said(pair, "ab"[n % 3 % 2], swapped=n % 4 < 2)}
JUDGE = [LabeledPair(pair, "ab"[n % 3 % 2], "judge", "because") for n, pair in enumerate(PAIRS)]


def labelled():
    rows = []
    for number, pair in enumerate(PAIRS):
        votes = {name: habit(number, pair) for name, habit in PEOPLE.items()}
        label = majority([vote.label for vote in votes.values()])
        rows.append(joined(votes, label, labeled_by="human (majority of 5)",
                           labels_from="majority"))
    return rows


def found():
    agreed = judge_against_annotator(JUDGE, labelled())
    things = {"labels by a person": of_labels("rlhf", labelled())["labels by a person"],
              "agreement": {f"Judge against {name}": one
                            for name, one in agreed["people"]["judge"].items()}}
    kinds = ("answers faster than reading", "always one side of the screen",
             "self-agreement at chance", "labels nearly all the judge's")
    return {(finding.check, finding.subject.split()[-1]) for finding in
            look(checks_of(*things), things) if finding.state in ("warn", "stop")
            and finding.check in kinds}


def test_who_does_not_read_goes_by_the_side_tosses_a_coin_or_copies_is_named():
    assert found() == {("answers faster than reading", "ben"),
                       ("always one side of the screen", "cleo"),
                       ("self-agreement at chance", "dan"),
                       ("labels nearly all the judge's", "eve")}


def test_reports_say_who_labelled_whose_label_counted_and_how_far_all_agree():
    lines = sentences(judge_against_annotator(JUDGE, labelled()))
    assert lines[0].startswith("5 people labelled (ann 80, ben 80, cleo 80, dan 80, eve 80 pairs); "
                               "the label of more than half of them was used")
    assert lines[1].startswith("Krippendorff's alpha of all, on the 80 pairs that several labelled")
    assert "human (majority of 5)" in lines[2]


def test_one_persons_labels_are_looked_at_as_ever():
    alone = [PEOPLE["ann"](number, pair) for number, pair in enumerate(PAIRS)]
    assert set(of_labels("rlhf", alone)["labels by a person"]) == {"rlhf"}
    assert "people" not in judge_against_annotator(JUDGE, alone)
