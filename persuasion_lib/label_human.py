"""Notebook 02: labels by people (widget), by stand-ins for them, or from a file.

All three become events of one `Session` for each annotator; several make a `Panel`.
`human_pool_labeled.jsonl` is derived from those.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.answers import IN_WORDS
from persuasion_lib.core.brought import brought_labels
from persuasion_lib.core.errors import DataError, MissingInput
from persuasion_lib.core.pipeline import made_by, read_file
from persuasion_lib.core.prose import Prose, prose
from persuasion_lib.core.records import LabeledPair, Pair, labeled_row, parse_pair
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.demo.standins import ANNOTATOR_NAME
from persuasion_lib.labeling import people
from persuasion_lib.labeling.alarms import share_text
from persuasion_lib.labeling.events import read_events
from persuasion_lib.labeling.opening import labels_of, screen
from persuasion_lib.labeling.panel import Panel, panel_screen
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.sources import asked_of, logs_of, of_files, of_logs, of_stand_ins
from persuasion_lib.labeling.summary import (
    annotators_compared,
    labels_by_id,
    session_column,
    session_table,
)
from persuasion_lib.labeling.votes import Form
from persuasion_lib.stats.plain import plain

_SHOWN = 3      # pairs
_TIES = {"class": "a label of their own", "drop": "left out"}


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


def open_session(run: StageRun, pairs: Sequence[Pair]) -> Session | Panel:
    """The session of `label_human.source`: a person's log, the stand-in's answers, or a file's.

    Where several people label (`label_human.annotators`, or the names in a file) it is a panel of
    their sessions, which all functions here take alike.

    Raises:
        ConfigError: there is no such file, or no such annotator.
        DataError: the file does not fit the pool (file:line).
    """
    asked = asked_of(run, pairs)
    people = run.config.label_human.annotators
    opened = {"file": of_files, "simulated": of_stand_ins, "widget": of_logs}[source_of(run)]
    return opened(run, asked, people)


def source_of(run: StageRun) -> str:
    """Where the labels come from: the setting, or a file that lies in the folder `data.path`."""
    source = run.config.label_human.source
    return "file" if brought_labels(run.config, "human_pool") else source


def view(run: StageRun, session: Session | Panel) -> Any:
    """The labelling widget; where no person is to label now, a sentence on the labels instead."""
    settings = run.config.label_human
    form = Form(settings.both_bad, settings.strength, tuple(settings.reasons))
    options = {"break_every": settings.break_every, "form": form}
    if isinstance(session, Panel):
        return panel_screen(session, source_of(run), **options)
    return screen(session, source_of(run), **options)


def figures(run: StageRun, session: Session | Panel) -> pd.DataFrame:
    """What labels say about themselves; of several people a column for each."""
    if isinstance(session, Session):
        return session_table(session)
    session.read_again()
    return pd.DataFrame({name: session_column(each)
                         for name, each in session.sessions.items()}).fillna("")


def judge_labels(run: StageRun, session: Session | Panel) -> list[LabeledPair]:
    """What the judge of 01 said of the same pairs; nothing until this annotator has answered all.

    Person and judge label blind to each other, so the judge's file is not opened while an answer
    is still to come, be it a repeat.
    """
    if not _may_be_shown(session) or not run.path("human_pool_judged").exists():
        return []
    # Shown and not used: it is no input, or a new judge would make the person's labels stale.
    return read_file(run.config, "human_pool_judged")


def _may_be_shown(session: Session | Panel) -> bool:
    """Whether nobody is still to say what others have said: repeats and disagreements too."""
    if isinstance(session, Session):
        return session.current is None
    session.read_again()
    return session.is_labelled and session.is_settled


def shown_labels(run: StageRun, session: Session | Panel) -> list[LabeledPair]:
    """The labels that a notebook may show: one's own, or of several people when all are done."""
    if isinstance(session, Panel) and not _may_be_shown(session):
        return []
    return labeled_pairs(run, session)


def labeled_pairs(run: StageRun, session: Session | Panel) -> list[LabeledPair]:
    """Pairs with a label (ties too, skips not); how it came about is in their metadata."""
    if isinstance(session, Session):
        return labels_of(session, ANNOTATOR_NAME if source_of(run) == "simulated" else "human")
    session.read_again()
    return session.labels()


def write_labels(run: StageRun, session: Session | Panel) -> list[LabeledPair]:
    """Write `human_pool_labeled.jsonl`; ties are in it as EQUAL, skipped pairs are not.

    Raises:
        LabelsMissing: more pairs than `label_human.max_missing` have no label, or disagreements
            are to be settled; nothing is written.
    """
    labels = labeled_pairs(run, session)
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
    if isinstance(session, Panel):
        _check_settled(run, session, labels)
    write_jsonl(run.path("human_pool_labeled"), map(labeled_row, labels))
    return labels


def _check_settled(run: StageRun, panel: Panel, labels: Sequence[LabeledPair]) -> None:
    if not panel.is_settled:
        raise LabelsMissing(
            f"{len(panel.adjudication().missing)} of the {len(panel.disputed)} pairs on which the "
            "annotators differ are not settled yet. Choose \"Settle disagreements\" in the widget "
            "of notebooks/02_label_human.ipynb and run this cell again, or take "
            "label_human.labels_from=majority.")
    undecided = sum(bool(label.pair.metadata.get("undecided")) for label in labels)
    if undecided:
        run.warnings.append(f"On {undecided} pairs the annotators contradict each other and "
                            "nothing settles it: those are ties, which nothing is trained on.")


