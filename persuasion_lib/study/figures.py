"""Figures of a study, drawn from `study.json` alone; their captions stand in page.py.

Arms differ by marker and dash as well as by colour, and people's points are filled where the
judge's are not, so that a grey print can be read too.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from persuasion_lib.core.show import NEUTRAL, Plot, look
from persuasion_lib.reporting.figures import canvas, nothing, written
from persuasion_lib.study import words
from persuasion_lib.study.answer import SATURATED
from persuasion_lib.study.file import HUMAN_LABELS

Result = Mapping[str, Any]
_TRUTH = {"marker": "+", "color": "black", "markersize": 8, "linestyle": "none",
          "label": "the demo's truth"}


def design(result: Result) -> Plot:
    """Every trained model as a square: arms in rows, levels in columns, seeds side by side."""
    study, found = result["study"], _leading(result)
    bare = ["0"] if study["unlabelled"] else []     # of a setting 0 is a level like any other
    columns = [*bare, *study["levels"]]
    absent = {(row["arm"], row["level"], row["seed"]) for row in found["absent"]}
    figure, axes = canvas(1.5 + 1.25 * len(columns), 1.2 + 0.55 * len(study["arms"]))
    for y, arm in enumerate(study["arms"]):
        for x, level in enumerate(columns):
            if (arm in study["unlabelled"]) == (level in bare):
                _seeds(axes, x, y, [(arm, level, seed) in absent for seed in study["seeds"]])
    axes.set_xticks(range(len(columns)), [_short(level) for level in columns])
    axes.set_yticks(range(len(study["arms"])), study["arms"])
    axes.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(study["arms"]) - 0.5, -0.5),
             xlabel=words.axis(study["axis"]),
             title=f"{len(study['seeds'])} seeds of each, all against {result['leading']}"
                   f"{' (x: missing)' if absent else ''}")
    return figure


def _seeds(axes: Axes, x: float, y: float, gone: Sequence[bool]) -> None:
    places = x + (np.arange(len(gone)) - (len(gone) - 1) / 2) * min(0.15, 0.8 / len(gone))
    for place, is_gone in zip(places, gone, strict=True):
        axes.plot(place, y, "x" if is_gone else "s", color=NEUTRAL,
                  markersize=min(8, 60 / len(gone)))


def curves(result: Result) -> Plot:
    """Win rate of every arm against the anchor by level, with intervals over seeds and prompts."""
    study, found = result["study"], _leading(result)
    figure, axes = canvas(7, 4)
    place = _places(study)
    for shift, arm in enumerate(study["arms"]):
        rows = [row for row in found["points"] if row["arm"] == arm]
        _curve(axes, rows, place, 0.06 * (shift - (len(study["arms"]) - 1) / 2), arm)
    axes.axhline(0.5, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.axhline(SATURATED, color=NEUTRAL, linewidth=0.8, linestyle=(0, (1, 4)))
    axes.set_xticks(list(place.values()), [_short(level) for level in place])
    axes.set(xlabel=words.axis(study["axis"]), ylim=(min(0.4, axes.get_ylim()[0]), 1.01),
             ylabel=f"win rate against {result['leading']}",
             title=f"Learning curves{_by_whom(found['points'])}")
    _legend(axes)
    return figure


def _curve(axes: Axes, rows: Sequence[Result], place: Mapping[str, float], shift: float,
           arm: str) -> None:
    """The judge's points, hollow, and people's beside them, filled; the truth as a plus."""
    if not rows:
        return
    style = look(arm)
    x = [place[row["level"]] + shift for row in rows]
    axes.errorbar(x, [row["mean"] for row in rows], yerr=_reach(rows), capsize=3, linewidth=1.2,
                  markersize=6, markerfacecolor="white", label=arm, **style)
    for at, row in zip(x, rows, strict=True):
        if _told(row["people"]):
            axes.errorbar([at + 0.03], [row["people"]["mean"]], yerr=_reach([row["people"]]),
                          capsize=3, linewidth=1.8, color=style["color"], marker=style["marker"],
                          markersize=8)
        if row["gold"]:
            axes.plot(at - 0.03, row["gold"]["mean"], **_TRUTH)


def advantage(result: Result) -> Plot:
    """How far the first arm is ahead of the second, by level, with the line of its slope."""
    study, found = result["study"], _leading(result)
    rows = found["advantage"]
    if not rows:
        return nothing("no level has both arms")
    figure, axes = canvas(6.4, 3.6)
    place = _places(study)
    x = np.array([place[row["level"]] for row in rows])
    axes.errorbar(x, [row["mean"] for row in rows], yerr=_reach(rows), fmt="o", color="black",
                  markerfacecolor="white", capsize=4, linewidth=1.3, label="by the judge")
    for at, row in zip(x, rows, strict=True):
        if _told(row["people"]):
            axes.errorbar([at + 0.06], [row["people"]["mean"]], yerr=_reach([row["people"]]),
                          fmt="o", color="black", capsize=4, linewidth=2, markersize=8,
                          label="corrected by people")
        if row["gold"]:
            axes.plot(at - 0.06, row["gold"]["mean"], **_TRUTH)
    if found["slope"]:
        mean = np.mean([row["mean"] for row in rows])
        axes.plot(x, mean + found["slope"]["mean"] * (x - x.mean()), color=NEUTRAL, linestyle="--",
                  linewidth=1, label="slope")
    axes.axhline(0, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set_xticks(x, [_short(row["level"]) for row in rows])
    first, second = study["pair"]
    axes.set(xlabel=words.axis(study["axis"]), title="What the warm-up adds",
             ylabel=f"{first} − {second}\n(difference of win rates)")
    _legend(axes)
    return figure


def exchange(result: Result) -> Plot:
    """Human labels that the second arm needs for what each other model reaches."""
    study, found = result["study"], _leading(result)
    rows, sizes = found["exchange"], found["sizes"]
    if not rows:
        return nothing("no curve over human labels")
    figure, axes = canvas(7, 1.3 + 0.5 * len(rows))
    least, most = min(sizes), max(sizes)
    axes.set_xscale("log", base=2)
    axes.axvspan(most, most * 2, color=NEUTRAL, alpha=0.15)
    axes.axvspan(least / 2, least, color=NEUTRAL, alpha=0.15)
    for y, row in enumerate(rows):
        _amount(axes, y, row, (least, most))
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(rows)), [f"{row['arm']}, {row['level']} labels" for row in rows])
    axes.set(xlim=(least / 2, most * 2), ylim=(len(rows) - 0.5, -0.5),
             xlabel=f"human labels with which {study['plain']} is as good (grey: not trained)",
             title="What the warm-up is worth")
    return figure


def _amount(axes: Axes, y: int, row: Result, trained: tuple[float, float]) -> None:
    """A point with its interval; an arrow where it leaves what was trained."""
    least, most = trained
    edges = (least * 2**-0.5, most * 2**0.5)
    if row["beyond"] == "no rise" or row["ci_low"] is None:
        axes.text((least * most)**0.5, y, "no number", ha="center", va="center", fontsize=9)
        return
    low = max(row["ci_low"], edges[0])
    high = edges[1] if row["ci_high"] is None else min(row["ci_high"], edges[1])
    axes.plot([min(low, edges[1]), max(high, edges[0])], [y, y], color="black", linewidth=1.4)
    for end, marker, goes_on in ((edges[0], "<", row["ci_low"] < edges[0]),
                                 (edges[1], ">", row["ci_high"] is None
                                  or row["ci_high"] > edges[1])):
        if goes_on:
            axes.plot(end, y, marker, color="black", markersize=6)
    if row["beyond"] is None:
        axes.plot(row["labels"], y, "o", color="black", markersize=7)
    if float(row["level"]) >= least:
        axes.plot(float(row["level"]), y, "|", color=NEUTRAL, markersize=14)
    gold = row["gold"]
    if gold and gold["beyond"] is None:
        axes.plot(gold["labels"], y - 0.18, **_TRUTH)


FIGURES: dict[str, Callable[[Result], Plot]] = {
    draw.__name__: draw for draw in (design, curves, advantage, exchange)}


def drawn(result: Result) -> dict[str, Callable[[Result], Plot]]:
    """The figures that this study has something for."""
    found = _leading(result)
    return {name: draw for name, draw in FIGURES.items()
            if name in ("design", "curves") or found[name]}


def write_figures(folder: Path, result: Result) -> list[Path]:
    """Each figure as PNG, SVG and PDF; the same result gives the same bytes."""
    return written(folder, {name: draw(result) for name, draw in drawn(result).items()})


def _leading(result: Result) -> Result:
    return result["anchors"][result["leading"]]


def _places(study: Result) -> dict[str, float]:
    """Where a level stands: labels on the scale of doublings, settings side by side."""
    if study["axis"] != HUMAN_LABELS:
        return {level: float(at) for at, level in enumerate(study["levels"])}
    places = {level: float(np.log2(float(level))) for level in study["levels"]}
    if study["unlabelled"]:
        places = {"0": min(places.values()) - 1.0} | places
    return places


def _short(level: str) -> str:
    """A level as a tick: long names are cut."""
    return level if len(level) <= 20 else f"{level[:19]}…"


def _told(row: Result | None) -> bool:
    return bool(row) and row["mean"] is not None


def _by_whom(rows: Sequence[Result]) -> str:
    return " (filled: corrected by people)" if any(_told(row["people"]) for row in rows) else ""


def _reach(rows: Sequence[Result]) -> np.ndarray:
    """Distances to both ends of the intervals; nothing where there is none."""
    ends = [[row["mean"] - row["ci_low"], row["ci_high"] - row["mean"]]
            if row["ci_low"] is not None else [0.0, 0.0] for row in rows]
    return np.clip(np.array(ends).T, 0, None)


def _legend(axes: Axes) -> None:
    """Each name once, beside the axes."""
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    axes.legend(once.values(), once.keys(), frameon=False, fontsize=8, loc="center left",
                bbox_to_anchor=(1, 0.5))
