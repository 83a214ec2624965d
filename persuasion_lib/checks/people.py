"""Did the person who labelled read what they labelled? From the labels, and from the event log."""

from collections.abc import Mapping, Sequence
from typing import Any

from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.core.answers import IN_WORDS
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.labeling.alarms import COPIED
from persuasion_lib.labeling.items import FAST_S, too_fast, words_of
from persuasion_lib.stats.agreement import agreement
from persuasion_lib.stats.blocks import TOO_FEW
from persuasion_lib.stats.resample import wilson

Events = Sequence[Mapping[str, Any]]

DIFFERS = 30              # characters from which a reply counts as the longer one (AlpacaEval's)
# Pairs labelled twice below which self-agreement says nothing: with 15, an annotator who repeats
# 80 % of their labels would be stopped once in 55 times, with 20 once in 100.
FEW_REPEATS = 20
# Decided pairs of different length below which a taste for length is not told from a habit: with
# 20, of labellers who take the longer one in 75 % one in 40 would be stopped, with 40 one in 200.
_FEW_GAPS = 2 * TOO_FEW


def of_two_models(labels: Sequence[LabeledPair]) -> bool:
    """Whether these are comparisons of two models' replies (05b), and no pool to learn from."""
    return any("models" in label.pair.metadata for label in labels)


_MODELS_DIFFER = "replies of two models, of which one may be better, and longer"


def faster_than_reading(labels: Sequence[LabeledPair]) -> Measured:
    """The share of labels given in less time than both replies take to be read at `TOO_FAST`."""
    timed = [label for label in labels if is_amount(label.pair.metadata.get("seconds"))]
    need(len(timed) >= TOO_FEW, f"{len(timed)} labels say how many seconds they took")
    fast = [label for label in timed if too_fast(label.pair, label.pair.metadata["seconds"])]
    example = ""
    if fast:
        worst = max(fast, key=lambda label: (
            words_of(label.pair) / (label.pair.metadata["seconds"] + 0.01)))
        example = (f"{worst.pair.pair_id}: {words_of(worst.pair)} words in "
                   f"{worst.pair.metadata['seconds']:g} seconds")
    return Measured(len(fast) / len(timed), len(timed), example)


def one_side(labels: Sequence[LabeledPair]) -> Measured:
    """The share of decided labels for the side of the screen that was chosen more often."""
    known = [label for label in labels if isinstance(label.pair.metadata.get("shown_swapped"), bool)
             and label.label != "tie"]
    need(len(known) >= TOO_FEW, f"{len(known)} decided labels say which reply was shown first")
    first = sum((label.label == "a") != label.pair.metadata["shown_swapped"] for label in known)
    return _commoner(first, len(known), ("the reply shown first", "the reply shown second"))


def _commoner(count: int, n: int, names: tuple[str, str]) -> Measured:
    more = max(count, n - count)
    return Measured(more / n, n, names[0] if count == more else names[1])


def one_place(labels: Sequence[LabeledPair]) -> Measured:
    """The share of decided labels for the place in the file that was chosen more often."""
    need(not of_two_models(labels), _MODELS_DIFFER)
    decided = [label.label == "a" for label in labels if label.label != "tie"]
    need(len(decided) >= TOO_FEW, f"{len(decided)} decided labels are too few to tell")
    return _commoner(sum(decided), len(decided), (IN_WORDS["a"], IN_WORDS["b"]))


def longer_wins(labels: Sequence[LabeledPair]) -> Measured:
    """How often the longer reply won, or the shorter, of decided pairs that differ by `DIFFERS`."""
    need(not of_two_models(labels), _MODELS_DIFFER)
    gaps = _gaps(labels)
    need(len(gaps) >= _FEW_GAPS,
         f"{len(gaps)} decided pairs differ by {DIFFERS} characters or more, "
         f"{_FEW_GAPS} are needed")
    return _commoner(sum(gap > 0 for gap in gaps), len(gaps), ("longer", "shorter"))


def surely_longer(labels: Sequence[LabeledPair]) -> Measured:
    """The least share of such pairs that the longer reply wins with 95 % confidence (Wilson)."""
    need(not of_two_models(labels), _MODELS_DIFFER)
    gaps = _gaps(labels)
    need(len(gaps) >= TOO_FEW, f"{len(gaps)} decided pairs differ by {DIFFERS} characters or more")
    longer = sum(gap > 0 for gap in gaps)
    low, _ = wilson(longer, len(gaps), confidence=0.95)
    mean = sum(gaps) / len(gaps)
    return Measured(low, len(gaps), f"it won {longer} of {len(gaps)}; the chosen reply is longer "
                                    f"by {mean:.0f} characters on average")


