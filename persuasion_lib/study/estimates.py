"""What a study estimates, from its tables of seeds x prompts: every figure is one weighted sum of
cells, so that both arms are always compared on the same seeds and prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.core.errors import DataError
from persuasion_lib.stats.crossed import (
    crossed_mean,
    crossed_preference,
    exchange_rate,
)
from persuasion_lib.stats.power import crossed_power
from persuasion_lib.stats.scores import holm
from persuasion_lib.study.design import Study
from persuasion_lib.study.file import HUMAN_LABELS
from persuasion_lib.study.grid import Grid, level_name

Cell = tuple[str, str]          # arm and level
RATE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
Span = tuple[float, float]


def estimates(grid: Grid, study: Study, confidence: float) -> dict[str, Any]:
    """All figures against one anchor; what has no cells to stand on is None, or not there.

    Returns:
        points (each arm at each level), advantage (of the first arm of `pair_of` over the second,
        by level), slope (of the advantage on log2 of the labels), bend (of the second arm's curve
        away from a line), exchange (rows of `exchange_rate`), against_primary (each level against
        the primary one, where the axis is a setting).
    """
    counted = study.axis == HUMAN_LABELS
    weigh = _Weighing(grid, confidence, bare="0" if counted else None)
    pair, plain = pair_of(study), plain_of(study)
    return {
        "points": [{"arm": arm, "level": level, **weigh.of({(arm, level): 1.0}, RATE)}
                   for arm in study.arms for level in grid.levels if (arm, level) in grid.judge],
        "advantage": _advantage(weigh, pair) if pair else [],
        "slope": _slope(weigh, pair) if pair and counted else None,
        "bend": _bend(weigh, plain) if plain else None,
        "exchange": _exchange(weigh, study, plain) if plain else [],
        "against_primary": [] if counted else _against_primary(weigh, study)}


def pair_of(study: Study) -> tuple[str, str] | None:
    """The two arms of the declared comparison, where the study has both."""
    first, second = study.config.analysis.primary
    return (first, second) if {first, second} <= set(study.arms) else None


def plain_of(study: Study) -> str | None:
    """The arm whose curve over human labels others are measured by; None without one."""
    plain = study.config.analysis.primary[1]
    return plain if study.axis == HUMAN_LABELS and plain in study.arms else None


class _Weighing:
    """Weighted sums of cells, by the judge, by people, and in the known truth.

    `bare` is the level of no human labels at all; of a setting 0 is a level like any other.
    """

    def __init__(self, grid: Grid, confidence: float, *, bare: str | None) -> None:
        self.grid = grid
        self.confidence = confidence
        self.bare = bare

    def levels(self, *arms: str) -> list[str]:
        """Levels at which all these arms have a score, but the bare one."""
        return [level for level in self.grid.levels
                if level != self.bare and all((arm, level) in self.grid.judge for arm in arms)]

    def of(self, weights: Mapping[Cell, float], span: Span | None = None) -> dict[str, Any] | None:
        """`crossed_mean` of a sum of cells, with `smallest`, `people` and `gold`; None without a
        seed that has all of them.
        """
        judge = self._sum("judge", weights)
        if judge is None:
            return None
        found = crossed_mean(judge, confidence=self.confidence, span=span)
        gold = self._sum("gold", weights)
        return {**found,
                "smallest": self._smallest(found),
                "people": self._by_people(judge, self._sum("human", weights), span),
                "gold": None if gold is None else crossed_mean(
                    gold, confidence=self.confidence, span=span)}

    def _smallest(self, found: Mapping[str, Any]) -> float:
        """The true figure that four of five such studies find; NaN where nothing varies, or where
        that is more than a difference of win rates can be.
        """
        if not found["se"] > 0:
            return np.nan
        parts = {name: found[name] for name in ("sd_seed", "sd_prompt", "sd_rest")}
        smallest = crossed_power(found["n_seeds"], found["n_prompts"], **parts,
                                 alpha=1 - self.confidence)
        return smallest if smallest <= 1 else np.nan

    def _sum(self, measure: str, weights: Mapping[Cell, float]) -> pd.DataFrame | None:
        tables = self.grid.joined(measure, list(weights))
        if not tables:
            return None
        return sum(weight * table for weight, table in zip(weights.values(), tables, strict=True))

    def _by_people(self, judge: pd.DataFrame, human: pd.DataFrame, span: Span | None
                   ) -> dict[str, Any] | None:
        """The judge's figure, corrected; None where nobody compared."""
        seed_of, prompt_of = np.nonzero(human.notna().to_numpy())
        if not len(seed_of):
            return None
        said = human.to_numpy()[seed_of, prompt_of]
        try:
            found = crossed_preference(judge.to_numpy(), said, seed_of, prompt_of,
                                       confidence=self.confidence)
        except DataError:
            return {"status": "too few", "n_human": len(said), "mean": None, "ci_low": None,
                    "ci_high": None}
        low, high = span or (-np.inf, np.inf)
        taste = float((judge.to_numpy()[seed_of, prompt_of] - said).mean())
        return {**found, "ci_low": max(found["ci_low"], low),
                "ci_high": min(found["ci_high"], high), "judge_adds": taste, "status": "ok"}


