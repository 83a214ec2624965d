"""Which judge the settings name for a role, and whether it may be asked at all."""

import os
import re
from datetime import UTC, datetime
from typing import Any, Literal

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.keys import api_key
from persuasion_lib.judging.clients import (
    OPENAI_URL,
    AnthropicJudge,
    Judge,
    OpenAIJudge,
    StandInJudge,
    openai_key,
)

Role = Literal["label_ai", "evaluate", "oracle", "safety"]
ANTHROPIC_URL = "https://api.anthropic.com"
# Of each role the setting with its provider, and that of the provider with its model. Looked up by
# name, because a setting that is asked for counts as read.
_PROVIDER: dict[Role, tuple[str, str]] = {
    "label_ai": ("label_ai", "judge"), "evaluate": ("evaluation", "judge"),
    "oracle": ("oracle", "source"), "safety": ("safety", "judge")}
_MODEL: dict[Role, str] = {"label_ai": "model", "evaluate": "evaluate_model",
                           "oracle": "oracle_model", "safety": "evaluate_model"}


def make_judge(config: Config, role: Role) -> Judge:
    """The judge that the settings name for a role; checks its key, price and status, calls nothing.

    Raises:
        ConfigError: no usable key, no price for the model, or a model that is not served any more.
    """
    provider = provider_of(config, role)
    model = model_of(config, role)
    common: dict[str, Any] = {
        "provider": provider, "model": model, "prompts": config.prompt_file,
        "budget_usd": config.judging.budget_usd, "prices_date": config.judging.prices_date}
    if provider == "offline":
        return StandInJudge(endpoint="this process", max_tokens=0, timeout_s=60, seed=config.seed,
                            **common)
    settings = getattr(config, provider)
    common |= {"price": price_of(config, model), "max_tokens": settings.max_tokens,
               "timeout_s": settings.timeout, "root": config.root,
               "requests_per_minute": config.rate_limiting.requests_per_minute}
    if provider == "anthropic":
        check_model(model)
        api_key(config.root, "anthropic")
        endpoint = os.environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC_URL
        return AnthropicJudge(endpoint=endpoint, effort=config.anthropic.effort, **common)
    endpoint = openai_endpoint(config)
    openai_key(config.root, endpoint)
    return OpenAIJudge(endpoint=endpoint, temperature=config.openai.temperature, **common)


def provider_of(config: Config, role: Role) -> str:
    """The service that the settings name for a role: anthropic, openai or offline."""
    section, name = _PROVIDER[role]
    return getattr(getattr(config, section), name)


def model_of(config: Config, role: Role) -> str:
    """The model that plays a role; the judge of manipulation is the evaluation's."""
    provider = provider_of(config, role)
    if provider == "offline":
        return "stand-in"
    settings = getattr(config, provider)
    return getattr(settings, _MODEL[role]) or settings.model


def openai_endpoint(config: Config) -> str:
    """Where OpenAI calls go: the setting, else the environment, else OpenAI itself."""
    return config.openai.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL


def price_of(config: Config, model: str) -> tuple[float, float]:
    """Dollars per million input and output tokens."""
    if model not in config.judging.prices:
        raise ConfigError(f"no price for {model} in judging.prices, so no budget can be kept. Add "
                          f"`{model}: [dollars per million input, output tokens]` to "
                          "configs/data_config.yaml; [0, 0] for a server of your own.")
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
