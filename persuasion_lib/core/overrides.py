"""Overrides such as `dpo.beta=0.2`, as commands, notebooks and files of named runs give them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.layers import Layer
from persuasion_lib.core.plain_yaml import parse_yaml, read_yaml
from persuasion_lib.core.store import write_text


def listed(overrides: Any) -> tuple[str, ...]:
    """The overrides one by one.

    `papermill -p overrides dpo.beta=0.2` gives one text, which may also be a list as YAML writes
    it; an empty field of a notebook is None.
    """
    given = overrides or []
    if isinstance(overrides, str):
        is_list = overrides.strip().startswith("[")
        given = parse_yaml(overrides) if is_list else [overrides]
    if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
        raise ConfigError('overrides must be a list of texts such as ["dpo.beta=0.2"], got '
                          f"{masked(repr(overrides)[:60])}.")
    return tuple(text for text in given if text.strip())


def key_of(override: str) -> str:
    """The setting that an override is about."""
    return override.partition("=")[0].strip()


def as_layer(override: str, kind_of: Callable[[str], Any]) -> Layer:
    """One override as a layer of settings; `kind_of` says what type a setting has."""
    key, equals, value = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{masked(override)!r} is not of the form section.key=value, "
                          "for example dpo.beta=0.2")
    nested: Any = _value_of(key.strip(), value.strip(), kind_of(key.strip()))
    for part in reversed(parts):
        nested = {part: nested}
    return f"override {key.strip()}", nested


def _value_of(key: str, text: str, kind: Any) -> Any:
    """Text where the setting is text ("Be kind #1" is no comment); else what YAML makes of it."""
    if kind == str | None and text in ("", "null", "~"):
        return None
    if kind in (str, str | None):
        return text
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"the value of the override {key} is not YAML ({error.args[1]}). Write "
                          "it as in configs/.") from None


def masked(text: str) -> str:
    """Without all but the beginning of what may be a key: long, and with digits."""
    return re.sub(r"(?=[\w-]*\d)([\w-]{7})[\w-]{13,}", r"\1…", text)


def file_of_run(root: Path, profile: str, name: str) -> Path:
    """Where the overrides of a named run stand, for every notebook that is given its name.

    Each profile has runs of its own, as it has results. Earlier versions had one file for a name,
    of the profile that it says; that one is read until the run has one here.
    """
    path = root / "configs" / "runs" / profile / f"{name}.yaml"
    earlier = root / "configs" / "runs" / f"{name}.yaml"
    is_earlier = not path.exists() and earlier.exists() and (
        read_yaml(earlier).get("profile") in (None, profile))
    return earlier if is_earlier else path


def name_of_run(given: Sequence[str]) -> str | None:
    """The run that overrides name; None without one, or with what is no name."""
    names = [text.partition("=")[2].strip() for text in given if key_of(text) == "name"]
    return names[-1] if names and re.fullmatch(r"\w[\w.-]*", names[-1]) else None


def with_those_of_its_run(root: Path, profile: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """The overrides, after those in the file of the run that they name; later ones win.

    Raises:
        ConfigError: the run's file cannot be read.
    """
    name = name_of_run(given)
    path = file_of_run(root, profile, name) if name else None
    if path is None or not path.exists():
        return given
    changed = {key_of(text) for text in given}
    kept = [text for text in listed(read_yaml(path).get("overrides"))
            if key_of(text) not in changed]
    return (*kept, *given)


def of_other_profiles(root: Path, profile: str, given: Sequence[str]) -> list[str]:
    """A note where a run is new to this profile and known to others, since one may be meant."""
    name = name_of_run(given)
    if name is None or file_of_run(root, profile, name).exists():
        return []
    profiles = sorted(path.stem for path in (root / "configs" / "profiles").glob("*.yaml"))
    others = [other for other in profiles if file_of_run(root, other, name).exists()]
    return [f"the run {name} of the profile {profile} is new; there is one of "
            f"{' and of '.join(others)} (--profile {others[0]})."] if others else []


def keep_for_run(root: Path, name: str, profile: str, given: Sequence[str]) -> None:
    """Write the overrides of a named run, the last of each setting, where notebooks find them."""
    last = {key_of(text): text for text in given if key_of(text) not in ("name", "replace")}
    lines = "".join(f"  - {_quoted(text)}\n" for text in last.values())
    path = file_of_run(root, profile, name)
    text = (f"# The settings of the run {name}, read wherever its name is given.\n"
            f"profile: {profile}\noverrides:{' []' if not lines else ''}\n{lines}")
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
