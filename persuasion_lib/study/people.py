"""People compare final replies with the anchor's, at the primary level, spread over the seeds."""

from pathlib import Path

from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.records import LabeledPair, Pair, content_id
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling.events import read_events
from persuasion_lib.labeling.opening import Asked, Fitting, labels_of, read_guidelines
from persuasion_lib.study.anchored import WORTH, meetings, read_evaluation
from persuasion_lib.study.design import Cell, Study

_OTHER_PERSON = 1       # of the demo: not who labelled for training


Place = tuple[str, str, str, str]       # cell, arm, example, anchor


def to_compare(study: Study, done: list[Cell]) -> dict[Place, Pair]:
    """The comparisons that are drawn, of cells that have ended, against the stronger anchor.

    Each seed gets as many, and every arm of a seed the same prompts, by a hash: nobody chose. What
    people answered while a seed got more stays, so that seeds can be added.
    """
    known = _comparable(study, done)
    answered = _answered(study, known)
    drawn: dict[Place, Pair] = {}
    for cell in done:
        own = {place: pair for place, pair in known.items() if place[0] == cell.name}
        prompts = sorted({example_id for _, _, example_id, _ in own},
                         key=lambda key: content_id("people", study.name, cell.seed, key))
        asked = {*prompts[:study.compared_each],
                 *(place[2] for place, pair in own.items() if pair.pair_id in answered)}
        drawn |= {place: pair for place, pair in own.items() if place[2] in asked}
    return drawn


def _comparable(study: Study, done: list[Cell]) -> dict[Place, Pair]:
    """Every reply at the primary level beside that of the stronger anchor."""
    cells = [cell for cell in done if cell.level == study.primary]
    *_, anchor = study.anchors
    return {(cell.name, meeting.arm, meeting.example_id, anchor): meeting.pair
            for cell in cells for meeting in meetings(study, cell, read_evaluation(cell))
            if meeting.anchor == anchor and meeting.arm not in study.unlabelled}


def _answered(study: Study, known: dict[Place, Pair]) -> set[str]:
    """The ids of pairs that people compared already; a stand-in is asked anew each time."""
    if study.config.human_eval.source in ("simulated", "none"):
        return set()
    return {label.pair.pair_id for label in _labels(study, _once(known))}


def comparisons(study: Study, done: list[Cell]) -> dict[Place, float]:
    """What people said: 1 for the arm's reply, .5 for a tie, 0 for the anchor's."""
    if study.config.human_eval.source == "none" or not study.comparisons:
        return {}
    drawn = to_compare(study, done)
    said = {label.pair.pair_id: WORTH[label.label] for label in _labels(study, _once(drawn))}
    return {place: said[pair.pair_id] for place, pair in drawn.items() if pair.pair_id in said}


def _once(drawn: dict[Place, Pair]) -> list[Pair]:
    """The pairs, those of the same texts once."""
    return list({pair.pair_id: pair for pair in drawn.values()}.values())


def widget(study: Study, done: list[Cell]) -> object:
    """The screen on which a person compares, in a notebook; answers are kept in the study."""
    from persuasion_lib.labeling.widget import LabelWidget

    settings = study.config.human_eval
    session = _asked(study, _once(to_compare(study, done))).by_log(
        settings.annotator, _log(study))
    return LabelWidget(session, break_every=settings.break_every)


def _labels(study: Study, pairs: list[Pair]) -> list[LabeledPair]:
    settings = study.config.human_eval
    asked = _asked(study, pairs)
    if settings.source == "file":
        if not settings.path:
            raise ConfigError("human_eval.source=file needs human_eval.path, a file in the format "
                              "of human_comparisons.jsonl.")
        given = read_jsonl(study.config.user_path(settings.path, "human_eval.path"),
                           Fitting(pairs, others_too=True), made_by="the tool that wrote it")
        return [label for label in given if label]
    if settings.source == "simulated":
        person = SimulatedAnnotator(seed=study.config.seed + _OTHER_PERSON)
        return labels_of(asked.by_stand_in(person), ANNOTATOR_NAME)
    session = asked.session(settings.annotator, read_events(_log(study)))
    return labels_of(session, settings.annotator)


def _asked(study: Study, pairs: list[Pair]) -> Asked:
    settings = study.config.human_eval
    return Asked(pairs, read_guidelines(study.config), seed=study.config.seed,
                 repeat_fraction=settings.repeat_fraction, checks=settings.checks)


def _log(study: Study) -> Path:
    return study.folder / f"final_events.{study.config.human_eval.annotator}.jsonl"
