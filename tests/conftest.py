"""A scratch copy of the project, and one smoke run of it that many tests look at."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


def copy_project(target: Path) -> Path:
    """Settings and notebooks without keys, data or results."""
    for folder in ("configs", "notebooks"):
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns(
            "api_config.yaml", ".ipynb_checkpoints"))
    return target


def persuasion(project: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess:
    """The command as a user runs it, in its own process, with the project as working folder."""
    return subprocess.run([sys.executable, "-m", "persuasion_lib.cli", *arguments], cwd=project,
                          capture_output=True, text=True, timeout=600, env=clean_environment(),
                          **options)


def clean_environment() -> dict[str, str]:
    """This process's environment without API keys; one thread each, as tests share the cores."""
    secret = {name for name in os.environ if name.endswith("_API_KEY")}
    return {k: v for k, v in os.environ.items() if k not in secret} | {
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


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
