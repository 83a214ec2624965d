"""A labelling session without a screen: what to show next, what was answered, what it says."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from statistics import median
from typing import Any

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.records import content_id, unswap
from persuasion_lib.labeling.events import Event
from persuasion_lib.labeling.items import ON_SCREEN, Choice, Item, Kind, too_fast


def _is_choice(event: Event, item: Item | None) -> bool:
    """Whether what an event says was pressed, shown and preferred fit together."""
    choice, swapped, seconds = (event.get(name) for name in ("choice", "swapped", "seconds"))
    is_known = isinstance(choice, str) and (choice in ON_SCREEN or choice == "skip")
    is_time = seconds is None or is_amount(seconds)
    is_whole = {"preferred", "swapped"} <= event.keys() and isinstance(event.get("more", {}), dict)
    if not (is_known and is_time and is_whole and isinstance(swapped, bool | None)):
        return False
    if item is None or swapped is None:     # a file's label has no side
        return item is None or item.preferred(choice) == event.get("preferred")
    label = ON_SCREEN.get(choice)
    return event.get("preferred") == (unswap(label, swapped=swapped) if label else None)


class Session:
    """One annotator's way through their showings; every change is an event that `save` keeps.

    `save` runs before anything changes here: if it raises, nothing has happened.

    Args:
        events: what was saved before; the session goes on exactly there.
        now: the clock, in UTC.
    """

    def __init__(self, items: Sequence[Item], events: Sequence[Event],
                 save: Callable[[Event], None], *, annotator: str, guidelines: str,
                 now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.items = list(items)
        self.annotator = annotator
        self.guidelines = guidelines
        self.foreign = 0                            # events on texts that are not among the items
        self.made = 0                               # choices since opening
        self._items = {item.key: item for item in items}
        self._save = save
        self._now = now
        self._id = secrets.token_hex(4)
        self._stack: list[Event] = []               # choices that were not undone
        self._choices: dict[str, list[Event]] = {item.key: [] for item in items}
        self._answered: set[str] = set()
        self._skipped: dict[str, None] = {}         # once so far, in order: they come back
        self._place = {item.key: place for place, item in enumerate(self.items)}
        self._named: dict[str, Item] = {}           # by the token that the screen got
        self._fresh = 0                             # all items before this place have a choice
        self._flags: dict[str, Event] = {}
        self._opened: Item | None = None            # shown out of turn, to be answered anew
        for event in events:
            self._apply(event)
        # The log says what was answered, not what this sitting did or what is on its screen.
        self.made = 0
        self._opened = None

    def _apply(self, event: Event) -> None:
        kind, key = event.get("event"), event.get("key")
        item = self._items.get(key) if isinstance(key, str) else None
        is_sound = kind in ("undo", "flag") or kind == "choice" and _is_choice(event, item)
        if not is_sound or not isinstance(key, str):
            raise DataError(f"no labelling event: {event!r:.120}. Restore the log from a copy.")
        if item is None or event.get("text") != item.text_id:
            self.foreign += kind == "choice"
        elif kind == "flag":
            self._flags[key] = event
        elif kind == "undo":
            self._take_back(item)
        else:
            self._opened = None
            self._choices[key].append(event)
            self._stack.append(event)
            self.made += 1
            self._note(key)

    def _take_back(self, item: Item) -> None:
        if not self._stack or self._stack[-1]["key"] != item.key:
            raise DataError("the log takes back a choice that is not its last. "
                            "Restore it from a copy.")
        self._stack.pop()
        self._choices[item.key].pop()
        self._opened = item
        self.made -= 1
        self._note(item.key)

    def _note(self, key: str) -> None:
        """Keep up to date what is asked after every key, however long the log is."""
        last = [event["choice"] for event in self._choices[key][-2:]]
        self._answered.discard(key)
        self._skipped.pop(key, None)
        if not last:
            self._fresh = min(self._fresh, self._place[key])
        elif last[-1] != "skip" or last == ["skip", "skip"]:
            self._answered.add(key)
        else:
            self._skipped[key] = None
        while self._fresh < len(self.items) and self._choices[self.items[self._fresh].key]:
            self._fresh += 1

    def _record(self, kind: str, item: Item, **fields: object) -> None:
        event = {"event": kind, "key": item.key, "pair_id": item.pair.pair_id, "kind": item.kind,
                 "text": item.text_id, **fields, "annotator": self.annotator, "session": self._id,
                 "at": self._now().isoformat(timespec="milliseconds")}
        self._save(event)
        self._apply(event)

    @property
    def current(self) -> Item | None:
        """The item to show; None when everything is answered."""
        if self._opened is not None:
            return self._opened
        if self._fresh < len(self.items):
            return self.items[self._fresh]
        return self._items.get(next(iter(self._skipped), None))

    def answered(self, key: str) -> bool:
        """Whether an item needs no more attention: a label, or skipped when it came back."""
        return key in self._answered

    def token(self, item: Item) -> str:
        """A name for an item that does not tell whether it is a repeat or a check."""
        token = content_id(self._id, item.key)
        self._named[token] = item
        return token

    def recent(self, count: int = 10) -> list[tuple[Item, Choice]]:
        """The last items answered and the answer, newest first, each item once."""
        last = islice(reversed(self._stack), 20 * count)    # many may be of one item
        keys = list(dict.fromkeys(event["key"] for event in last))[:count]
        return [(self._items[key], self._choices[key][-1]["choice"]) for key in keys]

    def choose(self, token: str, choice: Choice, seconds: float | None = None, *,
               more: Mapping[str, Any] | None = None) -> bool:
        """Record a choice for the item on screen; False if that item is no longer on screen.

        The token makes a second press, or a second window, unable to label an unseen pair. `more`
        is kept beside the choice (how much better, which reasons).
        """
        item = self.current
        if item is None or token != self.token(item):
            return False
        if choice not in (*ON_SCREEN, "skip"):
            raise DataError("a choice is one of first, second, tie, skip, both_bad, got "
                            f"{choice!r}")
        self._record("choice", item, choice=choice, preferred=item.preferred(choice),
                     swapped=item.swapped, seconds=None if seconds is None else round(seconds, 2),
                     guidelines=content_id(self.guidelines), **({"more": more} if more else {}))
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
        item = self._named.get(token)
        if item is None or not self._choices[item.key]:
            return False
        self._opened = item
        return True

    def flag_of(self, item: Item) -> tuple[bool, str]:
        """(flagged, note) of an item."""
        event = self._flags.get(item.key, {})
        return bool(event.get("flagged")), str(event.get("note", ""))

    @property
    def flagged(self) -> list[Item]:
        """The answered items that are flagged, in the order shown: a list to work through."""
        return [item for item in self.items if self.flag_of(item)[0] and self._choices[item.key]]

    def in_a_hurry(self, *, window: int = 10) -> bool:
        """Whether most of the last `window` answers came faster than anybody reads."""
        last = self._stack[-window:]
        fast = [event for event in last if event.get("seconds") is not None
                and too_fast(self._items[event["key"]].pair, event["seconds"])]
        return len(last) == window and 2 * len(fast) > window

    def choice_of(self, item: Item) -> Event | None:
        """The choice that counts for an item: the latest that was not undone."""
        given = self._choices[item.key]
        return given[-1] if given else None

    def chosen(self, kind: Kind = "pair") -> list[tuple[Item, Event]]:
        """The items of a kind with their choices that are labels (first, second or tie)."""
        answers = ((item, self.choice_of(item)) for item in self.items if item.kind == kind)
        return [(item, event) for item, event in answers if event and event["preferred"]]

    @property
    def pool(self) -> list[Item]:
        """The pairs of the pool, each once; repeats and checks are extra."""
        return [item for item in self.items if item.kind == "pair"]

    @property
    def missing(self) -> list[str]:
        """Ids of the pairs of the pool that are not answered yet."""
        return [item.key for item in self.pool if not self.answered(item.key)]

    @property
    def left_out(self) -> int:
        """How many pairs of the pool have no label because they were skipped twice."""
        return len(self.pool) - len(self.missing) - len(self.chosen("pair"))

    @property
    def done(self) -> int:
        """How many items are answered."""
        return len(self._answered)

    @property
    def median_seconds(self) -> float | None:
        """Median active seconds of the last fifty answers; None before the first."""
        times = (e["seconds"] for e in reversed(self._stack) if e.get("seconds") is not None)
        last = list(islice(times, 50))
        return median(last) if last else None

    def break_due(self, every: int) -> bool:
        """Whether the last choice completed another `every` of this sitting."""
        return self.made > 0 and self.made % every == 0 and self._opened is None
