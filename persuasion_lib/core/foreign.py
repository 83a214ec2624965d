"""Rows of a file of any tool: JSON lines, one JSON array, or a Parquet table."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from persuasion_lib.core.errors import DataError, MissingInput
from persuasion_lib.core.reading import read_text, refuse_half_characters
from persuasion_lib.core.store import parsed_line, read_json, read_jsonl

T = TypeVar("T")
_BETWEEN = re.compile(r"[\s,]*")
_PLAIN = json.JSONDecoder()


def read_each(path: Path, parse: Callable[[dict[str, Any]], T], *, made_by: str) -> list[T]:
    """The rows of a file, each through `parse`.

    Raises:
        DataError: with file:line, in an array and a table with the number of the row.
    """
    if path.suffix == ".parquet":
        lines = _table_lines(path)
    elif (text := read_text(path, made_by=made_by)).lstrip().startswith("["):
        read_json(path, made_by=made_by)
        lines = _array_lines(text)
    else:
        return read_jsonl(path, parse, made_by=made_by)
    return [parsed_line(line, parse, path=path, number=number, made_by=made_by,
                        check=refuse_half_characters) for number, line in lines]


def _array_lines(text: str) -> list[tuple[str, str]]:
    """The values of a sound JSON array as texts, each with its line and number: "3 (row 2)"."""
    found = []
    at = text.index("[") + 1
    line = 1 + text.count("\n", 0, at)
    while (begin := _BETWEEN.match(text, at).end()) < len(text) and text[begin] != "]":
        line += text.count("\n", at, begin)
        _, end = _PLAIN.raw_decode(text, begin)
        found.append((f"{line} (row {len(found) + 1})", text[begin:end]))
        line += text.count("\n", begin, end)
        at = end
    return found


def _table_lines(path: Path) -> list[tuple[str, str]]:
    """The rows of a Parquet file as texts of JSON, each with its number.

    Raises:
        MissingInput, DataError: it is not there, or is no such table.
    """
    import pandas as pd
    try:
        text = pd.read_parquet(path).to_json(orient="records", lines=True, double_precision=15)
    except FileNotFoundError:
        raise MissingInput(f"{path} is missing.") from None
    except (OSError, ValueError) as error:      # pyarrow's errors are ValueErrors
        raise DataError(f"{path} is no sound Parquet table ({str(error):.120}). Write it "
                        "again.") from None
    return [(f"row {number}", line) for number, line in enumerate(text.splitlines(), start=1)]
