"""Notebook 02: labels by a person (widget), by the stand-in for one, or from a file.

All three become events of one `Session`; `human_pool_labeled.jsonl` is derived from those.
"""

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.brought import brought_labels, read_brought
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.fields import notes_on_roles
from persuasion_lib.core.pipeline import made_by, read_file
from persuasion_lib.core.records import (
    LabeledPair,
    Pair,
    labeled_row,
    parse_pair,
)
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling.events import read_events
from persuasion_lib.labeling.opening import Asked, Fitting, labels_of, read_guidelines, screen
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


def open_session(run: StageRun, pairs: Sequence[Pair]) -> Session:
    """The session of `label_human.source`: a person's log, the stand-in's answers, or a file's.

    Raises:
        ConfigError: there is no such file.
        DataError: the file does not fit the pool (file:line).
    """
    asked = _asked(run, pairs)
    source = source_of(run)
    if source == "file":
        return _from_file(run, asked)
    if source == "simulated":
        return asked.by_stand_in(SimulatedAnnotator(seed=run.config.seed))
    return asked.by_log(run.config.label_human.annotator, run.path("human_events"))


def source_of(run: StageRun) -> str:
    """Where the labels come from: the setting, or a file that lies in the folder `data.path`."""
    source = run.config.label_human.source
    return "file" if brought_labels(run.config, "human_pool") else source


def _asked(run: StageRun, pairs: Sequence[Pair]) -> Asked:
    settings = run.config.label_human
    return Asked(pairs, read_guidelines(run.config), seed=run.config.seed,
                 repeat_fraction=settings.repeat_fraction, checks=settings.checks)


def _from_file(run: StageRun, asked: Asked) -> Session:
    """A session that knows the labels of files as if they had been given in it."""
    files = _label_files(run)
    given: list[LabeledPair] = []
    fitting = Fitting(asked.pairs)
    for path in files:
        given += read_brought(path, "labels", fitting)
        run.warnings += notes_on_roles(path.name, fitting.roles)
        fitting.roles.clear()
    run.warnings += _who_labelled(given, files)
    return asked.by_labels(run.config.label_human.annotator, given)


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


def view(run: StageRun, session: Session) -> Any:
    """The labelling widget; where no person is to label now, a sentence on the labels instead."""
    return screen(session, source_of(run), break_every=run.config.label_human.break_every)


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
    return labels_of(session, ANNOTATOR_NAME if source_of(run) == "simulated" else "human")


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
    asked = _asked(run, pairs)
    sessions = []
    for log in sorted(own.parent.glob(f"{prefix}*.jsonl")):
        name = log.name.removeprefix(prefix).removesuffix(".jsonl")
        sessions.append(asked.session(name, read_events(log)))
    return annotators_compared(sessions, seed=run.config.seed)
