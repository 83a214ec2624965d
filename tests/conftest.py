"""One smoke run of a scratch copy of the project, which many tests look at."""

import shutil
import signal

import pytest

from worlds.scratch import copy_project, persuasion

# A shell ignores Ctrl-C for what it starts in the background, and so would the tests about it.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
    """(project folder, output) of a finished run of all seven notebooks on the smoke profile."""
    folder = copy_project(tmp_path_factory.mktemp("smoke"))
    result = persuasion(folder, "run", "--profile", "smoke")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


@pytest.fixture
def smoke_copy(smoke_run, tmp_path, monkeypatch):
    """A copy of the finished smoke project that a test may damage."""
    folder = tmp_path / "copy"
    shutil.copytree(smoke_run[0], folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    return folder
