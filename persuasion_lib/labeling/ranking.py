"""Ranking all replies to a prompt without a screen: what is shown, what was answered.

The counterpart of `items` and `session` for more than two texts. The log is kept by the same
`events`; it is a file of its own, since an order is no choice between two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from typing import Any, ClassVar

import pandas as pd

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.rankings import Ranking, mean_ranks
from persuasion_lib.core.records import content_id
from persuasion_lib.labeling.events import Event
from persuasion_lib.labeling.items import repeated_places
from persuasion_lib.labeling.opening import no_widget, refuse
from persuasion_lib.labeling.sitting import Sitting

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
    text_id: ClassVar[None] = None      # the key changes with every text

    @property
    def about(self) -> dict[str, str]:
        """What an event on this item says of it."""
        return {"example_id": self.asked.example_id}

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
    placed += [(at + len(order) / 2, _shown(order[at], seed, annotator, True))
               for at in repeated_places(len(order), repeat_fraction)]
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
    times = [order["seconds"] for order in session.orders().values()
             if order.get("seconds") is not None]
    rows = {"prompts ranked": (len(made), len(session.pool)),
            "two replies in the same order on the repeat": (
                sum(same) / len(same) if same else float("nan"), len(same)),
            "median seconds": (median(times) if times else float("nan"), len(made))}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "n"]).astype(
        {"value": float})


def is_order(places: Any, of: Sequence[int | str]) -> bool:
    """Whether these are all slots, or their names, each once, in one or more places."""
    if not isinstance(places, list) or not all(isinstance(p, list) and p for p in places):
        return False
    given = [one for place in places for one in place]
    return all(type(one) is type(of[0]) for one in given) and sorted(given) == sorted(of)


class RankingSession(Sitting[RankItem]):
    """One annotator's way through the prompts."""

    answer = "ranking"

    def _is_sound(self, event: Event, item: RankItem | None) -> bool:
        kind, seconds = event.get("event"), event.get("seconds")
        is_whole = kind != "ranking" or item is None or is_order(event.get("places"), item.names)
        return kind in ("ranking", "skip", "undo") and is_whole and (
            seconds is None or is_amount(seconds))

    def rank(self, token: str, places: Any, seconds: float | None = None) -> bool:
        """Record the order of the item on screen; False if that is no longer on screen.

        Raises:
            DataError: it is no order of all the slots; nothing is saved.
        """
        item = self.on_screen(token)
        if item is None:
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
        item = self.on_screen(token)
        if item is None:
            return False
        self._record("skip", item)
        return True

    @property
    def pool(self) -> list[RankItem]:
        """The prompts, each once."""
        return [item for item in self.items if not item.is_repeat]

    def orders(self) -> dict[str, Event]:
        """The answers that are an order, by item."""
        given = {item.key: self.answer_of(item) for item in self.items}
        return {key: event for key, event in given.items() if event and "places" in event}

    def ranked(self, labelled_by: str) -> list[Ranking]:
        """The orders that were given, each with that of its repeat."""
        given = self.orders()
        again = {item.asked.key: item.ranks(given[item.key]["places"])
                 for item in self.items if item.is_repeat and item.key in given}
        return [given[item.key].get("given") or replace(
            item.asked, ranks=item.ranks(given[item.key]["places"]), labeled_by=labelled_by,
            again=again.get(item.asked.key),
            metadata={name: given[item.key].get(name) for name in ("seconds", "guidelines")})
            for item in self.pool if item.key in given]
