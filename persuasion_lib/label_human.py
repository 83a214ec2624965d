"""Notebook 02: labels by a person (widget), by the stand-in for one, or from a file.

All three become events of one `Session`; `human_pool_labeled.jsonl` is derived from those.
"""

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.brought import brought_labels
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput, PersuasionError
from persuasion_lib.core.fields import foreign_roles, notes_on_roles
from persuasion_lib.core.pipeline import made_by, read_file
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.reading import read_text
from persuasion_lib.core.records import (
    LabeledPair,
    Pair,
    content_id,
    labeled_row,
    parse_labeled,
    parse_pair,
)
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling.events import Event, EventLog, read_events
from persuasion_lib.labeling.items import Item, showings
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.summary import annotators_compared


class LabelsMissing(MissingInput):
    """Pairs are not labelled yet; in a notebook it shows as its message alone."""

    def _render_traceback_(self) -> list[str]:
        return textwrap.wrap(f"LABELS MISSING: {self}", 90)


def read_pool(run: StageRun) -> list[Pair]:
    """The pairs to label, in the order of the file; a pair that is there twice is an error."""
    seen: set[str] = set()

    def parse(row: dict[str, Any]) -> Pair:
        pair = parse_pair(row)
        if pair.pair_id in seen:
            raise DataError(f"pair {pair.pair_id} is here for the second time")
        seen.add(pair.pair_id)
        return pair

    return read_jsonl(run.path("human_pool_responses"), parse,
                      made_by=made_by("human_pool_responses"))


def read_guidelines(run: StageRun) -> str:
    """What annotators are asked; its hash is stored with every label.

    Raises:
        ConfigError: there are none.
    """
    path = run.config.prompt_file("label_guidelines.md")
    if not path.exists():
        raise ConfigError(f"{path} is missing. Write there what annotators are to judge.")
    return read_text(path, made_by="git checkout")


def open_session(run: StageRun, pairs: Sequence[Pair]) -> Session:
    """The session of `label_human.source`: a person's log, the stand-in's answers, or a file's.

    Raises:
        ConfigError: there is no such file.
        DataError: the file does not fit the pool (file:line).
    """
    settings = run.config.label_human
    source = source_of(run)
    if source == "file":
        return _from_file(run, pairs)
    if source == "simulated":
        return _simulated(run, pairs)
    log = run.path("human_events")
    if in_batch():          # a reader: becoming the owner would shut out a person at work
        return _session(run, pairs, settings.annotator, read_events(log))
    owned = EventLog(log)
    return _session(run, pairs, settings.annotator, owned.rows, owned.append)


def source_of(run: StageRun) -> str:
    """Where the labels come from: the setting, or a file that lies in the folder `data.path`."""
    source = run.config.label_human.source
    return "file" if brought_labels(run.config, "human_pool") else source


def _refuse(event: Event) -> None:
    raise PersuasionError("this session only reads. Open the notebook in JupyterLab to label.")


def _session(run: StageRun, pairs: Sequence[Pair], annotator: str, events: Sequence[Event] = (),
             save: Callable[[Event], None] = _refuse) -> Session:
    settings = run.config.label_human
    items = showings(pairs, seed=run.config.seed, annotator=annotator,
                     repeat_fraction=settings.repeat_fraction, checks=settings.checks)
    return Session(items, events, save, annotator=annotator, guidelines=read_guidelines(run))


def _simulated(run: StageRun, pairs: Sequence[Pair]) -> Session:
    annotator = SimulatedAnnotator(seed=run.config.seed)
    session = _session(run, pairs, "simulated", save=lambda event: None)
    while (item := session.current) is not None:
        pair = item.pair
        # With the noise of the first look every repeat would agree, and the annotator never err.
        label = annotator.label(pair.prompt, pair.response_a, pair.response_b,
                                sample=1 if item.kind == "repeat" else 0)
        session.choose(session.token(item), item.choice_for(label))
    return session


