"""Are these pairs worth labelling, and these labels worth training on? Figures and their limits.

Both replies of a pair come from one model with the same settings, so the two slots must look
alike; replies must end by themselves; and a prompt must hold the message it answers. What counts
as a defect of a text (no end mark, repetition, gibberish) is defined here, for every stage.
"""

import html
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher

from persuasion_lib.core.brought import brought_labels, find_brought, labels_in_folder
from persuasion_lib.core.config import Config
from persuasion_lib.core.pipeline import POOLS
from persuasion_lib.core.records import Example, Pair
from persuasion_lib.data.cleaning import rules_that_fire

NEAR = 0.95             # similarity of characters from which two replies count as one
# A stop, and what may close behind it. A lone quotation mark or colon is where replies of real
# models were cut off.
_END_MARK = re.compile(r"[.!?…][\"'”’)\]*_]*$")
# "[...context truncated...]", or an omission at the very end; ours stands in the middle.
_CUT = re.compile(r"\[[^\]\n]*truncated[^\]\n]*\]|\[(?:…|\.\.\.)\]\s*$", re.IGNORECASE)
# As most chat templates write a control token; a tokenizer names its own.
_CONTROL = re.compile(r"<\|[^|>\s]{1,40}\|>")
_CLEAN = "Clean the corpus: notebooks/00_prepare.ipynb does."

POOL_OF_MODEL = {pool.trains: name for name, pool in POOLS.items()}

# figure: (setting with its limit, what it means, what to do); rows of the registry of checks
GATES = {
    "tie share": (
        "max_tie_fraction", "of the labels are ties",
        "Sample more different pairs: raise pairs.temperature, or set pairs.contrast."),
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
        "max_unclean_fraction", "of the prompts hold HTML entities", _CLEAN),
    "prompts with a moderator's footnote": (
        "max_unclean_fraction", "of the prompts hold a bot's footnote", _CLEAN),
    "prompts that tell the outcome": (
        "max_unclean_fraction", "of the prompts hold an edit or a delta of after the replies",
        _CLEAN),
    "prompts without their message": (
        "max_unclean_fraction", "of the prompts are cut where the message to answer should be",
        "Cut the middle instead: notebooks/00_prepare.ipynb does."),
}


def limit_of(figure: str, config: Config) -> float:
    """The limit of a figure of GATES, from the settings."""
    return getattr(config.gates, GATES[figure][0])


def is_cut(text: str) -> bool:
    """Whether a text says itself that its end was left out."""
    return bool(_CUT.search(text))


def ends_with_mark(text: str) -> bool:
    """Whether a text ends as a sentence does; quotes, brackets and emphasis may close behind it."""
    return bool(_END_MARK.search(text.rstrip()))


def is_empty(text: str) -> bool:
    """Whether a text has no word, and no number either."""
    return not re.search(r"\w", text)


def repeats_itself(text: str) -> bool:
    """Whether the same four words come three times: one loop, which also a long text may have."""
    return max(_runs_of_words(text, 4).values(), default=0) >= 3


def is_poor(text: str) -> bool:
    """Whether a reply is empty or repeats itself, so that it can win or lose by that alone."""
    return is_empty(text) or repeats_itself(text)


def mostly_repeats(text: str) -> bool:
    """Whether more than half of what is said was said before: nothing but a loop is left.

    Of 400 real replies of 200 words a fifth repeat themselves somewhere; hardly one is a loop.
    """
    runs = _runs_of_words(text, 3)
    return runs.total() >= 6 and len(runs) < 0.5 * runs.total()


def is_gibberish(text: str) -> bool:
    """Whether nobody would take a text for a reply: empty, mostly not words, or one loop."""
    letters = sum(len(word) for word in re.findall(r"[^\W\d_]{2,}", text))
    return letters == 0 or letters < 0.5 * len(text.strip()) or mostly_repeats(text)


def _runs_of_words(text: str, length: int) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return Counter(zip(*(words[start:] for start in range(length)), strict=False))


def pair_figures(pairs: Sequence[Pair]) -> dict[str, float]:
    """The shares that GATES names but of ties, each from 0 to 1, of pairs, replies or prompts."""
    return {name: figure(pairs) for name, figure in FIGURES.items()}


def _poor_share(pairs: Sequence[Pair]) -> float:
    return _share(is_poor(text) for pair in pairs for text in (pair.response_a, pair.response_b))


def _rule_share(*rules: str) -> Callable[[Sequence[Pair]], float]:
    """The share of prompts that one of these rules of cleaning would change."""
    def figure(pairs: Sequence[Pair]) -> float:
        fired = (rules_that_fire(" ".join(m["content"] for m in pair.prompt)) for pair in pairs)
        return _share(bool(set(rules) & set(found)) for found in fired)
    return figure


def blank_targets(examples: Sequence[Example]) -> int:
    """How many SFT rows have a reply that is empty or blank."""
    return sum(not example.response.strip() for example in examples)


def target_faults(name: str, examples: Sequence[Example], config: Config) -> list[str]:
    """A sentence on replies to learn from that say nothing, if more than the limit do."""
    blank = blank_targets(examples)
    limit = config.gates.max_poor_fraction
    if blank <= limit * len(examples):
        return []
    return [f"{name}: {blank} of {len(examples)} replies to learn from are empty or blank, the "
            f"limit is {limit:.0%} (gates.max_poor_fraction). Remove these rows: SFT would learn "
            "to say nothing."]


