"""Words that notebooks show: they wrap at spaces, and are escaped, as models' texts are in them."""

import textwrap
from collections.abc import Iterable
from html import escape
from pathlib import Path

WIDTH = 100
_AS_IT_IS = ("white-space:pre-wrap;overflow-wrap:break-word;font-family:monospace;font-size:.9em;"
             "padding:.5em .8em;border:1px solid var(--jp-border-color2,#8886)")


class Prose(str):
    """Sentences, a line for each paragraph."""

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(line)}</p>" for line in self.splitlines() if line)

    def __repr__(self) -> str:
        return "\n".join(textwrap.fill(line, WIDTH) for line in self.splitlines())


class Verbatim(str):
    """A text as it is, with its line breaks, such as a question that a judge gets."""

    def _repr_html_(self) -> str:
        return f"<div style='{_AS_IT_IS}'>{escape(self)}</div>"

    def __repr__(self) -> str:
        return str(self)


def prose(lines: Iterable[str]) -> Prose:
    """Paragraphs from sentences."""
    return Prose("\n".join(lines))


def nearby(path: Path, root: Path) -> str:
    """A path as it is seen from the project folder; whole where it lies elsewhere."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
