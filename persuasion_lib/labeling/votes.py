"""One label of what several people said, and what each of them said of it.

A label of several carries its votes in `metadata.given`, so that whoever reads the file can tell
the people apart, and needs no log.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from persuasion_lib.core.answers import OF_ONE, votes_of
from persuasion_lib.core.records import CODE_OF_LABEL, Label, LabeledPair


@dataclass(frozen=True)
class Form:
    """What may be said of a pair beside which reply is better (settings of `label_human`)."""

    both_bad: bool = False
    strength: bool = False
    reasons: tuple[str, ...] = ()


PLAIN = Form()


def majority(labels: Sequence[Label]) -> Label | None:
    """The label that more than half of the people gave; None where there is none."""
    if not labels:
        return None
    label, count = Counter(labels).most_common(1)[0]
    return label if 2 * count > len(labels) else None


def joined(votes: Mapping[str, LabeledPair], label: Label | None, *, labeled_by: str,
           own: LabeledPair | None = None, **how: Any) -> LabeledPair:
    """The label that counts of several people's votes on one pair, by their names.

    Where the people contradict each other and nothing settles it (`label` is None), they have as a
    group no preference: a tie, called undecided. Seconds, sides and a second answer belong to one
    person, so only the label of one (`own`, or the only vote) has them.
    """
    found = list(votes.values())
    own = own or (found[0] if len(found) == 1 else None)
    pair = found[0].pair
    metadata = {key: value for key, value in pair.metadata.items() if key not in OF_ONE}
    metadata |= {key: own.pair.metadata[key] for key in OF_ONE if key in own.pair.metadata} if own \
        else _of_group([vote.pair.metadata for vote in found])
    how |= {} if label else {"undecided": True}
    given = [_row(name, vote) for name, vote in votes.items()]
    return LabeledPair(replace(pair, metadata={**metadata, **how, "given": given}), label or "tie",
                       labeled_by, own.reasoning if own else "", own.again if own else None)


def _of_group(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    notes = [each["note"] for each in found if each["note"]]
    return {"seconds": None, "shown_swapped": None, "note": " / ".join(notes),
            "flagged": any(each["flagged"] for each in found)}


def _row(name: str, vote: LabeledPair) -> dict[str, Any]:
    how = {key: vote.pair.metadata[key] for key in OF_ONE if key in vote.pair.metadata}
    again = {"relabelled": CODE_OF_LABEL[vote.again]} if vote.again else {}
    reasoning = {"reasoning": vote.reasoning} if vote.reasoning else {}
    return {"annotator": name, "preference": CODE_OF_LABEL[vote.label], **how, **again,
            **reasoning, "grader": vote.labeled_by}


def by_person(labels: Sequence[LabeledPair]) -> dict[str, list[LabeledPair]]:
    """What each of several people said, by name; nothing where one person gave all labels."""
    people: dict[str, list[LabeledPair]] = {}
    for label in labels:
        for name, vote in votes_of(label).items():
            people.setdefault(name, []).append(vote)
    return people if len(people) > 1 else {}