def _gaps(labels: Sequence[LabeledPair]) -> list[int]:
    """By how many characters the chosen reply is longer; large differences only."""
    gaps = (len(label.chosen) - len(label.rejected) for label in labels if label.label != "tie")
    return [gap for gap in gaps if abs(gap) >= DIFFERS]


def unsteady(labels: Sequence[LabeledPair]) -> Measured:
    """1 - kappa of the repeats: 0 is the same answer every time, 1 what a coin would give."""
    twice = [label for label in labels if label.again]
    need(len(twice) >= FEW_REPEATS,
         f"{len(twice)} pairs were labelled a second time, {FEW_REPEATS} are needed")
    found = agreement([label.label for label in twice], [label.again for label in twice],
                      n_resamples=1)
    need(found["status"] != "constant", "every repeat got the one answer, so there is no kappa")
    return Measured(1 - found["kappa"], len(twice),
                    f"{found['raw']:.0%} the same, kappa {found['kappa']:.2f}")


def nearly_the_judges(agreed: Mapping[str, Any]) -> Measured:
    """The least share of labels that are the judge's with 95 % confidence (Wilson)."""
    found = agreed["with_ties"]
    need(found["n"] >= COPIED, f"{found['n']} pairs were labelled by both, {COPIED} are needed")
    return Measured(found["ci_low"], found["n"], f"{found['raw']:.1%} are the same")


def answers(events: Events) -> list[Mapping[str, Any]]:
    """The choices that count, in the order they were made: undone and replaced ones do not."""
    given: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        key = str(event.get("key"))
        if event.get("event") in ("choice", "ranking"):
            given.setdefault(key, []).append(event)
        elif event.get("event") == "undo" and given.get(key):
            given[key].pop()
    last = [made[-1] for made in given.values() if made]
    return sorted(last, key=lambda event: str(event.get("at", "")))


def in_a_hurry(events: Events) -> Measured:
    """The share of answers in less than `FAST_S` seconds."""
    timed = [event for event in answers(events) if is_amount(event.get("seconds"))]
    need(len(timed) >= TOO_FEW, f"{len(timed)} answers say how many seconds they took")
    fast = [event for event in timed if event["seconds"] < FAST_S]
    example = f"{fast[0]['key']}: {fast[0]['seconds']:g} seconds" if fast else ""
    return Measured(len(fast) / len(timed), len(timed), example)


def one_key(events: Events) -> Measured:
    """The share of the commonest choice (first, second, tie, skip; an order of slots)."""
    made = [str(event.get("choice") or _slots(event)) for event in answers(events)]
    need(len(made) >= TOO_FEW, f"{len(made)} answers are too few to tell")
    commonest = max(set(made), key=made.count)
    return Measured(made.count(commonest) / len(made), len(made), commonest)


def _slots(event: Mapping[str, Any]) -> list[list[int]]:
    """A ranking's places as slots of the screen, whatever stood there."""
    shown = list(event.get("shown") or ())
    return [sorted(shown.index(name) for name in place if name in shown)
            for place in event.get("places") or ()]


def by_turns(events: Events) -> Measured:
    """The share of answers that are for the other side than the answer before."""
    sides = [event["choice"] for event in answers(events)
             if event.get("choice") in ("first", "second")]
    steps = list(zip(sides, sides[1:], strict=False))
    need(len(steps) >= TOO_FEW, f"{len(sides)} decided answers are too few to tell")
    return Measured(sum(one != two for one, two in steps) / len(steps), len(steps))


def obvious_failed(events: Events) -> Measured:
    """The share of obvious pairs (a reply against its own words, shuffled) answered wrongly."""
    checks = [event for event in answers(events) if event.get("kind") == "check"]
    need(len(checks) >= 3, f"{len(checks)} obvious pairs were answered, 3 are needed")
    wrong = [event["key"] for event in checks if event.get("preferred") != "a"]
    return Measured(len(wrong) / len(checks), len(checks), f"first: {wrong[0]}" if wrong else "")
