"""The scores of a study as tables of seeds x prompts that may be compared with each other.

Only prompts that every cell has a verdict for count, so that no difference of two cells is one of
their prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from persuasion_lib.core.errors import DataError
from persuasion_lib.study.design import Study
from persuasion_lib.study.file import level_name

READ = 0.5              # share of the prompts below which a cell counts as missing

_CELL = ["arm", "level", "seed"]
_MEASURES = ("judge", "human", "gold")
Tables = dict[tuple[str, str], pd.DataFrame]


@dataclass(frozen=True)
class Grid:
    """Scores against the anchor by (arm, level): tables of seeds x prompts.

    `judge` has no holes. `human` has a value where a person compared. `gold`, the demo's known
    truth, is there for cells that have it for every prompt. `levels` are names, in the order of
    the study; `asked` counts the prompts of all cells, `prompts` those that all of them share.
    `absent` are planned cells that are not here: arm, level, seed, why.
    """

    judge: Tables
    human: Tables
    gold: Tables
    levels: tuple[str, ...]
    asked: int
    prompts: tuple[str, ...]
    absent: list[dict[str, Any]]

    def joined(self, measure: str, cells: list[tuple[str, str]]) -> list[pd.DataFrame]:
        """The tables of these cells with the seeds that all of them have; [] without one."""
        tables = getattr(self, measure)
        if not cells or not set(cells) <= set(tables):
            return []
        seeds = sorted(set.intersection(*(set(tables[cell].index) for cell in cells)))
        return [tables[cell].loc[seeds] for cell in cells] if seeds else []


def gridded(scores: pd.DataFrame, study: Study, anchor: str) -> Grid:
    """The tables of a study's scores against one anchor.

    Args:
        scores: the table of `read_scores`.

    Raises:
        DataError: no score at all; one twice; one outside 0 to 1.
    """
    planned = planned_cells(study)
    rows = _rows(scores, planned, anchor)
    _check(rows, study)
    wide = {name: rows.pivot(index=_CELL, columns="example_id", values=name).astype(float)
            for name in _MEASURES}
    read = wide["judge"].notna()
    usable = read.mean(axis=1) >= READ
    shared = read[usable].all(axis=0) if usable.any() else read.all(axis=0)
    tables = {name: _by_cell(table.loc[usable, shared]) for name, table in wide.items()}
    return Grid(
        judge=tables["judge"], human=tables["human"],
        gold={cell: table for cell, table in tables["gold"].items()
              if table.notna().all(axis=None)},
        levels=tuple(dict.fromkeys(level for _, level, _ in planned)),
        asked=len(shared), prompts=tuple(shared.index[shared]),
        absent=[{"arm": arm, "level": level, "seed": seed, "why": _why(read, (arm, level, seed))}
                for arm, level, seed in planned if not usable.get((arm, level, seed), False)])


def planned_cells(study: Study) -> list[tuple[str, str, int]]:
    """(arm, level, seed) of everything that the study trains, in its order."""
    return list(dict.fromkeys((arm, level_name(study.level_of(arm, cell)), cell.seed)
                              for cell in study.cells for arm in cell.arms))


def _rows(scores: pd.DataFrame, planned: Sequence[tuple[str, str, int]], anchor: str
          ) -> pd.DataFrame:
    """The scores that the study asks for: one that has become smaller leaves cells behind."""
    rows = scores[scores["anchor"] == anchor].astype({"level": object, "example_id": str})
    rows["level"] = [level_name(level) for level in rows["level"]]
    return rows[pd.MultiIndex.from_frame(rows[_CELL]).isin(planned)]


def _check(rows: pd.DataFrame, study: Study) -> None:
    if rows.empty:
        raise DataError(f"no cell of the study {study.name} has a score yet. Run: "
                        f"persuasion study {study.name}")
    twice = rows[rows.duplicated([*_CELL, "example_id"])]
    strange = rows[~rows["judge"].between(0, 1) & rows["judge"].notna()]
    for found, what in ((twice, "has two scores for"), (strange, "has no score from 0 to 1 for")):
        if len(found):
            row = found.iloc[0]
            raise DataError(f"{row.arm} at {row.level}, seed {row.seed}, {what} the prompt "
                            f"{row.example_id!r}. Delete the file of its scores ({row.cell}.json "
                            f"in {study.folder / 'cells'}), and run: persuasion study {study.name}")


def _by_cell(wide: pd.DataFrame) -> Tables:
    return {cell: table.droplevel(["arm", "level"])
            for cell, table in wide.groupby(level=["arm", "level"])}


def _why(read: pd.DataFrame, cell: tuple[str, str, int]) -> str:
    if cell not in read.index:
        return "not there"
    found = read.loc[cell]
    return f"{found.sum()} of {len(found)} prompts have a verdict"
