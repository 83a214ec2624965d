"""Scratch copies of the project, and the command `persuasion` in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
