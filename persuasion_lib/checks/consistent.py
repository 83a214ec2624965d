"""Do files that belong together say the same? Rows of the registry for labels and their origin."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import combinations
from typing import Any

from persuasion_lib.checks.check import Check
from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.checks.people import Events, answers
from persuasion_lib.checks.pools import Split, in_order, texts_of
from persuasion_lib.core.answers import votes_of
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.core.rehearsal import is_stand_in
from persuasion_lib.labeling.alarms import COPIED
from persuasion_lib.labeling.votes import by_person, majority
from persuasion_lib.stats.blocks import TOO_FEW
from persuasion_lib.stats.resample import wilson

Labels = Sequence[LabeledPair]

# A browser's clock and that of this machine may differ, and an answer is on its way for a moment.
_DRIFT, _SECONDS_OFF = 0.05, 30


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
    return _commonest([round(label.pair.metadata["seconds"], 1) for label in labels
                       if is_amount(label.pair.metadata.get("seconds"))], "labels")


def _commonest(seconds: Sequence[float], of: str) -> Measured:
    need(len(seconds) >= TOO_FEW, f"{len(seconds)} {of} say how many seconds they took")
    commonest, count = Counter(seconds).most_common(1)[0]
    return Measured(count / len(seconds), len(seconds), f"{commonest:g} seconds")


def one_pace_in_log(events: Events) -> Measured:
    """The same of an event log: of the answers that count."""
    return _commonest([round(event["seconds"], 1) for event in answers(events)
                       if is_amount(event.get("seconds"))], "answers")


def against_the_clock(events: Events) -> Measured:
    """How many answers cannot have taken what they say: less than nothing, or, with those before
    them in one sitting, more than the clock says since it began.

    The first answer of a sitting has no beginning, and is not held against the clock.
    """
    given = [event for event in events if event.get("seconds") is not None]
    need(given, "no answer says how many seconds it took")
    wrong = {str(event.get("key")): f"{event['seconds']!r:.20} seconds" for event in given
             if not is_amount(event["seconds"])}
    for sitting in _sittings(given).values():
        spent = sum(event["seconds"] for _, event in sitting[1:])
        passed = (sitting[-1][0] - sitting[0][0]).total_seconds()
        if spent > (1 + _DRIFT) * passed + _SECONDS_OFF:
            wrong |= {str(event.get("key")): f"{spent:,.0f} seconds in {passed:,.0f} of the clock"
                      for _, event in sitting[1:]}
    first = "".join(f"{key}: {what}" for key, what in list(wrong.items())[:1])
    return Measured(len(wrong), len(given), first)


def _sittings(events: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[datetime, Any]]]:
    """Answers with a time of the clock, by sitting, in their order."""
    found: dict[str, list[tuple[datetime, Any]]] = defaultdict(list)
    for event in events:
        with suppress(TypeError, ValueError):
            at = datetime.fromisoformat(str(event.get("at")))
            if is_amount(event["seconds"]):
                found[f"{event.get('session')} {at.tzinfo}"].append((at, event))
    return {name: sorted(rows, key=lambda row: row[0]) for name, rows in found.items()}


def impossible_seconds(labels: Labels) -> Measured:
    """How many labels took less than nothing, or a time that is no number."""
    given = [label for label in labels if label.pair.metadata.get("seconds") is not None]
    wrong = [label for label in given if not is_amount(label.pair.metadata["seconds"])]
    first = "".join(f"{label.pair.pair_id}: {label.pair.metadata['seconds']!r:.20}"
                    for label in wrong[:1])
    return Measured(len(wrong), len(given), first)


def stand_in_or_person(labels: Labels) -> Measured:
    """How many labels came about as the other kind does: those of a stand-in with the seconds of a
    reader, or those of a session, with its sides and guidelines, in no time at all and by nobody
    who is called a stand-in."""
    odd = {}
    for label in labels:
        how = label.pair.metadata
        timed = is_amount(how.get("seconds")) and how["seconds"] > 0
        shown = isinstance(how.get("shown_swapped"), bool) and bool(how.get("guidelines"))
        if is_stand_in(label.labeled_by) and timed:
            odd[label.pair.pair_id] = f"{label.labeled_by!r:.60} took {how['seconds']:g} seconds"
        elif not is_stand_in(label.labeled_by) and shown and how.get("seconds") is None:
            odd[label.pair.pair_id] = (f"{label.labeled_by!r:.60} was shown two replies, and "
                                       "no time passed, as for our stand-in")
    first = "".join(f"{key}: {what}" for key, what in list(odd.items())[:1])
    return Measured(len(odd), len(labels), first)


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
          "{value:.0%} of {n} labels took {example}.", "Was it a program that answered?"),
    Check("always the same seconds (log)", "event log", one_pace_in_log, 0.5,
          "no reader takes one time for texts of all lengths",
          "{value:.0%} of {n} answers took {example}.", "Was it a program that answered?"),
    Check("seconds against the clock", "event log", against_the_clock, 0,
          "nobody reads for longer than the clock ran",
          "{value:.0f} of {n} answers cannot have taken what the log says ({example}).",
          "Was the log written by a program, or changed? Keep the log of the widget as it is."),
    Check("seconds that cannot be", "labels by a person", impossible_seconds, 0,
          "no time is less than nothing",
          "{value:.0f} of {n} labels say that they took no possible time ({example}).",
          "Look at which column of the file was taken for seconds."),
    Check("stand-in or person", "labels by a person", stand_in_or_person, 0,
          "a stand-in takes no time, and whoever reads takes some",
          "{value:.0f} of {n} labels name another kind of labeller than they were given by "
          "({example}).", "Correct grader and stand_in of these rows: a stand-in's labels make a "
          "rehearsal, a person's make none."))
