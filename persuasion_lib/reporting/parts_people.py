"""The part of the report about people's comparisons of final replies."""

import pandas as pd

from persuasion_lib.labeling.agreement import MIN_REPEATS
from persuasion_lib.reporting.judge_health import Result, difference
from persuasion_lib.reporting.page import Part
from persuasion_lib.reporting.wording import ci_text, told
from persuasion_lib.stats.people import ENOUGH


def people(result: Result) -> Part | None:
    """People, the judge, and both together, side by side; None where nobody compared."""
    found = result["people"]
    if not found:
        return None
    rows = {"people and judge": _row(found), "people alone": _row(found["alone"]),
            "judge alone": _row({"estimate": found["judge_alone"], "ci_low": found["judge_low"],
                                 "ci_high": found["judge_high"]})}
    who = found["annotators"]
    names = ", ".join(f"{name} ({count})" for name, count in who.items()) if (
        len(who) > 1) else next(iter(who), "nobody")
    lines = [f"{found['n_human']} comparisons of {found['a']} with {found['b']}, blind and of "
             f"prompts drawn by hash, by {names}. With the judge's {found['n_judged']} verdicts "
             f"they are worth {told(found['labels_worth'], '.0f')} comparisons.",
             *_prompts(found), *_identical(found), *_agreement(found), *_left_out(found)]
    return Part("What people prefer", lines, pd.DataFrame(rows).T, "people_and_judge", (
        f"Share of prompts on which {found['a']} is preferred, ties half. The interval of people "
        "and judge covers people's preference whatever the judge's taste; that of the judge "
        "alone covers only the choice of prompts.",))


def ranked(result: Result) -> Part | None:
    """Every model by people's rankings; None where nobody ranked."""
    found = (result["people"] or {}).get("ranked")
    title = "All models by people"
    if not found:
        return None
    if not found["models"]:
        return Part(title, (f"Too few rankings by people ({found['n']}) to estimate all models.",))
    table = pd.DataFrame([{"model": row["model"], "score": told(row["score"], ".2f"),
                           "place": _place(row)} for row in found["models"]]).set_index("model")
    sure = [_ahead(row) for row in found["differences"] if row["ci_low"] > 0 or row["ci_high"] < 0]
    lines = [f"{found['n']} rankings by people and {found['n_judged']} by the judge.",
             f"Surely apart: {'; '.join(sure) or 'no two'}."]
    if found["status"] != "ok":
        lines.append(f"Fewer than {ENOUGH} rankings: an estimate, and no verdict.")
    return Part(title, lines, table, None, (
        "Score 0 to 1, as people rank; every model is moved by the judge's own score of it. All "
        "differences, and the places that each can have, hold together.",))


def _ahead(row: Result) -> str:
    """Two models, the better one first."""
    first, second = (row["a"], row["b"]) if row["diff"] > 0 else (row["b"], row["a"])
    found = difference(row, first, "diff")
    return f"{first} above {second} by {found['diff']:.2f} {ci_text(found, form='.2f')}"


def _place(row: Result) -> str:
    low, high = row["rank_low"], row["rank_high"]
    return f"{low}" if low == high else f"{low} to {high}"


def _row(found: Result) -> dict[str, str]:
    interval = f"[{told(found['ci_low'], '.0%')}, {told(found['ci_high'], '.0%')}]"
    return {"preferred": told(found["estimate"], ".0%"), "interval": interval}


def _prompts(found: Result) -> list[str]:
    if found["judge_prompts"] == found["n_judged"]:
        return []
    return [f"The judge alone stands on the {found['judge_prompts']} prompts of the other tables; "
            "people and judge also on those for the judge alone."]


def _identical(found: Result) -> list[str]:
    if not found["n_identical"]:
        return []
    return [f"On {found['n_identical']} prompts both gave the same text: ties that nobody was "
            "shown."]


def _agreement(found: Result) -> list[str]:
    judge, again = found["agreement"], found["steady"]
    lines = []
    if judge["n"]:
        lines.append(f"On the same prompts the judge says the same as people in "
                     f"{told(judge['raw'], '.0%')} (kappa {told(judge['kappa'], '.2f')}, "
                     f"n = {judge['n']}).")
    return lines + repeats(again)


def repeats(found: Result) -> list[str]:
    """How steady people are, by comparisons that came twice; nothing where none did.

    Args:
        found: n, and of the share of same answers `raw`, ci_low, ci_high.
    """
    if not found["n"]:
        return []
    few = "" if found["n"] >= MIN_REPEATS else f": fewer than {MIN_REPEATS} say little"
    return [f"Of {found['n']:.0f} comparisons that came twice, {told(found['raw'], '.0%')} "
            f"{ci_text(found, form='.0%')} were answered the same again{few}."]


def _left_out(found: Result) -> list[str]:
    return [f"{count} comparisons are not used: {why}." for why, count in found["not_used"].items()]
