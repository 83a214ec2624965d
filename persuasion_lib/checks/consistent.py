"""Do files that belong together say the same? Rows of the registry for labels and their origin."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from persuasion_lib.checks.check import Check
from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.checks.pools import Split, in_order, texts_of
from persuasion_lib.core.answers import votes_of
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.labeling.alarms import COPIED
from persuasion_lib.labeling.votes import by_person, majority
from persuasion_lib.stats.blocks import TOO_FEW
from persuasion_lib.stats.resample import wilson

Labels = Sequence[LabeledPair]


def against_its_labels(both: tuple[Labels, Labels]) -> Measured:
    """How many rows of a split prefer another reply than the labels that it was made of."""
    part, whole = both
    known = {texts_of(label.pair): in_order(label) for label in whole}
    found = [label for label in part if texts_of(label.pair) in known]
    wrong = [label.pair.pair_id for label in found if in_order(label) != known[
        texts_of(label.pair)]]
    return Measured(len(wrong), len(found), f"first: {wrong[0]}" if wrong else "")


def row_twice(split: Split) -> Measured:
    """How many rows of a split are an earlier one of it."""
    rows = [texts_of(label.pair) for part in split for label in part or ()]
    again = len(rows) - len(set(rows))
    return Measured(again, len(rows))


def against_their_votes(labels: Labels) -> Measured:
    """How many labels are not what the votes stored beside them give, by the rule they name."""
    wrong = []
    for label in labels:
        votes = [vote.label for vote in votes_of(label).values()]
        how = label.pair.metadata
        if not votes or how.get("adjudicated"):
            continue
        given = {None if how.get("undecided") else majority(votes)}
        allowed = set(votes) if how.get("labels_from") == "annotator" else given
        if label.label not in {vote or "tie" for vote in allowed}:
            wrong.append(label.pair.pair_id)
    return Measured(len(wrong), len(labels), f"first: {wrong[0]}" if wrong else "")


def alike(labels: Labels) -> Measured:
    """The least share of one label of two people with 95 % confidence (Wilson), of any two."""
    people = {name: {label.pair.pair_id: label.label for label in own}
              for name, own in by_person(labels).items()}
    worst = Measured(0, len(labels))
    for (one, first), (two, second) in combinations(people.items(), 2):
        both = first.keys() & second.keys()
        same = sum(first[key] == second[key] for key in both)
        if len(both) >= COPIED and (low := wilson(same, len(both), confidence=0.95)[0]) > (
                worst.value):
            worst = Measured(low, len(both), f"{one} and {two}: {same} of {len(both)}")
    return worst


def one_pace(labels: Labels) -> Measured:
    """The share of labels with the commonest number of seconds: reading varies with the texts."""
    seconds = [round(label.pair.metadata["seconds"], 1) for label in labels
               if is_amount(label.pair.metadata.get("seconds"))]
    need(len(seconds) >= TOO_FEW, f"{len(seconds)} labels say how many seconds they took")
    commonest, count = Counter(seconds).most_common(1)[0]
    return Measured(count / len(seconds), len(seconds), f"{commonest:g} seconds")


CONSISTENT = (
    Check("a split against its labels", "split and labels", against_its_labels, 0,
          "a row of a split is a label that somebody gave",
          "{value:.0f} of {n} rows prefer another reply than the labels that they are of "
          "({example}): chosen and rejected are exchanged, or the labels changed since.",
          "Split again (notebook 03).", stops=True),
    Check("a row twice in a split", "split", row_twice, 0, "a row counts once",
          "{value:.0f} of {n} rows stand there again.", "Keep one of each."),
    Check("labels against their votes", "labels", against_their_votes, 0,
          "a label of several people is what they said",
          "{value:.0f} of {n} labels are not what their votes give ({example}).",
          "Derive the labels again from the votes (notebook 02).", stops=True),
    Check("two people, one answer", "labels", alike, 0.939,
          "Wilson's bound of 60 of 60, labeling.alarms.COPIED",
          "two people gave the same labels ({example}), which two readers hardly ever do.",
          "Ask them whether they labelled together, or one is the other."),
    Check("always the same seconds", "labels by a person", one_pace, 0.5,
          "no reader takes one time for texts of all lengths",
          "{value:.0%} of {n} labels took {example}.", "Was it a program that answered?"))
