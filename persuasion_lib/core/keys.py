"""API keys: where they are looked for, and what is refused. They are in no setting and no log."""

import io
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values

from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.fields import is_absent
from persuasion_lib.core.plain_yaml import read_yaml
from persuasion_lib.core.reading import read_text

_ENVIRONMENT = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


def api_key(root: Path, provider: Literal["anthropic", "openai"]) -> str:
    """The key of a provider: environment first, then `.env`, then `configs/api_config.yaml`.

    Raises:
        ConfigError: no key, a placeholder, characters that no key has, the other provider's key,
            or a key in a file that git tracks. Only the first seven characters are ever shown.
    """
    name = _ENVIRONMENT[provider]
    file = root / "configs" / "api_config.yaml"
    written = _written(file, provider) if file.exists() else ""
    if written and _is_tracked(file):
        raise ConfigError(f"{file} holds a key and git tracks it, so the key would be published. "
                          f"Run: git rm --cached {file}, and get a new key.")
    key = (os.environ.get(name) or _of_dotenv(root / ".env", name) or written).strip()
    if not key or "YOUR_" in key:
        if not file.exists():
            with suppress(OSError):     # a project that may not be written to; the message stays
                shutil.copy(root / "configs" / "api_config.example.yaml", file)
        raise ConfigError(f"API key not set for {provider}. Put it into the environment as {name}, "
                          f"or into configs/api_config.yaml ({provider}.api_key).", key=name)
    if not re.fullmatch(r"[\x21-\x7e]{20,}", key):
        raise ConfigError(f"the {provider} key ({key[:7]}…) has spaces, odd characters or too few "
                          "of them. Copy it again.")
    if key.startswith("sk-ant-") != (provider == "anthropic"):
        raise ConfigError(f"the {provider} key ({key[:7]}…) is not one of {provider}'s; an "
                          "Anthropic key starts with sk-ant-. Were two keys swapped?")
    return key


def _written(file: Path, provider: str) -> str:
    """The key in a settings file; nothing where it has none."""
    section = read_yaml(file).get(provider) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{file}: {provider} is a section. Write its key below it, as "
                          "`api_key: …`.")
    key = section.get("api_key")
    return "" if is_absent(key) else str(key)


def _of_dotenv(file: Path, name: str) -> str | None:
    try:
        text = read_text(file, made_by="nothing")
    except MissingInput:
        return None
    except DataError as error:
        raise ConfigError(str(error)) from None
    return dotenv_values(stream=io.StringIO(text)).get(name)


def _is_tracked(file: Path) -> bool:
    try:
        listed = subprocess.run(["git", "-C", str(file.parent), "ls-files", file.name],
                                capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(listed.stdout.strip())
