"""Notebook 02: labels by a person (widget), by the stand-in for one, or from a file.

All three become events of one `Session`; `human_pool_labeled.jsonl` is derived from those.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput, PersuasionError
from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.records import (
    Label,
    LabeledPair,
    Pair,
    content_id,
    labeled_row,
    parse_labeled,
    parse_pair,
)
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.labeling import summary as figures
from persuasion_lib.labeling.app import open_app
from persuasion_lib.labeling.events import Event, EventLog, read_events
from persuasion_lib.labeling.session import Choice, Session, plan
from persuasion_lib.labeling.summary import summary

__all__ = ["agreement", "labeled_pairs", "open_app", "open_session", "read_guidelines", "read_pool",
           "summary", "view", "write_labels"]

STAND_IN = "simulated annotator (stand-in)"
_SIDE: dict[Label, Choice] = {"a": "first", "b": "second", "tie": "tie"}


class LabelsMissing(MissingInput):
    """Pairs are not labelled yet; in a notebook it shows as its message alone."""

    def _render_traceback_(self) -> list[str]:
        return textwrap.wrap(f"LABELS MISSING: {self}", 90)


def read_pool(stage: StageRun) -> list[Pair]:
    """The pairs to label, in the order of the file; a pair that is there twice is an error."""
    seen: dict[str, Pair] = {}

    def parse(row: dict[str, Any]) -> Pair:
        pair = parse_pair(row)
        if pair.pair_id in seen:
            raise DataError(f"pair {pair.pair_id} is here for the second time")
        seen[pair.pair_id] = pair
        return pair

    return read_jsonl(stage.path("human_pool_responses"), parse,
                      made_by=made_by("human_pool_responses"))


def read_guidelines(config: Config) -> str:
    """What annotators are asked; its hash is stored with every label."""
    path = config.root / "configs" / "prompts" / "label_guidelines.md"
    if not path.exists():
        raise ConfigError(f"{path} is missing. Write there what annotators are to judge.")
    return path.read_text(encoding="utf-8")


def open_session(stage: StageRun, pairs: Sequence[Pair]) -> Session:
    """The session of `label_human.source`: a person's log, the stand-in's answers, or a file's.

    Raises:
        ConfigError: the stand-in is asked to label for a real model.
        DataError: the file does not fit the pool (file:line).
    """
    settings = stage.config.label_human
    if settings.source == "file":
        return _from_file(stage, pairs)
    if settings.source == "simulated":
        return _simulated(stage, pairs)
    log = stage.path("human_events")
    if in_batch():          # a reader: becoming the owner would shut out a person at work
        return _session(stage.config, pairs, read_events(log), _refuse)
    owned = EventLog(log)
    return _session(stage.config, pairs, owned.rows, owned.append)


def _session(config: Config, pairs: Sequence[Pair], events: Sequence[Event],
             save: Callable[[Event], None], *, annotator: str | None = None) -> Session:
    settings = config.label_human
    annotator = annotator or settings.annotator
    items = plan(pairs, seed=config.seed, annotator=annotator,
                 repeat_fraction=settings.repeat_fraction, checks=settings.checks)
    return Session(items, events, save, annotator=annotator, guidelines=read_guidelines(config))


def _refuse(event: Event) -> None:
    raise PersuasionError("this session only reads. Open the notebook in JupyterLab to label.")


def _in_demo(config: Config) -> bool:
    return config.model.base == "demo"


def _simulated(stage: StageRun, pairs: Sequence[Pair]) -> Session:
    from persuasion_lib.demo.standins import SimulatedAnnotator

    if not _in_demo(stage.config):
        raise ConfigError(
            "label_human.source=simulated is a stand-in for a person in the demo, and model.base "
            f"is {stage.config.model.base}. Use label_human.source=widget or file.")
    annotator = SimulatedAnnotator(seed=stage.config.seed)
    session = _session(stage.config, pairs, [], lambda event: None, annotator="simulated")
    while (item := session.current) is not None:
        label = annotator.label(item.pair.prompt, *item.shown)
        session.choose(session.token(item), _SIDE[label])
    return session


def _from_file(stage: StageRun, pairs: Sequence[Pair]) -> Session:
    """A session that knows a file's labels as if they had been given in it."""
    config = stage.config
    if not config.label_human.path:
        raise ConfigError("label_human.source=file needs label_human.path, a labelled JSONL file.")
    path = config.root / config.label_human.path
    if path.resolve() == stage.path("human_pool_labeled"):
        raise ConfigError(f"{path} is the file that this notebook writes. Copy it elsewhere and "
                          "set label_human.path to the copy.")
    session = _session(config, pairs, [], lambda event: None)
    items = {item.key: item for item in session.items if item.kind == "pair"}
    events = []
    for given in read_jsonl(path, _fitting(pairs, demo=_in_demo(config)),
                            made_by="the tool that wrote it"):
        item = items[given.pair.pair_id]
        events.append({
            "event": "choice", "key": item.key, "text": item.text_id, "preferred": given.label,
            "choice": _SIDE[given.label], "swapped": None, "labeled_by": given.labeled_by,
            "reasoning": given.reasoning, "again": given.again})
    return Session(session.items, events, _refuse, annotator=session.annotator,
                   guidelines=session.guidelines)


