"""What one annotator is shown: pairs, repeats and obvious checks, in an order of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

from persuasion_lib.core.records import Label, Pair, Slot, content_id, slot_of, unswap

Choice = Slot | Literal["both_bad", "skip"]
Kind = Literal["pair", "repeat", "check"]
# What a choice says of the two responses in the order of the screen; a skip says nothing.
SLOT_OF_CHOICE: dict[Choice, Slot] = {"first": "first", "second": "second", "tie": "tie",
                                      "both_bad": "tie"}
FAST_S = 2.0    # nobody reads two responses in less
# Words a minute. People read 238 silently (Brysbaert 2019, a meta-analysis of 190 studies), and
# nobody understands what they read above some 500 (Rayner et al. 2016); twice that is no reading.
TOO_FAST = 1000


def preferred(choice: Choice, *, swapped: bool) -> Label | None:
    """The label that a choice means in the stored order of a pair; None for a skip."""
    slot = SLOT_OF_CHOICE.get(choice)
    return unswap(slot, swapped=swapped) if slot else None


def words_of(pair: Pair) -> int:
    """Words of both responses together."""
    return len(f"{pair.response_a} {pair.response_b}".split())


def too_fast(pair: Pair, seconds: float) -> bool:
    """Whether nobody can have read both responses in that time."""
    return words_of(pair) > TOO_FAST / 60 * seconds


@dataclass(frozen=True)
class Item:
    """One showing of a pair to one annotator; `swapped` says that `response_b` is shown first.

    A "repeat" shows a pair again with the sides exchanged, a "check" shows the first response
    against a shuffle of its own words. The annotator cannot tell them from a "pair".
    """

    key: str
    kind: Kind
    pair: Pair
    swapped: bool

    @property
    def shown(self) -> tuple[str, str]:
        """The two responses in the order of the screen."""
        a, b = self.pair.response_a, self.pair.response_b
        return (b, a) if self.swapped else (a, b)

    @cached_property
    def text_id(self) -> str:
        """Changes when a text of the pair changes, so that a label never moves to another text."""
        return content_id(self.pair.prompt, self.pair.response_a, self.pair.response_b)

    @property
    def about(self) -> dict[str, str]:
        """What an event on this item says of it."""
        return {"pair_id": self.pair.pair_id, "kind": self.kind, "text": self.text_id}

    def preferred(self, choice: Choice) -> Label | None:
        """The label in the stored order of the pair; None for a skip."""
        return preferred(choice, swapped=self.swapped)

    def choice_for(self, label: Label) -> Choice:
        """The choice that means `label`, a label in stored order: `preferred` the other way."""
        return slot_of(label, swapped=self.swapped)

    def second_look(self) -> Self:
        """The same pair once more, with the sides exchanged."""
        return Item(f"{self.key}/repeat", "repeat", self.pair, not self.swapped)


def showings(pairs: Sequence[Pair], *, seed: int, annotator: str, repeat_fraction: float,
             checks: int) -> list[Item]:
    """Everything one annotator will be shown, in order; the same on every opening.

    Repeats come half the pool after their original, checks at even distances and always after
    the pair that they are made of, so neither changes what an annotator knows of a pair.
    """
    def coin(key: str) -> bool:
        return int(content_id(seed, annotator, key), 16) % 2 == 1

    in_order = sorted(pairs, key=lambda pair: content_id(seed, annotator, pair.pair_id))
    pool = [Item(pair.pair_id, "pair", pair, coin(pair.pair_id)) for pair in in_order]
    repeated = repeated_places(len(pool), repeat_fraction)
    # Places are fractions, so that an item can stand between two pairs without moving any other.
    placed: list[tuple[float, Item]] = list(enumerate(pool))
    placed += [(i + len(pool) / 2, pool[i].second_look()) for i in repeated]
    checks = min(checks, len(pool) // 20)
    for k in range(checks):
        place = len(pool) * (k + 1) / (checks + 1)
        source = pool[_check_source(place, repeated)]
        key = f"{source.key}/check"
        placed.append((place, Item(key, "check", _obvious(source.pair), coin(key))))
    return [item for _, item in sorted(placed, key=lambda each: each[0])]


def repeated_places(pairs: int, fraction: float) -> list[int]:
    """The positions of the pairs that come twice, spread over the first half of the pool.

    From there half the pool lies between the two looks: nobody answers from memory.
    """
    count = int(pairs * fraction)
    return [k * (pairs // 2) // count for k in range(count)]


def _check_source(place: float, repeated: Sequence[int]) -> int:
    """The position of the pair that a check is made of: long past, and not one that comes twice.

    A check of a pair that is still to come would show one of its responses beforehand, and a pair
    that comes twice would be met a third time.
    """
    position = int(place / 2)
    while position in repeated:
        position += 1
    return position


def _obvious(pair: Pair) -> Pair:
    """The first response against a shuffle of its own words."""
    words = pair.response_a.split()
    mixed = sorted(words, key=lambda word: content_id(pair.pair_id, word))
    return Pair(pair.pair_id, pair.prompt, pair.response_a, " ".join(mixed), {})
