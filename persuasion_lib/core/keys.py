"""API keys: where they are looked for, where they may go, and what is refused.

They are in no setting and no log. A key belongs to its host: this is the only place that decides
it, for judges, embeddings and the server of the pools alike.

    https://api.anthropic.com   ANTHROPIC_API_KEY
    https://api.openai.com      OPENAI_API_KEY
    another https address       the variable that the settings name, or `none`
    http, this machine only     none, or the variable that the settings name
"""

import io
import ipaddress
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values

from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.fields import is_absent
from persuasion_lib.core.plain_yaml import read_yaml
from persuasion_lib.core.reading import read_text

Provider = Literal["anthropic", "openai"]
NO_KEY = "none"             # what is sent where no key is needed; the clients want some text
HOMES: dict[Provider, str] = {"anthropic": "https://api.anthropic.com",
                              "openai": "https://api.openai.com/v1"}
_ENVIRONMENT: dict[Provider, str] = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
# Nothing that programs read differently: no user, query, backslash or space.
_ADDRESS = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?(/[\w./~%@:+-]*)?",
                      re.I | re.ASCII)


def endpoint_of(root: Path, provider: Provider, setting: str | None) -> str:
    """Where calls go: the setting, else the environment, else `.env`, else the provider itself."""
    name = _ENVIRONMENT[provider].replace("API_KEY", "BASE_URL")
    return setting or variable(root, name) or HOMES[provider]


def is_on_this_machine(endpoint: str) -> bool:
    """Whether an address is a loopback one, which no other machine can read or answer."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_at_home(provider: Provider, endpoint: str) -> bool:
    """Whether an address is the provider's own."""
    return urlsplit(endpoint).hostname == urlsplit(HOMES[provider]).hostname


def kept_at(provider: Provider, endpoint: str) -> str:
    """The address that answers from there belong to; "" is the provider's own."""
    return "" if is_at_home(provider, endpoint) else endpoint.rstrip("/")


def check_address(endpoint: str, setting: str) -> None:
    """Refuse an address that is not plainly one, or over which others could read along.

    A private network is no exception to https: those who share it are not this machine, and the
    texts are other people's. A tunnel makes any server a loopback one.
    """
    plain = _ADDRESS.fullmatch(endpoint)
    if not plain:
        raise ConfigError(f"{setting} is not a plain address such as https://host/v1: no user, "
                          "password, ? or # may stand in it.")
    if plain[1].lower() == "http" and not is_on_this_machine(endpoint):
        host = urlsplit(endpoint).hostname
        raise ConfigError(f"{setting}: http to {host} is not encrypted, so anybody on the way "
                          "reads texts and key. Use https, or a tunnel (ssh -L "
                          f"8000:localhost:8000 {host}) and http://localhost:8000.")


def key_for(root: Path, provider: Provider, endpoint: str, named: str | None, *,
            settings: tuple[str, str]) -> str:
    """The key that may go to an address, `NO_KEY` where none is needed.

    `named` is the variable that the settings name for it; `settings` are the names of the two
    settings, of the address and of that variable's name.

    Raises:
        ConfigError: an address that is refused, no key, or one that belongs to another host.
    """
    setting = settings[1]
    check_address(endpoint, settings[0])
    at_home = is_at_home(provider, endpoint)
    if named in _ENVIRONMENT.values() and not (at_home and named == _ENVIRONMENT[provider]):
        raise ConfigError(f"{setting}: {named} goes to its own host alone, not to "
                          f"{urlsplit(endpoint).hostname}. Put the key of that server into a "
                          "variable of its own and name it.")
    if named == NO_KEY:
        return NO_KEY
    if named and named != _ENVIRONMENT[provider]:
        return _checked(variable(root, named) or "", named, at_least=1)
    if at_home:
        return api_key(root, provider)
    if is_on_this_machine(endpoint):
        return NO_KEY
    raise ConfigError(f"{setting}: {urlsplit(endpoint).hostname} needs a key of its own; "
                      f"{_ENVIRONMENT[provider]} goes to {urlsplit(HOMES[provider]).hostname} "
                      "alone. Put its key into the environment or into .env, and the name of that "
                      f"variable into {setting} (`none` sends no key).", key=_ENVIRONMENT[provider])


def variable(root: Path, name: str) -> str | None:
    """The value of a variable of the environment or of `.env`, None where it is blank."""
    value = os.environ.get(name) or _of_dotenv(root / ".env", name) or ""
    return value.strip() or None


def api_key(root: Path, provider: Provider) -> str:
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
    key = variable(root, name) or written.strip()
    if not key or "YOUR_" in key:
        if not file.exists():
            with suppress(OSError):     # a project that may not be written to; the message stays
                shutil.copy(root / "configs" / "api_config.example.yaml", file)
        raise ConfigError(f"API key not set for {provider}. Put it into the environment as {name}, "
                          f"or into configs/api_config.yaml ({provider}.api_key).", key=name)
    _checked(key, f"the {provider} key", at_least=20)
    if key.startswith("sk-ant-") != (provider == "anthropic"):
        raise ConfigError(f"the {provider} key ({key[:7]}…) is not one of {provider}'s; an "
                          "Anthropic key starts with sk-ant-. Were two keys swapped?")
    return key


def _checked(key: str, name: str, *, at_least: int) -> str:
    if not key:
        raise ConfigError(f"{name} is not set. Put it into the environment or into .env.", key=name)
    if not re.fullmatch(rf"[\x21-\x7e]{{{at_least},}}", key):
        shown = f" ({key[:7]}…)" if at_least > 7 else ""
        raise ConfigError(f"{name}{shown} has spaces, odd characters or too few of them. Copy it "
                          "again.")
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
