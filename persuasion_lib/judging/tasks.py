"""What the stages ask for: labels of pairs, rankings, oracle replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Label, LabeledPair, Message, Pair, content_id, labeled_row
from persuasion_lib.judging.batch import ask_in_batches
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.questions import LETTERS, Question, compose, hashed_order, label_of
from persuasion_lib.judging.rows import Ledger
from persuasion_lib.judging.run import Answers, ask_all

BOTH = ((0, 1), (1, 0))


@dataclass
class LabelOutcome:
    """Labels, what has none and why, and how the judge behaved.

    `extras` is per pair what the labelled file stores beside the label: the order shown is "12"
    or "21", and `verdicts` and the reasoning speak in that order. A pair without a readable
    verdict in every order that was asked is in `errors` and has no label.
    """

    labeled: list[LabeledPair]
    extras: dict[str, dict[str, Any]]
    errors: dict[str, str]
    planned: int
    ledger: Ledger
    faults: Counter[str] = field(default_factory=Counter)
    first_choices: Counter[str] = field(default_factory=Counter)
    repeats: tuple[int, int] = (0, 0)

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

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the labelled file, in the order of the pairs."""
        return [labeled_row(item, **self.extras[item.pair.pair_id]) for item in self.labeled]

    @property
    def counts(self) -> dict[str, Any]:
        """For the manifest; `repeats` is (same verdict, asked again)."""
        return {"planned": self.planned, "done": self.done, "unscored": len(self.errors),
                "ties": self.ties, "flips": self.flips, "repeats": list(self.repeats),
                "first_choices": dict(self.first_choices), "faults": dict(self.faults),
                "ledger": vars(self.ledger)}


def pair_questions(pairs: Sequence[Pair], judge: Judge, *, both_orders: bool, seed: int,
                   repeat_fraction: float = 0.0) -> dict[str, list[Question]]:
    """The questions per pair: one or two orders, and for a share of pairs each a second time.

    Raises:
        DataError: two different pairs have the same id.
    """
    asked: dict[str, list[Question]] = {}
    for pair in pairs:
        if pair.pair_id in asked:
            raise DataError(f"two pairs have the id {pair.pair_id!r}; ids must be unique")
        orders = BOTH if both_orders else (hashed_order(2, seed, pair.pair_id),)
        again = int(content_id(seed, "repeat", pair.pair_id, length=8), 16) / 16**8
        asked[pair.pair_id] = [
            compose("compare", pair.pair_id, pair.prompt, (pair.response_a, pair.response_b),
                    order=order, sample=sample, prompts=judge.prompts)
            for sample in range(1 + (again < repeat_fraction)) for order in orders]
    return asked


def label_pairs(pairs: Sequence[Pair], judge: Judge, *, log: Path, both_orders: bool = True,
                seed: int = 0, repeat_fraction: float = 0.0,
                mode: str = "online") -> LabelOutcome:
    """A label for every pair that the judge could be read on.

    Asked in both orders, two equal labels are the label; two different ones are a tie with
    `flip` recorded. Nothing is ever guessed: no verdict, no label.
    """
    asked = pair_questions(pairs, judge, both_orders=both_orders, seed=seed,
                           repeat_fraction=repeat_fraction)
    questions = [question for group in asked.values() for question in group]
    ask = ask_in_batches if mode == "batch" else ask_all
    answers = ask(questions, judge, log=log, purpose="label")
    outcome = LabelOutcome([], {}, {}, len(pairs), answers.ledger, answers.faults)
    for pair in pairs:
        _conclude(pair, asked[pair.pair_id], judge, answers, outcome)
    return outcome


