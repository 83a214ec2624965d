"""The services of the settings, and who may answer in a role: one of them, or a stand-in."""

from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.sections import ASIDE, KeyName, Positive, Price, Section

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
# What would make a reply that is none we read: several, in pieces, or to another question.
_OURS_ALONE = {"messages", "model", "n", "stream", "system"}
# The settings that say who answers in a role, and what all of them may name.
ROLES = ("label_ai.judge", "evaluation.judge", "safety.judge", "oracle.source",
         "similarity.embedder")
BUILT_IN = ("anthropic", "openai", "offline")


class Service(Section):
    """What the settings of every service have in common."""

    base_url: str | None
    api_key_env: Annotated[KeyName | None, ASIDE]
    model: str
    effort: Effort | None
    max_tokens: int = Positive
    timeout: Annotated[float, ASIDE] = Positive
    extra_body: dict[str, Any]

    @field_validator("extra_body")
    @classmethod
    def _is_extra(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_OURS_ALONE & set(value)):
            raise ValueError(f"{', '.join(taken)} cannot be set here")
        return value


class Anthropic(Service):
    evaluate_model: str | None
    oracle_model: str | None


class OpenAI(Service):
    evaluate_model: str | None
    oracle_model: str | None
    embedding_model: str
    temperature: float | None = Field(ge=0)


class Server(Service):
    """One more service, by a name of the user's own: a role that names it asks there."""

    api: Literal["openai", "anthropic"] = "openai"
    base_url: str
    same_as: Annotated[str | None, ASIDE] = None
    api_key_env: Annotated[KeyName | None, ASIDE] = None
    price: Annotated[tuple[Price, Price] | None, ASIDE] = None
    calls_at_once: Annotated[int | None, ASIDE] = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0)
    effort: Effort | None = None
    max_tokens: int = Field(default=2000, gt=0)
    timeout: Annotated[float, ASIDE] = Field(default=120, gt=0)
    extra_body: dict[str, Any] = Field(default_factory=dict)


def check_roles(value_of: Callable[[str], Any], servers: Collection[str]) -> None:
    """Refuse a role that names nobody, and a server that takes the name of something else."""
    taken = sorted({*BUILT_IN, "local"} & set(servers))
    if taken:
        raise ConfigError(f"setting servers.{taken[0]}: this name has a meaning of its own. Call "
                          "the server otherwise.")
    panel = [("evaluation.judges", name) for name in value_of("evaluation.judges") or []]
    for key, who in [(key, value_of(key)) for key in ROLES] + panel:
        local = ["local"] if key == "similarity.embedder" else []
        known = [*BUILT_IN, *local, *servers]
        if who not in known:
            raise ConfigError(f"setting {key}: there is no {who!r:.50}. It may be one of "
                              f"{', '.join(known)}; more are described below `servers:` in "
                              "configs/api_config.yaml.")
    if value_of("similarity.embedder") == "anthropic":
        raise ConfigError("setting similarity.embedder: Anthropic has no embeddings. Use openai, "
                          "local, offline, or a server of `servers`.")
