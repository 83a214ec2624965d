"""The pipeline as a drawing: where you are, what this run has done, and how its models look.

Everything that is drawn comes from manifests and names, which are texts from files: all escaped.
"""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.family import FAMILY, MODELS
from persuasion_lib.core.manifest import changed_reads, read_manifest
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.show import COLOURS, INK_AND_PAPER, NEUTRAL, SVG_CLASS, look

Counts = Mapping[str, Any]

WIDTH, HEIGHT = 1000, 322
BOX_WIDTH, BOX_HEIGHT = 148, 86
COLUMN = 168                            # from one box to the next
UPPER, MIDDLE, LOWER = 44, 96, 148      # where boxes begin
BOLD = 'font-weight="600"'
ACCENT = COLOURS[3]
DONE, OPEN = COLOURS[2], COLOURS[1]
# What a notebook does, and where its box stands.
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
    boxes = "".join(_box(name, *notes[name], here=name == here) for name in _BOXES)
    said = escape(f"{title}. {'. '.join(words)}.", quote=True)
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" class="{SVG_CLASS}" role="img" '
           f'viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" style="max-width:{WIDTH}px" '
           f'font-family="system-ui,sans-serif" font-size="12" aria-label="{said}">'
           f"<style>{INK_AND_PAPER}</style>"
           f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" style="fill:var(--paper)"/>'
           f"{_text(16, 24, title, BOLD)}"
           f"{''.join(_arrow(*ends) for ends in _ARROWS)}{boxes}{_models()}</svg>")
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


def _box(name: str, state: str, lines: list[str], *, here: bool) -> str:
    purpose, column, y = _BOXES[name]
    x = 6 + column * COLUMN
    colour = {"done": DONE, "": NEUTRAL, "not run yet": NEUTRAL}.get(state, OPEN)
    parts = [f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
             f'fill="{colour}" fill-opacity=".12" stroke="{ACCENT if here else colour}" '
             f'stroke-width="{3 if here else 1}"/>',
             _text(x + 8, y + 18, STAGES[name].notebook, BOLD),
             _text(x + 8, y + 34, purpose)]
    parts += [_text(x + 8, y + 50 + 15 * at, line) for at, line in enumerate(lines[:2])]
    # A state is said in words: colour alone would not reach everybody.
    parts.append(_text(x + 8, y + 80, state, 'font-size="11" font-style="italic"'))
    if here:
        parts.append(f'<rect x="{x + 22}" y="{y - 20}" width="104" height="18" rx="9" '
                     f'fill="{ACCENT}"/>'
                     + _text(x + 74, y - 7, "you are here", f'{BOLD} text-anchor="middle" '
                             'style="fill:#fff"'))
    return "".join(parts)


def _arrow(start: str, end: str) -> str:
    """From the right of a box to the left of another, or down where they stand in one column."""
    (_, column, y), (_, column_2, y_2) = _BOXES[start], _BOXES[end]
    if column == column_2:
        x = 6 + column * COLUMN + BOX_WIDTH // 2
        x_2, y, y_2 = x, y + BOX_HEIGHT, y_2
        head = f"M{x_2 - 4} {y_2 - 7}L{x_2} {y_2 - 1}L{x_2 + 4} {y_2 - 7}"
    else:
        x, x_2 = 6 + column * COLUMN + BOX_WIDTH, 6 + column_2 * COLUMN
        y, y_2 = y + BOX_HEIGHT // 2, y_2 + BOX_HEIGHT // 2
        head = f"M{x_2 - 6} {y_2 - 4}L{x_2 - 1} {y_2}L{x_2 - 6} {y_2 + 4}"
    middle = (x + x_2) // 2
    return (f'<path d="M{x} {y}C{middle} {y} {middle} {y_2} {x_2} {y_2}{head}" fill="none" '
            f'stroke="{NEUTRAL}" stroke-width="1.5"/>')


def _models() -> str:
    """The models, each with its colour and marker: the legend of every figure."""
    y = HEIGHT - 46
    parts = [_text(16, y - 18, "The models, as in every figure:", BOLD)]
    for at, name in enumerate(MODELS):
        x = 22 + at * 196
        style = look(name)
        parts.append(f'<g transform="translate({x} {y + 8})" fill="{style["color"]}">'
                     f"{_SHAPES[style['marker']]}</g>"
                     + _text(x + 14, y + 6, name, BOLD)
                     + _text(x + 14, y + 22, FAMILY[name].built_of))
    return "".join(parts)


def _text(x: int, y: int, text: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>'


if __name__ == "__main__":
    print(pipeline().svg)
