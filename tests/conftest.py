"""One smoke run of a scratch copy of the project, which many tests look at."""

import json
import os
import shutil
import signal

import pytest
from filelock import FileLock

from worlds.scratch import copy_project, persuasion

# One thread each, as several workers share the cores. Before anything imports numpy or torch.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell ignores Ctrl-C for what it starts in the background, and nohup a closed terminal; so would
# the tests about them.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):       # not on Windows
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A fresh copy of settings and notebooks as the working folder."""
    copy_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory):
    """(project folder, output) of a finished run of all eight notebooks on the smoke profile.

    The workers of pytest-xdist share one, which nobody may change (see `smoke_copy`).
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "smoke"
    ended = shared / "smoke.json"
    with FileLock(shared / "smoke.lock"):
        if not ended.exists():      # one that failed is not tried again by every test
            result = persuasion(copy_project(folder), "run", "--profile", "smoke")
            ended.write_text(json.dumps([result.returncode, result.stdout, result.stderr]))
    status, output, errors = json.loads(ended.read_text())
    assert status == 0, output + errors
    return folder, output


@pytest.fixture
def smoke_copy(smoke_run, tmp_path, monkeypatch):
    """A copy of the finished smoke project that a test may damage."""
    folder = tmp_path / "copy"
    shutil.copytree(smoke_run[0], folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    return folder


def pytest_collection_modifyitems(items):
    """One test of the smoke run first, the others last: a worker prepares it while others test.

    The first is the longest, all notebooks cell by cell, so that nobody waits for it at the end.
    """
    waiting = [item for item in items if "smoke_run" in item.fixturenames]
    waiting.sort(key=lambda item: item.path.name != "test_notebooks.py")
    others = [item for item in items if "smoke_run" not in item.fixturenames]
    items[:] = [*waiting[:1], *others, *waiting[1:]]
