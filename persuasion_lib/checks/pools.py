"""Do the rows of a pool, of its labels and of its split count as often as they seem to?"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.core.records import FLIPPED, Label, LabeledPair, Pair
from persuasion_lib.data.overlap import Sets, overlap_faults, shared_passages, thread_of
from persuasion_lib.stats.blocks import TOO_FEW

# Train and validation; None is a side that is not here.
Split = tuple[Sequence[LabeledPair] | None, Sequence[LabeledPair] | None]


def concentration(pairs: Sequence[Pair]) -> Measured:
    """The chance that two pairs drawn at random are of one conversation (Simpson's index).

    1 divided by it is the number of conversations of equal size that would be as varied.
    """
    n = len(pairs)
    need(n >= 2 * TOO_FEW, f"{n} pairs are too few to tell")
    sizes = Counter(map(thread_of, pairs))
    thread, most = sizes.most_common(1)[0]
    chance = sum(size**2 for size in sizes.values()) / n**2
    return Measured(chance, n, f"as varied as {1 / chance:.0f} conversations of equal size; "
                               f"{most} pairs are of {thread!r:.60}")


def held_out(split: Split) -> Measured:
    """The share of the pairs that a split really keeps for validation."""
    train, val = split
    need(train is not None and val is not None, "the other side of the split is not here")
    n = len(train) + len(val)
    need(n >= TOO_FEW or val and not train, f"{n} pairs are too few to tell")
    return Measured(len(val) / n, n, f"{len(train)} pairs for training, {len(val)} for validation")


def ties_trained_on(split: Split) -> Measured:
    """The share of rows in a split that somebody called a tie: their "chosen" is a coin flip."""
    rows = [label for part in split for label in part or ()]
    need(rows, "the split has no row")
    ties = [label.pair.pair_id for label in rows if label.label == "tie"]
    return Measured(len(ties) / len(rows), len(rows), f"first: {ties[0]}" if ties else "")


def split_shares(split: Split) -> Measured:
    """How many conversations, or prompts where those are unknown, are on both sides of a split."""
    need(None not in split, "the other side of the split is not here")
    train, val = ({thread_of(label.pair) for label in part} for part in split)
    both = sorted(train & val)
    return Measured(len(both), len(train | val), f"first: {both[0]!r:.60}" if both else "")


def same_pair_again(pairs: Sequence[Pair]) -> Measured:
    """How many pairs are an earlier one under another id, or with its sides exchanged."""
    seen: dict[object, str] = {}
    again = []
    for pair in pairs:
        first = seen.setdefault(texts_of(pair), pair.pair_id)
        if first != pair.pair_id:
            again.append(f"{pair.pair_id} is {first}")
    return Measured(len(again), len(pairs), again[0] if again else "")


def contradicting(labels: Sequence[LabeledPair]) -> Measured:
    """How many pairs, by their texts, have two labels that contradict each other."""
    given: dict[object, set[Label]] = defaultdict(set)
    for label in labels:
        given[texts_of(label.pair)].add(in_order(label))
    both = [key for key, found in given.items() if len(found) > 1]
    ids = [label.pair.pair_id for label in labels if both and texts_of(label.pair) == both[0]]
    return Measured(len(both), len(given), f"first: {', '.join(ids)}" if ids else "")


def unlabelled(both: tuple[Sequence[Pair], Sequence[LabeledPair]]) -> Measured:
    """The share of a pool that has no label, by texts; sides may be exchanged."""
    pool, labels = both
    known = {texts_of(label.pair) for label in labels}
    need(any(texts_of(pair) in known for pair in pool), "no label is of a pair of this pool")
    open_ones = [pair.pair_id for pair in pool if texts_of(pair) not in known]
    example = f"{len(open_ones)} of {len(pool)} pairs" if open_ones else ""
    return Measured(len(open_ones) / len(pool), len(pool), example)


def of_other_texts(both: tuple[Sequence[Pair], Sequence[LabeledPair]]) -> Measured:
    """How many labels are of texts that their pool does not have."""
    pool, labels = both
    known = set(map(texts_of, pool))
    foreign = [label.pair.pair_id for label in labels if texts_of(label.pair) not in known]
    need(len(foreign) != len(labels), "no label is of a pair of this pool")
    return Measured(len(foreign), len(labels), f"first: {foreign[0]}" if foreign else "")


def texts_of(pair: Pair) -> tuple[str, frozenset[str]]:
    """What makes a pair the same pair: case, signs, blanks, sides and ids do not count."""
    said = " ".join(m["content"] for m in pair.prompt if m["role"] != "system")
    return _plain(said), frozenset(map(_plain, (pair.response_a, pair.response_b)))


def in_order(label: LabeledPair) -> Label:
    """The label if the replies stood in the order of the alphabet."""
    a, b = _plain(label.pair.response_a), _plain(label.pair.response_b)
    return label.label if a <= b else FLIPPED[label.label]


def _plain(text: str) -> str:
    letters = "".join(re.findall(r"\w", unicodedata.normalize("NFKC", text).casefold()))
    return letters or text


def shared_conversations(sets: Sets) -> Measured:
    """How many sets share a conversation with another one; whole rows count, not passages."""
    faults = overlap_faults(sets, shared_passages({}), 1.0)
    return Measured(len(faults), len(sets), " ".join(faults))


def copied_prompts(sets: Sets) -> Measured:
    """The largest share of a prompt that stands in passages of one prompt of another set."""
    shared = shared_passages(sets)
    if not len(shared):
        return Measured(0.0, len(sets))
    worst = shared.loc[shared["share"].idxmax()]
    a, b = worst["set"], worst["other set"]
    return Measured(float(worst["share"]), len(sets),
                    f"row {int(worst['row']) + 1} of {a} in row {int(worst['other row']) + 1} of "
                    f"{b}; {shared.groupby(['set', 'other set'], observed=True).ngroups} pairs of "
                    "sets share passages")
