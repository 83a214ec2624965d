"""The models of the experiment: the one table to edit for a sixth.

Settings, files, trainings and reports all ask here, so it stands in core and imports nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A model: what it is built on, what it learns from, and where that is written.

    `parents` are the models below it, in the order in which they were trained. `labels` is the
    split it learns from last (`rlhf` is `rlhf_train.jsonl` and `rlhf_val.jsonl`), `settings` the
    section with its learning rate and epochs, `folder` the name of its checkpoints; a model that
    is not trained here has none of the three.
    """

    name: str
    parents: tuple[str, ...]
    labels: str | None = None
    settings: str | None = None
    folder: str | None = None

    @property
    def starts_as(self) -> str:
        """The model whose weights are the policy before the first step."""
        return self.parents[-1]

    @property
    def built_of(self) -> str:
        """What it is made of, for a reader: "sft + human labels"."""
        return f"{self.starts_as} + {TEACHERS[self.labels]}" if self.labels else "as it comes"


# Who gave what a model learns from, by the name of its labels.
TEACHERS = {"sft": "replies of people", "rlhf": "human labels", "rlaif": "AI labels"}
# In the order of tables and figures; the specification names settings and folders.
FAMILY = {member.name: member for member in (
    Member("base", ()),
    Member("sft", ("base",), "sft", "sft", "qwen-sft"),
    Member("rlhf", ("base", "sft"), "rlhf", "rlhf", "qwen-rlhf"),
    Member("rlaif", ("base", "sft"), "rlaif", "rlaif", "qwen-rlaif"),
    Member("rlaif_rlhf", ("base", "sft", "rlaif"), "rlhf", "rlaif_to_rlhf", "qwen-rlaif-rlhf"),
)}
MODELS = tuple(FAMILY)
REFERENCE = "sft"       # what every DPO training is compared with
HUMAN = "human"         # no model: whoever wrote the reply that the corpus holds
PREFERENCE_TRAINED = tuple(name for name in MODELS if REFERENCE in FAMILY[name].parents)


def wanted(names: Sequence[str], trained: Sequence[str] | None) -> list[str]:
    """`names` without the preference-trained ones that are none of `trained`; None is all."""
    unwanted = {*PREFERENCE_TRAINED} - {*(PREFERENCE_TRAINED if trained is None else trained)}
    return [name for name in names if name not in unwanted]


def trainings(names: Sequence[str] | None) -> tuple[str, ...]:
    """What is to be trained for these models, those that they go on from among it; None is all."""
    wanted = PREFERENCE_TRAINED if names is None else names
    return tuple(name for name in PREFERENCE_TRAINED if any(
        name == one or name in FAMILY[one].parents for one in wanted))
