"""Are these pairs worth labelling, and these labels worth training on? Figures and their limits.

Both replies of a pair come from one model with the same settings, so the two slots must look
alike; replies must end by themselves; and a prompt must hold the message it answers.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from persuasion_lib.core.records import Pair
from persuasion_lib.core.sections import Gates
from persuasion_lib.data.cleaning import rules_that_fire

NEAR = 0.95             # similarity of characters from which two replies count as one
REPEATS = 3             # a run of four words that comes back so often is a loop
CLOSED = re.compile(r"[.!?…\"'”’)\]*:]\s*$")
# "[...context truncated...]", or an omission at the very end; ours stands in the middle.
CUT = re.compile(r"\[[^\]\n]*truncated[^\]\n]*\]|\[(?:…|\.\.\.)\]\s*$", re.IGNORECASE)

# figure: (setting with its limit, what it means, what to do)
GATES = {
    "truncated replies": (
        "max_truncated_fraction", "of the replies are cut off",
        "Raise pairs.max_new_tokens, or train SFT longer so that it learns to stop."),
    "near-identical pairs": (
        "max_poor_fraction", "of the pairs are the same reply twice, or nearly",
        "Raise pairs.temperature, or set pairs.contrast."),
    "empty or looping replies": (
        "max_poor_fraction", "of the replies are empty or repeat themselves",
        "Lower pairs.temperature, or train SFT longer."),
    "opening gap between slots": (
        "max_opening_gap", "more often one slot opens in the same way than the other does",
        "The two replies were not sampled alike (one seed for every prompt does that). "
        "Sample the pool again."),
    "prompts with entities": (
        "max_unclean_fraction", "of the prompts hold HTML entities",
        "Clean the corpus: notebooks/00_prepare.ipynb does."),
    "prompts with a moderator's footnote": (
        "max_unclean_fraction", "of the prompts hold a bot's footnote",
        "Clean the corpus: notebooks/00_prepare.ipynb does."),
    "prompts without their message": (
        "max_unclean_fraction", "of the prompts are cut where the message to answer should be",
        "Cut the middle instead: notebooks/00_prepare.ipynb does."),
}


def pair_figures(pairs: Sequence[Pair]) -> dict[str, float]:
    """The shares that GATES names, each from 0 to 1, of pairs, replies or prompts."""
    replies = [text for pair in pairs for text in (pair.response_a, pair.response_b)]
    prompts = [" ".join(m["content"] for m in pair.prompt) for pair in pairs]
    fired = [rules_that_fire(prompt) for prompt in prompts]
    return {
        "truncated replies": truncated_share(pairs),
        "near-identical pairs": _share(_alike(p.response_a, p.response_b) for p in pairs),
        "empty or looping replies": _share(map(is_poor, replies)),
        "opening gap between slots": opening_gap(pairs),
        "prompts with entities": _share("HTML entities" in f for f in fired),
        "prompts with a moderator's footnote": _share("moderator footnote" in f for f in fired),
        "prompts without their message": _share(
            pair.prompt[-1]["role"] != "user" or bool(CUT.search(pair.prompt[-1]["content"]))
            for pair in pairs)}


def truncated_share(pairs: Sequence[Pair]) -> float:
    """Share of replies that hit the token cap; judged by their last character if unrecorded."""
    cut = []
    for pair in pairs:
        finishes = pair.metadata.get("finish")
        cut += [f == "length" for f in finishes] if finishes else [
            not CLOSED.search(text) for text in (pair.response_a, pair.response_b)]
    return _share(cut)


def is_poor(text: str) -> bool:
    """Whether a reply has no word, or says the same four words three times."""
    words = re.findall(r"\w+", text.lower())
    runs = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    return not words or max(runs.values(), default=0) >= REPEATS


def opening_gap(pairs: Sequence[Pair]) -> float:
    """The largest difference between the two slots in how often one opening occurs.

    An opening is the first word, or the first sign if that is no letter or digit. Slots that were
    sampled alike differ by chance only: by about 1.5 / √pairs.
    """
    first, second = (Counter(_opening(text) for text in texts) for texts in (
        [p.response_a for p in pairs], [p.response_b for p in pairs]))
    return max((abs(first[o] - second[o]) for o in first | second), default=0) / max(len(pairs), 1)


def _opening(text: str) -> str:
    found = re.match(r"\s*(\w+|\W)", html.unescape(text).lower())
    return found.group(1) if found else ""


def _alike(a: str, b: str) -> bool:
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    return a.strip() == b.strip() or (matcher.real_quick_ratio() >= NEAR
                                      and matcher.quick_ratio() >= NEAR
                                      and matcher.ratio() >= NEAR)


def _share(values: object) -> float:
    values = list(values)
    return sum(values) / len(values) if values else float("nan")


def broken_gates(name: str, figures: Mapping[str, float], limits: Gates) -> list[str]:
    """Which limits of the `validate` settings a pool breaks, each with what to do."""
    return [f"{name}: {figures[what]:.0%} {meaning}, the limit is {getattr(limits, setting):.0%} "
            f"(gates.{setting}). {remedy}"
            for what, (setting, meaning, remedy) in GATES.items()
            if figures[what] > getattr(limits, setting)]
