"""Who is a stand-in, and what follows: beside a real model a run is then a rehearsal.

Stand-ins are recognised by the settings and by the names that labels carry, which rows keep in
`grader`. In the demo world, where the model is a stand-in itself, they are at home.
"""

import re
from collections.abc import Iterable

from persuasion_lib.core.brought import (
    LABELLER,
    brought_comparisons,
    brought_labels,
    graders,
)
from persuasion_lib.core.config import Config

# setting: (its value that stands for nothing real, the role that is played)
STAND_IN = {"data.source": ("demo", "corpus"), "model.base": ("demo", "model"),
            "label_ai.judge": ("offline", "judge of labels"),
            "label_human.source": ("simulated", "annotator"),
            "human_eval.source": ("simulated", "people who compare"),
            "evaluation.judge": ("offline", "judge"),
            "safety.judge": ("offline", "judge of manipulation"),
            "oracle.source": ("offline", "oracle"), "similarity.embedder": ("offline", "embedder")}
# Whose work a stage stands on; every role for the stages that are not here, none for 00, whose
# corpus has a folder of its own.
_HEARD = {"prepare": (), "label_ai": ("corpus", "judge of labels"),
          "label_human": ("corpus", "annotator"),
          "validate": ("corpus", "judge of labels", "annotator"),
          "train_dpo": ("corpus", "judge of labels", "annotator"),
          "evaluate": tuple(role for _, role in STAND_IN.values() if role != "people who compare")}
_NAMES = re.compile(r"stand[\s_-]*in(?![a-z])|simulat|synthetic|\b(?:mock|dummy)\b", re.IGNORECASE)


def is_stand_in(labeled_by: str) -> bool:
    """Whether a label was given by no person and no real model, going by the name it carries."""
    return bool(_NAMES.search(labeled_by))


def stand_ins(config: Config) -> list[str]:
    """The roles that a stand-in without a real model, person or corpus plays; reads nothing."""
    roles = {role for key, (value, role) in STAND_IN.items() if config.peek(key) == value}
    if STAND_IN["evaluation.judge"][0] in (config.peek("evaluation.judges") or []):
        roles.add(STAND_IN["evaluation.judge"][1])      # one of a panel is enough
    if not config.peek("oracle.generate") or _would_be_a_template(config):
        roles.discard("oracle")
    files = {key: brought_labels(config, pool) for pool, key in LABELLER.items()}
    files["human_eval.source"] = brought_comparisons(config)
    for key, brought in files.items():
        _, role = STAND_IN[key]
        if brought:
            roles.discard(role)
            roles |= {role for name in graders(brought) if is_stand_in(name)}
    return [role for _, role in STAND_IN.values() if role in roles]


def asks_oracle(config: Config) -> bool:
    """Whether an oracle writes the yardstick, or the people of the test file did.

    The offline oracle knows the demo's topics; of any other prompt it makes a template, so that
    similarity would measure the template.
    """
    return config.oracle.generate and not _would_be_a_template(config)


def _would_be_a_template(config: Config) -> bool:
    return config.peek("oracle.source") == "offline" and config.peek("data.source") != "demo"


def oracle_note(config: Config) -> list[str]:
    """A warning where people's replies take the place of an oracle that would be a template."""
    if not config.oracle.generate or not _would_be_a_template(config):
        return []
    return ["The offline oracle is a template, to which any reply is about as close as to any "
            "other, so the replies that people wrote to the test prompts are the yardstick. Set "
            "oracle.source for a real oracle."]


def rehearsed(config: Config, stage: str = "analysis") -> list[str]:
    """The stand-ins that a stage's results stand on, beside a real model; none in the demo."""
    if config.peek("model.base") == "demo":
        return []
    return [role for role in stand_ins(config) if role in _HEARD.get(stage, (role,))]


def banner(roles: Iterable[str], *, real_model: bool) -> str:
    """What stands above everything that stand-ins had a part in; "" where they had none."""
    named = ", ".join(roles)
    if not named:
        return ""
    kind = "REHEARSAL: this" if real_model else "STAND-INS: this"
    return (f"{kind} is not a real experiment. Stand-ins without a real model, person or data: "
            f"{named}. The figures show that the method works, and say nothing about real "
            "persuasion.")


def banner_of(config: Config, stage: str = "analysis") -> str:
    """The banner of a stage's results; 00 announces that of the whole run."""
    real_model = config.peek("model.base") != "demo"
    roles = stand_ins(config)
    if real_model and stage != "prepare":
        roles = rehearsed(config, stage)
    return banner(roles, real_model=real_model)


def labelled_by(config: Config, pool: str) -> str:
    """Who labelled a pool, in the words of its setting; "file" for labels that somebody brought."""
    key = LABELLER[pool]
    value, role = STAND_IN[key]
    if role in stand_ins(config):
        return value
    return "file" if brought_labels(config, pool) else config.peek(key)
