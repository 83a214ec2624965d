"""`study.json`: everything that a study says, computed once from the table of its scores.

Page, figures and notebook read it and compute nothing. It holds no time and no machine's path, so
that the same scores give the same bytes.
"""

import os
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from persuasion_lib.core.config import Config
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.manifest import read_manifest
from persuasion_lib.core.pipeline import STAGES, is_trial, path_of, read_file
from persuasion_lib.core.rehearsal import banner_of, rehearsed, stand_ins
from persuasion_lib.stats.plain import plain
from persuasion_lib.study import answer
from persuasion_lib.study.design import Study
from persuasion_lib.study.estimates import estimates, pair_of, plain_of
from persuasion_lib.study.grid import Grid, gridded, level_name, planned_cells
from persuasion_lib.study.limits import limits

SCHEMA = 1
_DIGITS = 6             # of every number: rates to a millionth
_OPENED = ("report.html", "notebooks/05_evaluate.ipynb", "notebooks/04_train_dpo.ipynb",
           "final_evaluation.json")


def analyse(study: Study, scores: pd.DataFrame, states: pd.DataFrame) -> dict[str, Any]:
    """The content of `study.json` as lists, dicts, text and numbers; what is undefined is None.

    Args:
        scores: the table of `read_scores`.
        states: the table of `run.states`.

    Raises:
        DataError: no cell has a score, or the scores are no scores.
    """
    config = study.config
    confidence = config.analysis.confidence
    met = [anchor for anchor in study.anchors if (scores["anchor"] == anchor).any()]
    grids = {anchor: gridded(scores, study, anchor) for anchor in met or study.anchors}
    anchors = {anchor: _against(grid, study, confidence) for anchor, grid in grids.items()}
    result = _rounded(plain({
        "schema": SCHEMA, "study": _about(study, list(grids)), "profile": study.profile,
        "kind": _kind(config), "banner": banner_of(config), "stand_ins": stand_ins(config),
        "judge": _judge(config), "confidence": confidence, "costs": costs(config),
        "leading": answer.leading(anchors), "anchors": anchors,
        "cells": cell_rows(study, states, next(iter(grids.values())))}))
    result["withheld"] = answer.withheld(result)
    result["sentences"] = answer.sentences(result)
    result["limits"] = limits(result)
    return result


def _about(study: Study, anchors: list[str]) -> dict[str, Any]:
    """What was asked; `anchors` are those that replies were compared with."""
    unmet = [f"No reply is compared with {anchor}." for anchor in study.anchors
             if anchor not in anchors]
    return {"name": study.name, "question": study.question, "axis": study.axis,
            "levels": [level_name(level) for level in study.levels], "arms": study.arms,
            "unlabelled": study.unlabelled, "seeds": study.seeds,
            "primary": level_name(study.primary), "anchors": anchors,
            "pair": pair_of(study), "plain": plain_of(study), "notes": [*study.notes, *unmet]}


def _kind(config: Config) -> str:
    """"study"; or what gives no answer: "rehearsal", of a real model with stand-ins, or "trial"."""
    if rehearsed(config):
        return "rehearsal"
    return "trial" if is_trial(config, STAGES["evaluate"]) else "study"


def _judge(config: Config) -> str:
    named = config.peek("evaluation.judge")
    return f"{named}, a stand-in" if "judge" in stand_ins(config) else named


def _against(grid: Grid, study: Study, confidence: float) -> dict[str, Any]:
    """Everything against one anchor; `sizes` are the labels of the curve that others are read on.
    """
    plain_arm = plain_of(study)
    verdicts = np.concatenate([table.to_numpy().ravel() for table in grid.judge.values()] or [[]])
    return {"asked": grid.asked, "prompts": len(grid.prompts), "absent": grid.absent,
            "cells_planned": len(planned_cells(study)),
            "undecided": float((verdicts == 0.5).mean()) if len(verdicts) else None,
            "sizes": [float(level) for level in grid.levels if (plain_arm, level) in grid.judge],
            **estimates(grid, study, confidence)}


def costs(config: Config) -> dict[str, dict[str, Any]]:
    """What the labels were: decided ones, dollars of the judge, hours of people; None if unknown.

    Decided are those that train or validate: without ties.
    """
    labelled = read_manifest(config, "label_ai") or {}
    usd = (labelled.get("counts", {}).get("ledger") or {}).get("usd")
    # Of several people each vote took its own time.
    votes = [vote for label in _rows(config, "human_pool_labeled")
             for vote in (label.pair.metadata.get("given") or [label.pair.metadata])]
    seconds = [vote.get("seconds") for vote in votes]
    timed = [value for value in seconds if is_amount(value)]
    # The median holds against a break that was forgotten.
    hours = median(timed) * len(seconds) / 3600 if timed else None
    return {"ai": {"decided": _decided(config, "rlaif", config.training.ai_labels), "usd": usd},
            "human": {"decided": _decided(config, "rlhf", config.training.human_labels),
                      "hours": hours}}


def _decided(config: Config, split: str, used: int | None) -> int | None:
    """Labels of a split that train or validate, where the settings use no fewer of them."""
    there = sum(len(_rows(config, f"{split}_{part}")) for part in ("train", "val"))
    return min(there, used or there) or None


def _rows(config: Config, name: str) -> list[Any]:
    return read_file(config, name) if path_of(config, name).exists() else []


def cell_rows(study: Study, states: pd.DataFrame, grid: Grid) -> list[dict[str, Any]]:
    """A row for each cell: name, level, seed, state, why, win rate by arm, and what to open."""
    known = states.set_index("cell")
    rows = []
    for cell in study.cells:
        state = known.loc[cell.name]
        rows.append({
            "cell": cell.name, "level": level_name(cell.level), "seed": cell.seed,
            "state": state["state"], "why": state["sentence"],
            "win_rate": {arm: _win_rate(grid, arm, level_name(study.level_of(arm, cell)), cell.seed)
                         for arm in study.arms},
            "links": links(Path(state["folder"]), study.folder)})
    return rows


def _win_rate(grid: Grid, arm: str, level: str, seed: int) -> float | None:
    table = grid.judge.get((arm, level))
    return None if table is None or seed not in table.index else float(table.loc[seed].mean())


def links(folder: Path, beside: Path) -> dict[str, str]:
    """What there is to open in a cell's results, as links from the study's own folder."""
    return {Path(name).name: quote(Path(os.path.relpath(folder / name, beside)).as_posix())
            for name in _OPENED if (folder / name).exists()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS) + 0.0      # without the minus of a zero
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
