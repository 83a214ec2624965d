"""Runs the cells of a study that are missing, in this process or in many.

A cell is locked while it runs, by whichever process took it; nothing else says who does what. So
several processes, or machines with one folder, may be given the same study, or parts of it.
"""

import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from persuasion_lib.core import runner
from persuasion_lib.core.errors import (
    ConfigError,
    DataError,
    MissingInput,
    PersuasionError,
    is_full_disk,
)
from persuasion_lib.core.manifest import State, conditions, hash_if_there, will_change
from persuasion_lib.core.named import refuse_another_place
from persuasion_lib.core.overrides import keep_for_run
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.replacing import refuse_to_replace
from persuasion_lib.core.store import write_text
from persuasion_lib.study import anchored
from persuasion_lib.study.design import Cell, Study, read_study
from persuasion_lib.study.record import read_record
from persuasion_lib.study.shared import make_shared, read_anew

LAST = "evaluate"       # the stage that a cell ends with; 06 may be run on it like on any run
POLL_S = 5.0            # between two looks at a cell that another process has


def states(study: Study) -> pd.DataFrame:
    """One row a cell: cell, arms (a tuple), level, seed, state, folder, sentence.

    `state` is done, missing, stale, failed or running; `folder` is a Path of its results;
    `sentence` says why it is not done, or what is open.
    """
    return pd.DataFrame([_row(study, cell) for cell in study.cells])


def _row(study: Study, cell: Cell) -> dict[str, Any]:
    state, sentence = state_of(study, cell)
    return {"cell": cell.name, "arms": cell.arms, "level": cell.level, "seed": cell.seed,
            "state": state, "folder": path_of(cell.config(), "evaluation").parent,
            "sentence": sentence}


def state_of(study: Study, cell: Cell) -> tuple[str, str]:
    """(state, sentence) of one cell; see `states`."""
    if _is_taken(study, cell.name):
        return "running", "a process is at it"
    found = _of_stages(cell)
    changed = [f"{STAGES[name].notebook}: {state[1][0]}" for name, state in found.items()
               if will_change(state)]
    record = scores_of(study, cell)
    if not changed and record:
        left = ", ".join(f"{count} comparisons {why}" for why, count in record["open"].items())
        return "done", left and f"{left}; the same command asks once more"
    failed = _failure(study, cell)
    if failed.exists():
        return "failed", failed.read_text(encoding="utf-8").strip()
    if not changed:
        return "missing", _why_no_scores(study, cell)
    never_ran = any(state[0] == "missing" for state in found.values())
    return ("missing", changed[-1]) if never_ran else ("stale", changed[0])


def _why_no_scores(study: Study, cell: Cell) -> str:
    """Of a cell that has trained: not compared yet, or its record is damaged."""
    try:
        read_record(anchored.record_of(study, cell))
    except DataError as error:
        return str(error).replace(f"{cell.root}{os.sep}", "")
    except MissingInput:
        pass
    return "its replies are not compared with the anchor's yet"


def done_cells(study: Study) -> list[Cell]:
    """The cells with scores, for who reads them or compares by hand."""
    return [cell for cell in study.cells if scores_of(study, cell)]


def scores_of(study: Study, cell: Cell) -> dict[str, Any] | None:
    """The record of a cell's comparisons; None where none of this evaluation can be read."""
    try:
        record = read_record(anchored.record_of(study, cell))
    except (MissingInput, DataError):
        return None
    evaluation = hash_if_there(path_of(cell.config(), "evaluation"))
    # An anchor that the study no longer has takes no scores of the others with it.
    is_anchors = (study.anchor_cell is None
                  or anchored.anchor_hash(study) == record.get("anchor_evaluation"))
    is_current = evaluation == record["evaluation"] and is_anchors
    is_whole = set(study.anchors) <= set(record["anchors"]) and set(cell.arms) <= set(
        record["arms"])
    return record if is_current and is_whole else None


