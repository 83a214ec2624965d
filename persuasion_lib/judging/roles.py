"""Who the settings name for a role, where, with which key, and whether it may be asked at all."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.keys import Provider, endpoint_of, is_on_this_machine, key_for
from persuasion_lib.core.services import BUILT_IN, Server
from persuasion_lib.core.services import Service as Settings
from persuasion_lib.judging.clients import AnthropicJudge, Judge, OpenAIJudge, StandInJudge
from persuasion_lib.judging.connect import Line

Role = Literal["label_ai", "evaluate", "oracle", "safety"]
# Of each role the setting with its provider, and that of the provider with its model. Looked up by
# name, because a setting that is asked for counts as read.
_PROVIDER: dict[Role, tuple[str, str]] = {
    "label_ai": ("label_ai", "judge"), "evaluate": ("evaluation", "judge"),
    "oracle": ("oracle", "source"), "safety": ("safety", "judge")}
_MODEL: dict[Role, str] = {"label_ai": "model", "evaluate": "evaluate_model",
                           "oracle": "oracle_model", "safety": "evaluate_model"}
AT_ONCE_HERE = 4            # calls to a server on this machine, most often with one GPU or none


@dataclass(frozen=True)
class Place:
    """Where a service of the settings answers; `key` looks its key up, so that it is in no field.

    `same_as` is the address that the same server had before, if the settings say so.

    Raises, when `key` is called:
        ConfigError: no key, or one that may not go there.
    """

    api: Provider
    endpoint: str
    key: Callable[[], str]
    timeout_s: float
    same_as: str | None = None

    def line(self) -> Line:
        """How calls go there."""
        return Line(self.api, self.endpoint, self.key(), self.timeout_s)


def make_judge(config: Config, role: Role, provider: str | None = None) -> Judge:
    """The judge that the settings name for a role; checks its key, price and status, calls nothing.

    Args:
        provider: another service than theirs, in this role.

    Raises:
        ConfigError: no usable key, no price for the model, or a model that is not served any more.
    """
    provider = provider or provider_of(config, role)
    model = model_of(config, role, provider)
    common: dict[str, Any] = {
        "provider": provider, "model": model, "prompts": config.prompt_file,
        "budget_usd": config.judging.budget_usd, "prices_date": config.judging.prices_date}
    if provider == "offline":
        return StandInJudge(endpoint="this process", max_tokens=0, timeout_s=60, seed=config.seed,
                            **common)
    settings = settings_of(config, provider)
    place = place_of(config, provider)
    common |= {"price": price_of(config, provider, model), "max_tokens": settings.max_tokens,
               "timeout_s": place.timeout_s, "endpoint": place.endpoint, "key": place.key,
               "same_as": place.same_as,
               "effort": settings.effort, "extra_body": settings.extra_body,
               "memory": config.folder("data") / "servers.json",
               "requests_per_minute": config.rate_limiting.requests_per_minute}
    if isinstance(settings, Server):
        common |= _pace_of(settings, common["requests_per_minute"])
    place.key()
    if place.api == "anthropic":
        check_model(model)
        return AnthropicJudge(**common)
    return OpenAIJudge(temperature=settings.temperature, **common)


def _pace_of(server: Server, requests_per_minute: float | None) -> dict[str, Any]:
    """A server on this machine has no account whose limits must be found out with care."""
    is_here = is_on_this_machine(server.base_url)
    return {"is_local": is_here and requests_per_minute is None,
            "calls_at_once": server.calls_at_once or (AT_ONCE_HERE if is_here else None)}


def provider_of(config: Config, role: Role) -> str:
    """Who the settings name for a role: anthropic, openai, offline, or a name in `servers`."""
    section, name = _PROVIDER[role]
    return getattr(getattr(config, section), name)


def panel_of(config: Config) -> dict[str, Judge]:
    """The judges that rank beside the first one, by the names of their services.

    Raises:
        ConfigError: one has no usable key or no price; or two names are one model at one address.
    """
    judges = {name: make_judge(config, "evaluate", name) for name in config.evaluation.judges}
    named: dict[Any, str] = {}
    for name, judge in judges.items():
        who = (judge.endpoint, *judge.identity[1:])     # without the name of the service
        if who in named:
            raise ConfigError(f"evaluation.judges: {named[who]} and {name} are one model, "
                              f"{judge.model}, at one address, {judge.endpoint}, so that they "
                              "would agree says nothing. Name one of them.")
        named[who] = name
    return dict(list(judges.items())[1:])


def names_of_models(config: Config) -> dict[str, str]:
    """Service and model of every role, by what an evaluation calls the role."""
    roles: dict[str, Role] = {"judge": "evaluate", "oracle": "oracle", "labeller": "label_ai",
                              "safety": "safety"}
    return {key: named(config, role, provider_of(config, role)) for key, role in roles.items()}


def names_of_panel(config: Config) -> dict[str, dict[str, str]]:
    """The same of every judge that ranks, as an evaluation has it; nothing where it is one."""
    names = config.evaluation.judges
    return {"panel": {name: named(config, "evaluate", name) for name in names}} if names else {}


def named(config: Config, role: Role, provider: str) -> str:
    """Service and model, as every label and judgment names them."""
    return f"{provider}/{model_of(config, role, provider)}"


def model_of(config: Config, role: Role, provider: str | None = None) -> str:
    """The model that plays a role; the judge of manipulation is the evaluation's."""
    provider = provider or provider_of(config, role)
    if provider == "offline":
        return "stand-in"
    settings = settings_of(config, provider)
    named = getattr(settings, _MODEL[role]) if provider in BUILT_IN else None
    return named or settings.model


