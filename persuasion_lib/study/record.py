"""The files that say what was found of a run, read and checked: a study's record, a manifest."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.store import read_json
from persuasion_lib.reporting.evaluation_file import OrEmpty


class _Score(BaseModel):
    arm: str
    anchor: str
    example_id: str
    judge: Annotated[float, Field(ge=0, le=1, strict=True)] | None
    gold: Annotated[float, Field(strict=True)] | None = None


class _Record(BaseModel):
    anchors: list[str]
    arms: list[str]
    evaluation: str
    anchor_evaluation: str | None = None
    open: dict[str, int]
    scores: list[_Score]


class _Manifest(BaseModel):
    settings: OrEmpty[dict[str, Any]] = {}
    inputs: OrEmpty[dict[str, Any]] = {}
    prompts: OrEmpty[dict[str, Any]] = {}


def read_record(path: Path) -> dict[str, Any]:
    """What a study keeps of a cell, as `anchored.judge_cell` wrote it.

    Raises:
        DataError: it is no such record; the message names the file and the place in it.
    """
    return _checked(path, _Record, "no record of a study's cell",
                    "`persuasion study` makes it anew, of the judgments that it has.")


def read_manifest_of(path: Path) -> dict[str, Any]:
    """The manifest of anybody's run, as far as it says what the run was made of.

    Raises:
        DataError: it is none; the message names the file and the place in it.
    """
    return _checked(path, _Manifest, "no manifest", "Ask for the file again, or leave it out.")


def _checked(path: Path, kind: type[BaseModel], what: str, cure: str) -> dict[str, Any]:
    content = read_json(path, made_by="the command that made the run")
    try:
        kind.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "all of it"
        raise DataError(f"{path} is {what} ({place} is {problem['input']!r:.40}). {cure}") from None
    return content
