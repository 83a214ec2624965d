"""Random damage to bytes, to JSON values and to settings: what hostile or careless files hold."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

ODD_BYTES = [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\\", b"[", b"{", b"]", b"}", b",", b":",
             b"\n", b"\r", b"\r\n", b"NaN", b"-Infinity", b"1e999", b"\\ud800", b"\xe9", b"\xed",
             b"null", b"true", b"9" * 5000, b"[" * 300, "\u2028".encode(), b"\x1b[31m", b"\x1f\x8b",
             b"#", b"&a", b"*a", b"!!", b"%", b"@", b"|", b"<<: ", b"  ", b"\t", b"- "]
ODD_VALUES = [None, float("nan"), True, False, 0, 1, -1, 7.5, 1e308, -1e9, 2**70, 10**400, "", " ",
              "0", "1", "2", "False", "nan", "null", "\0", "\ud83d", "<|im_end|>", "</think>",
              "\x1b[2J", "x" * 3000, [], {}, [[]], [None], {"a": {}}, [1, "2"], "2026-13-45"]


def damaged(data: bytes, chance: Random) -> bytes:
    """Some bytes replaced, put in, left out, doubled, or the end cut off."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        end = min(len(found), at + chance.choice([0, 0, 1, 3, 40]))
        found[at:end] = chance.choice([*ODD_BYTES, bytes(found[at:end]) * 2, b""])
    return bytes(found[:chance.randrange(len(found) + 1)] if chance.random() < 0.1 else found)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside of a JSON value."""
    inner = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    return [path for key, part in inner for path in [(*above, key), *places(part, (*above, key))]]


def changed(value: Any, chance: Random) -> tuple[Any, tuple[Any, ...]]:
    """The value with one part replaced or left out, and the path of that part."""
    copy = deepcopy(value)
    path = chance.choice(places(value))
    part = copy
    for key in path[:-1]:
        part = part[key]
    if chance.random() < 0.15:
        del part[path[-1]]
    else:
        part[path[-1]] = chance.choice(ODD_VALUES)
    return copy, path


def as_json(value: Any) -> str:
    """JSON with everything that Python can write: NaN, half characters, numbers of any length."""
    return json.dumps(value)
