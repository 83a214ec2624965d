"""The event log of one annotator: append-only, fsync per event, owned by who answered last."""


import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from persuasion_lib.core.appending import append_bytes, as_line
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.store import AppendLog, write_text

Event = dict[str, Any]
_WAIT_S = 5.0


class EventLog:
    """Events of one annotator, written by whoever opened the log last and answered.

    A lock held for a kernel's life would lock people out of their own work (a cell run again, a
    page reloaded). So a window leaves a token in `<name>.owner` with its first answer, and every
    append checks it under a lock of some milliseconds; an older window cannot write any more and
    is told so. Opening alone takes nothing from anybody, be it a runner without a screen.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Event] = []
        self._token = secrets.token_hex(8)
        self._owner = path.with_name(path.name + ".owner")
        self._answers_here = False
        self._left = None
        if path.exists():
            with _turn(path):
                self.rows = read_rows(path)
                self._left = _state(path)

    def append(self, event: Event) -> None:
        """Write one event and wait until it is on disk; the file is read again only if it changed.

        Raises:
            PersuasionError: not written, because a newer window owns the log, the file was
                changed from outside, or the disk is full.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _turn(self.path):
            if self._answers_here and not self._is_mine():
                raise PersuasionError("labelling moved to a newer window. Go on there, or run "
                                      "the cell here again to take it back.")
            if _state(self.path) != self._left and read_rows(self.path) != self.rows:
                raise PersuasionError(f"{self.path} was changed by something else, such as a newer "
                                      "window. Run the cell again to read it afresh.")
            if not self._answers_here:
                write_text(self._owner, self._token)
                self._answers_here = True
            self._write(event)
            self._left = _state(self.path)
        self.rows.append(event)

    def _write(self, event: Event) -> None:
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                append_bytes(fd, as_line(event))
            finally:
                os.close(fd)
        except OSError as error:
            raise PersuasionError(f"{self.path} could not be written ({error.strerror}); all "
                                  "earlier answers are safe. Free some disk space, or mend its "
                                  "rights, and answer again.") from error

    def _is_mine(self) -> bool:
        return self._owner.exists() and self._owner.read_text("utf-8") == self._token


def read_events(path: Path) -> list[Event]:
    """The events of a log, without becoming its owner; none if there is no log."""
    if not path.exists():
        return []
    with _turn(path):
        return read_rows(path)


def read_rows(path: Path) -> list[Event]:
    """The rows of a log, none if there is none; a torn last line is set aside."""
    if not path.exists():
        return []
    with AppendLog(path) as log:
        return log.rows


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with any change of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    try:
        with FileLock(f"{path}.turn", timeout=_WAIT_S):
            yield
    except Timeout:
        raise PersuasionError(f"{path} is in use by another process for more than {_WAIT_S:.0f} s. "
                              "Stop that one; all events are safe.") from None
