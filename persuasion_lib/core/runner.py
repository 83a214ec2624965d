"""The headless run: eight notebooks, one process, each executed only if its result would change."""

import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from persuasion_lib.core.appending import WAITS
from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import ConfigError, PersuasionError, is_full_disk
from persuasion_lib.core.kernel import Kernel
from persuasion_lib.core.locks import StageLock
from persuasion_lib.core.manifest import notes_of, read_manifest, state
from persuasion_lib.core.pipeline import STAGES, Stage, path_of
from persuasion_lib.core.progress import LINE_MARK, duration
from persuasion_lib.core.replacing import refuse_other_settings, refuse_to_replace, stages_before
from persuasion_lib.core.store import write_text

CELL_TIMEOUT_S = 12 * 3600      # a hang must end some day; no honest cell of ours takes half a day
PARAMETERS = {"profile", "overrides"}
LINK = re.compile(r"\]\(([^()#:\s]+)(#[^()\s]*)?\)")      # to a file, perhaps with a place in it
OPEN_FILES = 256                # a kernel with our libraries needs more than a hundred


class NotebookError(PersuasionError):
    """A cell of a notebook failed; the message holds its error and where to look."""


class Terminal:
    """Shows a notebook's progress lines live; papermill writes all that it prints to here."""

    def __init__(self) -> None:
        self._stream = sys.stdout

    def write(self, text: str) -> None:
        for line in text.splitlines():
            if line.startswith(LINE_MARK):
                print(f"    {line.removeprefix(LINE_MARK)}", file=self._stream, flush=True)

    def flush(self) -> None:
        pass


def chosen_stages(first: str | None, last: str | None, only: str | None) -> list[Stage]:
    """The stages from `first` to `last` in order, or `only` one.

    Raises:
        ConfigError: an unknown stage, the first after the last, or `only` beside one of them.
    """
    if only and (first or last):
        raise ConfigError("--only names one stage, --from and --to a range: give one or the other.")
    for name in (first, last, only):
        if name is not None and name not in STAGES:
            raise ConfigError(f"no stage {name!r}. There are: {', '.join(STAGES)}.")
    names = list(STAGES)
    begin = names.index(only or first or names[0])
    end = names.index(only or last or names[-1])
    if begin > end:
        raise ConfigError(f"--from {first} comes after --to {last}. The order is: "
                          f"{', '.join(names)}.")
    return [STAGES[name] for name in names[begin:end + 1]]


def check_parameters(config: Config, stages: Sequence[Stage]) -> None:
    """Refuse to start unless every notebook exists and takes just our parameters.

    papermill itself would inject a misspelt parameter without a word.
    """
    from papermill import inspect_notebook  # 2 s to import: not for a run with nothing to do
    folder = config.root / "notebooks"
    if folder.resolve().parent != config.root:
        raise ConfigError(f"{folder} is a link to {folder.resolve()}, and a notebook takes the "
                          "settings of the project that it lies in. Copy the folder to here.")
    for stage in stages:
        path = _source(config, stage)
        if not path.exists():
            raise ConfigError(f"{path} is missing. Restore it with: git checkout {path}")
        found = set(inspect_notebook(str(path)))
        if found != PARAMETERS:
            raise ConfigError(f"{path} takes the parameters {sorted(found)}, the runner passes "
                              f"{sorted(PARAMETERS)}. Mend its cell tagged `parameters`.")


def _source(config: Config, stage: Stage) -> Path:
    return config.root / "notebooks" / f"{stage.notebook}.ipynb"


def run(profile: str, overrides: Sequence[str] = (), *, first: str | None = None,
        last: str | None = None, only: str | None = None, force: bool = False,
        preload: Sequence[str] = (), notes: bool = True) -> list[str]:
    """Execute the notebooks whose results are missing or stale; returns the names executed.

    `preload` names modules that are imported once for the kernels of all calls. Without `notes`
    what stages warn of is in their manifests alone.

    Raises:
        ConfigError: bad settings, stages or notebooks; nothing was executed.
        NotebookError: a cell failed; what earlier cells and notebooks finished stays.
    """
    config = load_config(profile, overrides)
    stages = chosen_stages(first, last, only)
    for stage in stages:
        refuse_to_replace(config, stage)    # before the first of them has run for hours
        refuse_other_settings(config, stage.notebook, [
            before for before in stages_before(config, stage) if before not in stages])
    executed = []
    for stage in stages:
        condition, reasons = state(config, stage.name)
        if condition == "idle":
            print(f"{stage.notebook:15s} nothing to do ({reasons[0]})", flush=True)
            continue
        if condition == "done" and not force:
            print(f"{stage.notebook:15s} unchanged, not run", flush=True)
            if notes:
                show_notes(config, stage)
            continue
        if not executed:
            _refuse_few_open_files()
            check_parameters(config, stages)
        why = "forced" if condition == "done" else "; ".join(map(str, reasons[:2]))
        _run_one(config, stage, why, preload)
        executed.append(stage.name)
        if notes:
            show_notes(config, stage)
    return executed


