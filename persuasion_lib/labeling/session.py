"""A labelling session without a screen: what to show next, what was answered, what it says."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Literal

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Label, Pair, content_id
from persuasion_lib.labeling.events import Event

Choice = Literal["first", "second", "tie", "skip"]
Kind = Literal["pair", "repeat", "check"]
CHOICES: tuple[Choice, ...] = ("first", "second", "tie", "skip")
FAST_S = 2.0    # nobody reads two responses in less


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

    @property
    def text_id(self) -> str:
        """Changes when a text of the pair changes, so that a label never moves to another text."""
        return content_id(self.pair.prompt, self.pair.response_a, self.pair.response_b)

    def preferred(self, choice: Choice) -> Label | None:
        """The label in the stored order of the pair; None for a skip."""
        if choice in ("first", "second"):
            return "b" if (choice == "second") != self.swapped else "a"
        return "tie" if choice == "tie" else None


def plan(pairs: Sequence[Pair], *, seed: int, annotator: str, repeat_fraction: float,
         checks: int) -> list[Item]:
    """Everything one annotator will be shown, in order; the same on every opening.

    Repeats come half the pool after their original, checks at even distances and always after
    the pair that they are made of, so neither changes what an annotator knows of a pair.
    """
    def coin(*parts: object) -> bool:
        return int(content_id(seed, annotator, *parts), 16) % 2 == 1

    pairs = sorted(pairs, key=lambda pair: content_id(seed, annotator, pair.pair_id))
    originals = [Item(pair.pair_id, "pair", pair, coin(pair.pair_id)) for pair in pairs]
    placed = [(float(i), item) for i, item in enumerate(originals)]
    repeats = int(len(pairs) * repeat_fraction)
    again = [j * (len(pairs) // 2) // repeats for j in range(repeats)]
    placed += [(i + len(pairs) / 2, Item(f"{originals[i].key}/repeat", "repeat",
                                         originals[i].pair, not originals[i].swapped))
               for i in again]
    checks = min(checks, len(pairs) // 20)
    for position in (len(pairs) * (k + 1) / (checks + 1) for k in range(checks)):
        source = next(i for i in range(int(position / 2), len(pairs)) if i not in again)
        key = f"{pairs[source].pair_id}/check"
        placed.append((position, Item(key, "check", _obvious(pairs[source]), coin(key))))
    return [item for _, item in sorted(placed, key=lambda p: p[0])]


def _obvious(pair: Pair) -> Pair:
    words = pair.response_a.split()
    mixed = sorted(words, key=lambda word: content_id(pair.pair_id, word))
    return Pair(pair.pair_id, pair.prompt, pair.response_a, " ".join(mixed), {})


class Session:
    """One annotator's way through a plan; every change is an event that `save` keeps.

    `save` runs before anything changes here: if it raises, nothing has happened.

    Args:
        events: what was saved before; the session goes on exactly there.
        now: the clock, in UTC.
    """

    def __init__(self, items: Sequence[Item], events: Sequence[Event],
                 save: Callable[[Event], None], *, annotator: str, guidelines: str,
                 now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.items, self.annotator, self.guidelines = list(items), annotator, guidelines
        self._items = {item.key: item for item in items}
        self._save, self._now, self._id = save, now, secrets.token_hex(4)
        self._stack: list[Event] = []               # choices that were not undone
        self._choices: dict[str, list[Event]] = {item.key: [] for item in items}
        self._flags: dict[str, Event] = {}
        self._opened: Item | None = None
        self.foreign = 0                            # events on texts that are not in this plan
        self.made = 0                               # choices since opening
        for event in events:
            self._apply(event)
        self.made, self._opened = 0, None

    def _apply(self, event: Event) -> None:
        kind, key = event.get("event"), event.get("key")
        if kind not in ("choice", "undo", "flag") or not isinstance(key, str):
            raise DataError(f"no labelling event: {event!r:.120}. Restore the log from a copy.")
        item = self._items.get(key)
        if item is None or event.get("text") != item.text_id:
            self.foreign += kind == "choice"
        elif kind == "flag":
            self._flags[key] = event
        elif kind == "undo":
            if not self._stack or self._stack[-1]["key"] != key:
                raise DataError("the log takes back a choice that is not its last. "
                                "Restore it from a copy.")
            self._stack.pop()
            self._choices[key].pop()
            self._opened, self.made = item, self.made - 1
        else:
            self._opened = None
            self._choices[key].append(event)
            self._stack.append(event)
            self.made += 1

    def _record(self, kind: str, item: Item, **fields: object) -> None:
        event = {"event": kind, "key": item.key, "pair_id": item.pair.pair_id, "kind": item.kind,
                 "text": item.text_id, **fields, "annotator": self.annotator, "session": self._id,
                 "at": self._now().isoformat(timespec="milliseconds")}
        self._save(event)
        self._apply(event)

    # --- what to show -------------------------------------------------------------------------

    @property
    def current(self) -> Item | None:
        """The item to show; None when everything is answered."""
        if self._opened is not None:
            return self._opened
        fresh = next((item for item in self.items if not self._choices[item.key]), None)
        if fresh is not None:
            return fresh
        postponed = [e["key"] for e in self._stack if not self.answered(e["key"])]
        return self._items[postponed[0]] if postponed else None

    def answered(self, key: str) -> bool:
        """Whether an item needs no more attention: a label, or skipped when it came back."""
        choices = [event["choice"] for event in self._choices[key]]
        return bool(choices) and (choices[-1] != "skip" or choices[-2:] == ["skip", "skip"])

    def token(self, item: Item) -> str:
        """A name for an item that does not tell whether it is a repeat or a check."""
        return content_id(self._id, item.key)

    def recent(self, count: int = 10) -> list[tuple[Item, Choice]]:
        """The last items answered and the answer, newest first, each item once."""
        keys = list(dict.fromkeys(event["key"] for event in reversed(self._stack)))[:count]
        return [(self._items[key], self._choices[key][-1]["choice"]) for key in keys]

    # --- what the annotator does --------------------------------------------------------------

    def choose(self, token: str, choice: Choice, seconds: float | None = None) -> bool:
        """Record a choice for the item on screen; False if that item is no longer on screen.

        The token makes a second press, or a second window, unable to label an unseen pair.
        """
        item = self.current
        if item is None or token != self.token(item):
            return False
        if choice not in CHOICES:
            raise DataError(f"a choice is one of {', '.join(CHOICES)}, got {choice!r}")
        self._record("choice", item, choice=choice, preferred=item.preferred(choice),
                     swapped=item.swapped, seconds=None if seconds is None else round(seconds, 2),
                     guidelines=content_id(self.guidelines))
        return True

    def undo(self) -> bool:
        """Take the last choice back and show its item again; False if there is none."""
        if not self._stack:
            return False
        self._record("undo", self._items[self._stack[-1]["key"]])
        return True

    def flag(self, token: str, *, flagged: bool, note: str) -> bool:
        """Mark the item on screen for a later look; the label is a matter of its own."""
        item = self.current
        if item is None or token != self.token(item):
            return False
        self._record("flag", item, flagged=flagged, note=note)
        return True

    def open(self, token: str) -> bool:
        """Show an answered item again, to answer it anew."""
        item = next((i for i, _ in self.recent(len(self.items)) if self.token(i) == token), None)
        self._opened = item or self._opened
        return item is not None

    # --- what it says -------------------------------------------------------------------------

    def flag_of(self, item: Item) -> tuple[bool, str]:
        """(flagged, note) of an item."""
        event = self._flags.get(item.key, {})
        return bool(event.get("flagged")), str(event.get("note", ""))

    def choice_of(self, item: Item) -> Event | None:
        """The choice that counts for an item: the latest that was not undone."""
        return self._choices[item.key][-1] if self._choices[item.key] else None

    def chosen(self, kind: Kind = "pair") -> list[tuple[Item, Event]]:
        """The items of a kind with their choices that are labels (first, second or tie)."""
        latest = ((item, self.choice_of(item)) for item in self.items if item.kind == kind)
        return [(item, event) for item, event in latest if event and event["preferred"]]

    @property
    def missing(self) -> list[str]:
        """Ids of the pairs of the pool that are not answered yet; repeats and checks are extra."""
        return [item.key for item in self.items
                if item.kind == "pair" and not self.answered(item.key)]

    @property
    def done(self) -> int:
        """How many items of the plan are answered."""
        return sum(self.answered(item.key) for item in self.items)

    @property
    def median_seconds(self) -> float | None:
        """Median active seconds of the last fifty answers; None before the first."""
        times = [event["seconds"] for event in self._stack if event.get("seconds") is not None]
        return median(times[-50:]) if times else None

    def break_due(self, every: int) -> bool:
        """Whether the last choice completed another `every` of this sitting."""
        return self.made > 0 and self.made % every == 0 and self._opened is None
