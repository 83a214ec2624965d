"""Ranking all replies to a prompt without a screen: what is shown, what was answered.

The counterpart of `items` and `session` for more than two texts. The log is kept by the same
`events`; it is a file of its own, since an order is no choice between two.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.rankings import Ranking, mean_ranks
from persuasion_lib.core.records import content_id
from persuasion_lib.labeling.events import Event, EventLog, read_events
from persuasion_lib.labeling.opening import no_widget, refuse

Places = Sequence[Sequence[int]]    # slots of the screen, best first; who shares a place together


@dataclass(frozen=True)
class RankItem:
    """One showing of a prompt: slot i of the screen shows the text of `groups[i]`.

    Models that gave the same text are one group: it is shown once, and they share a place.
    """

    key: str
    asked: Ranking
    groups: tuple[tuple[str, ...], ...]
    is_repeat: bool = False

    @property
    def texts(self) -> list[str]:
        """What is shown, in the order of the screen."""
        return [self.asked.replies[group[0]] for group in self.groups]

    @property
    def names(self) -> list[str]:
        """Of every slot a name that says nothing of a model: the hash of its text."""
        return [content_id(text.strip()) for text in self.texts]

    def ranks(self, places: Sequence[Sequence[str]]) -> dict[str, float]:
        """The rank of every model, of an order of `names`."""
        models = dict(zip(self.names, self.groups, strict=True))
        return mean_ranks([[model for name in shared for model in models[name]]
                           for shared in places])


def rank_items(asked: Sequence[Ranking], *, seed: int, annotator: str,
               repeat_fraction: float) -> list[RankItem]:
    """Everything one annotator will be shown, in order; the same on every opening.

    Slots are drawn by hash for every prompt; repeats come half the prompts later, in other slots.
    """
    order = sorted(asked, key=lambda one: content_id(seed, annotator, one.key))
    placed = [(float(at), _shown(one, seed, annotator, False)) for at, one in enumerate(order)]
    count = int(len(order) * repeat_fraction)
    for k in range(count):
        at = k * (len(order) // 2) // count
        placed.append((at + len(order) / 2, _shown(order[at], seed, annotator, True)))
    return [item for _, item in sorted(placed, key=lambda each: each[0])]


def _shown(asked: Ranking, seed: int, annotator: str, is_repeat: bool) -> RankItem:
    same: dict[str, list[str]] = {}
    for model, text in asked.replies.items():
        same.setdefault(text.strip(), []).append(model)
    groups = sorted(map(tuple, same.values()), key=lambda group: content_id(
        seed, annotator, asked.example_id, group, is_repeat))
    return RankItem(asked.key + "/repeat" * is_repeat, asked, tuple(groups), is_repeat)


def by_stand_in(items: Sequence[RankItem], rank: Callable[[RankItem], Places],
                guidelines: str) -> "RankingSession":
    """A session that `rank` has answered to its end."""
    session = RankingSession(items, [], lambda event: None, annotator="simulated",
                             guidelines=guidelines)
    while (item := session.current) is not None:
        session.rank(session.token(item), rank(item))
    return session


def by_file(items: Sequence[RankItem], given: Sequence[Ranking], *, annotator: str,
            guidelines: str) -> "RankingSession":
    """A session that knows the rankings of a file; what it would show twice is not its concern."""
    pool = {item.asked.key: item for item in items if not item.is_repeat}
    events = [{"event": "ranking", "key": pool[one.key].key, "given": one,
               "places": _places(pool[one.key], one.ranks)} for one in given]
    return RankingSession(list(pool.values()), events, refuse, annotator=annotator,
                          guidelines=guidelines)


def _places(item: RankItem, ranks: Mapping[str, float]) -> list[list[str]]:
    """The order that ranks mean; models with one text count as the first of them."""
    found: dict[float, list[str]] = {}
    for name, group in zip(item.names, item.groups, strict=True):
        found.setdefault(ranks[group[0]], []).append(name)
    return [found[rank] for rank in sorted(found)]


def log_of(path: Path) -> tuple[list[Event], Callable[[Event], None]]:
    """The events of a person, and what keeps the next one; headless it only reads."""
    if in_batch():
        return read_events(path), refuse
    owned = EventLog(path)
    return owned.rows, owned.append


def screen(session: "RankingSession", source: str, *, break_every: int) -> Any:
    """The widget; where no person is to rank now, a sentence on the rankings instead."""
    if source == "widget" and not in_batch():
        from persuasion_lib.labeling.ranking_widget import RankingWidget

        return RankingWidget(session, break_every=break_every)
    missing = len(session.missing)
    return no_widget(len(session.pool) - missing, missing, source, "rankings")


def figures(session: "RankingSession") -> pd.DataFrame:
    """Counts, how often a second look gave the same order of two replies, and pace.

    Columns: value, n (what the value is out of).
    """
    made = session.ranked("")
    same = [one.pair(*two).label == one.pair(*two).again for one in made if one.again
            for two in combinations(one.replies, 2)]
    rows = {"prompts ranked": (len(made), len(session.pool)),
            "two replies in the same order on the repeat": (
                sum(same) / len(same) if same else float("nan"), len(same)),
            "median seconds": (session.median_seconds or float("nan"), len(made))}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "n"]).astype(
        {"value": float})


def is_order(places: Any, of: Sequence[int | str]) -> bool:
    """Whether these are all slots, or their names, each once, in one or more places."""
    if not isinstance(places, list) or not all(isinstance(p, list) and p for p in places):
        return False
    given = [one for place in places for one in place]
    return all(type(one) is type(of[0]) for one in given) and sorted(given) == sorted(of)


class RankingSession:
    """One annotator's way through the prompts; every change is an event that `save` keeps first.

    Args:
        events: what was saved before; the session goes on exactly there.
    """

    def __init__(self, items: Sequence[RankItem], events: Sequence[Event],
                 save: Callable[[Event], None], *, annotator: str, guidelines: str,
                 now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.items = list(items)
        self.annotator = annotator
        self.guidelines = guidelines
        self.foreign = 0                        # events on texts that are not among the items
        self.made = 0                           # answers since opening
        self._items = {item.key: item for item in items}
        self._save = save
        self._now = now
        self._id = secrets.token_hex(4)
        self._answers: list[Event] = []         # those that were not undone
        self._opened: RankItem | None = None    # taken back, to be answered anew
        for event in events:
            self._apply(event)
        self.made = 0
        self._opened = None

    def _apply(self, event: Event) -> None:
        item = self._items.get(str(event.get("key")))
        kind = event.get("event")
        seconds = event.get("seconds")
        if kind not in ("ranking", "skip", "undo") or not (seconds is None or is_amount(seconds)):
            raise DataError(f"no event of a ranking: {event!r:.120}. Restore the log from a copy.")
        if item is None:
            self.foreign += kind == "ranking"
        elif kind == "undo":
            if not self._answers or self._answers[-1]["key"] != item.key:
                raise DataError("the log takes back an answer that is not its last. Restore it "
                                "from a copy.")
            self._answers.pop()
            self.made -= 1
            self._opened = item
        else:
            if kind == "ranking" and not is_order(event.get("places"), item.names):
                raise DataError(f"no order of {len(item.groups)} replies: {event!r:.120}. Restore "
                                "the log from a copy.")
            self._answers.append(event)
            self.made += 1
            self._opened = None

    def _record(self, kind: str, item: RankItem, **fields: object) -> None:
        event = {"event": kind, "key": item.key, "example_id": item.asked.example_id, **fields,
                 "annotator": self.annotator, "session": self._id,
                 "at": self._now().isoformat(timespec="milliseconds")}
        self._save(event)
        self._apply(event)

    def _given(self, item: RankItem) -> list[Event]:
        return [event for event in self._answers if event["key"] == item.key]

    def answered(self, item: RankItem) -> bool:
        """Whether a prompt needs no more attention: an order, or skipped when it came back."""
        kinds = [event["event"] for event in self._given(item)]
        return "ranking" in kinds[-1:] or kinds[-2:] == ["skip", "skip"]

    @property
    def current(self) -> RankItem | None:
        """The item to show; None when everything is answered."""
        if self._opened is not None:
            return self._opened
        left = [item for item in self.items if not self.answered(item)]
        new = [item for item in left if not self._given(item)]
        return next(iter(new + left), None)

    def token(self, item: RankItem) -> str:
        """A name for an item that does not tell whether it is a repeat."""
        return content_id(self._id, item.key)

    def rank(self, token: str, places: Any, seconds: float | None = None) -> bool:
        """Record the order of the item on screen; False if that is no longer on screen.

        Raises:
            DataError: it is no order of all the slots; nothing is saved.
        """
        item = self.current
        if item is None or token != self.token(item):
            return False
        if not is_order(places, range(len(item.groups))):
            raise DataError(f"an order names each of the {len(item.groups)} replies once")
        # By text: with another seed the slots would mean other replies.
        self._record("ranking", item, shown=item.names,
                     places=[[item.names[slot] for slot in shared] for shared in places],
                     seconds=None if seconds is None else round(seconds, 2),
                     guidelines=content_id(self.guidelines))
        return True

    def skip(self, token: str) -> bool:
        """Leave the item on screen for the end; a second time, for good."""
        item = self.current
        if item is None or token != self.token(item):
            return False
        self._record("skip", item)
        return True

    def undo(self) -> bool:
        """Take the last answer back and show its item again; False if there is none."""
        if not self._answers:
            return False
        self._record("undo", self._items[self._answers[-1]["key"]])
        return True

    @property
    def pool(self) -> list[RankItem]:
        """The prompts, each once; repeats are extra."""
        return [item for item in self.items if not item.is_repeat]

    @property
    def missing(self) -> list[str]:
        """The prompts that are not answered yet."""
        return [item.asked.example_id for item in self.pool if not self.answered(item)]

    @property
    def done(self) -> int:
        """How many items are answered."""
        return sum(map(self.answered, self.items))

    @property
    def median_seconds(self) -> float | None:
        """Median active seconds of the answers; None before the first."""
        times = [e["seconds"] for e in self._answers if e.get("seconds") is not None]
        return median(times) if times else None

    def break_due(self, every: int) -> bool:
        """Whether the last answer completed another `every` of this sitting."""
        return self.made > 0 and self.made % every == 0 and self._opened is None

    def ranked(self, labelled_by: str) -> list[Ranking]:
        """The orders that were given, each with that of its repeat."""
        last = {item.key: event for item in self.items for event in self._given(item)[-1:]
                if event["event"] == "ranking"}
        again = {item.asked.key: item.ranks(last[item.key]["places"])
                 for item in self.items if item.is_repeat and item.key in last}
        return [last[item.key].get("given") or replace(
            item.asked, ranks=item.ranks(last[item.key]["places"]), labeled_by=labelled_by,
            again=again.get(item.asked.key),
            metadata={name: last[item.key].get(name) for name in ("seconds", "guidelines")})
            for item in self.pool if item.key in last]
