"""What the checks found, as the report says it: from `checks` in `analysis.json`, plain rows.

A row has `check`, `subject`, `state` ("stop", "warn", "allowed", "not checked", "fine"), `text` and
`figure`.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from persuasion_lib.reporting.judge_health import FAULTS, Result
from persuasion_lib.reporting.page import Part

_WORDS = {"stop": "found, stops", "warn": "found", "allowed": "found, allowed",
          "not checked": "not checked", "fine": "fine"}
# Checks beside which nobody may say that no reply failed.
_FAILURES = ("HTML entities in replies (evaluated)", "template markers (evaluated)",
             "names of speakers (evaluated)", "refusals (evaluated)",
             "another language (evaluated)", "one opening (evaluated)",
             "one text for all (evaluated)", "a model's name in its reply")


# What people's comparisons need not care for.
OF_THE_JUDGE = (*FAULTS, "the same reply twice", "rankings against pairs")


def rows_in(result: Result, *states: str) -> list[dict[str, Any]]:
    """The rows of the checks in these states."""
    return [row for row in result.get("checks", []) if row["state"] in states]


def names(rows: Sequence[dict[str, Any]]) -> str:
    """Their names, each once."""
    return "; ".join(dict.fromkeys(row["check"] for row in rows))     # some have commas


def withheld(result: Result, *, but: Sequence[str] = ()) -> str:
    """Names of the checks, `but` these, that forbid a verdict; "" where none does."""
    return names([row for row in rows_in(result, "stop") if row["check"] not in but])


def failed_replies(result: Result) -> str:
    """Names of the checks that found replies which are none; "" where none did."""
    return names([row for row in rows_in(result, "stop", "warn", "allowed")
                  if row["check"] in _FAILURES])


def first_lines(result: Result) -> list[str]:
    """What was found, by name, for the first lines of the report."""
    # A broken judge has a line of its own.
    lines = [f"FOUND, and it stops: {row['check']}. {row['text']}"
             for row in rows_in(result, "stop") if row["check"] not in FAULTS]
    found = rows_in(result, "warn")
    if found:
        lines.append(f"Found by the checks: {names(found)} (see 'What was checked').")
    allowed = rows_in(result, "allowed")
    if allowed:
        lines.append(f"Found and allowed by checks.allow: {names(allowed)}.")
    return lines


def checked(result: Result) -> Part:
    """Every check: a row where it found something or could not look, else its name."""
    found = pd.DataFrame(result.get("checks", []), columns=["check", "subject", "state", "text"])
    lines = [f"{len(found)} checks: {_counts(found['state'])}. A check that could not look is "
             "never fine."]
    if found.empty:
        return Part("What was checked", ["Nothing: this analysis is older than the checks."])
    silent = found.loc[found["state"] == "fine", "check"].drop_duplicates()
    folded = {f"{len(silent)} kinds of checks found nothing": list(silent)} if len(silent) else {}
    spoke = found[found["state"] != "fine"]
    if spoke.empty:
        return Part("What was checked", lines, folded=folded)
    table = spoke.groupby(["state", "check", "text"], sort=False)["subject"].agg(", ".join)
    table = table.reset_index().sort_values(
        "state", key=lambda states: states.map(list(_WORDS).index), kind="stable")
    shown = pd.DataFrame({"check": table["check"], "result": table["state"].map(_WORDS),
                          "where": table["subject"], "what": table["text"]})
    return Part("What was checked", lines, shown.set_index("check"), folded=folded)


def _counts(states: pd.Series) -> str:
    counts = states.value_counts()
    return ", ".join(f"{counts[state]} {words}" for state, words in _WORDS.items()
                     if state in counts)
