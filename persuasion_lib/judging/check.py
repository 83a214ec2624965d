"""Whether the judges of the settings could work, found out without spending anything."""

import tempfile
from pathlib import Path
from typing import get_args

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.judging.calibrate import known_answers
from persuasion_lib.judging.clients import AnthropicJudge
from persuasion_lib.judging.roles import (
    Role,
    check_model,
    embedder_of,
    make_judge,
    place_of,
    price_of,
)


def check(config: Config, *, ping: bool = False) -> dict[str, str]:
    """What is wrong, per role and for the embedder ("" where nothing is).

    `ping` asks each real judge the three questions of its calibration, for about a cent; the file
    of its answers is thrown away.
    """
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:       # one, so that no judge is asked twice
        for role in get_args(Role):
            found[role] = _problem_of(config, role, Path(folder) / "answers" if ping else None)
    found["embedder"] = _problem_of_embedder(config)
    return found


def _problem_of(config: Config, role: Role, log: Path | None) -> str:
    try:
        judge = make_judge(config, role)
        warning = check_model(judge.model) if isinstance(judge, AnthropicJudge) else ""
        if log and judge.provider != "offline":
            problem, note = known_answers(judge, log=log)
            return problem or note or warning
    except PersuasionError as error:
        return str(error)
    return warning


def _problem_of_embedder(config: Config) -> str:
    try:
        if config.similarity.embedder != "offline":
            provider, model = embedder_of(config)
            place_of(config, provider).key()
            price_of(config, provider, model)
    except PersuasionError as error:
        return str(error)
    return ""

