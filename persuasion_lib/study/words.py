"""How a study's figures are worded: rates in per cent, differences in points of them, labels."""

from collections.abc import Mapping
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
    """The same without the labels that the arm has had itself."""
    return _amount(row, sizes, less=float(row["level"]))


def _amount(row: Row, sizes: list[float], less: float) -> str:
    if row["beyond"] == "no rise":
        return "no number: the curve does not rise with labels"
    value = f"about {_count(row['labels'] - less)}"
    if row["beyond"]:
        value = _end(row["labels"], sizes, less)
    if row["ci_low"] is None:
        return f"{value} [no interval]"
    ends = [_end(row[name], sizes, less) for name in ("ci_low", "ci_high")]
    return value if set(ends) == {value} else f"{value} [{', '.join(ends)}]"


def _end(value: float | None, sizes: list[float], less: float) -> str:
    """A number of labels as far as something was trained there; None is without end."""
    if value is None or value > max(sizes):
        return f"more than {_count(max(sizes) - less)}"
    if value < min(sizes):
        return f"fewer than {_count(min(sizes) - less)}"
    return _count(value - less)


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
    most, fewest = (f"{word} than {format(total / size, form)}"
                    for word, size in (("more", min(sizes)), ("fewer", max(sizes))))
    if row["beyond"]:
        return fewest if row["beyond"] == "more" else most
    low, high = row["ci_low"], row["ci_high"]
    if low is None:
        return f"about {format(total / row['labels'], form)} [no interval]"
    first = fewest if high is None or high > max(sizes) else format(total / high, form)
    last = most if low < min(sizes) else format(total / low, form)
    return f"about {format(total / row['labels'], form)} [{first}, {last}]"
