"""How numbers are worded in every sentence and table of the report."""

from collections.abc import Mapping
from typing import Any

SMALLEST_P = 1e-4         # the least that 9,999 permutations can show


def p_value(p: float | None) -> str:
    """"0.0123" or "<0.0001"; never 0."""
    if p is None:
        return "-"
    if p <= SMALLEST_P:
        return f"<{SMALLEST_P:.4f}"
    return number(p, ".4f" if p < 0.01 else ".3f")


def p_text(p: float | None) -> str:
    """"p = 0.0123" or "p <0.0001"."""
    if p is None:
        return "p undefined"
    sign = "" if p <= SMALLEST_P else "= "
    return f"p {sign}{p_value(p)}"


def ci_text(row: Mapping[str, Any], low: str = "ci_low", high: str = "ci_high", *,
            form: str = ".3f") -> str:
    """"[0.412, 0.530]" of a row with an interval, or why there is none."""
    if row.get(low) is None or row.get(high) is None:
        return "[no interval]"
    return f"[{row[low]:{form}}, {row[high]:{form}}]"


def number(value: float | None, form: str = ".3f", *, none: str = "-") -> str:
    """A number in a table, or what stands for None."""
    return none if value is None else f"{value:{form}}"


def told(value: float | None, form: str = "+.3f") -> str:
    """A number in a sentence."""
    return number(value, form, none="undefined")


def with_interval(row: Mapping[str, Any], name: str = "mean", *, form: str = ".3f") -> str:
    """"0.471 [0.412, 0.530]" of a row with an interval."""
    return f"{number(row[name], form)} {ci_text(row, form=form)}"
