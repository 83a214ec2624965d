"""An evaluation as tables of one row per prompt, or judge call, and one column per model."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from persuasion_lib.core.family import HUMAN
from persuasion_lib.judging.word_lists import tactics_in
from persuasion_lib.reporting.evaluation_file import (
    EvaluationFile,
    ExampleRow,
    Judgment,
    Setup,
    Slots,
)


@dataclass(frozen=True)
class Evaluated:
    """The rankings of an evaluation as tables, and the file that they are from.

    `read` has a row per readable ranking (rank 1 best), `ranks` its means over the orders, NaN
    where unscored, which `reasons` explains. `calls` and `slots` leave out the `tied` rankings
    where models shared a reply and a rank, which say nothing of slots (slot 1 shown first; None
    where the file does not say). `asked` counts the rankings, unreadable ones as well. With
    `judge_only` the prompts for the judge alone are among the rows.
    """

    file: EvaluationFile
    models: list[str]
    read: pd.DataFrame
    ranks: pd.DataFrame
    calls: pd.DataFrame
    slots: pd.DataFrame | None
    reasons: dict[str, str]
    asked: int
    tied: int = 0
    judge_only: bool = False

    @property
    def rows(self) -> list[ExampleRow]:
        """The examples of the tables, in the order of the file: those for the judge alone are in
        none."""
        return _rows(self.file, self.judge_only)

    @property
    def setup(self) -> Setup:
        """Who played which role."""
        return self.file.config

    def table(self, name: str) -> pd.DataFrame | None:
        """Prompts x models of a field such as `similarity_scores`; None if no row has it."""
        fields = [getattr(row, name) for row in self.rows]
        if not any(fields):
            return None
        return self._frame([[field.get(model) for model in self.models] for field in fields])

    def replies(self) -> list[list[str | None]]:
        """Texts per prompt in the order of `models`; None where a model did not answer."""
        return [[row.responses.get(model) for model in self.models] for row in self.rows]

    def lengths(self) -> pd.DataFrame:
        """Length of every reply in characters."""
        return self.measured(len, self.replies())

    def flags(self, test: Callable[[Any], Any],
              values: list[list[Any]] | None = None) -> pd.DataFrame:
        """1 where `test` of a reply (or of `values`) is true and 0 where not; NaN where None."""
        return self.measured(lambda value: bool(test(value)), values or self.replies())

    def measured(self, measure: Callable[[Any], float], values: list[list[Any]]) -> pd.DataFrame:
        """`measure` of every value, prompts x models; NaN where the value is None."""
        return self._frame([[None if value is None else measure(value) for value in row]
                            for row in values])

    def tactics(self) -> tuple[list[list[Collection[str] | None]], bool]:
        """Manipulation tactics per prompt in the order of `models`, and whether a judge found them.

        None is unscored, or no reply. In a file without a judge's findings word lists find them.
        """
        if any(row.tactics for row in self.rows):
            return [[row.tactics.get(model) for model in self.models] for row in self.rows], True
        return [[None if text is None else tactics_in(text) for text in texts]
                for texts in self.replies()], False

    def _frame(self, values: list[list[float | None]]) -> pd.DataFrame:
        return pd.DataFrame(values, index=self.ranks.index, columns=self.models, dtype=float)


def _rows(file: EvaluationFile, judge_only: bool) -> list[ExampleRow]:
    return [row for row in file.per_example if judge_only or not row.judge_only]


def tabulated(file: EvaluationFile, *, judge: str | None = None,
              judge_only: bool = False) -> Evaluated:
    """The rankings of a file as tables.

    Args:
        judge: whose, of the panel's further judges; None is the first.
        judge_only: with the prompts that only the judge read, which are in no ordinary table.
    """
    models = file.models()
    rows = _rows(file, judge_only)
    calls = [(row.example_id, call) for row in rows for call in _calls(row, models, judge)]
    readable = [(key, call) for key, call in calls if call.ranks]
    reasons: dict[str, str] = {}
    for key, call in calls:
        if call.problem:
            reasons.setdefault(key, call.problem)
    index = pd.Index([key for key, _ in readable], name="prompt_id", dtype=object)
    ranks = pd.DataFrame([call.ranks for _, call in readable], index=index, columns=models,
                         dtype=float)
    different = np.array([not call.is_tied for _, call in readable], dtype=bool)
    places = [call.slots for _, call in readable if not call.is_tied]
    slots = None
    if places and None not in places:
        slots = pd.DataFrame(places, index=index[different], columns=models, dtype=float)
    prompts = pd.Index([row.example_id for row in rows], name="prompt_id")
    means = ranks.groupby(level=0, sort=False).mean().reindex(prompts)
    return Evaluated(file=file, models=models, read=ranks, ranks=means,
                     calls=ranks[different], slots=slots,
                     reasons=reasons, asked=len(calls), tied=int((~different).sum()),
                     judge_only=judge_only)


def ranks_with(data: Evaluated, other: str) -> pd.DataFrame:
    """Mean ranks of the models and of one `other` who was ranked with them, where that was so."""
    names = list(dict.fromkeys([*data.models, other]))
    rows = {row.example_id: ranks for row in data.rows if (
        other not in data.models and (ranks := _ranks_of_all(row, names)))}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=names, dtype=float)
    return table.rename_axis("prompt_id")


def _ranks_of_all(row: ExampleRow, names: list[str]) -> list[float] | None:
    if row.judgments is None:
        return _outside_ranks(row, names)[0]
    calls = [judgment.ranks(names) for judgment in row.judgments
             if sorted(judgment.ranking or []) == sorted(names)]
    return np.mean(calls, axis=0).tolist() if calls else None


class _Call(NamedTuple):
    """One ranking in the order of the models: ranks, or the problem; slots where known."""

    ranks: list[float] | None
    slots: list[int] | None
    problem: str | None
    is_tied: bool = False


def _calls(row: ExampleRow, models: Sequence[str], judge: str | None) -> list[_Call]:
    absent = [model for model in models if row.responses.get(model) is None]
    if absent:
        # A place in a ranking that no text has earned.
        asked = len(row.judgments) if row.judgments is not None else 1
        return [_Call(None, None, f"no reply of {', '.join(absent)}")] * asked
    given = row.judgments if judge is None else row.panel.get(judge, [])
    if given is None:
        ranks, problem = _outside_ranks(row, models)
        return [_Call(ranks, _places(row.position_map, models), problem)]
    return [_call(judgment, models) for judgment in given]


def _call(judgment: Judgment, models: Sequence[str]) -> _Call:
    judgment = judgment.among(models)
    slots = _places(judgment.position_map, models)
    if not judgment.ranking:
        return _Call(None, slots, f"unread: {judgment.error or 'no ranking'}"[:120])
    if sorted(judgment.ranking) != sorted(models):
        return _Call(None, slots, "the ranking does not name every model once")
    return _Call(judgment.ranks(models), slots, None, bool(judgment.tied))


def _order(names: Sequence[str], models: Sequence[str]) -> list[int]:
    return [names.index(model) + 1 for model in models]


def _outside_ranks(row: ExampleRow,
                   models: Sequence[str]) -> tuple[list[float] | None, str | None]:
    """(ranks, problem) of an example without `judgments`, from its scores or its ranking."""
    scores = [row.grader_scores.get(model) for model in models]
    if None not in scores:
        if not any(scores):
            return None, "every model has the score 0: probably a reply that was not parsed"
        return rankdata(-np.array(scores)).tolist(), None
    ranking = [name for name in named_ranking(row) if name in models or name != HUMAN]
    if sorted(ranking) == sorted(models):
        return _order(ranking, models), None
    return None, "no scores for every model"


def named_ranking(row: ExampleRow) -> list[str]:
    """`grader_ranking` as models, best first; files may hold slots (["C", "A", …]) instead."""
    return [str(row.position_map.get(str(name), name)) for name in row.grader_ranking or []]


def _places(position_map: Slots, models: Sequence[str]) -> list[int] | None:
    """Slot 1..K of each model from `{slot: model}`, or from `{model: slot}` of other files."""
    pairs = {str(slot): str(model) for slot, model in position_map.items()
             if HUMAN in models or HUMAN not in (slot, model)}
    if set(pairs) == set(models):
        pairs = {slot: model for model, slot in pairs.items()}
    if set(pairs.values()) != set(models) or len(pairs) != len(models):
        return None
    return _order([pairs[slot] for slot in sorted(pairs)], models)
