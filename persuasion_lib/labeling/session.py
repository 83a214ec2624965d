"""A labelling session without a screen: pairs to be compared, and what was said of them."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.records import content_id
from persuasion_lib.labeling.events import Event
from persuasion_lib.labeling.items import SLOT_OF_CHOICE, Choice, Item, Kind, preferred, too_fast
from persuasion_lib.labeling.sitting import Sitting


def _is_choice(event: Event, item: Item | None) -> bool:
    """Whether what an event says was pressed, shown and preferred fit together."""
    choice, swapped, seconds = (event.get(name) for name in ("choice", "swapped", "seconds"))
    is_known = isinstance(choice, str) and (choice in SLOT_OF_CHOICE or choice == "skip")
    is_time = seconds is None or is_amount(seconds)
    is_whole = {"preferred", "swapped"} <= event.keys() and isinstance(event.get("more", {}), dict)
    if not (is_known and is_time and is_whole and isinstance(swapped, bool | None)):
        return False
    if item is None:
        return True
    # A file's label has no side.
    shown = item.swapped if swapped is None else swapped
    return preferred(choice, swapped=shown) == event.get("preferred")


class Session(Sitting[Item]):
    """One annotator's way through their showings of pairs."""

    answer = "choice"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._named: dict[str, Item] = {}           # by the token that the screen got
        self._flags: dict[str, Event] = {}
        super().__init__(*arguments, **options)

    def _is_sound(self, event: Event, item: Item | None) -> bool:
        kind = event.get("event")
        return kind in ("undo", "flag") or kind == "choice" and _is_choice(event, item)

    def _take(self, event: Event, item: Item) -> None:
        if event["event"] == "flag":
            self._flags[item.key] = event
        else:
            super()._take(event, item)

    def token(self, item: Item) -> str:
        """As in `Sitting`; the item can be opened by it."""
        token = super().token(item)
        self._named[token] = item
        return token

    def recent(self, count: int = 10) -> list[tuple[Item, Choice]]:
        """The last items answered and the answer, newest first, each item once."""
        last = islice(reversed(self._stack), 20 * count)    # many may be of one item
        keys = list(dict.fromkeys(event["key"] for event in last))[:count]
        return [(self._items[key], self._answers[key][-1]["choice"]) for key in keys]

    def choose(self, token: str, choice: Choice, seconds: float | None = None, *,
               more: Mapping[str, Any] | None = None) -> bool:
        """Record a choice for the item on screen; False if that item is no longer on screen.

        `more` is kept beside the choice (how much better, which reasons).
        """
        item = self.on_screen(token)
        if item is None:
            return False
        if choice not in (*SLOT_OF_CHOICE, "skip"):
            raise DataError("a choice is one of first, second, tie, skip, both_bad, got "
                            f"{choice!r}")
        self._record("choice", item, choice=choice, preferred=item.preferred(choice),
                     swapped=item.swapped, seconds=None if seconds is None else round(seconds, 2),
                     guidelines=content_id(self.guidelines), **({"more": more} if more else {}))
        return True

    def flag(self, token: str, *, flagged: bool, note: str) -> bool:
        """Mark the item on screen for a later look; the label is a matter of its own."""
        item = self.on_screen(token)
        if item is None:
            return False
        self._record("flag", item, flagged=flagged, note=note)
        return True

    def open(self, token: str) -> bool:
        """Show an answered item again, to answer it anew."""
        item = self._named.get(token)
        if item is None or not self._answers[item.key]:
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
        return [item for item in self.items if self.flag_of(item)[0] and self._answers[item.key]]

    def in_a_hurry(self, *, window: int = 10) -> bool:
        """Whether most of the last `window` answers came faster than anybody reads."""
        last = self._stack[-window:]
        fast = [event for event in last if event.get("seconds") is not None
                and too_fast(self._items[event["key"]].pair, event["seconds"])]
        return len(last) == window and 2 * len(fast) > window

    def chosen(self, kind: Kind = "pair") -> list[tuple[Item, Event]]:
        """The items of a kind with their choices that are labels (first, second or tie)."""
        answers = ((item, self.answer_of(item)) for item in self.items if item.kind == kind)
        return [(item, event) for item, event in answers if event and event["preferred"]]

    @property
    def pool(self) -> list[Item]:
        """The pairs of the pool, each once."""
        return [item for item in self.items if item.kind == "pair"]

    @property
    def left_out(self) -> int:
        """How many pairs of the pool have no label because they were skipped twice."""
        return len(self.pool) - len(self.missing) - len(self.chosen("pair"))
