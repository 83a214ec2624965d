"""Whether the judges of the settings could work, found out without spending anything."""

import tempfile
from pathlib import Path
from typing import get_args

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.judging.ask import ask_all
from persuasion_lib.judging.clients import Judge, openai_key
from persuasion_lib.judging.local_embedder import model_folder
from persuasion_lib.judging.roles import Role, check_model, make_judge, openai_endpoint, price_of
from persuasion_lib.judging.tasks.compare import Compare


def check(config: Config, *, ping: bool = False) -> dict[str, str]:
    """What is wrong, per role and for the embedder ("" where nothing is).

    `ping` asks each real judge one tiny question, for well under a cent; the file of its answer
    is thrown away.
    """
    found: dict[str, str] = {}
    for role in get_args(Role):
        try:
            judge = make_judge(config, role)
            found[role] = check_model(judge.model) if judge.provider == "anthropic" else ""
            if ping and not judge.is_local:
                found[role] = _ping(judge) or found[role]
        except PersuasionError as error:
            found[role] = str(error)
    try:
        if config.similarity.embedder == "openai":
            openai_key(config.root, openai_endpoint(config))
            price_of(config, config.openai.embedding_model)
        elif config.similarity.embedder == "local":
            model_folder(config)
        found["embedder"] = ""
    except PersuasionError as error:
        found["embedder"] = str(error)
    return found


def _ping(judge: Judge) -> str:
    question = Compare.compose("ping", "THEM: Is two even?", ("Yes.", "No."), order=(0, 1),
                               prompts=judge.prompts)
    with tempfile.TemporaryDirectory() as folder:
        answers = ask_all({"ping": question}, judge, log=Path(folder) / "ping")
    return answers.errors.get("ping", "")
