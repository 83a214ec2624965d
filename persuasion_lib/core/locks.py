"""One process at a time for a stage of a project."""

import json
import os
import socket
import sys
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.manifest import manifest_path
from persuasion_lib.core.pipeline import Stage
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.store import write_json

WAIT_S = 4.0        # a kernel whose runner was killed needs a second to notice


class StageLock:
    """A stage is this process's own, from `take` to `give_back` or to the end of the process.

    The operating system gives the lock back after any kill. Taking it twice in one process is
    allowed, as cells of a notebook run again. 02 and 05b have none: several people may label for
    hours, each answer is saved under a lock of its own, and other files are replaced whole.
    """

    def __init__(self, config: Config, stage: Stage) -> None:
        self.stage = stage
        self.path = manifest_path(config, stage).with_suffix(".lock")
        self._holder = self.path.with_suffix(".holder")
        self._lock = None if stage.name in ("label_human", "human_eval") else FileLock(
            self.path, is_singleton=True, thread_local=False)

    def take(self) -> None:
        """Hold the stage.

        Raises:
            PersuasionError: another process has it (the message says which), or the folder cannot
                be written.
        """
        if self._lock is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=WAIT_S)
        except Timeout:
            raise PersuasionError(f"{self.stage.notebook} is already being run by "
                                  f"{self._who()}. Wait until it has ended, or stop it (of a "
                                  "notebook, shut down the kernel).") from None
        except OSError as error:
            raise PersuasionError(f"{self.path.parent} cannot be written ({error.strerror}). Make "
                                  "it writable, or set paths.results.") from None
        write_json(self._holder, {
            "process": os.getpid(), "host": socket.gethostname(),
            "what": "persuasion run" if in_batch() else Path(sys.argv[0]).name,
            "since": datetime.now().isoformat(" ", "minutes")})

    def give_back(self) -> None:
        """Let others have the stage, however often it was taken."""
        if self._lock is not None and self._lock.is_locked:
            self._holder.unlink(missing_ok=True)
            self._lock.release(force=True)

    def _who(self) -> str:
        try:
            who = json.loads(self._holder.read_text())
            return (f"process {who['process']} on {who['host']} ({who['what']}, since "
                    f"{who['since']})")
        except (OSError, ValueError, KeyError):
            return "another process"
