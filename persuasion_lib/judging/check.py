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
    for role in get_args(Role):
        try:
            judge = make_judge(config, role)
            found[role] = check_model(judge.model) if isinstance(judge, AnthropicJudge) else ""
            if ping and judge.provider != "offline":
                with tempfile.TemporaryDirectory() as folder:
                    problem, note = known_answers(judge, log=Path(folder) / "ping")
                found[role] = problem or note or found[role]
        except PersuasionError as error:
            found[role] = str(error)
    try:
        if config.similarity.embedder != "offline":
            provider, model = embedder_of(config)
            place_of(config, provider).key()
            price_of(config, provider, model)
        found["embedder"] = ""
    except PersuasionError as error:
        found["embedder"] = str(error)
    return found

