"""The kernel of a headless notebook, and how it ends when the run is stopped.

papermill works in a thread of its own: in the main thread it would take the signals for itself,
reset them for the next notebook, and meet an interrupt in the middle of its event loop.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

KERNEL = "persuasion"
# glibc gives large pieces of memory back to the system, which clears each page when it is taken
# again: a quarter of a training step on a CPU. It reads these once, when a process starts; other
# C libraries do not know them.
KEEPS_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**36)}
GENTLE_S = 10.0     # from one interrupt to the next (paid calls may end), and from that to a kill


class Kernel:
    """This very Python as the kernel of one notebook, whatever is registered on the machine.

    `preload` names modules that one process imports for all such kernels (see `warm`).
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = preload
        self._managers: list[Any] = []
        self._is_running = False        # a cell, so that an interrupt ends it and not the kernel

    def arguments(self) -> dict[str, Any]:
        """What papermill passes on to nbclient."""
        from jupyter_client import AsyncKernelManager
        from jupyter_client.kernelspec import KernelSpec

        made = self._managers
        environment = {"PERSUASION_BATCH": "1", "PYTHONUNBUFFERED": "1", **KEEPS_MEMORY
                       } | {k: v for k, v in os.environ.items() if k in KEEPS_MEMORY}
        metadata = self._warm(environment) if self._preload else {}

        class Manager(AsyncKernelManager):
            # Not a file: a kill would leave it behind.
            kernel_spec = KernelSpec(
                argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
                      "--log-level=CRITICAL"],
                display_name=KERNEL, language="python", env=environment, metadata=metadata)

            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                made.append(self)

        return {"kernel_name": KERNEL, "kernel_manager_class": Manager,
                "on_cell_start": self._note_cell}

    def _warm(self, environment: dict[str, str]) -> dict[str, Any]:
        from persuasion_lib.core import warm
        warm.begin(self._preload, environment)
        return warm.register()

    def _note_cell(self, **_: Any) -> None:
        self._is_running = True

    def drive(self, execute: Callable[[], object]) -> None:
        """Call `execute` in a thread; an interrupt ends the kernel first, then goes on.

        Raises:
            KeyboardInterrupt: a signal came; what `execute` says of it is not told.
        """
        errors: list[BaseException] = []
        ended = threading.Event()       # not join(): an interrupted join forgets a live thread

        def work() -> None:
            try:
                execute()
            except BaseException as error:      # the main thread raises it
                errors.append(error)
            finally:
                ended.set()

        threading.Thread(target=work, daemon=True).start()
        try:
            while not ended.wait(0.2):
                pass
        except KeyboardInterrupt:
            self._end(ended)
            raise
        if errors:
            raise errors[0]

    def _end(self, ended: threading.Event) -> None:
        """Interrupt the cell so that it can save its work; kill what does not end in time."""
        try:
            for _ in range(2 if self._is_running else 0):
                self._signal(signal.SIGINT)
                if ended.wait(GENTLE_S):
                    return
        finally:                    # a second Ctrl-C comes here at once
            if not ended.is_set():
                self._signal(signal.SIGKILL)
                ended.wait(5)

    def _signal(self, number: int) -> None:
        for manager in self._managers:
            process = getattr(manager.provisioner, "process", None)
            if process is not None and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)      # it leads its own group
