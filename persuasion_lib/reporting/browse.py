"""Browse an evaluation in notebook 06: a table first, a widget on top of it.

Texts of models and judges are escaped everywhere: nothing in them can run or load anything.
"""

from collections.abc import Callable, Sequence
from html import escape
from itertools import combinations
from typing import Any

import pandas as pd
from IPython.display import HTML

from persuasion_lib.core.family import HUMAN
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.show import browse
from persuasion_lib.reporting.evaluated import Evaluated
from persuasion_lib.reporting.evaluation_file import ExampleRow, Judgment
from persuasion_lib.reporting.wording import number

_PANE = ("white-space:pre-wrap;overflow-wrap:anywhere;padding:.5em;margin:.2em 0 .7em;"
         "border:1px solid var(--jp-border-color2,#bbb);border-radius:4px")

_SIDE_BY_SIDE = "display:grid;grid-template-columns:repeat(auto-fit,minmax(15em,1fr));gap:0 .8em"


def example_table(data: Evaluated) -> pd.DataFrame:
    """What the filters go by: one row per example, index `example_id`.

    Columns: lead (in mean ranks, of the best over the second), unread (rankings without a verdict),
    agree (whether the model closest to the oracle's reply is the best, or one of them),
    order_changed (pairs of models that the judge's orders rank differently, a share).
    """
    similarity = data.table("similarity_scores")
    closest = {} if similarity is None else similarity.dropna(how="all").idxmax(axis=1)
    rows = {row.example_id: _facts(row, data.ranks.loc[row.example_id].dropna(),
                                   closest.get(row.example_id)) for row in data.rows}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("example_id")
    return table.assign(order_changed=_order_changed(data))


def _facts(row: ExampleRow, ranks: pd.Series, closest: str | None) -> dict[str, Any]:
    winners = list(ranks.index[ranks == ranks.min()])
    ordered = ranks.sort_values().to_list()
    return {"lead": ordered[1] - ordered[0] if len(ordered) > 1 else None,
            "unread": sum(not judgment.ranking for judgment in row.judgments or []),
            "agree": closest in winners if winners and closest else None}


def _order_changed(data: Evaluated) -> pd.Series:
    """Share of model pairs per example whose order is not the same in all its rankings."""
    calls = data.calls
    pairs = combinations(data.models, 2)
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


def example_view(data: Evaluated, example_id: str) -> HTML:
    """An example: ranks, scores and similarities at a glance, then all replies side by side, best
    first, and the judge's reasons; every text escaped.
    """
    row = next(row for row in data.rows if row.example_id == example_id)
    models = sorted(row.responses, key=lambda model: -(row.grader_scores.get(model) or 0.0))
    judgments = row.judgments or [Judgment(explanation=row.grader_explanation)]
    blocks = [_block(f"example {example_id}", row.prompt), _glance(row, models)]
    texts = {model: row.responses[model] or "(empty)" for model in models}
    if any(HUMAN in (judgment.ranking or []) for judgment in judgments):
        texts[HUMAN] = row.persons_reply
    beside = [_block(name, text) for name, text in {**texts, "oracle": row.oracle}.items()]
    blocks.append(f"<div style='{_SIDE_BY_SIDE}'>"
                  + "".join(f"<div>{block}</div>" for block in beside) + "</div>")
    for judgment in judgments:
        order = " > ".join(judgment.ranking or []) or judgment.error or ""
        slots = ", ".join(f"{slot} = {model}" for slot, model in judgment.position_map.items())
        blocks.append(_block(f"judge: {order} (slots: {slots or 'unknown'})",
                             judgment.explanation))
    return HTML("".join(blocks))


def _glance(row: ExampleRow, models: Sequence[str]) -> str:
    """One line per model: its rank in every order, score, similarity and length."""
    columns: dict[str, list[Any]] = {}
    for turn, judgment in enumerate(row.judgments or [], start=1):
        ranking = judgment.ranking or []
        columns[f"rank, order {turn}"] = [
            ranking.index(model) + 1 if model in ranking else "unread" for model in models]
    for name, values in (("score", row.grader_scores),
                         ("similarity to oracle", row.similarity_scores)):
        columns[name] = [number(values.get(model), ".2f", none="none") for model in models]
    columns["characters"] = [len(row.responses[model] or "") for model in models]
    html = pd.DataFrame(columns, index=models).to_html(escape=True, border=0)
    for cell in ("td", "th"):
        html = html.replace(f"<{cell}>", f"<{cell} style='padding:.1em .8em;text-align:right'>")
    return html


def _block(title: str, text: Any) -> str:
    shown = "" if text is None else str(text)
    return f"<b>{escape(title)}</b><div style='{_PANE}'>{escape(shown)}</div>"


def browser(data: Evaluated) -> Any:
    """A widget with a filter and a slider over the examples; headless, the first one as text."""
    table = example_table(data)
    if in_batch():      # an executed notebook would keep the state of widgets, and cannot use it
        return example_view(data, table.index[0])
    return browse(table, FILTERS, lambda row: example_view(data, row.name), noun="example")
