"""Notebook 05b: people compare the final replies of the declared pair of models, blind.

The judge's taste is in every figure that rests on it alone. A few dozen comparisons by people, of
prompts drawn before anybody reads them, say how large it is (see `stats.people`).
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.errors import ConfigError, DataError
from persuasion_lib.core.manifest import hash_if_there
from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.records import (
    LabeledPair,
    Pair,
    content_id,
    labeled_row,
    to_messages,
)
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling.opening import Asked, Fitting, labels_of, read_guidelines, screen
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
    judged = len(known_of(tabulated(data.file, judge_only=True), declared(run)))
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
    settings = run.config.human_eval
    asked = Asked(pairs, read_guidelines(run.config), seed=run.config.seed,
                  repeat_fraction=settings.repeat_fraction, checks=settings.checks)
    if settings.source == "simulated":
        return asked.by_stand_in(SimulatedAnnotator(seed=run.config.seed + _OTHER_PERSON))
    if settings.source == "file":
        return _from_file(run, asked)
    if settings.source == "none":
        return asked.session(settings.annotator)
    return asked.by_log(settings.annotator, run.path("final_events"))


def _from_file(run: StageRun, asked: Asked) -> Session:
    """A session that knows the comparisons of a file, in the format that this notebook writes."""
    settings = run.config.human_eval
    if not settings.path:
        raise ConfigError("human_eval.source=file needs human_eval.path, a file in the format of "
                          "human_comparisons.jsonl.")
    fitting = Fitting(asked.pairs, others_too=True)
    given = read_jsonl(run.config.named_file("human_eval.path"), fitting,
                       made_by="the tool that wrote it")
    if fitting.others:
        run.warnings.append(f"{len(fitting.others)} comparisons of {settings.path} are not among "
                            f"those that were drawn (first: {fitting.others[0]}) and do not count.")
    return asked.by_labels(settings.annotator, [label for label in given if label])


def view(run: StageRun, session: Session) -> Any:
    """The widget; where no person compares now, a sentence on the comparisons instead."""
    settings = run.config.human_eval
    return screen(session, settings.source, break_every=settings.break_every)


def comparisons(run: StageRun, session: Session) -> list[LabeledPair]:
    """The comparisons that were made, ties too; how each came about is in its metadata."""
    is_simulated = run.config.human_eval.source == "simulated"
    return labels_of(session, ANNOTATOR_NAME if is_simulated else session.annotator)


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
        final.annotator in (labels.annotators or [labels.annotator]))