def _fitting(pairs: Sequence[Pair], *, demo: bool) -> Callable[[dict[str, Any]], LabeledPair]:
    """A parser of labelled rows that refuses what does not belong to the pool, or comes twice."""
    by_id = {pair.pair_id: pair for pair in pairs}
    by_text = {content_id(p.prompt, p.response_a, p.response_b): p for p in pairs}
    seen: set[str] = set()

    def parse(row: dict[str, Any]) -> LabeledPair:
        given = parse_labeled(row)
        pair = by_id.get(given.pair.pair_id) or by_text.get(given.pair.pair_id)
        if pair is None:
            raise DataError(f"pair {given.pair.pair_id} is not in the pool")
        if pair.pair_id in seen:
            raise DataError(f"pair {pair.pair_id} is labelled a second time; keep one label")
        if given.pair.response_a == pair.response_b != pair.response_a:
            given = given.swapped()
        if _texts(given.pair) != _texts(pair):
            raise DataError(f"pair {pair.pair_id} has other texts than in the pool")
        if "stand-in" in given.labeled_by and not demo:
            raise DataError(f"pair {pair.pair_id} was labelled by a {given.labeled_by}, which "
                            "must not enter a real data set")
        seen.add(pair.pair_id)
        return replace(given, pair=pair)

    return parse


def _texts(pair: Pair) -> tuple[object, str, str]:
    return pair.prompt, pair.response_a, pair.response_b


def view(stage: StageRun, session: Session) -> Any:
    """The labelling widget; where no person is to label now, a sentence on the labels instead."""
    from IPython.display import Markdown

    settings = stage.config.label_human
    if settings.source == "widget" and not in_batch():
        from persuasion_lib.labeling.widget import LabelWidget

        return LabelWidget(session, break_every=settings.break_every)
    origin = {"widget": "the event log", "file": "a file", "simulated": f"the {STAND_IN}"}
    return Markdown(f"No widget: {len(session.chosen())} labels come from "
                    f"{origin[settings.source]}, {len(session.missing)} are missing.")


def labeled_pairs(stage: StageRun, session: Session) -> list[LabeledPair]:
    """Pairs with a label (ties too, skips not); how it came about is in their metadata."""
    grader = STAND_IN if stage.config.label_human.source == "simulated" else "human"
    again = {item.pair.pair_id: event["preferred"] for item, event in session.chosen("repeat")}
    labels = []
    for item, event in session.chosen("pair"):
        flagged, note = session.flag_of(item)
        metadata = {**item.pair.metadata, "seconds": event.get("seconds"), "flagged": flagged,
                    "note": note, "shown_swapped": event["swapped"],
                    "guidelines": event.get("guidelines")}
        labels.append(LabeledPair(replace(item.pair, metadata=metadata), event["preferred"],
                                  event.get("labeled_by", grader), event.get("reasoning", ""),
                                  event.get("again") or again.get(item.pair.pair_id)))
    return labels


def write_labels(stage: StageRun, session: Session) -> list[LabeledPair]:
    """Write `human_pool_labeled.jsonl`; ties are in it as EQUAL, skipped pairs are not.

    Raises:
        LabelsMissing: more pairs than `label_human.max_missing` have no label; nothing is written.
    """
    labels = labeled_pairs(stage, session)
    skipped = sum(i.kind == "pair" for i in session.items) - len(labels) - len(session.missing)
    if len(session.missing) > stage.config.label_human.max_missing:
        raise LabelsMissing(_how_to_go_on(stage, session))
    if session.missing:
        stage.warnings.append(f"{len(session.missing)} pairs are not labelled "
                              "(label_human.max_missing allows it).")
    if skipped:
        stage.warnings.append(f"{skipped} pairs were skipped twice and have no label.")
    if session.foreign:
        stage.warnings.append(f"{session.foreign} answers in the log belong to other texts than "
                              "this pool's and do not count.")
    write_jsonl(stage.path("human_pool_labeled"), map(labeled_row, labels))
    return labels


def _how_to_go_on(stage: StageRun, session: Session) -> str:
    config = stage.config
    total = sum(item.kind == "pair" for item in session.items)
    head = f"{len(session.missing)} of {total} pairs have no label yet"
    if config.label_human.source == "file":
        return (f"{head} in {config.label_human.path} (first: {session.missing[0]}). Label them "
                "there, or allow it with label_human.max_missing.")
    return (f"{head} (annotator {config.label_human.annotator}); what was labelled is saved. Go on "
            "in the widget of notebooks/02_label_human.ipynb and run this cell again. To open it: "
            f"`make lab`, with profile {config.profile!r} in its first code cell and "
            "label_human.source=widget; or `persuasion label`. If fewer will do, raise "
            "label_human.max_missing.")


def agreement(stage: StageRun, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Agreement of all annotators who have a log, two by two; empty with fewer than two."""
    own = stage.path("human_events")
    prefix = own.name[:-len(f"{stage.config.label_human.annotator}.jsonl")]
    sessions = []
    for log in sorted(own.parent.glob(f"{prefix}*.jsonl")):
        name = log.name[len(prefix):-len(".jsonl")]
        sessions.append(_session(stage.config, pairs, read_events(log), _refuse, annotator=name))
    return figures.agreement(sessions, seed=stage.config.seed)
