"""How a session begins, and what it leaves: by a person's log, a stand-in, or labels of a file.

All three become events of one `Session`, and labels are derived from those.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from persuasion_lib.core.answers import votes_of
from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, DataError, PersuasionError
from persuasion_lib.core.fields import annotator_name, foreign_roles, is_amount
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.prose import Prose
from persuasion_lib.core.reading import read_text
from persuasion_lib.core.records import LabeledPair, Pair, content_id, parse_labeled, slot_of
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling.events import Event, EventLog, read_events
from persuasion_lib.labeling.items import Item, showings
from persuasion_lib.labeling.session import Session

GUIDELINES = {"pairs": "label_guidelines.md", "ranking": "ranking_guidelines.md"}


def read_guidelines(config: Config, kind: str = "pairs") -> str:
    """What annotators are asked, of pairs or for rankings; its hash is stored with every label.

    Raises:
        ConfigError: there are none.
    """
    path = config.prompt_file(GUIDELINES[kind])
    if not path.exists():
        raise ConfigError(f"{path} is missing. Write there what annotators are to judge.")
    return read_text(path, made_by="git checkout")


def refuse(event: Event) -> NoReturn:
    """In the place of a log's `append`, where a session only reads."""
    raise PersuasionError("this session only reads. Open the notebook in JupyterLab to label.")


def events_of(log: Path) -> tuple[list[Event], Callable[[Event], None]]:
    """The events of a person, and what keeps the next one.

    Headless a session only reads, or it would shut out a person at work.
    """
    if in_batch():
        return read_events(log), refuse
    owned = EventLog(log)
    return owned.rows, owned.append


@dataclass(frozen=True)
class Asked:
    """The pairs that annotators are asked about, and how often one comes again or is obvious."""

    pairs: Sequence[Pair]
    guidelines: str
    seed: int
    repeat_fraction: float
    checks: int

    def session(self, annotator: str, events: Sequence[Event] = (),
                save: Callable[[Event], None] = refuse) -> Session:
        """What one annotator is shown, after the events that are there."""
        items = showings(self.pairs, seed=self.seed, annotator=annotator,
                         repeat_fraction=self.repeat_fraction, checks=self.checks)
        return Session(items, events, save, annotator=annotator, guidelines=self.guidelines)

    def by_log(self, annotator: str, log: Path) -> Session:
        """A person's session, which goes on where its log ends."""
        return self.session(annotator, *events_of(log))

    def by_stand_in(self, person: SimulatedAnnotator, name: str = "simulated") -> Session:
        """A session that a stand-in has answered to its end."""
        session = self.session(name, save=lambda event: None)
        while (item := session.current) is not None:
            pair = item.pair
            # With the noise of the first look every repeat would agree, and nobody ever err.
            label = person.label(pair.prompt, pair.response_a, pair.response_b,
                                 sample=1 if item.kind == "repeat" else 0)
            session.choose(session.token(item), item.choice_for(label))
        return session

    def by_labels(self, annotator: str, given: Sequence[LabeledPair]) -> Session:
        """A session that knows labels, all of these pairs, as if they had been given in it."""
        # A file brings its own second labels; what we would have shown twice is not its concern.
        return Session(self.session(annotator).pool, self.as_events(annotator, given), refuse,
                       annotator=annotator, guidelines=self.guidelines)

    def as_events(self, annotator: str, given: Sequence[LabeledPair]) -> list[Event]:
        """What a log would hold, had an annotator given these labels here."""
        items = {item.key: item for item in self.session(annotator).pool}
        return [event for label in given
                for event in _as_events(label, items[label.pair.pair_id])]


def _as_events(given: LabeledPair, item: Item) -> list[Event]:
    """A label as a choice, and its flag; `swapped` is None where its file says no side."""
    how = given.pair.metadata
    swapped = how.get("shown_swapped")
    choice = slot_of(given.label, swapped=item.swapped if swapped is None else swapped)
    more = {name: how[name] for name in ("strength", "reasons") if how.get(name)}
    event = {"event": "choice", "key": item.key, "text": item.text_id, "swapped": swapped,
             "guidelines": how.get("guidelines"), **({"more": more} if more else {}),
             "choice": "both_bad" if how.get("both_bad") and choice == "tie" else choice,
             "preferred": given.label, "labeled_by": given.labeled_by,
             "reasoning": given.reasoning, "again": given.again, "seconds": how.get("seconds")}
    flag = {"event": "flag", "key": item.key, "text": item.text_id,
            "flagged": bool(how.get("flagged")), "note": how.get("note", "")}
    return [event, flag] if flag["flagged"] or flag["note"] else [event]


