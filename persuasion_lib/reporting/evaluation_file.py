"""`final_evaluation.json`: the one home of its field names, for who writes it and who reads it.

The models below are the specified format with our additions (data/README.md). A file from elsewhere
may lack the additions and hold keys of its own: those are kept. Values that results are computed
from must be what they are called, or the file is refused; what only describes the run, and a
missing number, is None where it is something else.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.family import HUMAN, MODELS
from persuasion_lib.core.store import read_json, write_json
from persuasion_lib.reporting.setup import Lenient, Open, Setup

T = TypeVar("T")


Number = Lenient[Annotated[float, Field(strict=True, allow_inf_nan=False)]]
Shown = Annotated[str | None, BeforeValidator(lambda value: value if value is None else str(value))]
OrEmpty = Annotated[T, BeforeValidator(lambda value: {} if value is None else value)]
Numbers = OrEmpty[dict[str, Number]]        # by model
Slots = OrEmpty[dict[str, Any]]             # {slot: model}; elsewhere also {model: slot}
Tactics = dict[str, Any]                    # the judge's reason by tactic; {} is none


class Judgment(Open):
    """One presentation of an example: who stood where, and the ranking, best first."""

    ranking: list[str] | None = None        # None where the reply could not be read
    position_map: Slots = {}
    explanation: Shown = None
    error: Shown = None
    tied: list[list[str]] | None = None     # models with the same reply, shown once

    def among(self, models: Sequence[str]) -> Self:
        """The same without the place and the slot of the person who was ranked with the models."""
        if HUMAN in models or HUMAN not in [*(self.ranking or []), *self.position_map.values()]:
            return self
        tied = [[name for name in group if name != HUMAN] for group in self.tied or []]
        return self.model_copy(update={
            "ranking": [name for name in self.ranking or [] if name != HUMAN] or None,
            "position_map": {slot: name for slot, name in self.position_map.items()
                             if HUMAN not in (slot, name)},
            "tied": [group for group in tied if len(group) > 1]})

    def ranks(self, models: Sequence[str]) -> list[float]:
        """The rank of each model, 1 best; models with the same reply share the mean of theirs."""
        places = {model: place for place, model in enumerate(self.ranking or [], start=1)}
        for group in self.tied or []:
            shared = sum(places[model] for model in group) / len(group)
            places |= dict.fromkeys(group, shared)
        return [float(places[model]) for model in models]


class Baselines(Open):
    """Similarities of the oracle's reply to texts that share no prompt with it, or only that."""

    other_example: Shown = None
    oracle: Number = None
    prompt: Number = None
    responses: Numbers = {}


class ExampleRow(Open):
    """One test prompt with every model's reply and what was found about them, by model."""

    example_id: Shown = None
    conversation_id: Shown = None
    prompt: Any = ""                        # text, or chat messages in files from elsewhere
    messages: Any = None
    responses: dict[str, str | None]
    finish: OrEmpty[dict[str, Any]] = {}    # "length" where the token cap cut the reply off
    tokens: Lenient[dict[str, int]] = None
    oracle: Shown = None
    human_response: Shown = None
    grader_ranking: Lenient[list[Any]] = None
    grader_ranks: Lenient[dict[str, float]] = None
    grader_scores: Numbers = {}
    grader_explanation: Shown = None
    position_map: Slots = {}
    judgments: list[Judgment] | None = None
    panel: OrEmpty[dict[str, list[Judgment]]] = {}      # of the further judges, by name
    judge_only: Lenient[bool] = None        # in no table, never shown to people
    similarity_scores: Numbers = {}
    similarity_baselines: OrEmpty[Baselines] = Baselines()
    gold_utility: Numbers = {}
    tactics: OrEmpty[dict[str, Tactics | None]] = {}
    _no_numbers: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="wrap")
    @classmethod
    def _name_no_numbers(cls, data: Any, read: Callable[[Any], Self]) -> Self:
        row = read(data)
        for name in _NUMBERS:
            given = data.get(name) if isinstance(data, dict) else None
            row._no_numbers += [f"{name} of {model} is {value!r:.20}"
                                for model, value in (given or {}).items()
                                if value is not None and getattr(row, name).get(model) is None]
        return row

    @property
    def persons_reply(self) -> str:
        """What a person really wrote; a file from elsewhere has it among the replies."""
        return str(self.responses.get(HUMAN) or self.human_response or "")

    def is_mixed(self) -> bool:
        """Whether one judge ranked the person in one order of the replies and not in another."""
        return any(len({HUMAN in call.ranking for call in calls if call.ranking}) > 1
                   for calls in (self.judgments or [], *self.panel.values()))

    def no_numbers(self) -> list[str]:
        """The scores and similarities that are there and are no numbers, so were not read."""
        return self._no_numbers


_NUMBERS = ("grader_scores", "similarity_scores", "gold_utility")


class LabelTactics(Open):
    """The tactics in both replies of a pair that somebody labelled; None is unscored."""

    pool: str
    pair_id: str
    chosen: Tactics | None = None
    rejected: Tactics | None = None


