"""Files that survive a kill: atomic writes, JSON lines with line numbers, append-only logs."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from persuasion_lib.core.appending import append_bytes, as_line, kept_elsewhere, locked, row_at
from persuasion_lib.core.errors import DataError, PersuasionError
from persuasion_lib.core.lazy import Lazy
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
    return _write(path, [text])


def _write(path: Path, parts: Iterable[str]) -> Path:
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", errors="replace") as handle:
            handle.writelines(parts)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, PersuasionError):
            raise PersuasionError(f"{path} could not be written ({error.strerror}); its old "
                                  "content is unchanged. Free some disk space, or mend the rights "
                                  "of its folder, and run again.") from error
        raise
    return path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when all is written; else that stays as it is.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def write_json(path: Path, value: Any) -> Path:
    """Write one JSON document atomically; NaN is not JSON and raises ValueError."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines atomically and return how many there were."""
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for row in rows:
            yield _line(row) + "\n"
            count += 1

    _write(path, lines())
    return count


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
        kind = (", but perhaps JSON lines; one document is needed" if error.msg == "Extra data"
                else "")
        raise DataError(f"{path}:{error.lineno} is not JSON ({error.msg}){kind}. Restore the "
                        f"file, or delete it and run {made_by} again.") from error
    return value


def read_jsonl(path: Path, parse: Callable[[dict[str, Any]], T], *, made_by: str) -> list[T]:
    """Read JSON lines, each through `parse`; a bad line raises DataError with file:line."""
    text = read_text(path, made_by=made_by)
    _refuse_document(path, text)
    # Not str.splitlines(): it also splits at U+2028, which JSON allows inside a string.
    return [parsed_line(line, parse, path=path, number=number, made_by=made_by,
                        check=refuse_half_characters)
            for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


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


def parsed_line(line: str, parse: Callable[[dict[str, Any]], T], *, path: Path,
                number: int | str, made_by: str,
                check: Callable[[Any, str], None] | None = None) -> T:
    """A JSON object through `parse`; `number` says where in the file it stands.

    Raises:
        DataError: it is none, `check` or `parse` refuses it; with file:number.
    """
    try:
        row = json_value(line)
        if check:
            check(row, line)
        if not isinstance(row, dict):
            raise DataError("a line must be a JSON object")
        return parse(row)
    except ValueError as error:     # JSONDecodeError and DataError
        raise DataError(f"{path}:{number}: {str(error).rstrip('.')}. "
                        f"Mend this line, or run {made_by} again.") from error


class AppendLog(AbstractContextManager):
    """An append-only file of JSON lines with one writer, for what a person or an API paid for.

    Every `append` is on disk (fsync) when it returns. On opening, a torn last line (a kill in the
    middle of a write) is moved to `<name>.torn`; damage anywhere else is refused unchanged.

    Args:
        each: is given every row, old or new, instead of keeping all of them in `rows`.

    Raises:
        DataError: a line before the last is not a JSON object, or `each` refuses it.
        PersuasionError: another process has the file open, or it cannot be written.
    """

    def __init__(self, path: Path, *, each: Callable[[dict[str, Any]], object] | None = None
                 ) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.lines = 0
        self._each = each or self.rows.append
        self._lock = locked(path)
        try:
            self._recover()
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError) and not isinstance(error, PersuasionError):
                raise PersuasionError(f"{path} cannot be used ({error.strerror}). Mend its "
                                      "rights.") from error
            raise

    def _recover(self) -> None:
        """Line by line: a log of a million judgments does not fit into memory."""
        if not self.path.exists():
            return
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return self._set_aside(line, end)
                text = decoded(line, self.path, line=self.lines + 1)
                if text.strip():
                    self._take(parsed_line(text, dict, path=self.path, number=self.lines + 1,
                                           made_by="the stage"), end)
                self.lines += 1
                end += len(line)

    def _set_aside(self, torn: bytes, end: int) -> None:
        with self.path.with_name(self.path.name + ".torn").open("ab") as aside:
            aside.write(torn + b"\n")
        os.truncate(self.path, end)

    def _take(self, row: dict[str, Any], at: int) -> None:
        """A row that begins at byte `at` of the file is on disk."""
        try:
            self._each(row)
        except DataError as error:
            raise DataError(f"{self.path}:{self.lines + 1}: {error}. Restore the file from a "
                            "copy.") from None

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and wait until it is on disk; on failure the file is as before."""
        self.extend([row])

    def extend(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write several rows with one wait for the disk; all of them or none.

        Raises:
            PersuasionError: they cannot be written; the message says where they are instead.
        """
        lines = [as_line(row) for row in rows]
        try:
            at = append_bytes(self._fd, b"".join(lines))
        except OSError as error:
            kept = kept_elsewhere(self.path, b"".join(lines))
            raise PersuasionError(f"{self.path} could not be written ({error.strerror}); all "
                                  f"earlier rows are safe. {kept}") from error
        for row, line in zip(rows, lines, strict=True):
            self._take(row, at)
            self.lines += 1
            at += len(line)

    def close(self) -> None:
        """Release the file and its lock."""
        os.close(self._fd)
        self._lock.release()

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class KeyedLog(AppendLog):
    """An `AppendLog` whose rows are found again by their `key`, so that nothing is made twice.

    With `agree_on`, every row has that field, and a row that contradicts an earlier one of its
    key is refused; without it the last row of a key counts. Rows stay on disk, in `by_key`.

    Raises:
        DataError: a row lacks its fields, or contradicts an earlier one.
    """

    def __init__(self, path: Path, *, agree_on: str | None = None,
                 each: Callable[[dict[str, Any]], object] = lambda row: None) -> None:
        self._agree_on = agree_on
        self._begins: dict[str, int] = {}   # the byte of the file; the last row of a key counts
        self.by_key: Mapping[str, dict[str, Any]] = Lazy(self._begins, partial(row_at, path))
        super().__init__(path, each=each)

    @classmethod
    def rows_in(cls, path: Path, **how: Any) -> Mapping[str, dict[str, Any]]:
        """The rows by key of a log that may not be there yet; it is not made."""
        if not path.exists():
            return {}
        with cls(path, **how) as log:
            return log.by_key

    def _take(self, row: dict[str, Any], at: int) -> None:
        self._check(row, self.lines + 1, {})
        super()._take(row, at)
        self._begins[row["key"]] = at

    def _check(self, row: dict[str, Any], line: int, pending: Mapping[str, Any]) -> None:
        fields = ["key", self._agree_on] if self._agree_on else ["key"]
        if any(row.get(name) is None for name in fields) or not isinstance(row["key"], str):
            raise DataError(f"{self.path}:{line} has no {' and '.join(fields)}. Restore the "
                            "file from a copy.")
        if not self._agree_on:
            return
        earlier = pending.get(row["key"]) or self.by_key.get(row["key"], row)
        if earlier[self._agree_on] != row[self._agree_on]:
            raise DataError(f"{self.path}:{line} gives the {self._agree_on} of {row['key']} "
                            "a second time, differently. Remove one of the two lines.")

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that no row has, each once, in their order."""
        return [key for key in dict.fromkeys(keys) if key not in self.by_key]

    def extend(self, rows: Sequence[dict[str, Any]]) -> None:
        """As in `AppendLog`; the rows can be found as soon as they are on disk."""
        pending: dict[str, Any] = {}
        for number, row in enumerate(rows, start=self.lines + 1):
            self._check(row, number, pending)
            pending[row["key"]] = row
        super().extend(rows)
