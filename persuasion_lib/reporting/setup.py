"""Who played which role in an evaluation, and how: its `config`."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator

T = TypeVar("T")


def _or_none(value: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


Lenient = Annotated[T | None, WrapValidator(_or_none)]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


# role: (the value that stands for no real model, person or data; how a report calls it)
_STAND_INS = {"judge": ("offline", "the judge"), "oracle": ("offline", "the oracle"),
              "labeller": ("offline", "the judge of labels"),
              "embedder": ("offline", "the embedder"),
              "safety": ("offline", "the judge of manipulation"),
              "annotator": ("simulated", "the annotator"),
              "people": ("simulated", "the people who compare"), "source": ("demo", "the corpus"),
              "base_model": ("demo", "the model (about 1 M parameters)")}


class Setup(Open):
    """`config`: who played which role, and how; services, and models where `asked_models` says."""

    banner: Lenient[str] = None
    profile: Lenient[str] = None
    seed: Lenient[int] = None
    trial: Lenient[bool] = None
    source: Lenient[str] = None
    base_model: Lenient[str] = None
    judge: Lenient[str] = None
    oracle: Lenient[str] = None
    labeller: Lenient[str] = None
    annotator: Lenient[str] = None
    safety: Lenient[str] = None
    people: Lenient[str] = None
    embedder: Lenient[str] = None
    asked_models: Lenient[dict[str, str | None]] = None
    generation: Lenient[dict[str, Any]] = None
    orders: Lenient[int] = None
    planned_examples: Lenient[int] = None
    weights: Lenient[dict[str, str]] = None
    panel: Lenient[dict[str, str]] = None           # service and model by judge, the first leads
    answered_by: Lenient[dict[str, dict[str, int]]] = None  # of a judge, where models are several
    human_reply: Lenient[dict[str, Any]] = None     # how many were ranked, and why others were not

    def stand_ins(self) -> dict[str, str]:
        """The roles that a stand-in played, and what a report calls each."""
        found = {role: name for role, (value, name) in _STAND_INS.items()
                 if getattr(self, role) == value}
        if _STAND_INS["judge"][0] in (self.panel or {}) and "judge" not in found:
            found = {"judge": "one judge of the panel"} | found
        return found

    def is_demo(self) -> bool:
        """Whether the model is the demo's, so that stand-ins are at home."""
        return self.base_model == _STAND_INS["base_model"][0]

    def name_of(self, role: str) -> str:
        """What a report calls a role."""
        return _STAND_INS[role][1] if role in _STAND_INS else role
