"""Lines at the end of a file: one writer, on disk or kept elsewhere, found again by place."""

import hashlib
import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.reading import json_value

WAITS = "PERSUASION_WAITS"     # set where a log of another process is to be waited for


def locked(path: Path) -> FileLock:
    """The lock of the one writer of a file, taken.

    The cells of a study share logs, so their processes wait for each other instead.

    Raises:
        PersuasionError: another process has it, or the folder cannot be written to.
    """
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if os.environ.get(WAITS) else 0, poll_interval=0.2)
    except Timeout:
        raise PersuasionError(f"{path} is in use by another process. Stop that one first; "
                              "its work is saved.") from None
    except OSError as error:
        raise PersuasionError(f"{path.parent} cannot be written to ({error.strerror}). Mend its "
                              "rights.") from error
    return lock


def as_line(row: dict[str, Any]) -> bytes:
    """The line of a row in a log."""
    return (json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n").encode()


def append_bytes(fd: int, data: bytes) -> int:
    """Append to an open file, wait for the disk and return where the data begins.

    Raises:
        OSError: after the file was cut to what it was.
    """
    end = os.fstat(fd).st_size
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view):]
        os.fsync(fd)
    except OSError:
        with suppress(OSError):     # a torn line is set aside when the file is opened again
            os.ftruncate(fd, end)
        raise
    return end


def kept_elsewhere(path: Path, data: bytes) -> str:
    """Paid replies must not be lost with a full disk: a second place, and how to bring them back.

    One file a process: what other calls still bring goes to the same place.
    """
    mark = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    second = Path(tempfile.gettempdir()) / f"persuasion-unsaved-{os.getpid()}-{mark}.jsonl"
    try:
        fd = os.open(second, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            append_bytes(fd, data)
        finally:
            os.close(fd)
    except OSError:
        sys.stderr.write(f"\nNot saved anywhere; append these lines to {path}:\n{data.decode()}")
        return ("No other place is free either, so what could not be saved was printed above. "
                "Free some disk space, append those lines to it and run again.")
    return (f"What could not be saved is in {second}. Free some disk space, then: "
            f"cat {second} >> {path}, and run again.")


def row_at(path: Path, begins: int) -> dict[str, Any]:
    """The row that begins at this byte of a log."""
    with path.open("rb") as file:
        file.seek(begins)
        return json_value(file.readline().decode("utf-8-sig"))