def counted(session: Session | Panel, labels: Sequence[LabeledPair]) -> dict[str, Any]:
    """For the manifest: ties, those because both replies are bad, and of several people who
    labelled how much, and whose label was used."""
    found = {"ties": sum(label.label == "tie" for label in labels)}
    if isinstance(session, Panel):
        named = ("undecided", "adjudicated")
        found |= {name: sum(bool(label.pair.metadata.get(name)) for label in labels)
                  for name in named}
        found |= {"labels_from": session.rule, "annotators": {
            name: len(each.chosen()) for name, each in session.sessions.items()}}
    both_bad = sum(bool(vote.get("both_bad")) for label in labels
                   for vote in label.pair.metadata.get("given", [label.pair.metadata]))
    return found | ({"both_bad": both_bad} if both_bad else {})


def _how_to_go_on(run: StageRun, session: Session | Panel) -> str:
    head = f"{len(session.missing)} of {len(session.pool)} pairs have no label yet"
    if files := brought_labels(run.config, "human_pool"):
        return (f"{head} in {files[0].name} (first: {session.missing[0]}). Label them there, or "
                f"allow it with label_human.max_missing={len(session.missing)}.")
    more = who = ""
    if isinstance(session, Panel):
        who = "; ".join(f"{name} lacks {len(ids)}, first {ids[0]}"
                        for name, ids in session.missing_of.items()) or "nobody is asked about them"
        more = (" Whoever labels no more belongs into label_human.left: their answers stay, and "
                "the rest of their share goes to the others.")
    who = who or f"annotator {session.annotator}"
    return (f"{head} ({who}); what was labelled is saved. Go on in the "
            "widget of notebooks/02_label_human.ipynb and run this cell again. To open it: "
            f"`make lab`, with profile {run.config.profile!r} in its first code cell and "
            "label_human.source=widget; or `persuasion label`. If fewer will do, raise "
            f"label_human.max_missing.{more}")


def who_labelled(run: StageRun, session: Session | Panel) -> Prose:
    """How far everybody is, and of several people how far all of them agree."""
    if isinstance(session, Session):
        return Prose(f"{session.annotator}: {session.done} of {len(session.items)} answered, "
                     "repeats and easy pairs included.")
    final = {label.pair.pair_id: label.label for label in shown_labels(run, session)}
    lines = []
    for name, each in session.sessions.items():
        own = labels_by_id(each)
        others = sum(final.get(pair_id) not in (None, label) for pair_id, label in own.items())
        lines.append(f"{name}: {each.done} of {len(each.items)} answered"
                     + (", labels no more" if name in session.left else "")
                     + (f"; the label that counts is another one on {others} of {len(own)} pairs."
                        if final else "."))
    labels = {name: labels_by_id(each) for name, each in session.sessions.items()}
    lines.append(f"{len(session.disputed)} pairs have different labels; training takes its labels "
                 f"from: {session.rule} (label_human.labels_from).")
    return prose([*lines, people.in_words(people.together(labels, seed=run.config.seed))])


def compared(run: StageRun, session: Session | Panel) -> pd.DataFrame:
    """The annotators of a panel two by two; of one annotator, with all others who have a log."""
    if isinstance(session, Panel):
        session.read_again()
        return annotators_compared(list(session.sessions.values()), seed=run.config.seed)
    return other_annotators(run, [item.pair for item in session.pool])


def compared_in_words(table: pd.DataFrame) -> pd.DataFrame | Prose:
    """`compared` to be read; a sentence where nobody else labelled."""
    if table.empty:
        return Prose("Nobody else labelled this pool, so there is nobody to compare with.")
    rows = [{"annotators": row["annotators"], "ties": _TIES[row["ties"]], "pairs": row["n"],
             "the same label": share_text(row) if row["n"] else "no pair of both"}
            for row in plain(table)]
    return pd.DataFrame(rows).set_index("annotators")


def differences(run: StageRun, session: Session | Panel) -> TextTable | Prose:
    """The first pairs on which several people differ, what each said, and the label that counts.

    A sentence where there are none, or where somebody is still to say what others have said.
    """
    if not isinstance(session, Panel) or not _may_be_shown(session):
        return Prose("Pairs on which people differ are shown when several have labelled, and "
                     "nobody has an answer left to give.")
    final = {label.pair.pair_id: label.label for label in session.labels()}
    rows = [{"message answered": pair.prompt[-1]["content"], IN_WORDS["a"]: pair.response_a,
             IN_WORDS["b"]: pair.response_b,
             **{name: IN_WORDS[vote.label] for name, vote in session.votes[pair.pair_id].items()},
             "counts": IN_WORDS[final[pair.pair_id]]} for pair in session.disputed[:_SHOWN]]
    if not rows:
        return Prose("They gave every pair that several of them labelled the same label.")
    return TextTable(pd.DataFrame(rows, index=range(1, len(rows) + 1)).fillna(""))


def other_annotators(run: StageRun, pairs: Sequence[Pair]) -> pd.DataFrame:
    """All annotators who have a log, compared two by two; empty with fewer than two."""
    asked = asked_of(run, pairs)
    sessions = [asked.session(name, read_events(log)) for name, log in logs_of(run).items()]
    return annotators_compared(sessions, seed=run.config.seed)