def _from_file(run: StageRun, pairs: Sequence[Pair]) -> Session:
    """A session that knows the labels of files as if they had been given in it."""
    files = _label_files(run)
    given: list[LabeledPair] = []
    fitting = _Fitting(pairs)
    for path in files:
        given += read_jsonl(path, fitting, made_by="the tool that wrote it")
        run.warnings += notes_on_roles(path.name, fitting.roles)
        fitting.roles.clear()
    run.warnings += _who_labelled(given, files)
    asked = _session(run, pairs, run.config.label_human.annotator)
    # A file brings its own second labels; what we would have shown twice is not its concern.
    items = {item.key: item for item in asked.pool}
    events = [_as_event(label, items[label.pair.pair_id]) for label in given]
    return Session(list(items.values()), events, _refuse, annotator=asked.annotator,
                   guidelines=asked.guidelines)


def _label_files(run: StageRun) -> list[Path]:
    """The file of `label_human.path`, or those of the folder `data.path`; both belong to the run.

    Raises:
        ConfigError: there is none, or it is the one that this notebook writes.
    """
    files = brought_labels(run.config, "human_pool")
    if not files:
        raise ConfigError("label_human.source=file needs label_human.path, a labelled JSONL file.")
    run.config.named_file("label_human.path" if run.config.label_human.path else "data.path")
    if run.path("human_pool_labeled") in [path.resolve() for path in files]:
        raise ConfigError(f"{files[0]} is the file that this notebook writes. Copy it elsewhere "
                          "and set label_human.path to the copy.")
    return files


def _who_labelled(given: Sequence[LabeledPair], files: Sequence[Path]) -> list[str]:
    """A note where the labels of a person's file say that something else gave them."""
    others = Counter(label.labeled_by for label in given)
    for person in ("human", "unknown"):
        del others[person]
    if not others:
        return []
    named = ", ".join(f"{count} by {name!r:.60}" for name, count in others.items())
    return [f"{files[0].name}: of {len(given)} labels the file says that they were given "
            f"{named}. They are used as it says, in the place of a person's."]


def _as_event(given: LabeledPair, item: Item) -> Event:
    """A label as a choice; `swapped` is None because nobody knows what its annotator saw first."""
    return {"event": "choice", "key": item.key, "text": item.text_id, "swapped": None,
            "choice": item.choice_for(given.label), "preferred": given.label,
            "labeled_by": given.labeled_by, "reasoning": given.reasoning, "again": given.again}


