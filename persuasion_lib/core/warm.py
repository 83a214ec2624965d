"""Kernels that need not import everything: forked from one process that has.

In the demo a notebook works for seconds and imports for ten. Every notebook still gets a process of
its own, with nothing of another one in it.
"""

import multiprocessing
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

from jupyter_client.provisioning import LocalProvisioner
from jupyter_client.provisioning.factory import KernelProvisionerFactory

NAME = "persuasion-warm"


def register() -> dict[str, Any]:
    """What a kernel's specification says, so that its process is forked."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:Forking", factory.GROUP_NAME)
    return {"kernel_provisioner": {"provisioner_name": NAME}}


def begin(modules: Sequence[str], environment: dict[str, str]) -> None:
    """Name what is imported beforehand, once; the process begins with the first kernel."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules, "ipykernel.kernelapp"])
    before = dict(os.environ)
    os.environ.update(environment)      # the memory of a process is set up when it begins
    # Ctrl-C is for us and not for imports. The mask is inherited; starting the tracker lifts it.
    multiprocessing.resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.environ.clear()
        os.environ.update(before)


class Forking(LocalProvisioner):
    """Starts a kernel by a fork of the process that `begin` began."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """The same as in `LocalProvisioner`, whose command is `ipykernel_launcher` here."""
        arguments = cmd[cmd.index("ipykernel_launcher") + 1:]
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=_kernel, daemon=True, args=(
            arguments, options.get("cwd"), dict(options.get("env") or os.environ)))
        process.start()
        self.process = _Process(process)
        self.pid = self.pgid = process.pid
        return self.connection_info


def _kernel(arguments: list[str], folder: str | None, environment: dict[str, str]) -> None:
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()                 # a group of its own, which a signal can end
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder or ".")
    signal.signal(signal.SIGINT, signal.default_int_handler)    # the server ignores it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    launch_new_instance([*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


def _end_with_the_run() -> None:
    """Also after a kill: the server, whose child a kernel is, ends only after its kernels."""
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(1)


class _Process:
    """A forked process with the face of a `subprocess.Popen`, as far as jupyter_client looks."""

    stdin = stdout = stderr = None

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
