"""However a run is stopped: one sentence, its work saved, nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from worlds.scratch import clean_environment

SLOW = """
import pathlib, time
try:
    pathlib.Path("begun").write_text("")
    time.sleep(60)
except KeyboardInterrupt:
    pathlib.Path("saved").write_text("")
    raise
"""


@pytest.fixture
def begun(project, tmp_path):
    """A run of a notebook whose only cell waits, with a temporary directory of its own."""
    path = project / "notebooks" / "00_prepare.ipynb"
    notebook = nbformat.read(path, 4)
    first = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    notebook.cells = [first, nbformat.v4.new_code_cell(SLOW)]
    nbformat.write(notebook, path)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "persuasion_lib.cli", "run", "--only", "prepare"],
        cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=clean_environment() | {"TMPDIR": str(temporary)})
    wait_for(project / "notebooks" / "begun")
    yield process
    process.kill()
    process.communicate()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_cell_and_the_run_with_one_sentence(how, begun, project):
    begun.send_signal(how)
    _, errors = begun.communicate(timeout=30)
    assert (begun.returncode, errors) == (128 + how, "\nstopped. What was finished is saved; the "
                                          "same command goes on from there.\n")
    assert (project / "notebooks" / "saved").exists()
    assert not list((project / "tmp").iterdir())


def test_a_kill_leaves_nothing_in_the_temporary_directory(begun, project):
    os.kill(begun.pid, signal.SIGKILL)
    begun.communicate(timeout=30)
    assert not list((project / "tmp").glob("persuasion*"))


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")
def test_ctrl_c_reaches_the_run_and_not_the_imports_of_its_kernels():
    code = ("import multiprocessing.forkserver as f; from persuasion_lib.core import warm; "
            "warm.begin(['json'], {}); "
            "print(open(f'/proc/{f._forkserver._forkserver_pid}/status').read())")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=clean_environment())
    blocked = int(re.search(r"SigBlk:\s*(\w+)", told.stdout).group(1), 16)
    assert blocked >> (signal.SIGINT - 1) & 1