@contextmanager
def as_batch() -> Iterator[None]:
    """Lines instead of bars, and logs of other processes are waited for; in kernels as well."""
    before = dict(os.environ)
    os.environ.update({"PERSUASION_BATCH": "1", WAITS: "1"})
    try:
        yield
    finally:
        for name in ("PERSUASION_BATCH", WAITS):
            os.environ.pop(name)
            os.environ.update({name: before[name]} if name in before else {})


def _run_one(config: Config, stage: Stage, why: str, preload: Sequence[str]) -> None:
    lock = StageLock(config, stage)
    lock.take()             # or refuse here, before the other's notebook is overwritten
    lock.give_back()        # the notebook's kernel holds it
    print(f"{stage.notebook:15s} running ({why})", flush=True)
    began = time.monotonic()
    _execute(config, stage, preload)
    print(f"{stage.notebook:15s} done in {duration(time.monotonic() - began)}", flush=True)


def show_notes(config: Config, stage: Stage) -> None:
    """Print what the last run of a stage left open and warned of."""
    for note in notes_of(read_manifest(config, stage.name) or {}):
        # A note may quote names from elsewhere, which must not steer the terminal.
        plain = "".join(c if c.isprintable() else " " for c in note)
        print(textwrap.fill(plain, 100, initial_indent="    ! ", subsequent_indent="      ",
                            break_long_words=False, break_on_hyphens=False), flush=True)


def _execute(config: Config, stage: Stage, preload: Sequence[str]) -> None:
    execute_notebook(_source(config, stage), path_of(config, "notebooks"),
                     {"profile": config.profile, "overrides": list(config.overrides)},
                     preload=preload)


def execute_notebook(source: Path, folder: Path, parameters: Mapping[str, Any], *,
                     preload: Sequence[str] = ()) -> Path:
    """Execute a notebook headless, in its own folder; the executed copy goes to `folder`.

    Raises:
        NotebookError: a cell failed, or the kernel died.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    output = folder / source.name
    _make_writable(output)
    kernel = Kernel(preload)
    try:
        kernel.drive(lambda: papermill.execute_notebook(
            str(source), str(output), progress_bar=False, parameters=dict(parameters),
            cwd=str(source.parent), execution_timeout=CELL_TIMEOUT_S,
            stdout_file=Terminal(), coalesce_streams=True, **kernel.arguments()))
    except papermill.PapermillExecutionError as error:
        _lead_links_home(output, source.parent)
        _sign(output)
        raise NotebookError(f"{source.stem}, cell {error.exec_count}: {_in_words(error)}\n"
                            f"The executed notebook: {output}") from None
    except DeadKernelError:
        raise NotebookError(f"{source.stem}: the kernel died, most often because memory ran "
                            "out. Lower the batch sizes and run again; what was finished stays.\n"
                            f"The executed notebook: {output}") from None
    except CellTimeoutError:
        raise NotebookError(f"{source.stem}: a cell ran longer than {duration(CELL_TIMEOUT_S)} "
                            f"and was stopped. The executed notebook: {output}") from None
    _lead_links_home(output, source.parent)
    _sign(output)
    return output


def _lead_links_home(output: Path, home: Path) -> None:
    """Let links of the text lead where they led from the notebook's own folder.

    Those from one stage to another stay: the executed copies stand beside each other too.
    """
    import nbformat
    stages = {f"{stage.notebook}.ipynb" for stage in STAGES.values()}

    def led(link: re.Match[str]) -> str:
        target = home / link[1]
        stays = {link[1], output.name} <= stages or not target.exists()
        return link[0] if stays else f"]({os.path.relpath(target, output.parent)}{link[2] or ''})"

    notebook = nbformat.read(output, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(led, cell.source)
    write_text(output, nbformat.writes(notebook))


def _sign(output: Path) -> None:
    """Let JupyterLab trust what was executed here, as it does what it executes itself.

    Without trust it shows a drawing as text, and figures as white squares on a dark page. The
    signature is this user's alone: the same file is untrusted wherever it was not executed.
    """
    import sqlite3

    import nbformat
    from jupyter_core.paths import jupyter_data_dir
    from nbformat.sign import NotebookNotary
    folder = Path(jupyter_data_dir())
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            notary = NotebookNotary(data_dir=str(folder))
            notary.sign(nbformat.read(output, as_version=4))
            notary.store.close()
    except (OSError, sqlite3.Error):    # untrusted is no reason to stop: all of it can be read
        pass


def _make_writable(output: Path) -> None:
    """Before a notebook runs for hours: papermill writes its output after every cell."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab"):
            pass
    except OSError as error:
        raise PersuasionError(f"{output} cannot be written ({error.strerror}). Make it writable, "
                              "or set paths.results.") from None


def _in_words(error: Any) -> str:
    """What went wrong in a cell, in one sentence where it is the machine that failed."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", f"{error.ename}: {error.evalue}")
    if is_full_disk(said):
        return (f"a disk is full ({said[:200]}). Free some space and run again; what was finished "
                "stays.")
    return said


def _refuse_few_open_files() -> None:
    """With too few the kernel dies without a word; what may be raised is raised."""
    try:
        import resource
    except ImportError:     # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise ConfigError(f"this shell allows only {hard} open files, and a notebook needs "
                          f"{OPEN_FILES}. Raise the limit (ulimit -n 4096), in a new shell if this "
                          "one refuses.")
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
