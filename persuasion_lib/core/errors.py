"""The errors that a user can cause or meet, and can do something about.

    PersuasionError
    ├── ConfigError        a setting is unknown, of the wrong type, or out of range
    ├── DataError          a file or record is malformed (says file:line)
    ├── MissingInput       a file that an earlier notebook writes is not there
    ├── StaleInput         a file exists, but was made from something else than it claims
    ├── LineageError       a checkpoint is not what its lineage says
    ├── SelfTestError      training would not start from the state that the method assumes
    ├── JudgeReplyError    a judge answered, but not with one readable verdict
    └── JudgingStopped     no further call can succeed or be paid; what was answered is saved

Every message says what is wrong, where, and what to do next.
"""

import re
import textwrap

# How torch, safetensors, the system and our own sentences say that a disk is full.
_FULL = re.compile(r"enforce fail at inline_container|No space left|Disk quota|os error 28\b"
                   "|a disk is full")


def is_full_disk(said: str) -> bool:
    """Whether an error's text tells of a full disk, which no other attempt would find emptier."""
    return bool(_FULL.search(said))


def brief(error: Exception) -> str:
    """A library's error as a part of one sentence."""
    return f"{type(error).__name__}: {' '.join(str(error).split()):.160}"


class PersuasionError(Exception):
    """Base of all errors whose message is meant for the person who runs the pipeline."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback: the sentence, its lines not too long."""
        said = f"{type(self).__name__}: {self}"
        return [textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False)
                for line in said.splitlines()]


class ConfigError(PersuasionError, ValueError):
    """A setting is unknown, has the wrong type, or lies out of range.

    `key` names what is missing where nothing was given, such as OPENAI_API_KEY; else None.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class DataError(PersuasionError, ValueError):
    """A file or a record is malformed; the message names the file and the line."""


class MissingInput(PersuasionError, FileNotFoundError):
    """A file is missing that an earlier notebook writes; the message names that notebook."""


class StaleInput(PersuasionError):
    """A file exists, but was made from other data, settings or parents than the current ones."""


class LineageError(PersuasionError):
    """A checkpoint's parent is missing, different, or not recorded."""


class SelfTestError(PersuasionError):
    """The state before the first training step is not the one the method assumes."""


class JudgeReplyError(PersuasionError, ValueError):
    """A judge's reply holds no verdict, or more than one."""


class JudgingStopped(PersuasionError):
    """Asking stopped before the end (key, money, limits, outage); every paid reply is saved."""
