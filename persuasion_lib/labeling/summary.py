"""What a labelling session says about its labels, as a table and as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median

import numpy as np
import pandas as pd

from persuasion_lib import stats
from persuasion_lib.labeling.session import FAST_S, Session

_SIDE = {"first": "a", "second": "b", "tie": "tie"}     # pair_position_bias labels by slot


def summary(session: Session) -> pd.DataFrame:
    """Counts, share that preferred the first position, self-agreement and pace.

    Columns: value, ci_low, ci_high (95 %, Wilson; NaN for counts), n (what the value is out of).
    """
    latest = [e for e in map(session.choice_of, session.items) if e]
    times = [e["seconds"] for e in latest if e.get("seconds") is not None]
    pairs = session.chosen("pair")
    pool = [item for item in session.items if item.kind == "pair"]
    rows = {
        "pairs with a label": (len(pairs), len(pool)),
        "of these ties": (sum(e["preferred"] == "tie" for _, e in pairs), len(pairs)),
        "left out (skipped twice)": (len(pool) - len(session.missing) - len(pairs), len(pool)),
        "flagged": (sum(session.flag_of(item)[0] for item in pool), len(pool)),
        "first position preferred": _first_share(latest),
        "same answer on the repeat": _self_agreement(session),
        "obvious checks answered right": _checks(session),
        "median seconds": (median(times) if times else np.nan, len(times)),
        f"answers under {FAST_S:.0f} seconds": (sum(t < FAST_S for t in times), len(times)),
    }
    table = pd.DataFrame([(value, *interval, n) if interval else (value, np.nan, np.nan, n)
                          for value, *interval, n in rows.values()],
                         columns=["value", "ci_low", "ci_high", "n"],
                         index=pd.Index(rows, name="figure"))
    return table.astype({"value": float, "n": int})


def _first_share(latest: Sequence[dict]) -> tuple[float, float, float, int]:
    sides = [_SIDE.get(e["choice"]) for e in latest if e["swapped"] is not None]
    bias = stats.pair_position_bias(sides)
    return bias["p_first"], bias["ci_low"], bias["ci_high"], bias["first"] + bias["second"]


def _self_agreement(session: Session) -> tuple[float, float, float, int]:
    once = {item.pair.pair_id: e["preferred"] for item, e in session.chosen("pair")}
    again = [(once[i.pair.pair_id], e["preferred"]) for i, e in session.chosen("repeat")
             if i.pair.pair_id in once]
    same = stats.consistency_pairs([a for a, _ in again], [b for _, b in again])
    return same["rate"], same["ci_low"], same["ci_high"], same["n"]


def _checks(session: Session) -> tuple[int, int]:
    answers = [event["preferred"] for _, event in session.chosen("check")]
    return answers.count("a"), len(answers)


def sentences(session: Session) -> list[str]:
    """The same for the end of a session on screen, without figures that rest on nothing."""
    lines = []
    for name, row in summary(session).iterrows():
        if not row["n"] or np.isnan(row["value"]):
            continue
        if np.isnan(row["ci_low"]):
            value = f"{row['value']:.1f}" if name == "median seconds" else (
                f"{row['value']:.0f} of {row['n']:.0f}")
        else:
            value = (f"{row['value']:.0%} ({row['ci_low']:.0%} to {row['ci_high']:.0%} with 95 % "
                     f"confidence, n = {row['n']:.0f})")
        lines.append(f"{name}: {value}")
    return lines


def agreement(sessions: Sequence[Session], *, seed: int) -> pd.DataFrame:
    """Every two annotators on the pairs that both labelled, ties as a class and left out."""
    rows = []
    for one, two in combinations(sessions, 2):
        first, second = ({item.key: e["preferred"] for item, e in s.chosen()} for s in (one, two))
        both = sorted(first.keys() & second.keys())
        for ties in ("class", "drop"):
            result = stats.agreement([first[k] for k in both], [second[k] for k in both],
                                     ties=ties, seed=seed)
            rows.append({"annotators": f"{one.annotator}, {two.annotator}", "ties": ties,
                         **{key: result[key] for key in _AGREEMENT}})
    return pd.DataFrame(rows, columns=["annotators", "ties", *_AGREEMENT])


_AGREEMENT = ("n", "raw", "ci_low", "ci_high", "kappa", "kappa_low", "kappa_high", "status")