class _Fitting:
    """A parser of labelled rows that refuses what does not belong to the pool, or comes twice.

    It counts in `roles` those that have another project's name.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pool = {content_id(p.prompt, p.response_a, p.response_b): p for p in pairs}
        self.pool |= {pair.pair_id: pair for pair in pairs}
        self.seen: set[str] = set()
        self.roles: Counter[str] = Counter()

    def __call__(self, row: dict[str, Any]) -> LabeledPair:
        given = parse_labeled(row)
        self.roles.update(foreign_roles(row))
        pair = self.pool.get(given.pair.pair_id)
        if pair is None:
            raise DataError(f"pair {given.pair.pair_id} is not in the pool")
        if pair.pair_id in self.seen:
            raise DataError(f"pair {pair.pair_id} is labelled a second time; keep one label")
        self.seen.add(pair.pair_id)
        return _on_pair(given, pair)


def _on_pair(given: LabeledPair, pair: Pair) -> LabeledPair:
    """A label of a file on the pair of the pool, whose sides may be exchanged there.

    Raises:
        DataError: the file's pair has other texts.
    """
    texts = (pair.prompt, pair.response_a, pair.response_b)
    for label in (given, given.swapped()):
        if (label.pair.prompt, label.pair.response_a, label.pair.response_b) == texts:
            return replace(label, pair=pair)
    raise DataError(f"pair {pair.pair_id} has other texts than in the pool")


def view(run: StageRun, session: Session) -> Any:
    """The labelling widget; where no person is to label now, a sentence on the labels instead."""
    from IPython.display import Markdown

    source = source_of(run)
    if source == "widget" and not in_batch():
        from persuasion_lib.labeling.widget import LabelWidget

        return LabelWidget(session, break_every=run.config.label_human.break_every)
    origin = {"widget": "the event log", "file": "a file", "simulated": f"the {ANNOTATOR_NAME}"}
    return Markdown(f"No widget: {len(session.chosen())} labels come from "
                    f"{origin[source]}, {len(session.missing)} are missing.")


def judge_labels(run: StageRun, session: Session) -> list[LabeledPair]:
    """What the judge of 01 said of the same pairs; nothing until this annotator has answered all.

    Person and judge label blind to each other, so the judge's file is not opened while an answer
    is still to come, be it a repeat.
    """
    if session.current is not None or not run.path("human_pool_judged").exists():
        return []
    # Shown and not used: it is no input, or a new judge would make the person's labels stale.
    return read_file(run.config, "human_pool_judged")


def labeled_pairs(run: StageRun, session: Session) -> list[LabeledPair]:
    """Pairs with a label (ties too, skips not); how it came about is in their metadata."""
    annotator = ANNOTATOR_NAME if source_of(run) == "simulated" else "human"
    again = {item.pair.pair_id: event["preferred"] for item, event in session.chosen("repeat")}
    labels = []
    for item, event in session.chosen("pair"):
        flagged, note = session.flag_of(item)
        metadata = {**item.pair.metadata, "seconds": event.get("seconds"), "flagged": flagged,
                    "note": note, "shown_swapped": event["swapped"],
                    "guidelines": event.get("guidelines")}
        labels.append(LabeledPair(
            replace(item.pair, metadata=metadata), event["preferred"],
            labeled_by=event.get("labeled_by", annotator), reasoning=event.get("reasoning", ""),
            again=event.get("again") or again.get(item.pair.pair_id)))
    return labels


def write_labels(run: StageRun, session: Session) -> list[LabeledPair]:
    """Write `human_pool_labeled.jsonl`; ties are in it as EQUAL, skipped pairs are not.

    Raises:
        LabelsMissing: more pairs than `label_human.max_missing` have no label; nothing is written.
    """
    missing = len(session.missing)
    if missing > run.config.label_human.max_missing:
        raise LabelsMissing(_how_to_go_on(run, session))
    if missing:
        run.warnings.append(f"{missing} pairs are not labelled (label_human.max_missing allows "
                            "it).")
    if session.left_out:
        run.warnings.append(f"{session.left_out} pairs were skipped twice and have no label.")
    if session.foreign:
        run.warnings.append(f"{session.foreign} answers in the log belong to other texts than "
                            "this pool's and do not count.")
    labels = labeled_pairs(run, session)
    write_jsonl(run.path("human_pool_labeled"), map(labeled_row, labels))
    return labels


def _how_to_go_on(run: StageRun, session: Session) -> str:
    settings = run.config.label_human
    head = f"{len(session.missing)} of {len(session.pool)} pairs have no label yet"
    if files := brought_labels(run.config, "human_pool"):
        return (f"{head} in {files[0].name} (first: {session.missing[0]}). Label them there, or "
                f"allow it with label_human.max_missing={len(session.missing)}.")
    return (f"{head} (annotator {settings.annotator}); what was labelled is saved. Go on in the "
            "widget of notebooks/02_label_human.ipynb and run this cell again. To open it: "
            f"`make lab`, with profile {run.config.profile!r} in its first code cell and "
            "label_human.source=widget; or `persuasion label`. If fewer will do, raise "
            "label_human.max_missing.")


def other_annotators(run: StageRun, pairs: Sequence[Pair]) -> pd.DataFrame:
    """All annotators who have a log, compared two by two; empty with fewer than two."""
    own = run.path("human_events")
    prefix = own.name.removesuffix(f"{run.config.label_human.annotator}.jsonl")
    sessions = []
    for log in sorted(own.parent.glob(f"{prefix}*.jsonl")):
        name = log.name.removeprefix(prefix).removesuffix(".jsonl")
        sessions.append(_session(run, pairs, name, read_events(log)))
    return annotators_compared(sessions, seed=run.config.seed)