class Control(Open):
    """A pair of evaluated replies that the judge compared in both orders, models `a` and `b`.

    The same model twice is the same reply twice. `label` is "1" (a), "2" or "EQUAL"; null unscored.
    """

    example_id: str
    a: str
    b: str
    label: Lenient[str] = None

    def is_twin(self) -> bool:
        """Whether both sides were one reply."""
        return self.a == self.b


class TrainingLog(Open):
    """How a model was trained: a curve by step, and the step that was kept."""

    best_step: int
    alarms: list[str] = []
    points: list[dict[str, Any]]

    def kept(self) -> dict[str, Any] | None:
        """The point of the step that was kept; None where it has no held-out loss."""
        return next((point for point in self.points if point.get("step") == self.best_step
                     and isinstance(point.get("held_out_loss"), int | float)), None)


class Summary(Open):
    """Means per model, without intervals."""

    num_examples: Lenient[int] = None
    models_evaluated: Lenient[list[str]] = None
    num_unscored: Lenient[int] = None
    grader_normalized_scores: Lenient[dict[str, Number]] = None
    average_similarity_scores: Lenient[dict[str, Number]] = None
    truncated_share: Lenient[dict[str, Number]] = None


_AGREEMENT = {"status", "slot", "with_ties", "decided", "self", "alarms", "smoothing"}


class EvaluationFile(Open):
    """The whole document."""

    config: OrEmpty[Setup] = Setup()
    grader_scores: Any = None               # per model a list; points elsewhere
    similarity_scores: Any = None
    per_example: list[ExampleRow] = Field(min_length=1)
    training: OrEmpty[dict[str, Lenient[TrainingLog]]] = {}
    label_tactics: list[LabelTactics] | None = None
    judge_agreement: Lenient[dict[str, Any]] = None
    controls: Lenient[list[Control]] = None
    summary: OrEmpty[Summary] = Summary()

    @model_validator(mode="after")
    def _name_examples(self) -> Self:
        for number, row in enumerate(self.per_example):
            row.example_id = row.example_id or str(number)
        return self

    def agreement(self) -> dict[str, Any] | None:
        """The judge against the annotator, where it has what `labeling.agreement` computes."""
        found = self.judge_agreement or {}
        return found if found.keys() >= _AGREEMENT else None

    def models(self) -> list[str]:
        """The models with replies, in the order of the summary, else in the usual one."""
        rows = self.per_example
        answered = {model for row in rows for model in row.responses}
        scored = {model for row in rows for model in row.grader_scores} or answered
        named = self.summary.models_evaluated or [*MODELS, *sorted(answered & scored)]
        models = list(dict.fromkeys(model for model in named if model in answered))
        with_person = HUMAN in models and len(models) > 2
        return [model for model in models if model != HUMAN] if with_person else models

    def panel(self) -> list[str]:
        """The judges beside the first one whose rankings are here."""
        return list(dict.fromkeys(name for row in self.per_example for name in row.panel))


def parse(content: Any) -> EvaluationFile:
    """The specified format, with or without our additions.

    Raises:
        DataError: a value is not what its name says, an id occurs twice, fewer than two models
            answered, or a person was ranked in one order of a prompt and not in another; the
            message says where.
    """
    try:
        file = EvaluationFile.model_validate(content)
    except ValidationError as error:
        raise DataError(_explained(error.errors(include_url=False)[0])) from None
    ids = Counter(row.example_id for row in file.per_example)
    twice = [key for key, count in ids.items() if count > 1]
    if twice:
        raise DataError(f"example {twice[0]!r} occurs twice ({len(twice)} such ids). A test prompt "
                        "counts once; remove the copies.")
    if all(row.judge_only for row in file.per_example):
        raise DataError("every example of the evaluation is judge_only, so no table has a row. "
                        "Those are further prompts beside the ordinary ones.")
    if len(file.models()) < 2:
        raise DataError(f"the evaluation has responses of {file.models()}; a comparison needs two "
                        "models.")
    mixed = [row.example_id for row in file.per_example if row.is_mixed()]
    if mixed and HUMAN not in file.models():
        raise DataError(f"example {mixed[0]!r} ({len(mixed)} such): the person's reply was ranked "
                        "in one order and not in another. A place among six is none among five: "
                        "rank the example again.")
    return file


_WANTED = {"string_type": "text", "list_type": "a list", "too_short": "a list of examples"}


def _explained(problem: Mapping[str, Any]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]]
    place = "".join(parts).lstrip(".")
    hint = "data/README.md describes the format of final_evaluation.json."
    if problem["type"] == "missing":
        return f"the evaluation has no {place}. {hint}"
    wanted = _WANTED.get(problem["type"], "an object")
    return f"{place or 'the evaluation'} is {problem['input']!r:.60}, not {wanted}. {hint}"


def read(path: Path, *, made_by: str) -> EvaluationFile:
    """Read and check the file; errors name it and the place in it."""
    content = read_json(path, made_by=made_by)
    try:
        return parse(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def write(path: Path, file: EvaluationFile) -> Path:
    """Write what was set, and nothing that is only a default of a field."""
    return write_json(path, file.model_dump(exclude_unset=True))
