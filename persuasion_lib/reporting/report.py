"""The report: the answer first, then the criteria, the tables, and what limits all of it.

`parts` is the one text; `as_text` prints it plainly and `as_html` with the figures.
"""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.runs import described, summed
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_text
from persuasion_lib.reporting import (
    checked,
    human_reply,
    minds,
    panel,
    parts_people,
    parts_rankings,
    parts_replies,
)
from persuasion_lib.reporting.evaluated import Evaluated
from persuasion_lib.reporting.page import Part, as_page
from persuasion_lib.reporting.qualitative import qualitative

WIDTH = 100
WIDEST = 125              # a table wider than this is printed as a list

# In reading order. None is what the evaluation does not say, and the report does not mention.
PARTS: dict[str, Callable[[Mapping[str, Any]], Part | None]] = {
    "answer": parts_rankings.answer, "people": parts_people.people,
    "ranked": parts_people.ranked,
    "against people": human_reply.part, "panel": panel.part,
    "models": parts_replies.models, "criteria": parts_rankings.criteria,
    "input": parts_rankings.seen_input, "scores": parts_rankings.scores,
    "comparisons": parts_rankings.comparisons, "wins": parts_rankings.wins,
    "position": parts_rankings.position, "agreement": parts_rankings.agreement, "minds": minds.part,
    "strengths": parts_rankings.strengths, "similarity": parts_replies.similarity,
    "length": parts_replies.length, "tactics": parts_replies.tactics,
    "training": parts_replies.training, "gold": parts_replies.gold, "checked": checked.checked,
    "limits": parts_replies.limits}


# What a notebook shows instead, where there is a way to have it.
_NOTHING = {
    "people": "Nobody compared final replies, so everything here goes by the judge (05b).",
    "ranked": "Nobody ranked all models here; with human_eval.kind=ranking 05b asks for that.",
    "minds": "Nobody asked the judge about arguments of which one really won (minds.pairs, from "
             "00 on)."}


def parts(result: Mapping[str, Any]) -> dict[str, Part]:
    """The whole report by the names of its parts, in reading order."""
    found = {name: make(result) for name, make in PARTS.items()}
    return {name: part for name, part in found.items() if part is not None}


def part(result: Mapping[str, Any], name: str) -> Part:
    """A part of the report; one that says so where the evaluation has nothing for it."""
    return PARTS[name](result) or Part(name, (_NOTHING.get(name, "The evaluation does not say."),))


def as_text(result: Mapping[str, Any]) -> str:
    """The report as plain text."""
    above = [textwrap.fill(result["banner"], WIDTH), ""] if result["banner"] else []
    lines = [*above, "EVALUATION SUMMARY", "=" * 40]
    lines += [textwrap.fill(text, WIDTH) for text in _about(result)]
    for part in parts(result).values():
        lines += ["", part.title, "-" * len(part.title)]
        lines += [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in part.lines]
        if part.table is not None:
            lines += ["", _text_table(part.table)]
        lines += [textwrap.fill(f"{what}: {'; '.join(entries)}.", WIDTH, subsequent_indent="  ")
                  for what, entries in part.folded.items()]
        lines += [textwrap.fill(note, WIDTH) for note in part.notes]
    return "\n".join(lines) + "\n"


def _about(result: Mapping[str, Any]) -> list[str]:
    """What this is a report of."""
    texts = [described(result.get("run")), summed(result.get("stages"))]
    return [text for text in texts if text]


def _text_table(table: pd.DataFrame) -> str:
    """Columns where they fit; otherwise one entry per row."""
    text = table.to_string(float_format="{:.3f}".format, na_rep="-")
    if len(text.split("\n", 1)[0]) <= WIDEST:
        return text
    return "\n".join(textwrap.fill(f"{name}: {'; '.join(map(str, row))}", WIDTH,
                                   subsequent_indent="    ")
                     for name, row in zip(table.index, table.to_numpy(), strict=True))


def as_html(result: Mapping[str, Any], folder: Path, examples: str) -> str:
    """The report as one HTML page; figures that are missing in `folder` are left out."""
    return as_page(parts(result), folder, banner=result["banner"], examples=examples,
                   about=" ".join(_about(result)),
                   n=result["counts"]["scored"], level=f"{result['confidence']:.0%}")


def write_report(run: StageRun, result: Mapping[str, Any], data: Evaluated) -> list[Path]:
    """Write the text report, the qualitative examples, and the page with all and the figures."""
    examples = qualitative(result, data)
    return [write_text(run.path("report"), as_text(result)),
            write_text(run.path("qualitative"), examples),
            write_text(run.path("report_html"), as_html(result, run.path("figures"), examples))]
