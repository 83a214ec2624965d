"""The one way in for text files: what is no text, or no sound JSON, is named with its cure."""

import codecs
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from persuasion_lib.core.errors import DataError, MissingInput

MAX_BYTES = 2**30       # a file is read whole; the largest corpus we know has half of that
MAX_DEPTH = 100         # ours have 6 levels; beyond some hundreds Python cannot write them back

# How a file begins that is something else, and what to do.
_KINDS = {
    b"\x1f\x8b": "gzip: unpack it",
    b"PK\x03\x04": "a zip archive (an .xlsx is one, too): unpack it, or save it as CSV or JSON",
    b"BZh": "bzip2: unpack it",
    b"\xfd7zXZ": "xz: unpack it",
    b"\x28\xb5\x2f\xfd": "zstandard: unpack it",
    b"PAR1": "Parquet: name it .parquet, or write it as JSON lines",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with git lfs pull",
    b"<!DOCTYPE": "a web page: download the file itself",
    b"<html": "a web page: download the file itself",
    b"\xff\xfe\0\0": "UTF-32: save it as UTF-8",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}
_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_ODD_NUMBER = re.compile(r"-?Infinity|\d[\d.]*[eE]\+?\d{3}|\d{4300}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(path: Path, *, made_by: str) -> str:
    """The text of a UTF-8 file with \\n as its line ends; `made_by` says where to get it from.

    Raises:
        MissingInput: it is not there.
        DataError: it is no file, too large, or not UTF-8; the message says what it seems to be.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no file. Name the file itself.")
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES / 2**30:.0f} GB. Split it, or take "
                            "a part of it.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingInput(f"{path} is missing. Run {made_by} first.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Mend its rights.") from None
    return decoded(data, path).replace("\r\n", "\n").replace("\r", "\n")


def decoded(data: bytes, path: Path, *, line: int = 1) -> str:
    """The bytes of a file from `line` on as text, without a mark at the beginning (BOM)."""
    if line == 1:
        _refuse_kind(data, path)
        data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        sign = data[error.start:error.start + 1].decode("cp1252", "replace")
        raise DataError(f"{path}:{line} is not UTF-8 text (byte {error.start}, {sign!r} in Latin-1 "
                        "or Windows-1252, which it may be). Save it as UTF-8.") from None


def _refuse_kind(data: bytes, path: Path) -> None:
    kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), None)
    if kind is None and b"\0" in data[:1000]:
        kind = "UTF-16 without a mark, or no text: save it as UTF-8"
    if kind:
        raise DataError(f"{path} is {kind}.")


def json_value(text: str) -> Any:
    """One JSON value; NaN, which JSON does not have and pandas writes, is null.

    Raises:
        JSONDecodeError: it is not JSON, holds an infinite number or a name twice in one object,
            or is nested too deeply.
    """
    if not text.strip():
        raise json.JSONDecodeError("nothing is in it", text, 0)
    _refuse_depth(text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError as error:     # of the two functions below, or a number of 4,300 digits
        found = _ODD_NUMBER.search(text)
        raise json.JSONDecodeError(str(error), text, found.start() if found else 0) from None


def refuse_half_characters(value: Any, text: str) -> None:
    """Half a character (a lone surrogate) cannot be shown or sent; `text` is the value's JSON.

    Raises:
        JSONDecodeError: there is one.
    """
    found = _SURROGATE.search(text)
    if found and whole_characters(value) != value:
        raise json.JSONDecodeError("half a character (a lone surrogate, where a text was cut): "
                                   "remove it", text, found.start())


def whole_characters(value: Any) -> Any:
    """A JSON value with "?" for every half of a character."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-8", "replace"))


def _refuse_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if depth > MAX_DEPTH:
            raise json.JSONDecodeError(f"it is nested more than {MAX_DEPTH} levels deep", text,
                                       found.start())


def _constant(literal: str) -> None:
    if literal != "NaN":
        raise ValueError(f"{literal} is not a number of JSON: write null, or a number")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise ValueError(f"{literal} is too large: write null, or a smaller number")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two equal names JSON readers take the last, in silence: it may be another label."""
    row = dict(pairs)
    if len(row) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the name {name!r:.40} stands twice in one object: keep one")
    return row


_DECODER = json.JSONDecoder(parse_constant=_constant, parse_float=_finite, object_pairs_hook=_once)
