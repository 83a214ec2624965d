"""Browse pairs and their labels in any notebook: tables first, a widget on top of them.

Texts of people and models are escaped everywhere: nothing in them can run or load anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
from IPython.display import HTML

from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.records import LabeledPair, Pair, parse_labeled, render_text
from persuasion_lib.core.show import browse
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl

_PANE = ("white-space:pre-wrap;overflow-wrap:anywhere;overflow:auto;max-height:20em;padding:.6em;"
         "margin:.2em 0;border:1px solid var(--jp-border-color2,#bbb);border-radius:4px")


def read_labels(stage: StageRun, name: str) -> list[LabeledPair]:
    """The labels of `ai_pool_labeled` or `human_pool_labeled`; none if there is no file yet."""
    path = stage.path(name)
    return read_jsonl(path, parse_labeled, made_by=made_by(name)) if path.exists() else []


def pair_table(human: Sequence[LabeledPair], ai: Sequence[LabeledPair] = ()) -> pd.DataFrame:
    """One row per labelled pair, index `pair_id`, with whoever labelled it.

    `human` and `ai` are labels in stored order (missing where there is none), `reason` is the AI
    judge's, `longer_by` is how many characters the first response is longer than the second.
    """
    rows: dict[str, dict[str, Any]] = {}
    for who, labels in (("ai", ai), ("human", human)):
        for labeled in labels:
            row = rows.setdefault(labeled.pair.pair_id, _facts(labeled.pair))
            row[who] = labeled.label
            if who == "ai":
                row["reason"] = labeled.reasoning
            else:
                row |= {key: labeled.pair.metadata.get(key) or row[key] for key in _HUMAN}
    return pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).rename_axis("pair_id")


_HUMAN = ("flagged", "note", "seconds")
_COLUMNS = ["human", "ai", "longer_by", "flagged", "note", "seconds", "reason",
            "prompt", "response_a", "response_b"]


def _facts(pair: Pair) -> dict[str, Any]:
    return {"human": None, "ai": None, "flagged": False, "note": "", "seconds": None, "reason": "",
            "longer_by": len(pair.response_a) - len(pair.response_b),
            "prompt": render_text(pair.prompt), "response_a": pair.response_a,
            "response_b": pair.response_b}


def disagreements(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs that the person and the AI judge labelled differently, ties included."""
    both = table["human"].notna() & table["ai"].notna()
    return table[both & (table["human"] != table["ai"])]


def flagged(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs that the person flagged or wrote a note on."""
    return table[table["flagged"].astype(bool) | (table["note"] != "")]


def ties(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs that somebody called a tie."""
    return table[(table["human"] == "tie") | (table["ai"] == "tie")]


def longest(table: pd.DataFrame) -> pd.DataFrame:
    """All pairs, those first whose responses differ most in length."""
    return table.sort_values("longer_by", key=abs, ascending=False, kind="stable")


FILTERS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "all pairs": lambda table: table, "person and AI judge disagree": disagreements,
    "flagged": flagged, "ties": ties, "by difference in length": longest}


def pair_view(pair: Pair | Mapping[str, Any]) -> HTML:
    """A pair, or a row of `pair_table`, as escaped text."""
    row = _facts(pair) if isinstance(pair, Pair) else pair
    labels = " · ".join(f"{who}: {row[who]}" for who in ("human", "ai")
                        if isinstance(row[who], str))
    parts = [("prompt", "prompt"), ("response 1 (a)", "response_a"),
             ("response 2 (b)", "response_b"), ("the judge's reason", "reason"), ("note", "note")]
    blocks = "".join(f"<b>{title}</b><div style='{_PANE}'>{escape(str(row[key]))}</div>"
                     for title, key in parts if row[key])
    return HTML(f"<div>{escape(labels)}</div>{blocks}")


def browser(table: pd.DataFrame) -> Any:
    """A widget with a filter and a slider over the pairs; headless, the first pair as text."""
    if in_batch():      # an executed notebook would keep the state of widgets, and cannot use it
        return pair_view(table.iloc[0]) if len(table) else HTML("no labelled pair")
    return browse(table, FILTERS, pair_view, noun="pair")
