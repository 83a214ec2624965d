"""What a labelling session says about its labels, as a table and in words."""

from collections.abc import Sequence
from statistics import median

import numpy as np
import pandas as pd

from persuasion_lib.labeling.events import Event
from persuasion_lib.labeling.items import FAST_S, SLOT_OF_CHOICE
from persuasion_lib.labeling.people import two_by_two
from persuasion_lib.labeling.session import Session
from persuasion_lib.stats.position import pair_position_bias
from persuasion_lib.stats.resample import share, wilson

Figure = tuple[float, float, float, int]    # value, ci_low, ci_high, out of how many


def session_figures(session: Session) -> pd.DataFrame:
    """Counts, share that preferred the first position, self-agreement and pace.

    Columns: value, ci_low, ci_high (95 %, Wilson; NaN for counts), n (what the value is out of).
    """
    pool = session.pool
    labels = [event["preferred"] for _, event in session.chosen("pair")]
    both_bad = sum(event["choice"] == "both_bad" for _, event in session.chosen("pair"))
    checks = [event["preferred"] for _, event in session.chosen("check")]
    answers = [event for event in map(session.answer_of, session.items) if event]
    times = [event["seconds"] for event in answers if event.get("seconds") is not None]
    figures = {
        "pairs with a label": _count(len(labels), len(pool)),
        "of these ties": _count(labels.count("tie"), len(labels)),
        **({"ties because both are bad": _count(both_bad, len(labels))} if both_bad else {}),
        "left out (skipped twice)": _count(session.left_out, len(pool)),
        "flagged": _count(sum(session.flag_of(item)[0] for item in pool), len(pool)),
        "first slot preferred": _first_share(answers),
        "same answer on the repeat": _same_on_repeat(session),
        "obvious checks answered right": _count(checks.count("a"), len(checks)),
        "median seconds": _count(median(times) if times else np.nan, len(times)),
        f"answers under {FAST_S:.0f} seconds": _count(sum(t < FAST_S for t in times), len(times)),
    }
    table = pd.DataFrame.from_dict(figures, orient="index",
                                   columns=["value", "ci_low", "ci_high", "n"])
    return table.rename_axis("figure").astype({"value": float, "n": int})


def _count(value: float, out_of: int) -> Figure:
    return value, np.nan, np.nan, out_of


def _first_share(answers: Sequence[Event]) -> Figure:
    # A label from a file has no side: nobody knows which response its annotator saw first.
    bias = pair_position_bias(SLOT_OF_CHOICE.get(event["choice"]) for event in answers
                              if event["swapped"] is not None)
    return bias["p_first"], bias["ci_low"], bias["ci_high"], bias["first"] + bias["second"]


def _same_on_repeat(session: Session) -> Figure:
    once = {item.pair.pair_id: event["preferred"] for item, event in session.chosen("pair")}
    again = {item.pair.pair_id: event["preferred"] for item, event in session.chosen("repeat")}
    same = [once[pair_id] == again[pair_id] for pair_id in again if pair_id in once]
    return share(same), *wilson(sum(same), len(same), confidence=0.95), len(same)


def session_table(session: Session) -> pd.DataFrame:
    """The same to be read: value, its 95 % interval, and out of how many; what rests on nothing
    is left out."""
    figures = session_figures(session).dropna(subset="value")
    rows = {name: {"value": _value(name, row), "95 % interval": _interval(row),
                   "out of": f"{row['n']:,.0f}"}
            for name, row in figures.iterrows() if row["n"]}
    return pd.DataFrame.from_dict(rows, orient="index",
                                  columns=["value", "95 % interval", "out of"])


def _value(name: str, row: pd.Series) -> str:
    if name == "median seconds":
        return f"{row['value']:.1f}"
    return f"{row['value']:,.0f}" if np.isnan(row["ci_low"]) else f"{row['value']:.0%}"


def _interval(row: pd.Series) -> str:
    return "" if np.isnan(row["ci_low"]) else f"{row['ci_low']:.0%} to {row['ci_high']:.0%}"


def session_column(session: Session) -> pd.Series:
    """The same in one column, for several people beside each other."""
    table = session_table(session)
    return pd.Series({name: _in_words(name, row) for name, row in table.iterrows()}, dtype=object)


def session_in_words(session: Session) -> list[str]:
    """The same for the end of a session on screen, without figures that rest on nothing."""
    return [f"{name}: {said}" for name, said in session_column(session).items()]


def _in_words(name: str, row: pd.Series) -> str:
    if name == "median seconds":
        return row["value"]
    if not row["95 % interval"]:
        return f"{row['value']} of {row['out of']}"
    return (f"{row['value']} ({row['95 % interval']} with 95 % confidence, n = "
            f"{row['out of']})")


def annotators_compared(sessions: Sequence[Session], *, seed: int) -> pd.DataFrame:
    """Every two annotators on the pairs that both labelled, ties as a class and left out."""
    return two_by_two({session.annotator: labels_by_id(session) for session in sessions}, seed=seed)


def labels_by_id(session: Session) -> dict[str, str]:
    """The labels of a session by pair."""
    return {item.key: event["preferred"] for item, event in session.chosen("pair")}
