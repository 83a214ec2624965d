"""No training is done twice: what another run of the project has trained is copied.

Named runs with the same data, settings and parents would end with the same weights. So `rlaif` of a
study is trained once for each seed, however many cells go on from it, in however many processes.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.progress import LINE_MARK
from persuasion_lib.core.store import read_json, write_text
from persuasion_lib.models.cards import adapter_card
from persuasion_lib.models.lineage import WEIGHTS, adapter_hash, weights_hash
from persuasion_lib.models.loading import dtype_of

POLL_S = 1.0


@contextmanager
def alone(config: Config, name: str, fingerprint: str) -> Iterator[None]:
    """Nobody else trains just this meanwhile; who comes second waits, and copies it then."""
    if "WORLD_SIZE" in os.environ:      # one of several processes, whose starter holds the lock
        yield
        return
    folder = config.folder("models") / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}-{fingerprint[:16]}.lock")
    try:
        lock.acquire(timeout=POLL_S)
    except Timeout:
        print(f"{LINE_MARK}{name}: another process is at this very training; waiting for it",
              flush=True)
        lock.acquire(poll_interval=POLL_S)
    try:
        yield
    finally:
        lock.release()


def copied(config: Config, name: str, fingerprint: str) -> bool:
    """Whether another run of the project had this checkpoint, which is now here as well.

    It must have been trained on the same data, with the same settings, on the same parents, in the
    same number format, and be unchanged since.
    """
    final = path_of(config, name)
    wanted = {"name": name, "fingerprint": fingerprint,
              "dtype": str(dtype_of(config)).removeprefix("torch."),
              "parents": {parent: weights_hash(config, parent) for parent in FAMILY[name].parents}}
    for record in sorted(config.folder("models").glob(f"**/{FAMILY[name].folder}/final/"
                                                      "lineage.json")):
        if record.parent != final and _is(record, wanted):
            return _copy(config, name, record.parent, final, wanted)
    return False


def _is(record: Path, wanted: dict[str, object]) -> bool:
    try:
        lineage = read_json(record, made_by="04")
        return (isinstance(lineage, dict)
                and all(lineage.get(key) == value for key, value in wanted.items())
                and (record.parent / WEIGHTS).exists()
                and adapter_hash(record.parent) == lineage["weights"])
    except (PersuasionError, OSError, ValueError, KeyError):    # of a run that is being replaced
        return False


def _copy(config: Config, name: str, source: Path, final: Path, wanted: dict[str, object]) -> bool:
    partial = final.with_name("final.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    if not _is(partial / "lineage.json", wanted):       # its run replaced it meanwhile
        shutil.rmtree(partial)
        return False
    write_text(partial / "README.md", adapter_card(config, name))   # it names the run's settings
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    print(f"{LINE_MARK}{name}: the same training was done before, and is copied", flush=True)
    return True
