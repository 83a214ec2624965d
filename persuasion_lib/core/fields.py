"""What a field of somebody's row may hold: what absent means, ids, flags and roles."""

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from persuasion_lib.core.errors import DataError

# Names that other projects give to the sides; those that are not here are refused.
ROLE_OF_NAME = {"system": "system", "user": "user", "human": "user", "assistant": "assistant",
                "gpt": "assistant", "bot": "assistant", "model": "assistant"}
# A field by which one knows the form of a row in other projects.
_FORMS = {"conversations": "ShareGPT's", "messages": "OpenAI's chat", "instruction": "Alpaca's",
          "chosen": "trl's", "completion": "trl's", "fields": "Argilla's",
          "annotations": "Label Studio's"}


def is_absent(value: Any) -> bool:
    """Whether a value of a row says nothing: null, NaN, or a text that is empty or blank."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or isinstance(value, float) and math.isnan(value)


def identity(value: Any) -> str | None:
    """An id as text, None where it is absent; 0 is an id, and 7.0 (a column with gaps) is 7.

    Raises:
        DataError: it is neither text nor a number.
    """
    if is_absent(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"an id is text or a number, got {value!r:.60}")
    return str(value)


_NAME = re.compile(r"\w[\w .@'+-]{0,59}")


def annotator_name(value: Any) -> str | None:
    """Who gave a label, with single spaces and no odd signs; None where that is absent.

    Two spellings are one person where they differ by case alone: compare them by `casefold`.

    Raises:
        DataError: it is no name: markup, a path, pictures, more than 60 characters.
    """
    text = identity(value)
    if text is None:
        return None
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    if not _NAME.fullmatch(name):
        raise DataError("the name of an annotator is 1 to 60 letters, digits, spaces and . @ ' + - "
                        f"_, and begins with one of the first two, got {text!r:.60}")
    return name


def yes_or_no(name: str, value: Any) -> bool | None:
    """A flag: true or false, 1 or 0; None where it is absent.

    Raises:
        DataError: it is anything else, such as the text "False", which Python takes for true.
    """
    if is_absent(value):
        return None
    if not isinstance(value, int | float) or value not in (0, 1):
        raise DataError(f"{name} must be true or false (or 1, 0, null), got {value!r:.60}")
    return bool(value)


def is_amount(value: Any) -> bool:
    """Whether a value is a number from 0 on that a count, dollars or seconds can be."""
    return isinstance(value, int | float) and 0 <= value < 1e15


def role_of(name: Any) -> str:
    """The role that a chat message's `role` means.

    Raises:
        DataError: it is none that is known; a message that only the model sees is not judged.
    """
    role = ROLE_OF_NAME.get(str(name).strip().lower())
    if role is None:
        raise DataError(f'the role {name!r:.40} of a chat message is not known. Use "system", '
                        '"user" or "assistant", or leave the message out')
    return role


def notes_on_roles(file: str, counts: Mapping[str, int]) -> list[str]:
    """Warnings on roles that have another project's name, by how many prompts have them."""
    return [f"{file}: the role {name!r} of {count} prompts was read as {role_of(name)!r}."
            for name, count in counts.items()]


def form_of(row: Mapping[str, Any]) -> str:
    """Whose form of a row this seems to be, as a sentence for an error; "" where nobody knows."""
    form = next((form for name, form in _FORMS.items() if name in row), None)
    return f". This looks like {form} form; data/README.md describes ours" if form else ""


def foreign_roles(row: Mapping[str, Any]) -> list[str]:
    """The roles of a row's prompt that have another project's name, each once."""
    prompt = row.get("prompt", row.get("input_text"))
    messages = prompt if isinstance(prompt, list) else []
    names = [str(m.get("role")) for m in messages if isinstance(m, dict)]
    return [name for name in dict.fromkeys(names) if ROLE_OF_NAME.get(name) != name]
