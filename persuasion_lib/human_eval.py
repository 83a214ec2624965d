"""Notebook 05b: people compare the final replies of the declared pair of models, blind.

The judge's taste is in every figure that rests on it alone. A few dozen comparisons by people, of
prompts drawn before anybody reads them, say how large it is (see `stats.people`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from persuasion_lib.core.errors import ConfigError, DataError, PersuasionError
from persuasion_lib.core.manifest import hash_if_there
from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.reading import read_text
from persuasion_lib.core.records import (
    LabeledPair,
    Pair,
    content_id,
    labeled_row,
    parse_labeled,
    to_messages,
)
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling.events import Event, EventLog, read_events
from persuasion_lib.labeling.items import showings
from persuasion_lib.labeling.session import Session
from persuasion_lib.reporting import evaluation_file
from persuasion_lib.reporting.evaluated import Evaluated, tabulated
from persuasion_lib.reporting.evaluation_file import ExampleRow
from persuasion_lib.reporting.people import known_of, same_texts
from persuasion_lib.stats.people import half_width, smallest_win_rate

SECONDS_EACH = 72       # of a person for one comparison: fifty in an hour
_SIZES = (30, 50, 80, 115)
_OTHER_PERSON = 1       # of the demo: not who labelled for training


def read_evaluation(run: StageRun) -> Evaluated:
    """What notebook 05 wrote."""
    return tabulated(evaluation_file.read(run.path("evaluation"), made_by=made_by("evaluation")))


def declared(run: StageRun) -> tuple[str, str]:
    """The two models that people compare: `analysis.primary`."""
    first, second = run.config.analysis.primary
    return first, second


def comparable(run: StageRun, data: Evaluated) -> list[ExampleRow]:
    """The prompts that people could compare, in the order in which they are drawn.

    Both models answered, otherwise than in the same words, and the judge's ranking was read. The
    order is a hash of the prompt and the seed: nobody chose.

    Raises:
        DataError: a model of the declared pair was not evaluated.
    """
    pair = declared(run)
    absent = [model for model in pair if model not in data.models]
    if absent:
        raise DataError(f"{' and '.join(absent)} of analysis.primary was not evaluated. Train it "
                        "with notebooks/04_train_dpo.ipynb, or declare another pair.")
    ready = known_of(data, pair).index.difference(same_texts(data, pair))
    rows = [row for row in data.rows if row.example_id in ready]
    return sorted(rows, key=lambda row: content_id("people", run.config.seed, row.example_id))


def plan(run: StageRun, data: Evaluated) -> pd.DataFrame:
    """What so many comparisons are good for, with the judge's verdicts on all prompts.

    Columns: `half width` of the interval and `smallest win rate` that is told from one half in four
    of five experiments (both expected, with a judge that agrees as in the demo), `minutes`.
    """
    most = len(comparable(run, data))
    sizes = sorted({size for size in (*_SIZES, run.config.human_eval.comparisons, most)
                    if 2 <= size <= most})
    judged = len(known_of(data, declared(run)))
    table = pd.DataFrame({
        "half width": [half_width(size, n_judged=judged) for size in sizes],
        "smallest win rate": [smallest_win_rate(size, n_judged=judged) for size in sizes],
        "minutes": [round(size * SECONDS_EACH / 60) for size in sizes]},
        index=pd.Index(sizes, name="comparisons"))
    return table.round(2)


def drawn(run: StageRun, data: Evaluated) -> list[Pair]:
    """The comparisons to make: `response_a` is of the first of the declared models."""
    wanted = comparable(run, data)[:run.config.human_eval.comparisons]
    return [_pair(row, declared(run)) for row in wanted]


def _pair(row: ExampleRow, models: tuple[str, str]) -> Pair:
    texts = [row.responses[model] for model in models]
    prompt = to_messages(row.messages or [{"role": "user", "content": str(row.prompt)}])
    key = content_id("people", row.example_id, *texts)
    return Pair(key, prompt, *texts, {"example_id": row.example_id, "models": list(models)})


def open_session(run: StageRun, pairs: Sequence[Pair]) -> Session:
    """The session of `human_eval.source`: a person's log, the stand-in's answers, or a file's.

    Raises:
        ConfigError: no file is named.
        DataError: the file is malformed (file:line).
    """
    source = run.config.human_eval.source
    if source == "simulated":
        return _simulated(run, pairs)
    if source == "file":
        return _from_file(run, pairs)
    annotator = run.config.human_eval.annotator
    log = run.path("final_events")
    if source == "none" or in_batch():      # a reader never takes the log from a person at work
        events = [] if source == "none" else read_events(log)
        return _session(run, pairs, annotator, events)
    owned = EventLog(log)
    return _session(run, pairs, annotator, owned.rows, owned.append)


def _refuse(event: Event) -> None:
    raise PersuasionError("this session only reads. Open the notebook in JupyterLab to compare.")


def _session(run: StageRun, pairs: Sequence[Pair], annotator: str, events: Sequence[Event] = (),
             save: Callable[[Event], None] = _refuse) -> Session:
    settings = run.config.human_eval
    items = showings(pairs, seed=run.config.seed, annotator=annotator,
                     repeat_fraction=settings.repeat_fraction, checks=settings.checks)
    return Session(items, events, save, annotator=annotator, guidelines=read_guidelines(run))


def read_guidelines(run: StageRun) -> str:
    """What people are asked: the same as those who labelled the pool."""
    return read_text(run.config.prompt_file("label_guidelines.md"), made_by="git checkout")


def _simulated(run: StageRun, pairs: Sequence[Pair]) -> Session:
    person = SimulatedAnnotator(seed=run.config.seed + _OTHER_PERSON)
    session = _session(run, pairs, "simulated", save=lambda event: None)
    while (item := session.current) is not None:
        pair = item.pair
        label = person.label(pair.prompt, pair.response_a, pair.response_b,
                             sample=1 if item.kind == "repeat" else 0)
        session.choose(session.token(item), item.choice_for(label))
    return session


def _from_file(run: StageRun, pairs: Sequence[Pair]) -> Session:
    """A session that knows the comparisons of a file, in the format that this notebook writes."""
    settings = run.config.human_eval
    if not settings.path:
        raise ConfigError("human_eval.source=file needs human_eval.path, a file in the format of "
                          "human_comparisons.jsonl.")
    given = read_jsonl(run.config.named_file("human_eval.path"), parse_labeled,
                       made_by="the tool that wrote it")
    session = _session(run, pairs, settings.annotator)
    items = {item.key: item for item in session.pool}
    strange = [label.pair.pair_id for label in given if label.pair.pair_id not in items]
    if strange:
        run.warnings.append(f"{len(strange)} comparisons of {settings.path} are not among those "
                            f"that were drawn (first: {strange[0]}) and do not count.")
    events = [{"event": "choice", "key": label.pair.pair_id,
               "text": items[label.pair.pair_id].text_id, "swapped": None,
               "choice": items[label.pair.pair_id].choice_for(label.label),
               "preferred": label.label, "labeled_by": label.labeled_by, "again": label.again}
              for label in given if label.pair.pair_id in items]
    return Session(list(items.values()), events, _refuse, annotator=session.annotator,
                   guidelines=session.guidelines)


def view(run: StageRun, session: Session) -> Any:
    """The widget; where no person compares now, a sentence on the comparisons instead."""
    from IPython.display import Markdown

    settings = run.config.human_eval
    if settings.source == "widget" and not in_batch():
        from persuasion_lib.labeling.widget import LabelWidget

        return LabelWidget(session, break_every=settings.break_every)
    origin = {"widget": "the event log", "file": "a file", "simulated": f"the {ANNOTATOR_NAME}",
              "none": "nobody (human_eval.source is none)"}
    return Markdown(f"No widget: {len(session.chosen())} comparisons come from "
                    f"{origin[settings.source]}, {len(session.missing)} are missing.")


def comparisons(run: StageRun, session: Session) -> list[LabeledPair]:
    """The comparisons that were made, ties too; how each came about is in its metadata."""
    who = ANNOTATOR_NAME if run.config.human_eval.source == "simulated" else session.annotator
    again = {item.pair.pair_id: event["preferred"] for item, event in session.chosen("repeat")}
    made = []
    for item, event in session.chosen("pair"):
        flagged, note = session.flag_of(item)
        metadata = {**item.pair.metadata, "seconds": event.get("seconds"), "flagged": flagged,
                    "note": note, "shown_swapped": event["swapped"],
                    "guidelines": event.get("guidelines")}
        made.append(LabeledPair(
            replace(item.pair, metadata=metadata), event["preferred"],
            labeled_by=event.get("labeled_by", who),
            again=event.get("again") or again.get(item.pair.pair_id)))
    return made


def write_comparisons(run: StageRun, session: Session) -> list[LabeledPair]:
    """Write `human_comparisons.jsonl`, be it empty; what is missing is said and stops nothing."""
    made = comparisons(run, session)
    if not made:
        run.warnings.append("No person compared final replies, so the report goes by this judge "
                            "alone. To compare: notebooks/05b_human_eval.ipynb with "
                            "human_eval.source=widget.")
    elif session.missing:
        run.warnings.append(f"{len(session.missing)} of {len(session.pool)} comparisons are not "
                            "answered yet; the report uses those that are.")
    if session.foreign:
        run.warnings.append(f"{session.foreign} answers in the log belong to other texts than "
                            "these replies and do not count.")
    if _trained_by_the_same(run) and made:
        run.warnings.append("The person who compared also labelled for training: their taste is "
                            "what rlhf was trained on. Another person's comparisons say more.")
    if run.config.human_eval.source == "widget":
        # An answer that comes later makes this stage stale.
        run.inputs["final_events"] = hash_if_there(run.path("final_events"))
    write_jsonl(run.path("human_comparisons"), map(labeled_row, made))
    return made


def _trained_by_the_same(run: StageRun) -> bool:
    labels, final = run.config.label_human, run.config.human_eval
    return (labels.source, final.source) == ("widget", "widget") and (
        labels.annotator == final.annotator)
