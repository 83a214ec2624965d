"""Two to six replies, ranked by how well they persuade; no judge ever sees a model's name."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.store import KeyedLog
from persuasion_lib.demo.standins import OfflineJudge
from persuasion_lib.judging.ask import ask_all
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.questions import (
    LETTERS,
    Prompts,
    Question,
    Texts,
    hashed_order,
    read_verdict,
    schema_of,
)


class Rank(Question):
    """Replies in lettered slots, to be named from the best to the worst."""

    task = "rank"

    @property
    def schema(self) -> dict[str, Any]:
        letters = {"type": "string", "enum": list(LETTERS[:len(self.order)])}
        return schema_of({"reasoning": {"type": "string"},
                          "ranking": {"type": "array", "items": letters}})

    def read(self, reply: str) -> dict[str, Any]:
        slots, why = read_verdict(reply, "ranking", lambda value: _as_slots(value, len(self.order)),
                                  self.candidates)
        return {"ranking": list(slots), "reasoning": why}

    def accepts(self, verdict: Mapping[str, Any]) -> bool:
        slots = verdict.get("ranking")
        return (isinstance(slots, list) and all(isinstance(slot, int) for slot in slots)
                and sorted(slots) == list(range(len(self.order)))
                and isinstance(verdict.get("reasoning"), str))

    def stand_in(self, judge: OfflineJudge) -> str:
        slots, why = judge.rank(self.context, self.candidates, sample=self.sample)
        return json.dumps({"reasoning": why, "ranking": [LETTERS[slot] for slot in slots]})


def _as_slots(value: Any, k: int) -> tuple[int, ...]:
    letters = re.split(r"\s*[>,]\s*", value) if isinstance(value, str) else value
    letters = [str(letter).strip(" []\"'").upper() for letter in letters]
    if sorted(letters) != list(LETTERS[:k]):
        raise ValueError(f"{value!r:.40} is not each of {', '.join(LETTERS[:k])} once")
    return tuple(LETTERS.index(letter) for letter in letters)


@dataclass(frozen=True)
class RankVerdict:
    """How one presentation of an item was ranked; `ranking` is empty when it is unscored.

    `position_map` says which model stood in which slot; `error` says why there is no ranking. The
    models of a group in `tied` gave the same reply: it was shown once, in the slot of the first of
    them, and they share a rank.
    """

    ranking: tuple[str, ...]
    position_map: dict[str, str]
    explanation: str = ""
    error: str = ""
    tied: tuple[tuple[str, ...], ...] = ()


def rank_questions(prompts: Prompts, replies: Texts, judge: Judge, *, orders: int = 1,
                   randomize: bool = True, seed: int = 0) -> dict[tuple[str, int], Rank]:
    """The questions by (example, presentation), for the `replies` of models to each prompt.

    The order is drawn from a hash of seed and example; `orders` presentations of one example
    rotate it, so that no model stands in one slot twice. Otherwise it is that of `replies`.
    Replies that are the same but for space around them are shown once; where all are, nothing is
    asked.

    Raises:
        DataError: an example has fewer than 2 or more than 6 replies.
    """
    asked: dict[tuple[str, int], Rank] = {}
    for example_id, prompt in prompts.items():
        given = replies[example_id]
        if not 2 <= len(given) <= len(LETTERS):
            raise DataError(f"example {example_id!r} has {len(given)} replies; 2 to 6 can be "
                            "ranked")
        texts = tuple(given[models[0]] for models in same_replies(given))
        k = len(texts)
        if k == 1:
            continue
        start = hashed_order(k, seed, example_id) if randomize else tuple(range(k))
        for turn in range(orders):
            order = np.roll(start, -turns(k)[turn % k]).tolist()
            asked[example_id, turn] = Rank.compose(example_id, prompt, texts, order=order,
                                                   sample=turn // k, prompts=judge.prompts)
    return asked


def same_replies(given: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The models by what they replied, in their order; space around a reply does not count."""
    groups: dict[str, list[str]] = {}
    for model, text in given.items():
        groups.setdefault(text.strip(), []).append(model)
    return [tuple(models) for models in groups.values()]


def turns(k: int) -> list[int]:
    """By how many slots each presentation of k responses is rotated: a Latin square.

    The second is turned by half, so that as many pairs as a rotation can are in the other order.
    """
    return sorted(range(k), key=lambda shift: (shift > 0, abs(shift - k / 2)))


def rank(prompts: Prompts, replies: Texts, judge: Judge, *, log: Path, given_up: str = "",
         **how: Any) -> dict[str, list[RankVerdict]]:
    """Rank the replies to each prompt; `how` as in `rank_questions`.

    Args:
        given_up: why nobody is asked any more; what the log holds is all there is.
    """
    asked = rank_questions(prompts, replies, judge, **how)
    known = KeyedLog.rows_in(log) if given_up else {}
    why = {judge.key_of(each, known): given_up for each in asked.values()} if given_up else None
    answers = ask_all(asked, judge, log=log, given_up=why)
    verdicts: dict[str, list[RankVerdict]] = {example_id: [] for example_id in prompts}
    for (example_id, turn), question in asked.items():
        groups = same_replies(replies[example_id])
        shown = [groups[i] for i in question.order]
        slots = {letter: models[0] for letter, models in zip(LETTERS, shown, strict=False)}
        row = answers.rows.get((example_id, turn))
        if row is None:
            verdict = RankVerdict((), slots, error=answers.errors[example_id, turn])
        else:
            best_first = [shown[slot] for slot in row["verdict"]["ranking"]]
            verdict = RankVerdict(sum(best_first, ()), slots, row["verdict"]["reasoning"],
                                  tied=_several(groups))
        verdicts[example_id].append(verdict)
    return {example_id: found or [_all_the_same(replies[example_id])]
            for example_id, found in verdicts.items()}


def _several(groups: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple(models for models in groups if len(models) > 1)


def _all_the_same(given: Mapping[str, str]) -> RankVerdict:
    """What needs no judge: every model gave the same reply."""
    models = tuple(given)
    return RankVerdict(models, {}, "All replies are the same, so nobody was asked.",
                       tied=(models,))