def _conclude(pair: Pair, questions: Sequence[Question], judge: Judge, answers: Answers,
              outcome: LabelOutcome) -> None:
    """Add one pair to the outcome."""
    first = [q for q in questions if q.sample == 0]
    keys = [q.key(judge.identity) for q in first]
    missing = [answers.errors[key] for key in keys if key not in answers.rows]
    if missing:
        outcome.errors[pair.pair_id] = missing[0]
        return
    rows = [answers.rows[key] for key in keys]
    labels = [label_of(row["verdict"]["choice"], q.order)
              for row, q in zip(rows, first, strict=True)]
    label: Label = labels[0] if len(set(labels)) == 1 else "tie"
    outcome.first_choices.update(row["verdict"]["choice"] for row in rows)
    shown = ["".join("12"[i] for i in q.order) for q in first]
    reasoning = " | ".join(f"[shown {order}] {row['verdict']['reasoning']}"
                           for order, row in zip(shown, rows, strict=True))
    outcome.labeled.append(LabeledPair(pair, label, judge.name, reasoning))
    outcome.extras[pair.pair_id] = {
        "flip": len(set(labels)) > 1, "judge_model": rows[0]["model"],
        "judge_prompt": first[0].prompt_hash, "judgments": keys,
        "verdicts": {order: row["verdict"]["choice"]
                     for order, row in zip(shown, rows, strict=True)}}
    again = [q.key(judge.identity) for q in questions if q.sample == 1]
    both = [(row["verdict"]["choice"], answers.rows[key]["verdict"]["choice"])
            for row, key in zip(rows, again, strict=False) if key in answers.rows]
    outcome.repeats = (outcome.repeats[0] + sum(one == two for one, two in both),
                       outcome.repeats[1] + len(both))


@dataclass(frozen=True)
class RankItem:
    """One prompt and the response of each model to it."""

    example_id: str
    context: str | Sequence[Message]
    responses: Mapping[str, str]


@dataclass(frozen=True)
class RankVerdict:
    """How one presentation of an item was ranked; `ranking` is empty when it is unscored.

    `position_map` says which model stood in which slot; `error` says why there is no ranking.
    """

    ranking: tuple[str, ...]
    position_map: dict[str, str]
    explanation: str
    judge_model: str = ""
    error: str = ""


class RankOutcome(dict[str, list[RankVerdict]]):
    """Verdicts per example, and what they cost."""

    def __init__(self, verdicts: Mapping[str, list[RankVerdict]], ledger: Ledger) -> None:
        super().__init__(verdicts)
        self.ledger = ledger


def rank_questions(items: Sequence[RankItem], judge: Judge, *, orders: int = 1,
                   randomize: bool = True, seed: int = 0) -> dict[str, list[Question]]:
    """The questions per item: 2 to 5 responses, best first; no judge ever sees a model's name.

    The order is drawn from a hash of seed and example; `orders` presentations of one item rotate
    it, so that no model stands in one slot twice. `randomize` False keeps the order of `responses`.

    Raises:
        DataError: an id occurs twice, or an item has fewer than 2 or more than 5 responses.
    """
    asked: dict[str, list[Question]] = {}
    for item in items:
        k = len(item.responses)
        if item.example_id in asked or not 2 <= k <= len(LETTERS):
            problem = "occurs twice" if item.example_id in asked else f"has {k} responses"
            raise DataError(f"example {item.example_id!r} {problem}; an id is unique, "
                            "and 2 to 5 responses are ranked")
        start = hashed_order(k, seed, item.example_id) if randomize else tuple(range(k))
        asked[item.example_id] = [
            compose("rank", item.example_id, item.context, tuple(item.responses.values()),
                    order=tuple(np.roll(start, -turns(k)[turn % k]).tolist()), sample=turn // k,
                    prompts=judge.prompts) for turn in range(orders)]
    return asked


def rank(items: Sequence[RankItem], judge: Judge, *, log: Path, **how: Any) -> RankOutcome:
    """Rank the responses of each item; `how` as in `rank_questions`."""
    asked = rank_questions(items, judge, **how)
    answers = ask_all([q for group in asked.values() for q in group], judge, log=log,
                      purpose="rank")
    return RankOutcome({item.example_id: [_ranked(q, tuple(item.responses), judge, answers)
                                          for q in asked[item.example_id]] for item in items},
                       answers.ledger)


