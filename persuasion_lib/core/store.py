"""Files that survive a kill: atomic writes, JSON lines with line numbers, append-only logs."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from filelock import FileLock, Timeout

from persuasion_lib.core.errors import DataError, PersuasionError
from persuasion_lib.core.reading import (
    decoded,
    json_value,
    read_text,
    refuse_half_characters,
    whole_characters,
)

T = TypeVar("T")


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: Path, text: str) -> Path:
    """Write a file so that a reader or a kill sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", errors="replace") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise PersuasionError(f"{path} could not be written ({error.strerror}); its old content "
                              "is unchanged. Free some disk space and run again.") from error
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write one JSON document atomically; NaN is not JSON and raises ValueError."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines atomically and return how many there were."""
    lines = [_line(row) for row in rows]
    write_text(path, "".join(line + "\n" for line in lines))
    return len(lines)


def _line(row: dict[str, Any]) -> str:
    line = json.dumps(row, ensure_ascii=True, allow_nan=False)
    # A reply may have been cut inside a character, and we do not read such a text.
    return json.dumps(whole_characters(row), ensure_ascii=True) if "\\ud" in line else line


def read_json(path: Path, *, made_by: str) -> Any:
    """Read one JSON document; `made_by` names the notebook to run when it is missing."""
    text = read_text(path, made_by=made_by)
    try:
        value = json_value(text)
        refuse_half_characters(value, text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno} is not JSON ({error.msg}). Restore the file, or "
                        f"delete it and run {made_by} again.") from error
    return value


def read_jsonl(path: Path, parse: Callable[[dict[str, Any]], T], *, made_by: str) -> list[T]:
    """Read JSON lines, each through `parse`; a bad line raises DataError with file:line."""
    text = read_text(path, made_by=made_by)
    _refuse_document(path, text)
    return list(_parsed(path, text, parse, made_by, refuse_half_characters))


def _refuse_document(path: Path, text: str) -> None:
    """JSON that is not in lines would fail at its first line, with words that mislead."""
    if not re.match(r"\s*(\[|\{\s)", text):
        return
    try:
        value = json_value(text)
    except json.JSONDecodeError:
        return
    if isinstance(value, list):
        raise DataError(f"{path} is one JSON array. Write one object a line "
                        f"(jq -c '.[]' {path.name} does).")
    if "\n" in text.strip():
        raise DataError(f"{path} is one JSON object over several lines. Write one object a line "
                        f"(jq -c . {path.name} does).")


def _parsed(path: Path, text: str, parse: Callable[[dict[str, Any]], T],
            made_by: str,
            check: Callable[[Any, str], None] = lambda row, line: None) -> Iterator[T]:
    # Not str.splitlines(): it also splits at U+2028, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json_value(line)
            check(row, line)
            if not isinstance(row, dict):
                raise DataError("a line must be a JSON object")
            parsed = parse(row)
        except ValueError as error:     # JSONDecodeError and DataError
            raise DataError(f"{path}:{number}: {str(error).rstrip('.')}. "
                            f"Mend this line, or run {made_by} again.") from error
        yield parsed


class AppendLog:
    """An append-only file of JSON lines with one writer, for what a person or an API paid for.

    Every `append` is on disk (fsync) when it returns. On opening, a torn last line (a kill in the
    middle of a write) is moved to `<name>.torn`; damage anywhere else is refused unchanged.

    Raises:
        DataError: a line before the last is not a JSON object.
        PersuasionError: another process has the file open, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise PersuasionError(f"{path} is in use by another process. Stop that one first; "
                                  "its work is saved.") from None
        try:
            self.rows = self._recover()
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except BaseException:
            self._lock.release()
            raise

    def _recover(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        whole, newline, torn = data.rpartition(b"\n")
        rows = list(_parsed(self.path, decoded(whole + newline, self.path), dict, "the stage"))
        if torn:
            with self.path.with_name(self.path.name + ".torn").open("ab") as aside:
                aside.write(torn + b"\n")
            os.truncate(self.path, len(whole) + len(newline))
        return rows

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and wait until it is on disk; on failure the file is as before."""
        self.extend([row])

    def extend(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write several rows with one wait for the disk; all of them or none."""
        text = "".join(json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n" for row in rows)
        end = os.fstat(self._fd).st_size
        try:
            view = memoryview(text.encode())
            while view:
                view = view[os.write(self._fd, view):]
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, end)
            raise PersuasionError(f"{self.path} could not be written ({error.strerror}); all "
                                  "earlier rows are safe. Free some disk space and run again. "
                                  f"Not saved: {text[:500]}") from error
        self.rows.extend(rows)

    def close(self) -> None:
        """Release the file and its lock."""
        os.close(self._fd)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class KeyedLog(AppendLog):
    """An `AppendLog` whose rows are found again by their `key`, so that nothing is made twice.

    With `agree_on`, every row has that field, and a row that contradicts an earlier one of its
    key is refused; without it the last row of a key counts.

    Raises:
        DataError: a row lacks its fields, or contradicts an earlier one.
    """

    def __init__(self, path: Path, *, agree_on: str | None = None) -> None:
        super().__init__(path)
        self._agree_on = agree_on
        self.by_key: dict[str, dict[str, Any]] = {}
        try:
            self.by_key = self._checked(self.rows, first=1)
        except DataError:
            self.close()
            raise

    @classmethod
    def rows_in(cls, path: Path) -> dict[str, dict[str, Any]]:
        """The rows by key of a log that may not be there yet; it is not made."""
        if not path.exists():
            return {}
        with cls(path) as log:
            return log.by_key

    def _checked(self, rows: Sequence[dict[str, Any]], *, first: int) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        fields = ["key", self._agree_on] if self._agree_on else ["key"]
        for number, row in enumerate(rows, start=first):
            if any(row.get(name) is None for name in fields):
                raise DataError(f"{self.path}:{number} has no {' and '.join(fields)}. Restore the "
                                "file from a copy.")
            earlier = found.get(row["key"]) or self.by_key.get(row["key"]) or row
            if self._agree_on and earlier[self._agree_on] != row[self._agree_on]:
                raise DataError(f"{self.path}:{number} gives the {self._agree_on} of {row['key']} "
                                "a second time, differently. Remove one of the two lines.")
            found[row["key"]] = row
        return found

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that no row has, each once, in their order."""
        return [key for key in dict.fromkeys(keys) if key not in self.by_key]

    def extend(self, rows: Sequence[dict[str, Any]]) -> None:
        """As in `AppendLog`; the rows can be found as soon as they are on disk."""
        found = self._checked(rows, first=len(self.rows) + 1)
        super().extend(rows)
        self.by_key |= found
