"""The event log of one annotator: append-only, fsync per event, the newest opener owns it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.store import AppendLog, write_text

Event = dict[str, Any]
_WAIT_S = 5.0


class EventLog:
    """Events of one annotator, written by whoever opened the log last.

    A lock held for a kernel's life would lock people out of their own work (a cell run again, a
    page reloaded). So each opener leaves a token in `<name>.owner`, and every append checks it
    under a lock of some milliseconds; an older window cannot write any more and is told so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = secrets.token_hex(8)
        self._owner = path.with_name(path.name + ".owner")
        path.parent.mkdir(parents=True, exist_ok=True)
        with _turn(path), AppendLog(path) as log:
            write_text(self._owner, self._token)
            self.rows = list(log.rows)

    def append(self, event: Event) -> None:
        """Write one event and wait until it is on disk.

        Raises:
            PersuasionError: not written, because a newer window owns the log, the file was
                changed from outside, or the disk is full.
        """
        with _turn(self.path):
            if not self._is_mine():
                raise PersuasionError("labelling moved to a newer window. Go on there, or run "
                                      "the cell here again to take it back.")
            with AppendLog(self.path) as log:
                if len(log.rows) != len(self.rows):
                    raise PersuasionError(f"{self.path} was changed by something else. Run the "
                                          "cell again to read it afresh.")
                log.append(event)
        self.rows.append(event)

    def _is_mine(self) -> bool:
        return self._owner.exists() and self._owner.read_text("utf-8") == self._token


def read_events(path: Path) -> list[Event]:
    """The events of a log, without becoming its owner; none if there is no log."""
    if not path.exists():
        return []
    with _turn(path), AppendLog(path) as log:
        return list(log.rows)


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    try:
        with FileLock(f"{path}.turn", timeout=_WAIT_S):
            yield
    except Timeout:
        raise PersuasionError(f"{path} is in use by another process for more than {_WAIT_S:.0f} s. "
                              "Stop that one; all events are safe.") from None