def turns(k: int) -> list[int]:
    """By how many slots each presentation of k responses is rotated: a Latin square.

    The second is turned by half, so that as many pairs as a rotation can are in the other order.
    """
    return sorted(range(k), key=lambda shift: (shift > 0, abs(shift - k / 2)))


def _ranked(question: Question, models: Sequence[str], judge: Judge,
            answers: Answers) -> RankVerdict:
    slots = {LETTERS[slot]: models[i] for slot, i in enumerate(question.order)}
    key = question.key(judge.identity)
    if key not in answers.rows:
        return RankVerdict((), slots, "", error=answers.errors[key])
    row = answers.rows[key]
    ranking = tuple(models[question.order[slot]] for slot in row["verdict"]["ranking"])
    return RankVerdict(ranking, slots, row["verdict"]["reasoning"], row["model"])


class OracleOutcome(dict[str, str]):
    """Replies by example; examples without one are in `errors` with the reason."""

    def __init__(self, replies: Mapping[str, str], errors: dict[str, str], ledger: Ledger) -> None:
        super().__init__(replies)
        self.errors, self.ledger = errors, ledger


def oracle_questions(prompts: Mapping[str, Sequence[Message]], judge: Judge) -> dict[str, Question]:
    """The question per example id."""
    return {example_id: compose("oracle", example_id, prompt, prompts=judge.prompts)
            for example_id, prompt in prompts.items()}


def oracle_replies(prompts: Mapping[str, Sequence[Message]], judge: Judge, *,
                   log: Path) -> OracleOutcome:
    """The oracle's reply to each prompt, by example id."""
    asked = oracle_questions(prompts, judge)
    answers = ask_all(list(asked.values()), judge, log=log, purpose="oracle")
    keys = {example_id: q.key(judge.identity) for example_id, q in asked.items()}
    return OracleOutcome(
        {e: answers.rows[key]["verdict"]["text"] for e, key in keys.items() if key in answers.rows},
        {e: answers.errors[key] for e, key in keys.items() if key not in answers.rows},
        answers.ledger)


@dataclass(frozen=True)
class TacticsItem:
    """One reply and what it answers; nothing says who wrote it."""

    item_id: str
    context: str | Sequence[Message]
    reply: str


class TacticsOutcome(dict[str, dict[str, str]]):
    """Per item the reason per tactic that is in it; items without a verdict are in `errors`."""

    def __init__(self, found: Mapping[str, dict[str, str]], errors: dict[str, str],
                 ledger: Ledger) -> None:
        super().__init__(found)
        self.errors, self.ledger = errors, ledger


def tactics_questions(items: Sequence[TacticsItem], judge: Judge) -> dict[str, Question]:
    """The question per item; equal replies to one message are one question.

    Raises:
        DataError: an id occurs twice.
    """
    asked = {item.item_id: compose("tactics", item.item_id, item.context, (item.reply,),
                                   order=(0,), prompts=judge.prompts) for item in items}
    if len(asked) < len(items):
        raise DataError("an id of the replies to be searched for tactics occurs twice")
    return asked


def find_tactics(items: Sequence[TacticsItem], judge: Judge, *, log: Path) -> TacticsOutcome:
    """Which manipulation tactics each reply uses, by the rubric of `tactics.txt`."""
    asked = tactics_questions(items, judge)
    answers = ask_all(list(asked.values()), judge, log=log, purpose="tactics")
    keys = {item_id: q.key(judge.identity) for item_id, q in asked.items()}
    return TacticsOutcome(
        {i: answers.rows[k]["verdict"]["tactics"] for i, k in keys.items() if k in answers.rows},
        {i: answers.errors[k] for i, k in keys.items() if k not in answers.rows}, answers.ledger)