def settings_of(config: Config, provider: str) -> Any:
    """The section of a service: anthropic, openai, or one of `servers`."""
    return getattr(config, provider) if provider in BUILT_IN else config.servers[provider]


def place_of(config: Config, provider: str) -> Place:
    """Where a service answers, and the key that may go there."""
    settings: Settings = settings_of(config, provider)
    if isinstance(settings, Server):
        api: Provider = settings.api
        endpoint = settings.base_url
        section = f"servers.{provider}"
    else:
        api = "anthropic" if provider == "anthropic" else "openai"
        endpoint = endpoint_of(config.root, api, settings.base_url)
        section = provider
    place = place_at(config, api, endpoint, settings.api_key_env, timeout_s=settings.timeout,
                     settings=(f"{section}.base_url", f"{section}.api_key_env"))
    return replace(place, same_as=getattr(settings, "same_as", None))


def place_at(config: Config, api: Provider, endpoint: str, named: str | None, *, timeout_s: float,
             settings: tuple[str, str]) -> Place:
    """The same for an address; `settings` are the names of the settings of address and key."""
    return Place(api, endpoint, timeout_s=timeout_s, key=lambda: key_for(
        config.root, api, endpoint, named, settings=settings))


def embedder_of(config: Config) -> tuple[str, str]:
    """Who embeds (openai, or a name in `servers`), and its model."""
    provider = config.similarity.embedder
    settings = settings_of(config, provider)
    return provider, settings.embedding_model if provider in BUILT_IN else settings.model


def price_of(config: Config, provider: str, model: str) -> tuple[float, float]:
    """Dollars per million input and output tokens."""
    settings = settings_of(config, provider)
    if isinstance(settings, Server) and settings.price is not None:
        return settings.price
    if model not in config.judging.prices:
        raise ConfigError(f"no price for {model} in judging.prices, so no budget can be kept. Add "
                          f"`{model}: [dollars per million input, output tokens]` to "
                          "configs/data_config.yaml; [0, 0] for a server of your own (or `price: "
                          "[0, 0]` beside its address in `servers`).")
    return config.judging.prices[model]


def check_model(model: str) -> str:
    """A warning where the SDK knows that the model ends, else ""; the SDK's own is never shown.

    Raises:
        ConfigError: the model has ended.
    """
    try:
        from anthropic.resources.messages.messages import DEPRECATED_MODELS
    except ImportError:     # a private table: gone in another version
        return ""
    if model not in DEPRECATED_MODELS:
        return ""
    ends = DEPRECATED_MODELS[model]
    day = datetime.strptime(re.sub(r"(\d)[a-z]+,", r"\1", ends), "%B %d %Y")
    advice = f"{model} ends on {ends}. Set anthropic.model to claude-sonnet-5-5 or newer."
    if day.replace(tzinfo=UTC) < datetime.now(UTC):
        raise ConfigError(advice)
    return advice
