"""The pipeline as a drawing: where you are, what this run has done, and how its models look.

Everything that is drawn comes from manifests and names, which are texts from files: the template
(`drawing.svg.j2`) escapes all.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.family import FAMILY, MODELS
from persuasion_lib.core.manifest import changed_reads, read_manifest
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.show import COLOURS, INK_AND_PAPER, NEUTRAL, SVG_CLASS, look

Counts = Mapping[str, Any]

UPPER, MIDDLE, LOWER = 44, 96, 148      # where boxes begin
# What a notebook does, and in which column and at which height its box stands.
_BOXES = {
    "prepare": ("prompts, SFT, pairs", 0, MIDDLE), "label_ai": ("a judge labels", 1, UPPER),
    "label_human": ("a person labels", 1, LOWER), "validate": ("fit to train on?", 2, MIDDLE),
    "train_dpo": ("DPO: three models", 3, MIDDLE), "evaluate": ("blind rankings", 4, UPPER),
    "human_eval": ("people compare", 4, LOWER), "analysis": ("report", 5, MIDDLE)}
_ARROWS = (("prepare", "label_ai"), ("prepare", "label_human"), ("label_ai", "validate"),
           ("label_human", "validate"), ("validate", "train_dpo"), ("train_dpo", "evaluate"),
           ("evaluate", "human_eval"), ("evaluate", "analysis"), ("human_eval", "analysis"))
_SHAPES: dict[Any, str] = {     # matplotlib's markers
    "o": '<circle r="6"/>', "s": '<rect x="-5.5" y="-5.5" width="11" height="11"/>',
    "^": '<path d="M0-7 7 6H-7Z"/>', "D": '<path d="M0-7 7 0 0 7-7 0Z"/>',
    "v": '<path d="M0 7 7-6H-7Z"/>'}

_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
                         undefined=StrictUndefined)


class Drawing:
    """An SVG; where a viewer shows none, the same in words."""

    def __init__(self, svg: str, words: str) -> None:
        self.svg = svg
        self.words = words

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.words


def pipeline(config: Config | None = None, here: str | None = None) -> Drawing:
    """All notebooks with what the run of `config` has of each, `here` marked as yours.

    Without `config` it is the drawing of README: no run, no counts. What is drawn is only looked
    at: it does not count as a setting that the stage has read.
    """
    notes = {name: ("", []) for name in STAGES} if config is None else _notes(config)
    title = "The pipeline" if config is None else (
        f"Run {config.name} of the profile {config.profile}" if config.name
        else f"Profile {config.profile}")
    words = [f"{STAGES[name].notebook}: {'; '.join([state or 'a notebook', *lines])}"
             f"{' (you are here)' if name == here else ''}"
             for name, (state, lines) in notes.items()]
    svg = _TEMPLATES.get_template("drawing.svg.j2").render(
        title=title, words=words, style=INK_AND_PAPER, svg_class=SVG_CLASS, shapes=_SHAPES,
        colours={"done": COLOURS[2], "": NEUTRAL, "not run yet": NEUTRAL},
        other_colour=COLOURS[1], accent=COLOURS[3], neutral=NEUTRAL,
        arrows=[(*_BOXES[start][1:], *_BOXES[end][1:]) for start, end in _ARROWS],
        boxes=[(column, y, STAGES[name].notebook, purpose, *notes[name], name == here)
               for name, (purpose, column, y) in _BOXES.items()],
        models=[(name, FAMILY[name].built_of, look(name)) for name in MODELS])
    svg = "".join(line.strip() for line in svg.splitlines())
    return Drawing(svg, "\n".join([title, *words]))


def _notes(config: Config) -> dict[str, tuple[str, list[str]]]:
    """By stage its state in a word or two, and at most two lines of counts."""
    aside = load_config(config.profile, config.overrides, root=config.root)
    return {name: _note(aside, name) for name in STAGES}


def _note(config: Config, name: str) -> tuple[str, list[str]]:
    try:
        manifest = read_manifest(config, name)
        if manifest is None:
            return "not run yet", []
        lines = [line for line in _LINES[name](manifest["counts"]) if line]
        is_old = bool(changed_reads(config, manifest))
        left = sum(found["count"] for found in manifest.get("open", {}).values())
    # A manifest of an earlier version, or a damaged one, spoils its own box and no notebook.
    except (PersuasionError, AttributeError, KeyError, TypeError, ValueError):
        return "not readable", []
    return "other settings" if is_old else f"{left:,} open" if left else "done", lines


def _of(counts: Counts, what: str) -> str:
    return f"{counts['done']:,} of {counts['planned']:,} {what}"


def _prepared(counts: Counts) -> list[str]:
    sizes = counts["by_set"]
    pools = sum(sizes.get(pool, 0) for pool in ("ai_pool", "human_pool"))
    return [f"{sizes.get('sft_train', 0):,} SFT rows",
            f"{pools:,} pairs, {sizes.get('test', 0):,} tests"]


def _labelled(counts: Counts) -> list[str]:
    return [_of(counts, "labels"), f"{counts['ties']:,} ties"]


_LINES: dict[str, Callable[[Counts], list[str]]] = {
    "prepare": _prepared, "label_ai": _labelled, "label_human": _labelled,
    "validate": lambda counts: [_of(counts, "labels")],
    "train_dpo": lambda counts: [_of(counts, "models")],
    "evaluate": lambda counts: [_of(counts, "prompts"), f"{len(counts['models'])} models"],
    "human_eval": lambda counts: [_of(counts, "read"), f"{counts['ties']:,} ties"],
    "analysis": lambda counts: [_of(counts, "scored")]}


if __name__ == "__main__":
    print(pipeline().svg)
