"""Tables of whole texts for notebooks; model text is untrusted, so it is always escaped."""

from __future__ import annotations

import pandas as pd


class TextTable:
    """A table shown with whole, wrapped texts; pandas alone would cut them at 50 characters."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            html = self.table.to_html(escape=True, border=0, justify="left")
        # pandas writes a line break inside a text as the two characters \n.
        html = html.replace("\\n", "<br>")
        return html.replace("<td>", '<td style="text-align:left;white-space:normal">')

    def __repr__(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.table.to_string()
