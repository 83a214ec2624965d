"""Tables of whole texts for notebooks; model text is untrusted, so it is always escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from IPython.display import HTML

Filters = Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]]


class TextTable:
    """A table shown with whole, wrapped texts; pandas alone would cut them at 50 characters."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            html = self.table.map(_breakable).to_html(escape=True, border=0, justify="left")
        # pandas writes a line break inside a text as the two characters \n.
        html = html.replace("\\n", "<br>")
        return html.replace(
            "<td>", '<td style="text-align:left;vertical-align:top;white-space:normal">')

    def __repr__(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.table.to_string()


def _breakable(value: Any) -> Any:
    """Long words (links) may break after 40 characters, else one column pushes out the others."""
    return re.sub(r"(\S{40})(?=\S)", "\\1\u200b", value) if isinstance(value, str) else value


def browse(table: pd.DataFrame, filters: Filters, view: Callable[[pd.Series], HTML], *,
           noun: str) -> Any:
    """A widget with a filter and a slider over the rows of `table`; `view` shows one, escaped."""
    import ipywidgets as widgets

    choose = widgets.Dropdown(options=list(filters), description="show")
    position = widgets.IntSlider(description=noun, min=0, max=0, continuous_update=False,
                                 readout=False)
    caption, page = widgets.Label(), widgets.HTML()

    def start(_: object) -> None:
        position.value = 0
        turn()

    def turn(_: object = None) -> None:
        rows = filters[choose.value](table)
        position.max = max(len(rows) - 1, 0)
        caption.value = f"{position.value + 1} of {len(rows)}" if len(rows) else f"no such {noun}"
        page.value = view(rows.iloc[position.value]).data if len(rows) else ""

    choose.observe(start, "value")
    position.observe(turn, "value")
    turn()
    return widgets.VBox([widgets.HBox([choose, position, caption]), page])
