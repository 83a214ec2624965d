"""Who may answer in a role: a provider, a stand-in, or a server that the settings describe."""

from collections.abc import Callable, Collection
from typing import Any

from persuasion_lib.core.errors import ConfigError

# The settings that say who answers in a role, and what all of them may name.
ROLES = ("label_ai.judge", "evaluation.judge", "safety.judge", "oracle.source",
         "similarity.embedder")
BUILT_IN = ("anthropic", "openai", "offline")


def check_roles(value_of: Callable[[str], Any], servers: Collection[str]) -> None:
    """Refuse a role that names nobody, and a server that takes the name of something else."""
    taken = sorted(set(BUILT_IN) & set(servers))
    if taken:
        raise ConfigError(f"setting servers.{taken[0]}: this name has a meaning of its own. Call "
                          "the server otherwise.")
    known = [*BUILT_IN, *servers]
    for key in ROLES:
        who = value_of(key)
        if who not in known:
            raise ConfigError(f"setting {key}: there is no {who!r:.50}. It may be one of "
                              f"{', '.join(known)}; more are described below `servers:` in "
                              "configs/api_config.yaml.")
    if value_of("similarity.embedder") == "anthropic":
        raise ConfigError("setting similarity.embedder: Anthropic has no embeddings. Use openai, "
                          "offline, or a server of `servers`.")
