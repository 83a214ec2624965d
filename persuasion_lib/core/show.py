"""What notebooks show: tables of whole texts, pages to turn, and the look of every figure.

Model text is untrusted, so it is always escaped. Models differ in figures by marker and dash as
well as by colour, so that a grey print can be read too. Drawings take ink and paper from the page
around them, light or dark; on their own they follow the reader's system.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.text import Text

from persuasion_lib.core.family import MODELS

Filters = Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]]

DPI = 130
MARKERS = ("o", "s", "^", "D", "v")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)))
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494",
           "#ece133", "#56b4e9")     # the palette "colorblind" of seaborn, which loads slowly
NEUTRAL = "#808890"     # lines and bars of no model: seen on white and on black
SVG_CLASS = "persuasion"
# Inside a page the variables of JupyterLab decide; without them (GitHub, a file) the system does.
INK_AND_PAPER = (
    f".{SVG_CLASS}{{--ink:var(--jp-content-font-color1,#1f2328);"
    "--paper:var(--jp-layout-color0,#fff)}"
    f"@media (prefers-color-scheme:dark){{.{SVG_CLASS}{{"
    "--ink:var(--jp-content-font-color1,#e6edf3);--paper:var(--jp-layout-color0,#16191d)}}"
    f".{SVG_CLASS},.{SVG_CLASS} text{{fill:var(--ink)}}")    # a black marker has no fill of its own
# The same figure gives the same bytes; letters stay letters, and a PDF has no date.
_WRITTEN = {"svg.fonttype": "none", "svg.hashsalt": SVG_CLASS, "pdf.fonttype": 42}
_WITHOUT_DATE: dict[str, dict[str, None]] = {
    "png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


class Plot(Figure):
    """A figure that any notebook shows, without pyplot and its global state."""

    def written(self, kind: str) -> bytes:
        """The figure as a file of `kind` (png, svg or pdf), black on white."""
        for text in self.findobj(Text):
            text.set_parse_math(False)      # a name with dollars is a name and no formula
        buffer = BytesIO()
        with matplotlib.rc_context(_WRITTEN):
            self.savefig(buffer, format=kind, dpi=DPI, metadata=_WITHOUT_DATE[kind])
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.written("png")

    def _repr_svg_(self) -> str:
        return in_page_colours(self.written("svg").decode())


def in_page_colours(svg: str) -> str:
    """A figure of matplotlib that takes ink and paper from the page, and styles nothing else."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg"):], flags=re.S)
    svg = svg.replace("#000000", "var(--ink)").replace("#ffffff", "var(--paper)")
    svg = svg.replace('<style type="text/css">*{', f"<style>{INK_AND_PAPER}.{SVG_CLASS} *{{")
    return svg.replace("<svg ", f'<svg class="{SVG_CLASS}" ', 1)


def in_order(models: Iterable[str]) -> list[str]:
    """Models as every figure has them: those of MODELS in its order, then others as they come."""
    return sorted(models, key=lambda name: MODELS.index(name) if name in MODELS else len(MODELS))


def look(model: str, models: Sequence[str] = ()) -> dict[str, Any]:
    """Colour, marker and dash of a model's line, by its place in MODELS: the same in every figure.

    A model that is not in MODELS comes after those, by its place among the `models` of the figure.
    """
    known = [*MODELS, *(name for name in models if name not in MODELS)]
    place = known.index(model)
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)],
            "linestyle": DASHES[place % len(DASHES)]}


class TextTable:
    """A table shown with whole, wrapped texts; pandas alone would cut them at 50 characters."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            html = self.table.map(_breakable).to_html(escape=True, border=0, justify="left")
        # pandas writes a line break inside a text as the two characters \n.
        html = html.replace("\\n", "<br>")
        html = html.replace("<th>", '<th style="text-align:left;vertical-align:top">')
        return html.replace(
            "<td>", '<td style="text-align:left;vertical-align:top;white-space:normal">')

    def __repr__(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.table.to_string()


def numbered(table: pd.DataFrame, noun: str = "") -> pd.DataFrame:
    """The rows counted from 1, under the name of what they are."""
    return table.set_axis(pd.RangeIndex(1, len(table) + 1, name=noun or None))


def _breakable(value: Any) -> Any:
    """Long words (links) may break after 40 characters, else one column pushes out the others.

    A whole number stays one, which pandas would show as 2150.0 beside 0.5.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
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
