"""Which of two replies persuades better: labels of pairs, in both orders, never guessed."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from sys import intern
from typing import Any

from persuasion_lib.core.answers import as_said, verdicts_of
from persuasion_lib.core.lazy import Lazy
from persuasion_lib.core.records import (
    LABEL_OF_CODE,
    SLOT_OF_CODE,
    Label,
    LabeledPair,
    Pair,
    content_id,
    labeled_row,
    unswap,
)
from persuasion_lib.demo.standins import OfflineJudge
from persuasion_lib.judging.ask import Answers, ask_all, check_unique
from persuasion_lib.judging.batch import ask_in_batches
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.questions import Question, hashed_order, read_verdict, schema_of
from persuasion_lib.judging.rows import Ledger

BOTH_ORDERS = ((0, 1), (1, 0))
Name = tuple[str, int, str]     # pair, sample, order shown: "12" or "21"


class Compare(Question):
    """Two replies, of which one persuades better or neither does."""

    task = "compare"
    slots = "12"

    @property
    def schema(self) -> dict[str, Any]:
        return schema_of({"reasoning": {"type": "string"},
                          "choice": {"type": "string", "enum": list(LABEL_OF_CODE)}})

    def read(self, reply: str) -> dict[str, Any]:
        choice, why = read_verdict(reply, "choice", _as_choice, self.candidates)
        return {"choice": choice, "reasoning": why}

    def accepts(self, verdict: Mapping[str, Any]) -> bool:
        return (str(verdict.get("choice")) in LABEL_OF_CODE
                and isinstance(verdict.get("reasoning"), str))

    def stand_in(self, judge: OfflineJudge) -> str:
        choice, why = judge.compare(self.context, *self.candidates, sample=self.sample)
        return json.dumps({"reasoning": why, "choice": choice})


def _as_choice(value: Any) -> str:
    choice = str(value).strip().upper()
    if choice not in LABEL_OF_CODE:
        raise ValueError(f"{value!r:.40} is none of {', '.join(LABEL_OF_CODE)}")
    return choice


def shown_as(order: Sequence[int]) -> str:
    """The order shown, as the labelled file names it: "12" or "21"."""
    return intern("".join("12"[i] for i in order))      # one text for a million questions


def label_of(choice: str, order: Sequence[int]) -> Label:
    """The label in stored order of a choice "1", "2" or "EQUAL" in presented order."""
    return unswap(SLOT_OF_CODE[choice], swapped=tuple(order) == (1, 0))


@dataclass
class LabelOutcome:
    """Labels, what has none and why, and how the judge behaved.

    `extras` is per pair what the labelled file stores beside the label: the order shown is "12"
    or "21", and `verdicts` and the reasoning speak in that order. A pair without a readable
    verdict in every order that was asked is in `errors` and has no label. `repeats` is how often
    (the same verdict was given again, it was asked again); `repeats_open` has the reasons of those
    that have no answer.
    """

    planned: int
    ledger: Ledger
    faults: Counter[str]
    labeled: list[LabeledPair] = field(default_factory=list)
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    repeats: tuple[int, int] = (0, 0)
    repeats_open: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Pairs with a label, ties included."""
        return len(self.labeled)

    @property
    def ties(self) -> int:
        """Pairs labelled a tie, flips included."""
        return sum(item.label == "tie" for item in self.labeled)

    @property
    def flips(self) -> int:
        """Pairs where the two orders gave different labels."""
        return sum(bool(extra["flip"]) for extra in self.extras.values())

    @property
    def identical(self) -> int:
        """Pairs that show one reply twice, a tie that nobody was asked about."""
        return sum(bool(extra.get("identical")) for extra in self.extras.values())

    @property
    def first_choices(self) -> Counter[str]:
        """How often each code was the verdict, in presented order."""
        return Counter(choice for extra in self.extras.values()
                       for choice in extra["verdicts"].values())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the labelled file, in the order of the pairs."""
        return (labeled_row(item, **self.extras[item.pair.pair_id]) for item in self.labeled)

    @property
    def counts(self) -> dict[str, Any]:
        """For the manifest."""
        return {"planned": self.planned, "done": self.done, "unscored": len(self.errors),
                "ties": self.ties, "identical": self.identical,
                "flips": self.flips, "repeats": list(self.repeats),
                "first_choices": dict(self.first_choices), "faults": dict(self.faults),
                "ledger": vars(self.ledger)}


def pair_questions(pairs: Sequence[Pair], judge: Judge, *, both_orders: bool, seed: int,
                   repeat_fraction: float = 0.0) -> Mapping[Name, Compare]:
    """The questions about pairs: one or two orders, and for a share of pairs each a second time.

    Nothing is asked about a pair whose replies are the same but for space around them.

    Raises:
        DataError: two different pairs have the same id.
    """
    check_unique([pair.pair_id for pair in pairs])
    pair_of = {pair.pair_id: pair for pair in pairs}
    names: dict[Name, Name] = {}
    for pair_id, pair in pair_of.items():
        if is_twice_the_same(pair):
            continue
        draw = int(content_id(seed, "repeat", pair_id, length=8), 16) / 16**8
        times = 2 if draw < repeat_fraction else 1
        orders = BOTH_ORDERS if both_orders else (hashed_order(2, seed, pair_id),)
        for sample, order in product(range(times), orders):
            name = (pair_id, sample, shown_as(order))
            names[name] = name

    def compose(name: Name) -> Compare:
        pair_id, sample, shown = name
        pair = pair_of[pair_id]
        return Compare.compose(pair_id, pair.prompt, (pair.response_a, pair.response_b),
                               order=BOTH_ORDERS[shown == "21"], sample=sample,
                               prompts=judge.prompts)

    return Lazy(names, compose)


def is_twice_the_same(pair: Pair) -> bool:
    """Whether a pair shows one reply twice: a tie without being asked, but where that is the test.
    """
    return not pair.metadata.get("control") and pair.response_a.strip() == pair.response_b.strip()


def label_pairs(pairs: Sequence[Pair], judge: Judge, *, log: Path, both_orders: bool = True,
                seed: int = 0, repeat_fraction: float = 0.0,
                mode: str = "online") -> LabelOutcome:
    """A label for every pair that the judge could be read on.

    Asked in both orders, two equal labels are the label; two different ones are a tie with
    `flip` recorded. Nothing is ever guessed: no verdict, no label.
    """
    asked = pair_questions(pairs, judge, both_orders=both_orders, seed=seed,
                           repeat_fraction=repeat_fraction)
    ask = ask_in_batches if mode == "batch" else ask_all
    answers = ask(asked, judge, log=log)
    outcome = LabelOutcome(len(pairs), answers.ledger, answers.faults)
    for pair in pairs:
        names = [name for shown in ("12", "21") if (name := (pair.pair_id, 0, shown)) in asked]
        if not names:
            _tie(pair, judge, outcome)
            continue
        reasons = [answers.errors[name] for name in names if name in answers.errors]
        if reasons:
            outcome.errors[pair.pair_id] = reasons[0]
        else:
            _conclude(pair, [answers.rows[name] for name in names], judge, outcome)
    outcome.repeats = _repeats(answers, outcome)
    outcome.repeats_open = [reason for (pair_id, sample, _), reason in answers.errors.items()
                            if sample and pair_id not in outcome.errors]
    return outcome


def _tie(pair: Pair, judge: Judge, outcome: LabelOutcome) -> None:
    """Add the tie of a pair that shows one reply twice; that nobody was asked stands with it."""
    outcome.labeled.append(LabeledPair(pair, "tie", judge.name,
                                       "The two replies are the same, so nobody was asked."))
    outcome.extras[pair.pair_id] = {"flip": False, "identical": True, "judgments": [],
                                    "verdicts": {}}


def brought_outcome(labels: Sequence[LabeledPair], *, planned: int) -> LabelOutcome:
    """Labels that came in a file, as if they had been asked here; what lacks one is in `errors`."""
    outcome = LabelOutcome(planned, Ledger(), Counter(), list(labels))
    for item in labels:
        outcome.extras[item.pair.pair_id] = {"flip": bool(item.pair.metadata.get("flip")),
                                             "verdicts": verdicts_of(item)}
    return outcome


def _conclude(pair: Pair, rows: Sequence[Mapping[str, Any]], judge: Judge,
              outcome: LabelOutcome) -> None:
    """Add the label of a pair, which every order that was asked agrees on, or a tie."""
    by_shown = {shown_as(row["order"]): row for row in rows}
    verdicts = {shown: row["verdict"]["choice"] for shown, row in by_shown.items()}
    labels = {label_of(row["verdict"]["choice"], row["order"]) for row in rows}
    is_flip = len(labels) > 1
    label: Label = "tie" if is_flip else labels.pop()
    reasoning = as_said({shown: row["verdict"]["reasoning"] for shown, row in by_shown.items()})
    outcome.labeled.append(LabeledPair(pair, label, judge.name, reasoning))
    outcome.extras[pair.pair_id] = {
        "flip": is_flip, "judge_model": intern(", ".join({row["model"]: 0 for row in rows})),
        "judge_prompt": intern(rows[0]["prompt"]),
        "judgments": [row["key"] for row in rows], "verdicts": verdicts}


def _repeats(answers: Answers[Name], outcome: LabelOutcome) -> tuple[int, int]:
    """How often the same question got the same verdict again, and how often it was asked again."""
    both = [(answers.rows[pair_id, 0, shown], row)
            for (pair_id, sample, shown), row in answers.rows.items()
            if sample == 1 and pair_id in outcome.extras]
    same = sum(one["verdict"]["choice"] == two["verdict"]["choice"] for one, two in both)
    return same, len(both)
