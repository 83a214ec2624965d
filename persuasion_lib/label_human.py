"""Notebook 02: labels by a person (widget), by the stand-in for one, or from a file.

All three become events of one `Session`; `human_pool_labeled.jsonl` is derived from those.
"""

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

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
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator, is_stand_in
from persuasion_lib.labeling.events import Event, EventLog, read_events
from persuasion_lib.labeling.session import Item, Session, showings
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
        ConfigError: the stand-in is asked to label for a real model.
        DataError: the file does not fit the pool (file:line).
    """
    settings = run.config.label_human
    if settings.source == "file":
        return _from_file(run, pairs)
    if settings.source == "simulated":
        return _simulated(run, pairs)
    log = run.path("human_events")
    if in_batch():          # a reader: becoming the owner would shut out a person at work
        return _session(run, pairs, settings.annotator, read_events(log))
    owned = EventLog(log)
    return _session(run, pairs, settings.annotator, owned.rows, owned.append)


def _refuse(event: Event) -> None:
    raise PersuasionError("this session only reads. Open the notebook in JupyterLab to label.")


def _session(run: StageRun, pairs: Sequence[Pair], annotator: str, events: Sequence[Event] = (),
             save: Callable[[Event], None] = _refuse) -> Session:
    settings = run.config.label_human
    items = showings(pairs, seed=run.config.seed, annotator=annotator,
                     repeat_fraction=settings.repeat_fraction, checks=settings.checks)
    return Session(items, events, save, annotator=annotator, guidelines=read_guidelines(run))


def _in_demo(run: StageRun) -> bool:
    return run.config.model.base == "demo"


def _simulated(run: StageRun, pairs: Sequence[Pair]) -> Session:
    if not _in_demo(run):
        raise ConfigError(
            "label_human.source=simulated is a stand-in for a person in the demo, and model.base "
            f"is {run.config.model.base}. Use label_human.source=widget or file.")
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
    """A session that knows a file's labels as if they had been given in it."""
    settings = run.config.label_human
    if not settings.path:
        raise ConfigError("label_human.source=file needs label_human.path, a labelled JSONL file.")
    path = run.config.named_file("label_human.path")
    if path.resolve() == run.path("human_pool_labeled"):
        raise ConfigError(f"{path} is the file that this notebook writes. Copy it elsewhere and "
                          "set label_human.path to the copy.")
    roles: Counter[str] = Counter()
    given = read_jsonl(path, _fitting(pairs, roles, demo=_in_demo(run)),
                       made_by="the tool that wrote it")
    run.warnings += notes_on_roles(path.name, roles)
    asked = _session(run, pairs, settings.annotator)
    # A file brings its own second labels; what we would have shown twice is not its concern.
    items = {item.key: item for item in asked.pool}
    events = [_as_event(label, items[label.pair.pair_id]) for label in given]
    return Session(list(items.values()), events, _refuse, annotator=asked.annotator,
                   guidelines=asked.guidelines)


def _as_event(given: LabeledPair, item: Item) -> Event:
    """A label as a choice; `swapped` is None because nobody knows what its annotator saw first."""
    return {"event": "choice", "key": item.key, "text": item.text_id, "swapped": None,
            "choice": item.choice_for(given.label), "preferred": given.label,
            "labeled_by": given.labeled_by, "reasoning": given.reasoning, "again": given.again}


def _fitting(pairs: Sequence[Pair], roles: Counter[str], *,
             demo: bool) -> Callable[[dict[str, Any]], LabeledPair]:
    """A parser of labelled rows that refuses what does not belong to the pool, or comes twice.

    It counts in `roles` those that have another project's name.
    """
    pool = {content_id(p.prompt, p.response_a, p.response_b): p for p in pairs}
    pool |= {pair.pair_id: pair for pair in pairs}
    seen: set[str] = set()

    def parse(row: dict[str, Any]) -> LabeledPair:
        given = parse_labeled(row)
        roles.update(foreign_roles(row))
        pair = pool.get(given.pair.pair_id)
        if pair is None:
            raise DataError(f"pair {given.pair.pair_id} is not in the pool")
        if pair.pair_id in seen:
            raise DataError(f"pair {pair.pair_id} is labelled a second time; keep one label")
        if is_stand_in(given.labeled_by) and not demo:
            raise DataError(f"pair {pair.pair_id} was labelled by a {given.labeled_by}, which "
                            "must not enter a real data set")
        seen.add(pair.pair_id)
        return _on_pair(given, pair)

    return parse


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

    settings = run.config.label_human
    if settings.source == "widget" and not in_batch():
        from persuasion_lib.labeling.widget import LabelWidget

        return LabelWidget(session, break_every=settings.break_every)
    origin = {"widget": "the event log", "file": "a file", "simulated": f"the {ANNOTATOR_NAME}"}
    return Markdown(f"No widget: {len(session.chosen())} labels come from "
                    f"{origin[settings.source]}, {len(session.missing)} are missing.")


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
    annotator = ANNOTATOR_NAME if run.config.label_human.source == "simulated" else "human"
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
    if settings.source == "file":
        return (f"{head} in {settings.path} (first: {session.missing[0]}). Label them there, or "
                "allow it with label_human.max_missing.")
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