class Fitting:
    """A parser of labelled rows that refuses what does not belong to the pairs, or comes twice.

    Who gave a label is the row's `annotator`, else its grader: a pair may come once from each. A
    row that lists votes (`given`) is one label of each voter; its own label is in `of_votes`, and
    in `settled` where somebody settled a disagreement.
    With `others_too` a row of another pair is None instead, and counted in `others`. It counts in
    `roles` those that have another project's name, and keeps in `people` the labels by annotator.
    """

    def __init__(self, pairs: Sequence[Pair], *, others_too: bool = False) -> None:
        # Files of other tools have no ids, or ids of their own, and sides may be exchanged.
        self.by_texts = {content_id(p.prompt, *texts): p for p in pairs for texts in (
            (p.response_b, p.response_a), (p.response_a, p.response_b))}
        self.by_id = {pair.pair_id: pair for pair in pairs}
        self.people: dict[str, list[LabeledPair]] = {}      # by the first spelling of a name
        self.spellings: dict[str, str] = {}
        self.of_votes: list[LabeledPair] = []
        self.settled: list[LabeledPair] = []
        self.seen: set[tuple[str, str]] = set()
        self.roles: Counter[str] = Counter()
        self.others: list[str] = []
        self._others_too = others_too

    def __call__(self, row: dict[str, Any]) -> LabeledPair | None:
        given = parse_labeled(row)
        self.roles.update(foreign_roles(row))
        pair = self._pair_of(given.pair)
        if pair is None and self._others_too:
            self.others.append(given.pair.pair_id)
            return None
        if pair is None:
            raise DataError(f"pair {given.pair.pair_id} is not in the pool")
        # Final replies are compared once each; labels of several people have a session each.
        votes = {} if self._others_too else votes_of(given)
        for name, vote in (votes or {self._person(row, given): given}).items():
            self._keep(name, _on_pair(vote, pair))
        label = _on_pair(given, pair)
        if votes:
            self.of_votes.append(label)
        if votes and given.pair.metadata.get("adjudicated") is True:
            self.settled.append(label)
        return label

    def _pair_of(self, given: Pair) -> Pair | None:
        """The pair that a row is of: what was read counts, whatever its id."""
        known = self.by_id.get(given.pair_id)
        read = content_id(given.prompt, given.response_a, given.response_b)
        same = self.by_texts.get(read, known)
        # One text may stand in the pool under two ids.
        return known if known and same and _texts(known) == _texts(same) else same

    def _keep(self, name: str, label: LabeledPair) -> None:
        person = self.spellings.setdefault(name.strip().casefold(), name)
        mark = ("" if self._others_too else person, label.pair.pair_id)
        if mark in self.seen:
            raise DataError(f"pair {label.pair.pair_id} is labelled a second time by "
                            f"{person!r:.60}; keep one label, or name who gave the other one "
                            "(annotator)")
        self.seen.add(mark)
        self.people.setdefault(person, []).append(label)

    def _person(self, row: dict[str, Any], given: LabeledPair) -> str:
        names = (row.get("annotator"), given.pair.metadata.get("annotator"))
        return next((name for name in map(annotator_name, names) if name), given.labeled_by)


def _texts(pair: Pair) -> tuple[Any, ...]:
    return pair.prompt, *sorted((pair.response_a, pair.response_b))


def _on_pair(given: LabeledPair, pair: Pair) -> LabeledPair:
    """A label of a file on the pair that was asked, whose sides may be exchanged there.

    Raises:
        DataError: the file's pair has other texts.
    """
    texts = (pair.prompt, pair.response_a, pair.response_b)
    for label in (given, given.swapped()):
        if (label.pair.prompt, label.pair.response_a, label.pair.response_b) == texts:
            how = _brought(given.pair.metadata, exchanged=label is not given)
            return replace(label, pair=replace(pair, metadata={**pair.metadata, **how}))
    raise DataError(f"pair {pair.pair_id} has other texts than in the pool")


def _brought(metadata: Mapping[str, Any], *, exchanged: bool) -> dict[str, Any]:
    """How a label came about by its file, of what can be checked; `exchanged` are its sides."""
    seconds, side = (metadata.get(name) for name in ("seconds", "shown_swapped"))
    note = metadata.get("note")
    strength, reasons, read = (metadata.get(name) for name in ("strength", "reasons", "guidelines"))
    is_list = isinstance(reasons, list) and all(isinstance(text, str) for text in reasons)
    more = {**({"strength": strength} if isinstance(strength, str) else {}),
            **({"reasons": reasons} if is_list else {})}
    return {"seconds": seconds if is_amount(seconds) and seconds is not True else None,
            "guidelines": read if isinstance(read, str) else None, **more,
            "shown_swapped": side != exchanged if isinstance(side, bool) else None,
            "both_bad": metadata.get("both_bad") is True,
            "flagged": metadata.get("flagged") is True,
            "note": note if isinstance(note, str) else ""}


def labels_of(session: Session, labelled_by: str) -> list[LabeledPair]:
    """Pairs with a label (ties too, skips not); how it came about is in their metadata."""
    again = {item.pair.pair_id: event["preferred"] for item, event in session.chosen("repeat")}
    labels = []
    for item, event in session.chosen("pair"):
        metadata = {**item.pair.metadata, **_how(session, item, event)}
        labels.append(LabeledPair(
            replace(item.pair, metadata=metadata), event["preferred"],
            labeled_by=event.get("labeled_by", labelled_by), reasoning=event.get("reasoning", ""),
            again=event.get("again") or again.get(item.pair.pair_id)))
    return labels


def _how(session: Session, item: Item, event: Event) -> dict[str, Any]:
    """How a label came about."""
    flagged, note = session.flag_of(item)
    both_bad = {"both_bad": True} if event["choice"] == "both_bad" else {}
    more = event.get("more", {})
    return {"seconds": event.get("seconds"), "flagged": flagged, "note": note,
            "shown_swapped": event["swapped"], "guidelines": event.get("guidelines"),
            **both_bad, **{key: more[key] for key in ("strength", "reasons") if key in more}}


def screen(session: Session, source: str, *, noun: str = "labels", **widget: Any) -> Any:
    """The widget; where no person is to label now, a sentence on the labels instead.

    Args:
        noun: what they are called; widget: what `LabelWidget` is told besides.
    """
    if source == "widget" and not in_batch():
        from persuasion_lib.labeling.widget import LabelWidget

        return LabelWidget(session, **widget)
    return no_widget(len(session.chosen()), len(session.missing), source, noun)


def no_widget(done: int, missing: int, source: str, noun: str) -> Prose:
    """What there is, and whose it is, where nobody is to be asked now."""
    origin = {"widget": "the event log", "file": "a file", "simulated": f"the {ANNOTATOR_NAME}",
              "none": "nobody"}
    return Prose(f"No widget: {done} {noun} come from {origin[source]}, {missing} are missing.")
