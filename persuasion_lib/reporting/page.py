"""A part of the report, and how parts become a page.

Texts of models and judges come from outside: the templates escape every one of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from persuasion_lib.core.show import INK_AND_PAPER, in_page_colours

_LONG = 40                # characters of a cell from which a table may wrap its texts


@dataclass(frozen=True)
class Part:
    """A part of the report: sentences, at most one table and one figure.

    A cell of the table that is `Markup`, such as a link, is shown as that. `caption` is for a
    figure that the template has none for. `folded` are long lists by what they are, which a page
    opens when asked.
    """

    title: str
    lines: Sequence[str] = ()
    table: pd.DataFrame | None = None
    figure: str | None = None
    notes: Sequence[str] = ()
    caption: str | None = None
    folded: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """For a notebook: the words and the table, without the figure."""
        return rendered("part.html.j2", part=self)


def as_page(parts: Mapping[str, Part], folder: Path, *, title: str = "Evaluation summary",
            **words: str | int) -> str:
    """One HTML page that loads nothing; figures that are missing in `folder` are left out.

    `words` are what the template says besides: the `examples`, and for captions the `level` of
    intervals and the number `n` of prompts.
    """
    files = {part.figure: folder / f"{part.figure}.svg" for part in parts.values() if part.figure}
    figures = {name: _inline(path.read_text(encoding="utf-8"))
               for name, path in files.items() if path.exists()}
    return rendered("report.html.j2", parts=parts, figures=figures, title=title,
                    ink_and_paper=Markup(INK_AND_PAPER), **words)


def rendered(template: str, **words: object) -> str:
    """A template of this room, every text in it escaped but what is Markup."""
    return _TEMPLATES.get_template(template).render(**words)


def _inline(svg: str) -> Markup:
    """A figure of ours as a part of the page, whose letters are those of all other figures."""
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", in_page_colours(svg))
    return Markup(svg.replace("xlink:href", "href"))


def _html_table(table: pd.DataFrame) -> Markup:
    wordy = any(len(str(value)) > _LONG for value in table.to_numpy().ravel())
    safe = table.rename_axis(None).map(_escaped).rename(index=escape, columns=escape)
    html = safe.to_html(escape=False, float_format="{:.3f}".format, na_rep="-", border=0,
                        classes="wordy" if wordy else "numbers")
    # JupyterLab sets every cell to the right, which is for numbers.
    return Markup(re.sub(r"<(t[dh])>", r'<\1 style="text-align:left">', html) if wordy else html)


def _escaped(value: Any) -> Any:
    """A cell of a table: numbers as they are, Markup as it is, all else escaped."""
    return value if isinstance(value, int | float | None) else escape(value)


_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
                         undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
_TEMPLATES.filters["html_table"] = _html_table
