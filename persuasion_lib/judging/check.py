"""Whether the judges of the settings could work, found out without spending anything."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from persuasion_lib.core.brought import brought_labels
from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, PersuasionError
from persuasion_lib.core.pipeline import STAGES, Stage
from persuasion_lib.core.rehearsal import asks_oracle
from persuasion_lib.judging.calibrate import known_answers
from persuasion_lib.judging.clients import AnthropicJudge
from persuasion_lib.judging.local_embedder import check_here
from persuasion_lib.judging.roles import (
    Role,
    check_model,
    embedder_of,
    make_judge,
    panel_of,
    place_of,
    price_of,
)
from persuasion_lib.judging.tasks.compare import Compare
from persuasion_lib.judging.tasks.tactics import Tactics

# The settings that say who is asked by a stage, and the role that they play.
_ASKED: dict[str, dict[str, Role]] = {
    "label_ai": {"label_ai.judge": "label_ai"},
    "evaluate": {"evaluation.judge": "evaluate", "oracle.source": "oracle",
                 "safety.judge": "safety"}}


def unable(config: Config, stage: str) -> dict[str, str]:
    """Why a stage could not ask those whom it will have to ask, by their setting."""
    found: dict[str, str] = {}
    for key, role in _ASKED[stage].items():
        if not _is_asked(config, role):
            continue
        try:
            make_judge(config, role)
            if role == "evaluate":
                key = "evaluation.judges"
                panel_of(config)
        except PersuasionError as error:
            found[key] = str(error)
    if stage == "evaluate" and (problem := _embedder_problem(config)):
        found["similarity.embedder"] = problem
    return found


def refuse_unable(config: Config, stages: Sequence[Stage], *, may_end: bool = True) -> None:
    """Refuse now what would fail for want of a judge hours later.

    Args:
        stages: those with a judge that will run.
        may_end: the command could end before the first of them.

    Raises:
        ConfigError: a judge of one of them cannot work.
    """
    found = {stage: unable(config, stage.name) for stage in stages}
    problems = {key: text for of_stage in found.values() for key, text in of_stage.items()}
    if not problems:
        return
    first = next(stage for stage in stages if found[stage])
    end = (f"or end before it with --to {list(STAGES)[list(STAGES).index(first.name) - 1]}; "
           if may_end else "")
    raise ConfigError(
        f"{first.notebook} could not work, so nothing was started. "
        f"{' '.join(dict.fromkeys(problems.values()))}\nMend that; {end}or rehearse with "
        "stand-ins, apart from all real results: "
        f"{' '.join(f'--set {key}=offline' for key in problems)}")


def check(config: Config, *, ping: bool = False) -> dict[str, str]:
    """What is wrong, per role and for the embedder ("" where nothing is).

    `ping` asks each real judge the questions of its calibration, for about a cent; the file of its
    answers is thrown away.
    """
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:       # one, so that no judge is asked twice
        log = Path(folder) / "answers" if ping else None
        for role in get_args(Role):
            is_asked = role != "oracle" or config.oracle.generate
            found[role] = _problem_of(config, role, log) if is_asked else ""
        for name in config.evaluation.judges[1:]:
            found[f"evaluate ({name})"] = _problem_of(config, "evaluate", log, name)
    found["embedder"] = _embedder_problem(config)
    return found


def _is_asked(config: Config, role: Role) -> bool:
    """Whether these settings ask anybody in a role: not for labels or replies that are there."""
    if role == "label_ai":
        return not brought_labels(config, "ai_pool")
    return role != "oracle" or asks_oracle(config)


def _problem_of(config: Config, role: Role, log: Path | None, provider: str | None = None) -> str:
    try:
        judge = make_judge(config, role, provider)
        warning = check_model(judge.model) if isinstance(judge, AnthropicJudge) else ""
        if log and judge.provider != "offline":
            kind = Tactics if role == "safety" else Compare
            problem, note = known_answers(judge, log=log, kind=kind, live=False)
            return problem or note or warning
    except PersuasionError as error:
        return str(error)
    return warning


def _embedder_problem(config: Config) -> str:
    try:
        if config.similarity.embedder == "local":
            check_here(config)
        elif config.similarity.embedder != "offline":
            provider, model = embedder_of(config)
            place_of(config, provider).key()
            price_of(config, provider, model)
    except PersuasionError as error:
        return str(error)
    return ""