def _advantage(weigh: _Weighing, pair: tuple[str, str]) -> list[dict[str, Any]]:
    rows = [(level, weigh.of({(pair[0], level): 1.0, (pair[1], level): -1.0}, DIFFERENCE))
            for level in weigh.levels(*pair)]
    return [{"level": level, **found} for level, found in rows if found]


def _slope(weigh: _Weighing, pair: tuple[str, str]) -> dict[str, Any] | None:
    """Change of the advantage with every doubling of the labels."""
    levels = weigh.levels(*pair)
    if len(levels) < 2:
        return None
    x = np.log2([float(level) for level in levels])
    rise = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return weigh.of({(arm, level): sign * weight for arm, sign in zip(pair, (1, -1), strict=True)
                     for level, weight in zip(levels, rise, strict=True)})


def _bend(weigh: _Weighing, arm: str) -> dict[str, Any] | None:
    """The coefficient of the square in a parabola through the arm's curve on log2 of the labels."""
    levels = weigh.levels(arm)
    if len(levels) < 3:
        return None
    x = np.log2([float(level) for level in levels])
    weights = np.linalg.pinv(np.vander(x - x.mean(), 3))[0]
    return weigh.of({(arm, level): weight for level, weight in zip(levels, weights, strict=True)})


def _exchange(weigh: _Weighing, study: Study, plain: str) -> list[dict[str, Any]]:
    """Labels that the plain arm needs for what each other one reaches, first without any."""
    curve = weigh.levels(plain)
    arms = [*((arm, "0") for arm in study.unlabelled),
            *((arm, level) for arm in study.arms if arm != plain for level in curve)]
    rows = [_worth(weigh, plain, curve, cell) for cell in arms]
    return [row for row in rows if row]


def _worth(weigh: _Weighing, plain: str, curve: Sequence[str], cell: Cell
           ) -> dict[str, Any] | None:
    sizes = np.array([float(level) for level in curve])
    found = {}
    for measure in ("judge", "gold"):
        cells = [*((plain, level) for level in curve), cell]
        *points, reached = weigh.grid.joined(measure, cells) or [None]
        if len(points) < 2:
            continue
        rate = exchange_rate(np.stack([table.to_numpy() for table in points], axis=1),
                             reached.to_numpy(), sizes, float(cell[1]), confidence=weigh.confidence)
        found[measure] = rate | {"n_seeds": len(reached), "n_prompts": reached.shape[1],
                                 "beyond": _beyond(rate, sizes)}
    if "judge" not in found:
        return None
    return {"arm": cell[0], "level": cell[1], **found["judge"], "gold": found.get("gold")}


def _beyond(rate: Mapping[str, Any], sizes: np.ndarray) -> str | None:
    """On which side of what was trained the number of labels lies; None inside."""
    if rate["slope"]["mean"] <= 0:
        return "no rise"
    if rate["labels"] > sizes.max():
        return "more"
    return "fewer" if rate["labels"] < sizes.min() else None


def _against_primary(weigh: _Weighing, study: Study) -> list[dict[str, Any]]:
    """Every level against the primary one, arm by arm; p after Holm over all of them."""
    primary = level_name(study.primary)
    rows = [{"arm": arm, "level": level, **found}
            for arm in study.arms for level in weigh.grid.levels if level != primary
            if (found := weigh.of({(arm, level): 1.0, (arm, primary): -1.0}, DIFFERENCE))]
    raw = np.array([row["p"] for row in rows])
    adjusted, _ = holm(raw, np.isfinite(raw))
    for row, p in zip(rows, adjusted, strict=True):
        row["p_holm"] = p
    return rows
