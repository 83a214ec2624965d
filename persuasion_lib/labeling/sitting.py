"""One annotator's way through what they are shown, whatever it is: what is answered, what is next.

Every change is an event that `save` keeps before it counts; from the events alone the way is found
again. `Session` has pairs to be compared, `RankingSession` replies to be put in order.
"""

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from statistics import median
from typing import Any, ClassVar, Generic, TypeVar

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import content_id
from persuasion_lib.labeling.events import Event

I = TypeVar("I")        # noqa: E741  an item: with key, text_id and about, what its events say of it


class Sitting(Generic[I]):
    """One annotator's way through their items; every change is an event that `save` keeps.

    `save` runs before anything changes here: if it raises, nothing has happened.

    Args:
        events: what was saved before; the sitting goes on exactly there.
        now: the clock, in UTC.
    """

    answer: ClassVar[str]       # the event that answers an item

    def __init__(self, items: Sequence[I], events: Sequence[Event],
                 save: Callable[[Event], None], *, annotator: str, guidelines: str,
                 now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.items = list(items)
        self.annotator = annotator
        self.guidelines = guidelines
        self.foreign = 0                            # answers on texts that are not among the items
        self.made = 0                               # answers since opening
        self._items = {item.key: item for item in items}
        self._save = save
        self._now = now
        self._id = secrets.token_hex(4)
        self._stack: list[Event] = []               # answers that were not undone
        self._answers: dict[str, list[Event]] = {item.key: [] for item in items}
        self._answered: set[str] = set()
        self._skipped: dict[str, None] = {}         # once so far, in order: they come back
        self._place = {item.key: place for place, item in enumerate(self.items)}
        self._fresh = 0                             # all items before this place have an answer
        self._opened: I | None = None               # shown out of turn, to be answered anew
        for event in events:
            self._apply(event)
        # The log says what was answered, not what this sitting did or what is on its screen.
        self.made = 0
        self._opened = None

    def _is_sound(self, event: Event, item: I | None) -> bool:
        """Whether what an event says fits together; `item` is None where it is not known here."""
        raise NotImplementedError

    def _apply(self, event: Event) -> None:
        key = event.get("key")
        item = self._items.get(key) if isinstance(key, str) else None
        if not isinstance(key, str) or not self._is_sound(event, item):
            raise DataError(f"no labelling event: {event!r:.120}. Restore the log from a copy.")
        if item is None or event.get("text") != item.text_id:
            self.foreign += event["event"] == self.answer
        else:
            self._take(event, item)

    def _take(self, event: Event, item: I) -> None:
        """A sound event on an item that is shown here."""
        if event["event"] == "undo":
            if not self._stack or self._stack[-1]["key"] != item.key:
                raise DataError("the log takes back an answer that is not its last. "
                                "Restore it from a copy.")
            self._stack.pop()
            self._answers[item.key].pop()
            self._opened = item
            self.made -= 1
        else:
            self._opened = None
            self._answers[item.key].append(event)
            self._stack.append(event)
            self.made += 1
        self._note(item.key)

    def _note(self, key: str) -> None:
        """Keep up to date what is asked after every key, however long the log is."""
        were_skipped = ["skip" in (event["event"], event.get("choice"))
                        for event in self._answers[key][-2:]]
        self._answered.discard(key)
        self._skipped.pop(key, None)
        if not were_skipped:
            self._fresh = min(self._fresh, self._place[key])
        elif not were_skipped[-1] or were_skipped == [True, True]:
            self._answered.add(key)
        else:
            self._skipped[key] = None
        while self._fresh < len(self.items) and self._answers[self.items[self._fresh].key]:
            self._fresh += 1

    def _record(self, kind: str, item: I, **fields: object) -> None:
        event = {"event": kind, "key": item.key, **item.about, **fields,
                 "annotator": self.annotator, "session": self._id,
                 "at": self._now().isoformat(timespec="milliseconds")}
        self._save(event)
        self._apply(event)

    @property
    def current(self) -> I | None:
        """The item to show; None when everything is answered."""
        if self._opened is not None:
            return self._opened
        if self._fresh < len(self.items):
            return self.items[self._fresh]
        return self._items.get(next(iter(self._skipped), None))

    def answered(self, key: str) -> bool:
        """Whether an item needs no more attention: an answer, or skipped when it came back."""
        return key in self._answered

    def answer_of(self, item: I) -> Event | None:
        """The answer that counts for an item, be it a skip: the latest that was not undone."""
        return next(reversed(self._answers[item.key]), None)

    def token(self, item: I) -> str:
        """A name for an item that does not tell what kind it is."""
        return content_id(self._id, item.key)

    def on_screen(self, token: str) -> I | None:
        """The item on screen if the token is its; else None.

        So a second press, or a second window, cannot answer what nobody has seen.
        """
        item = self.current
        return item if item is not None and token == self.token(item) else None

    def undo(self) -> bool:
        """Take the last answer back and show its item again; False if there is none."""
        if not self._stack:
            return False
        self._record("undo", self._items[self._stack[-1]["key"]])
        return True

    @property
    def pool(self) -> list[I]:
        """What is to be answered, each once; repeats and checks are extra."""
        raise NotImplementedError

    @property
    def missing(self) -> list[str]:
        """The keys of the pool that are not answered yet."""
        return [item.key for item in self.pool if not self.answered(item.key)]

    @property
    def done(self) -> int:
        """How many items are answered."""
        return len(self._answered)

    @property
    def median_seconds(self) -> float | None:
        """Median active seconds of the last fifty answers; None before the first."""
        times: Any = (e["seconds"] for e in reversed(self._stack) if e.get("seconds") is not None)
        last = list(islice(times, 50))
        return median(last) if last else None

    def break_due(self, every: int) -> bool:
        """Whether the last answer completed another `every` of this sitting."""
        return self.made > 0 and self.made % every == 0 and self._opened is None
