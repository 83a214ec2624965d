"""Every reply of a cell against the anchor's reply to the same prompt, by the evaluation's judge.

Judgments are found again by their texts, so no comparison is paid twice, in whichever cell. What
follows from them is kept in one file a cell, with the hash of the evaluation that it was made of.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.family import PREFERENCE_TRAINED
from persuasion_lib.core.manifest import content_hash, hash_if_there
from persuasion_lib.core.pipeline import STAGES, made_by, path_of
from persuasion_lib.core.records import Label, Message, Pair, content_id, to_messages
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_json
from persuasion_lib.demo.standins import SimulatedAnnotator
from persuasion_lib.judging.ask import kinds_of
from persuasion_lib.judging.calibrate import calibrated
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.compare import label_pairs, pair_questions
from persuasion_lib.reporting import evaluation_file
from persuasion_lib.reporting.evaluation_file import EvaluationFile, ExampleRow
from persuasion_lib.study.design import Anchor, Cell, Study

WORTH: dict[Label, float] = {"a": 1.0, "tie": 0.5, "b": 0.0}     # of the arm's reply, which is a


class Meeting(NamedTuple):
    """A reply of an arm beside the anchor's to the same prompt, as the pair that is judged."""

    arm: str
    anchor: str
    example_id: str
    pair: Pair


def record_of(study: Study, cell: Cell) -> Path:
    """Where the scores of a cell are kept."""
    return study.folder / "cells" / f"{cell.name}.json"


def read_evaluation(cell: Cell) -> EvaluationFile:
    """What notebook 05 found in a cell."""
    return evaluation_file.read(path_of(cell.config(), "evaluation"), made_by=made_by("evaluation"))


def meetings(study: Study, cell: Cell, data: EvaluationFile) -> Iterator[Meeting]:
    """All comparisons of a cell; a prompt that an arm or the anchor did not answer has none."""
    reply_of_anchor = _anchors_of(study)
    for name, anchor in study.anchors.items():
        for arm in cell.arms:
            for row in data.per_example:
                if row.judge_only:
                    continue
                texts = reply_of(row, arm), reply_of_anchor(row, anchor)
                if None not in texts:
                    key = content_id("anchored", row.example_id, *texts)
                    yield Meeting(arm, name, str(row.example_id),
                                  Pair(key, prompt_of(row), *map(str, texts), {}))


def _anchors_of(study: Study) -> Callable[[ExampleRow, Anchor], str | None]:
    """An anchor's reply to the prompt of a row: a trained one's is in the run of the anchor."""
    cell = study.anchor_cell
    rows = read_evaluation(cell).per_example if cell else []
    known = {str(row.example_id): row for row in rows}

    def reply(row: ExampleRow, anchor: Anchor) -> str | None:
        own = known.get(str(row.example_id)) if anchor in PREFERENCE_TRAINED else row
        return reply_of(own, anchor) if own else None

    return reply


def anchor_hash(study: Study) -> str | None:
    """Of the evaluation that holds a trained anchor's replies; None without one."""
    cell = study.anchor_cell
    return hash_if_there(path_of(cell.config(), "evaluation")) if cell else None


def reply_of(row: ExampleRow, model: str) -> str | None:
    """What a model, or the oracle, replied."""
    return row.oracle if model == "oracle" else row.responses.get(model)


def prompt_of(row: ExampleRow) -> list[Message]:
    """The prompt as chat messages, in files from elsewhere too."""
    return to_messages(row.messages or [{"role": "user", "content": str(row.prompt)}])


def judge_cell(study: Study, cell: Cell) -> dict[str, Any]:
    """Ask what is not judged yet, and write the scores of a cell.

    Raises:
        DataError: there is no pair of replies to compare for one of them.
        JudgingStopped: no further call can succeed or be paid; what was answered is saved.
    """
    config = cell.config()
    found = list(meetings(study, cell, read_evaluation(cell)))
    met = {(each.arm, each.anchor) for each in found}
    if alone := [both for both in product(cell.arms, study.anchors) if both not in met]:
        raise DataError(f"{' and '.join(alone[0])} have both replied to no prompt in {cell.name}. "
                        f"See {path_of(config, 'evaluation')}.")
    pairs = {each.pair.pair_id: each.pair for each in found}    # two arms may reply in one text
    judge = make_judge(config, "evaluate")
    asked = pair_questions(list(pairs.values()), judge, both_orders=True, seed=config.seed)
    run, log = StageRun(STAGES["evaluate"], config, {}), path_of(config, "anchor_judgments")
    with calibrated(run, judge, asked, log=log):
        outcome = label_pairs(list(pairs.values()), judge, seed=config.seed, log=log)
    print(*(f"    ! {text}\n" for text in run.warnings), sep="", end="", flush=True)
    labels = {item.pair.pair_id: item.label for item in outcome.labeled}
    record = {
        "cell": cell.name, "judge": judge.name, "anchors": list(study.anchors),
        "arms": list(cell.arms), "evaluation": content_hash(path_of(config, "evaluation")),
        **({"anchor_evaluation": anchor_hash(study)} if study.anchor_cell else {}),
        "compared": len(pairs), "flips": outcome.flips, "open": kinds_of(outcome.errors.values()),
        "scores": list(_rows(found, labels, is_demo=config.data.source == "demo"))}
    write_json(record_of(study, cell), record)
    return record


def _rows(found: list[Meeting], labels: Mapping[str, Label], *,
          is_demo: bool) -> Iterator[dict[str, Any]]:
    person = SimulatedAnnotator(0)
    for arm, anchor, example_id, pair in found:
        label = labels.get(pair.pair_id)
        gold = person.expected(pair.prompt, pair.response_a, pair.response_b) if is_demo else None
        yield {"arm": arm, "anchor": anchor, "example_id": example_id,
               "anchor_reply": content_id(pair.response_b),
               "judge": WORTH[label] if label else None, "gold": gold}
