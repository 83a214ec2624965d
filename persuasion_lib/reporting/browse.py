"""Browse an evaluation in notebook 06: a table first, a widget on top of it.

Texts of models and judges are escaped everywhere: nothing in them can run or load anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import pandas as pd
from IPython.display import HTML

from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.show import browse
from persuasion_lib.reporting.evaluation_file import Evaluated, parse_evaluation

_PANE = ("white-space:pre-wrap;overflow-wrap:anywhere;padding:.5em;margin:.2em 0 .7em;"
         "border:1px solid var(--jp-border-color2,#bbb);border-radius:4px")


def example_table(evaluation: Mapping[str, Any]) -> pd.DataFrame:
    """One row per example, index `example_id`.

    Columns: winner (lowest mean rank; ties joined by " = "), lead (in ranks, over the second),
    order_changed (pairs of models that the judge's orders rank differently, a share), unread
    (rankings without a verdict), most_similar (model closest to the oracle's reply), agree
    (whether that is the winner), prompt (its last 80 characters).
    """
    data = parse_evaluation(evaluation)
    similarity = data.table("similarity_scores")
    closest = {} if similarity is None else similarity.dropna(how="all").idxmax(axis=1)
    rows = {row["example_id"]: _facts(row, data.ranks.loc[row["example_id"]].dropna(),
                                      closest.get(row["example_id"])) for row in data.rows}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("example_id")
    table.insert(2, "order_changed", _order_changed(data))
    return table


def _facts(row: Mapping[str, Any], ranks: pd.Series, closest: str | None) -> dict[str, Any]:
    winner = " = ".join(ranks.index[ranks == ranks.min()]) if len(ranks) else None
    ordered = ranks.sort_values().to_list()
    return {"winner": winner, "lead": ordered[1] - ordered[0] if len(ordered) > 1 else None,
            "unread": sum(not call.get("ranking") for call in row.get("judgments") or []),
            "most_similar": closest, "agree": None if None in (winner, closest) else
            closest in winner.split(" = "), "prompt": str(row.get("prompt", ""))[-80:]}


def _order_changed(data: Evaluated) -> pd.Series:
    """Share of model pairs per example whose order is not the same in all its rankings."""
    models, calls = data.models, data.calls
    pairs = [(a, b) for i, a in enumerate(models) for b in models[i + 1:]]
    before = pd.DataFrame({f"{a}<{b}": calls[a] < calls[b] for a, b in pairs}, index=calls.index)
    share = before.groupby(level=0).mean()
    changed = ((share > 0) & (share < 1)).mean(axis=1)
    repeated = calls.groupby(level=0).size() > 1
    return changed.where(repeated).reindex(data.ranks.index)


FILTERS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "all examples": lambda table: table,
    "judge changed its mind most": lambda table: table[table["order_changed"] > 0].sort_values(
        "order_changed", ascending=False, kind="stable"),
    "judge and similarity disagree": lambda table: table[table["agree"].eq(False)],
    "clearest winner": lambda table: table.sort_values("lead", ascending=False, kind="stable"),
    "with unread rankings": lambda table: table[table["unread"] > 0],
}


def example_view(evaluation: Mapping[str, Any], example_id: str) -> HTML:
    """An example: ranks, scores and similarities at a glance, then all replies, best first, and
    the judge's reasons; every text escaped.
    """
    row = next(r for i, r in enumerate(evaluation["per_example"])
               if str(r.get("example_id", i)) == example_id)
    scores = row.get("grader_scores") or {}
    models = sorted(row["responses"], key=lambda m: -(scores.get(m) or 0.0))
    blocks = [_block(f"example {example_id}", row.get("prompt", "")), _glance(row, models)]
    blocks += [_block(m, row["responses"][m] or "(empty)") for m in models]
    blocks.append(_block("oracle", row.get("oracle", "")))
    for call in row.get("judgments") or [{"explanation": row.get("grader_explanation", "")}]:
        order = " > ".join(call.get("ranking") or []) or call.get("error", "")
        slots = ", ".join(f"{s} = {m}" for s, m in (call.get("position_map") or {}).items())
        blocks.append(_block(f"judge: {order} (shown as {slots or 'unknown'})",
                             call.get("explanation", "")))
    return HTML("".join(blocks))


def _glance(row: Mapping[str, Any], models: list[str]) -> str:
    """One line per model: its place in every ranking, score, similarity and length."""
    calls = [call.get("ranking") or [] for call in row.get("judgments") or []]
    places = {f"place, order {turn}": [ranking.index(m) + 1 if m in ranking else "unread"
                                       for m in models]
              for turn, ranking in enumerate(calls, start=1)}
    known = {name: [_text((row.get(key) or {}).get(m)) for m in models] for name, key in (
        ("score", "grader_scores"), ("similarity to oracle", "similarity_scores"))}
    table = pd.DataFrame({**places, **known, "characters": [
        len(row["responses"][m] or "") for m in models]}, index=models)
    html = table.to_html(escape=True, border=0)
    for cell in ("td", "th"):
        html = html.replace(f"<{cell}>", f"<{cell} style='padding:.1em .8em;text-align:right'>")
    return html


def _block(title: str, text: Any) -> str:
    return f"<b>{escape(str(title))}</b><div style='{_PANE}'>{escape(str(text))}</div>"


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def browser(evaluation: Mapping[str, Any]) -> Any:
    """A widget with a filter and a slider over the examples; headless, the first one as text."""
    table = example_table(evaluation)
    if in_batch():      # an executed notebook would keep the state of widgets, and cannot use it
        return example_view(evaluation, table.index[0])
    return browse(table, FILTERS, lambda row: example_view(evaluation, row.name), noun="example")