def control_tokens(text: str, special: Iterable[str] = ()) -> list[str]:
    """Control tokens that a text spells out; a tokenizer would read them as such, not as text.

    Args:
        special: those of the model's tokenizer, such as `</s>`.
    """
    found = [*_CONTROL.findall(text), *(token for token in special if token in text)]
    return list(dict.fromkeys(found))


def control_faults(name: str, rows: Sequence[Example | Pair],
                   special: Iterable[str] = ()) -> list[str]:
    """A sentence on the rows of a set that spell out a control token; none where no row does."""
    found = {}
    for number, row in enumerate(rows, start=1):
        text = "\n".join([*(m["content"] for m in row.prompt), *replies(row)])
        if tokens := control_tokens(text, special):
            found[f"row {number} ({id_of(row)})"] = ", ".join(tokens)
    if not found:
        return []
    place, tokens = next(iter(found.items()))
    return [f"{name}: {len(found)} rows spell out control tokens of a model, with which a text can "
            f"fake a turn (first: {place}, {tokens}). Remove these rows, or write them otherwise."]


def replies(row: Example | Pair) -> tuple[str, ...]:
    """The reply of an example, the two of a pair."""
    return (row.response,) if isinstance(row, Example) else (row.response_a, row.response_b)


def id_of(row: Example | Pair) -> str:
    """The id of an example or a pair."""
    return row.example_id if isinstance(row, Example) else row.pair_id


def truncated_share(pairs: Sequence[Pair]) -> float:
    """Share of replies that hit the token cap; that lack an end mark where it is not recorded."""
    cut: list[bool] = []
    for pair in pairs:
        if finishes := pair.metadata.get("finish"):
            cut += [finish == "length" for finish in finishes]
        else:
            cut += [not ends_with_mark(text) for text in (pair.response_a, pair.response_b)]
    return _share(cut)


def opening_gap(pairs: Sequence[Pair]) -> float:
    """The largest difference between the two slots in how often one opening occurs.

    An opening is the first word, or the first sign if that is no letter or digit. Slots that were
    sampled alike differ by chance only: by about 1.5 / √pairs.
    """
    first = Counter(_opening(pair.response_a) for pair in pairs)
    second = Counter(_opening(pair.response_b) for pair in pairs)
    gaps = [abs(first[opening] - second[opening]) for opening in first | second]
    return max(gaps, default=0) / max(len(pairs), 1)


def _opening(text: str) -> str:
    found = re.match(r"\s*(\w+|\W)", html.unescape(text).lower())
    return found.group(1) if found else ""


def _alike(a: str, b: str) -> bool:
    if a.strip() == b.strip():
        return True
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    # The first two are quick upper bounds of the third, which few pairs need then.
    return all(similarity() >= NEAR for similarity in (
        matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio))


def _lacks_its_message(pair: Pair) -> bool:
    last = pair.prompt[-1]
    return last["role"] != "user" or is_cut(last["content"]) or not last["content"].strip()


def _share(values: Iterable[bool]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else float("nan")


FIGURES: dict[str, Callable[[Sequence[Pair]], float]] = {
    "truncated replies": truncated_share,
    "near-identical pairs": lambda pairs: _share(
        _alike(p.response_a, p.response_b) for p in pairs),
    "empty or looping replies": _poor_share,
    "opening gap between slots": opening_gap,
    "prompts with entities": _rule_share("HTML entities"),
    "prompts with a moderator's footnote": _rule_share("moderator footnote"),
    "prompts that tell the outcome": _rule_share("edit after the replies",
                                                 "delta that tells the outcome"),
    "prompts without their message": lambda pairs: _share(map(_lacks_its_message, pairs))}


def to_allow(figures: Mapping[str, Mapping[str, float]], config: Config) -> str:
    """The settings with which all these figures would pass, for whoever wants to go on with them.

    Args:
        figures: by pool or model, as in FIGURES.
    """
    needed: dict[str, float] = {}
    for row in figures.values():
        for figure, (setting, *_) in GATES.items():
            if row.get(figure, 0) > getattr(config.gates, setting):
                needed[setting] = max(row[figure], needed.get(setting, 0))
    if not needed:
        return ""
    settings = " ".join(f"--set gates.{setting}={math.ceil(100 * share) / 100:g}"
                        for setting, share in needed.items())
    return f"To go on with these pairs all the same: {settings}"


def brought_in(name: str, figure: str, config: Config) -> str:
    """The file in which somebody brought what a figure is about; "" where it was made here."""
    pool = POOL_OF_MODEL.get(name, name)
    if pool not in POOLS:       # somebody's own file, whatever it is called
        return ""
    labels = brought_labels(config, pool)
    if figure == "tie share":
        return labels[0].name if labels else ""
    pairs = find_brought(config, f"{pool}_responses.jsonl")
    in_folder = [pairs] if pairs else labels_in_folder(config, pool)
    prompts = find_brought(config, f"{pool}_prompts.jsonl")
    if not in_folder and prompts and figure.startswith("prompts"):
        in_folder = [prompts]
    return in_folder[0].name if in_folder else ""
