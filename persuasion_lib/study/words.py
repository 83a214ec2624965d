"""How a study's figures are worded: rates in per cent, differences in points of them, labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from persuasion_lib.reporting.wording import number
from persuasion_lib.study.file import HUMAN_LABELS

Row = Mapping[str, Any]


def axis(name: str) -> str:
    """What the levels of a study are levels of."""
    return "human labels" if name == HUMAN_LABELS else name


def rate(row: Row | None) -> str:
    """"57% [53, 61]" of a win rate."""
    return _with_interval(row, ".0f", "%")


def points(row: Row | None) -> str:
    """"+16 points [+9, +23]" of a difference of win rates."""
    return _with_interval(row, "+.1f", " points")


def smallest(row: Row) -> str:
    """"5.3 points": the true difference that four of five such studies find."""
    value = row["smallest"]
    return "no difference" if value is None else f"{100 * value:.1f} points"


def _with_interval(row: Row | None, form: str, unit: str) -> str:
    if row is None or row["mean"] is None:
        return "-"
    text = f"{_zero(100 * row['mean'], form)}{unit}"
    if row["ci_low"] is None:
        return f"{text} [no interval]"
    low, high = (_zero(100 * row[name], form) for name in ("ci_low", "ci_high"))
    return f"{text} [{low}, {high}]"


def _zero(value: float, form: str) -> str:
    """Without the minus of a zero."""
    text = format(value, form)
    return text.replace("-", "+") if float(text) == 0 else text


def labels(row: Row, sizes: list[float]) -> str:
    """"about 82 [36, more than 200]": never a number outside what was trained."""
    return _amount(row, sizes, less=0)


def worth(row: Row, sizes: list[float]) -> str:
    """The same without the labels that the arm has had itself; with more it is of no worth."""
    return _amount(row, sizes, less=float(row["level"]))


def _amount(row: Row, sizes: list[float], less: float) -> str:
    if row["beyond"] == "no rise":
        return "no number: the curve does not rise with labels"
    return _between(row, lambda value: _end(value, sizes, less), ("ci_low", "ci_high"))


def _between(row: Row, worded: Callable[[float | None], str], ends: Sequence[str]) -> str:
    """What an amount is, and its interval unless that says no more."""
    value = worded(row["labels"])
    if value[0].isdigit():
        value = f"about {value}"
    if row["ci_low"] is None:
        return f"{value} [no interval]"
    low, high = (worded(row[end]) for end in ends)
    return value if low == value == high else f"{value} [{low}, {high}]"


def _end(value: float | None, sizes: list[float], less: float) -> str:
    """A number of labels as far as something was trained there; None is without end."""
    if value is None or value > max(sizes):
        return f"more than {_count(max(sizes) - less)}"
    most = max(value, min(sizes)) - less
    if most < 0 or most == 0 > value - less:
        return "less than none"
    return f"fewer than {_count(most)}" if value < min(sizes) else _count(most)


def _count(value: float) -> str:
    return f"{value:,.0f}"


def drawn_on(row: Row) -> str:
    """What the line says beyond what was trained, marked as that; "-" inside."""
    if row["beyond"] not in ("more", "fewer") or row["labels"] is None:
        return "-"
    high = number(row["ci_high"], ",.0f", none="no end")
    return f"{row['labels']:,.0f} [{number(row['ci_low'], ',.0f')}, {high}], extrapolated"


def for_one(row: Row, total: float, sizes: list[float], form: str = ",.1f") -> str:
    """"about 21.0 [8.1, 48.0]": what of `total`, such as all AI labels, is worth one human label.
    """
    if row["beyond"] == "no rise":
        return "no number"

    def share(value: float | None) -> str:
        if value is None or value > max(sizes):
            return f"fewer than {format(total / max(sizes), form)}"
        more = "more than " if value < min(sizes) else ""
        return f"{more}{format(total / max(value, min(sizes)), form)}"

    return _between(row, share, ("ci_high", "ci_low"))      # the more labels, the less for each
