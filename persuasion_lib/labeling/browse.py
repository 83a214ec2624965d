"""Browse pairs and their labels in any notebook: tables first, a widget on top of them.

Texts of people and models are escaped everywhere: nothing in them can run or load anything.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
from IPython.display import HTML

from persuasion_lib.core.answers import IN_WORDS, reasons_in_words
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.prose import Prose
from persuasion_lib.core.records import LabeledPair, Pair, render_text
from persuasion_lib.core.show import browse
from persuasion_lib.labeling.agreement import labels_on

_PANE = ("white-space:pre-wrap;overflow-wrap:anywhere;overflow:auto;max-height:20em;padding:.6em;"
         "margin:.2em 0;border:1px solid var(--jp-border-color2,#bbb);border-radius:4px")
_COLUMNS = ["number", "human", "judge", "longer_by", "flagged", "note", "seconds", "reason",
            "prompt", "response_a", "response_b"]
_WHO = {"human": "annotator", "judge": "judge"}
_PARTS = {"prompt": "prompt", "reply 1": "response_a", "reply 2": "response_b",
          "the judge's words": "reason", "note": "note"}


def labels_table(human: Sequence[LabeledPair],
                 judged: Sequence[LabeledPair] = ()) -> pd.DataFrame:
    """One row per pair that a person labelled, index `pair_id`, beside what a judge said of it.

    `number` counts from 1; `human` and `judge` are labels in the person's order of the replies
    (`judge` is missing where there is none for these texts), `reason` is the judge's, `longer_by`
    is how many characters the first reply is longer than the second.
    """
    judge = labels_on(human, judged)
    said = {labeled.pair.pair_id: labeled for labeled in judged}
    rows = {}
    for number, labeled in enumerate(human, start=1):
        row = _facts(labeled.pair) | {"number": number}
        key = labeled.pair.pair_id
        row["human"] = labeled.label
        if judge[key]:
            row["judge"] = judge[key]
            row["reason"] = reasons_in_words(said[key], labeled.pair)
        rows[key] = row
    return pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).rename_axis("pair_id")


def _facts(pair: Pair) -> dict[str, Any]:
    """The row of a pair that nobody has labelled."""
    return {"human": None, "judge": None, "reason": "",
            "longer_by": len(pair.response_a) - len(pair.response_b),
            "flagged": bool(pair.metadata.get("flagged")), "note": pair.metadata.get("note") or "",
            "seconds": pair.metadata.get("seconds"), "prompt": render_text(pair.prompt),
            "response_a": pair.response_a, "response_b": pair.response_b}


def differing(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs that the person and the judge labelled differently, ties included."""
    return table[table["judge"].notna() & (table["human"] != table["judge"])]


def flagged(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs that the person flagged or wrote a note on."""
    return table[table["flagged"].astype(bool) | (table["note"] != "")]


def tied(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs that somebody called a tie."""
    return table[(table["human"] == "tie") | (table["judge"] == "tie")]


def longest(table: pd.DataFrame) -> pd.DataFrame:
    """All pairs, those first whose replies differ most in length."""
    return table.sort_values("longer_by", key=abs, ascending=False, kind="stable")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `labels_table` without the texts; columns that nobody filled are left out."""
    shown = pd.DataFrame({
        "annotator": table["human"].map(IN_WORDS), "judge": table["judge"].map(IN_WORDS),
        "longer reply": table["longer_by"].map(_longer),
        "flagged": table["flagged"].map({True: "yes", False: None}),
        "seconds": table["seconds"].astype(float).round(1)})
    shown.index = pd.Index(table["number"], name="pair")
    return shown.dropna(axis=1, how="all").fillna("")


def _longer(characters: int) -> str:
    if not characters:
        return "neither"
    return f"reply {1 if characters > 0 else 2}, by {abs(characters)} characters"


def compared(table: pd.DataFrame) -> Prose:
    """How judge and annotator compare; nothing of it before the judge's labels are there."""
    both = table[table["judge"].notna()]
    if both.empty:
        return Prose("What the judge says of these pairs is shown when every pair has an answer "
                     "and 01 has asked the judge about this pool.")
    same = (both["human"] == both["judge"]).sum()
    tied = (both["human"].eq("tie") ^ both["judge"].eq("tie")).sum()
    return Prose(f"Of {len(both):,} pairs that both labelled, the judge said the same on {same:,}, "
                 f"only one of the two called {tied:,} a tie, and on "
                 f"{len(both) - same - tied:,} they chose different replies.")


FILTERS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "all pairs": lambda table: table, "annotator and judge disagree": differing,
    "flagged": flagged, "ties": tied, "by difference in length": longest}


def pair_view(pair: Pair | Mapping[str, Any]) -> HTML:
    """A pair, or a row of `labels_table`, as escaped text."""
    row = _facts(pair) if isinstance(pair, Pair) else pair
    labels = " · ".join(f"{name}: {IN_WORDS[row[who]]}" for who, name in _WHO.items()
                        if isinstance(row[who], str))
    blocks = "".join(f"<b>{title}</b><div style='{_PANE}'>{escape(str(row[key]))}</div>"
                     for title, key in _PARTS.items() if row[key])
    return HTML(f"<div>{escape(labels)}</div>{blocks}")


def pair_browser(table: pd.DataFrame) -> Any:
    """A widget with a filter and a slider over the pairs; headless, the first pair as text."""
    if in_batch():      # an executed notebook would keep the state of widgets, and cannot use it
        return pair_view(table.iloc[0]) if len(table) else HTML("no labelled pair")
    return browse(table, FILTERS, pair_view, noun="pair")