def part_of(study: Study, part: str | None) -> tuple[Cell, ...]:
    """The cells of a part such as "3/8", a run of neighbours, so that seeds stay together.

    Raises:
        ConfigError: it is no such part.
    """
    if part is None:
        return study.cells
    number, slash, parts = part.partition("/")
    numbers = number.isdecimal() and parts.isdecimal()     # ² is a digit
    if not (slash and numbers and 1 <= int(number) <= int(parts)):
        raise ConfigError(f"--cells {part} is no part: 3/8 is the third of eight, from 1/8 to 8/8.")
    begin, end = ((int(number) - 1 + more) * len(study.cells) // int(parts) for more in (0, 1))
    if begin == end:
        raise ConfigError(f"--cells {part} is empty: {len(study.cells)} cells make "
                          f"{len(study.cells)} parts at most.")
    return study.cells[begin:end]


def run_study(study: Study, part: str | None = None) -> Study:
    """Run the cells that are not done; one that fails leaves the others running.

    Returns:
        The study as it is now: labels that were missing before may have cut its levels.

    Raises:
        ConfigError: cells of these names are of another corpus.
        PersuasionError: what all cells share, a trained anchor too, could not be made, or a disk
            is full.
    """
    began = time.time()
    for cell in study.cells:
        refuse_another_place(cell.config())
    with runner.as_batch():
        (study.folder / "locks").mkdir(parents=True, exist_ok=True)
        _share(study)
        study = read_study(read_anew(study), study.file, name=study.name)
        _make_anchor(study)
        waiting = list(part_of(study, part))
        while waiting:
            others = [cell for cell in waiting if not _run_if_free(study, cell, began)]
            if others and len(others) == len(waiting):
                _wait_for(study, others[0])
            waiting = others
    return study


def _share(study: Study) -> None:
    """Corpus, SFT, pools and labels: once for all cells."""
    lock = _lock(study, "shared")
    if _is_taken(study, "shared"):
        print("another process makes what all cells share; waiting for it", flush=True)
    with lock:
        make_shared(study)


def _make_anchor(study: Study) -> None:
    """The trained model that every reply is compared with: before all cells, by one process."""
    cell = study.anchor_cell
    if cell is None:
        return
    if _is_taken(study, cell.name):
        print(f"another process makes {cell.name}; waiting for it", flush=True)
    with _lock(study, cell.name):
        first = first_to_run(cell)
        _keep_settings(cell, first)
        if first:
            print(f"\n{cell.name}, which every reply is compared with", flush=True)
            _run_stages(study, cell, first)


def _run_if_free(study: Study, cell: Cell, began: float) -> bool:
    """Run a cell, unless another process is at it: then False; not one that failed meanwhile."""
    lock = _lock(study, cell.name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        failed = _failure(study, cell)
        if not (failed.exists() and failed.stat().st_mtime >= began):
            _run_cell(study, cell)
    finally:
        lock.release()
    return True


def _run_cell(study: Study, cell: Cell) -> None:
    failed = _failure(study, cell)
    try:
        first = first_to_run(cell)
        _keep_settings(cell, first)
        record = scores_of(study, cell)
        if first or record is None or record["open"]:
            print(f"\n{cell.name}, {study.cells.index(cell) + 1} of {len(study.cells)}", flush=True)
        if first:
            _run_stages(study, cell, first)
        if first or record is None or record["open"]:
            with redirect_stdout(runner.Terminal()):
                anchored.judge_cell(study, cell)
        failed.unlink(missing_ok=True)
    except (PersuasionError, OSError) as error:
        # It goes into study.json, which others are given: no folder of this machine.
        sentence = " ".join(str(error).split()).replace(f"{cell.root}{os.sep}", "")
        if is_full_disk(sentence):      # the next cell would meet it as well
            raise PersuasionError(f"{study.name} stops at {cell.name}: a disk is full "
                                  f"({sentence}). Free some space and give the same command "
                                  "again; what was finished stays.") from None
        print(f"    ! {cell.name} failed: {sentence}", flush=True)
        write_text(failed, f"{sentence}\n")


def first_to_run(cell: Cell) -> str | None:
    """The first stage that a cell has still to go through; None where it has all."""
    return next((name for name, state in _of_stages(cell).items() if _must_run(name, state)), None)


def _keep_settings(cell: Cell, first: str | None) -> None:
    """Where a cell's name alone finds them, if it has them or may be given them.

    Raises:
        ConfigError: a stage that would run has finished with others.
    """
    for stage in runner.chosen_stages(first, LAST, None) if first else ():
        refuse_to_replace(cell.config(), stage)
    keep_for_run(cell.root, cell.name, cell.profile, cell.overrides)


def _run_stages(study: Study, cell: Cell, first: str) -> None:
    runner.run(cell.profile, cell.overrides, first=first, last=LAST, preload=_preload(study),
               notes=False)


def _must_run(name: str, state: State) -> bool:
    """Whether a stage is to run for a cell; what all share and is only open was asked again."""
    is_own = name in ("train_dpo", LAST)
    return will_change(state) or (is_own and state[0] in ("stale", "missing"))


def _preload(study: Study) -> tuple[str, ...]:
    """What the notebooks of cells import, where they take longer to import than to train.

    After a fork a GPU cannot be used; and beside hours of training an import is nothing.
    """
    is_short = study.config.model.base == "demo" and sys.platform == "linux"
    return ("persuasion_lib.train_dpo", "persuasion_lib.training.curves",
            "persuasion_lib.evaluate", "persuasion_lib.reporting.evaluation_rows",
            ) if is_short else ()


def _of_stages(cell: Cell) -> dict[str, State]:
    """The conditions of the stages that a cell goes through."""
    names = list(STAGES)
    found = conditions(cell.config())
    return {name: found[name] for name in names[:names.index(LAST) + 1]}


def _wait_for(study: Study, cell: Cell) -> None:
    print(f"{cell.name} is another process's; waiting for it", flush=True)
    with _lock(study, cell.name).acquire(poll_interval=POLL_S):
        pass


def _is_taken(study: Study, name: str) -> bool:
    lock = _lock(study, name)
    if not Path(lock.lock_file).exists():
        return False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _lock(study: Study, name: str) -> FileLock:
    return FileLock(study.folder / "locks" / f"{name}.lock")


def _failure(study: Study, cell: Cell) -> Path:
    return study.folder / "cells" / f"{cell.name}.failed.txt"
