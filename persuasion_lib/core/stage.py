"""A stage in progress: what it reads, what it warns of, and the manifest that it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import ConfigError, MissingInput, StaleInput
from persuasion_lib.core.locks import StageLock
from persuasion_lib.core.manifest import (
    FORMAT,
    changed_reads,
    code_of,
    content_hash,
    hash_if_there,
    hashes,
    idle,
    manifest_path,
    never_made,
    read_manifest,
    state,
    what_was_read,
)
from persuasion_lib.core.named import refuse_another_place
from persuasion_lib.core.overrides import keep_for_run
from persuasion_lib.core.pipeline import (
    STAGES,
    Stage,
    inputs_of,
    made_by,
    maker_of,
    path_of,
    read_file,
)
from persuasion_lib.core.progress import duration
from persuasion_lib.core.prose import nearby, prose
from persuasion_lib.core.rehearsal import banner_of, rehearsed
from persuasion_lib.core.replacing import refuse_other_settings, refuse_to_replace, stages_before
from persuasion_lib.core.runs import described, identity, revision, versions
from persuasion_lib.core.store import write_json


class Manifest(dict[str, Any]):
    """What a finished stage leaves; a notebook shows what was done, and what is left open."""

    def __repr__(self) -> str:
        counts = self["counts"]
        took = (datetime.fromisoformat(self["finished"])
                - datetime.fromisoformat(self["started"])).total_seconds()
        lines = [f"Done: {counts.get('done', 0):,} of {counts.get('planned', 0):,} planned, in "
                 f"{duration(took)}. The manifest has the hashes of what was read "
                 f"({len(self['inputs'])}) and written ({len(self['outputs'])})."]
        lines += [f"{left['count']:,} of {left['of']:,} {what}." for what, left
                  in self["open"].items()]
        return "\n".join([*lines, *(f"Note: {warning}" for warning in self["warnings"])])

    def _repr_html_(self) -> str:
        return prose(repr(self).splitlines())._repr_html_()


@dataclass
class StageRun:
    """A stage in progress: its settings, and the inputs it read, by content hash.

    `without` are outputs that it does not make this time, because the user has no use for them.
    `open` is what it asked for and did not get, by what that is; see `note_open`. `tried` are the
    judges it tried with known answers; `answered_by` counts the models of one judge, if several.
    """

    stage: Stage
    config: Config
    inputs: dict[str, str | None]
    warnings: list[str] = field(default_factory=list)
    without: set[str] = field(default_factory=set)
    open: dict[str, dict[str, Any]] = field(default_factory=dict)
    tried: set[tuple[Any, ...]] = field(default_factory=set)
    answered_by: dict[str, dict[str, int]] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    lock: StageLock | None = None

    @property
    def banner(self) -> str:
        """What stands above every result of a stage that stand-ins had a part in; else ""."""
        return banner_of(self.config, self.stage.name)

    def path(self, name: str) -> Path:
        """The absolute path of a file of the pipeline."""
        return path_of(self.config, name)

    def read(self, name: str) -> Any:
        """The rows of a file of the pipeline, or its one JSON value; it counts as an input.

        Raises:
            MissingInput: it is not there; the message names the notebook that makes it.
            DataError: it is malformed (file:line).
        """
        self.note_input(name)
        return read_file(self.config, name)

    def read_if_there(self, name: str) -> Any:
        """The same; no rows where there is no file, which also counts as what was read."""
        self.note_input(name)
        return read_file(self.config, name) if self.path(name).exists() else []

    def note_input(self, name: str) -> None:
        """Record the content of a file or folder of the pipeline as what this stage read."""
        if name not in self.stage.writes and name not in self.inputs:
            self.inputs[name] = hash_if_there(self.path(name))

    def note_open(self, what: str, why: Mapping[str, int], *, of: int, see: Path) -> None:
        """Record that some of `of` things stay open, so that the next run asks for them again.

        `what` follows their number in a sentence ("pairs have no label yet"), `why` counts them by
        reason, `see` is a file that says more.
        """
        self.open.pop(what, None)       # a cell that runs again has counted again
        if why:
            self.open[what] = {"count": sum(why.values()), "of": of, "why": dict(why),
                               "see": str(see)}

    def finish(self, **counts: Any) -> Manifest:
        """Write the manifest; `counts` are what the stage did, with `planned` and `done`.

        Raises:
            MissingInput: an output is missing, so the stage did not really end.
        """
        absent = [n for n in self.stage.writes
                  if n not in self.without and not self.path(n).exists()]
        if absent:
            raise MissingInput(f"{self.stage.notebook} did not write {', '.join(absent)}. "
                               "Run its cells from the top.")
        manifest = Manifest({
            "format": FORMAT, "stage": self.stage.name, "profile": self.config.profile,
            "rehearsed": rehearsed(self.config, self.stage.name), "run": identity(self.config),
            "started": self.started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "counts": counts, "warnings": list(dict.fromkeys(self.warnings)), "open": self.open,
            "inputs": self.inputs,
            "outputs": hashes(self.config, self.stage.writes), **what_was_read(self.config),
            "code": code_of(self.config, self.stage),
            "revision": revision(self.config.root), "versions": versions(),
        })
        write_json(manifest_path(self.config, self.stage), manifest)
        if self.lock:
            self.lock.give_back()
        return manifest

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def _ipython_display_(self) -> None:
        from IPython.display import Markdown, display

        from persuasion_lib.core.drawing import pipeline  # matplotlib: only where it is shown
        display(pipeline(self.config, self.stage.name), Markdown(self._repr_markdown_()))

    def _repr_markdown_(self) -> str:
        rows = [_file_row(verb, self.path(name), self.config.root)
                for verb, names in (("reads", inputs_of(self.config, self.stage)),
                                    ("writes", self.stage.writes)) for name in names]
        notes = "".join(f"\n\n**Note:** {warning}" for warning in dict.fromkeys(self.warnings))
        above = [f"**{self.banner}**", ""] if self.banner else []
        return "\n".join([*above, f"**{self.stage.notebook}**, profile `{self.config.profile}`", "",
                          described(identity(self.config)), "",
                          "| | file | there |", "|---|---|---|", *rows]) + notes


def _file_row(verb: str, path: Path, root: Path) -> str:
    return f"| {verb} | `{nearby(path, root)}` | {'yes' if path.exists() else 'no'} |"


def start(name: str, profile: str = "demo", overrides: Sequence[str] = ()) -> StageRun:
    """Load the settings and check the inputs of a stage before anything is spent.

    Raises:
        ConfigError: unknown stage, profile or setting.
        MissingInput: an input is missing; the message names the notebook that writes it.
        StaleInput: an input was made with other settings, or changed after it was made.
        PersuasionError: another process is at this stage.
    """
    if name not in STAGES:
        raise ConfigError(f"no stage {name!r}. There are: {', '.join(STAGES)}.")
    config = load_config(profile, overrides)
    stage = STAGES[name]
    if reason := idle(config, name):
        raise MissingInput(f"{stage.notebook} has nothing to do: {reason}. Go on with the next "
                           "notebook.")
    run = StageRun(stage, config, {}, warnings=list(config.notes))
    for key in inputs_of(config, stage):
        if path_of(config, key).exists():
            _check_origin(run, key)
        elif key == "given_evaluation":
            raise MissingInput(f"{path_of(config, key)} is missing. Correct analysis.input_file; a "
                               f"relative path begins at {config.root}.")
        elif key in stage.reads and not never_made(config, key):
            raise MissingInput(f"{path_of(config, key)} is missing. Run "
                               f"{_first_to_run(config, key)} first (profile {profile}).")
        else:
            run.warnings.append(_left_out(config, key))
    refuse_to_replace(config, stage)
    refuse_other_settings(config, stage.notebook, stages_before(config, stage))
    if config.name:
        refuse_another_place(config)
        keep_for_run(config.root, config.name, profile, config.overrides)
    run.lock = StageLock(config, stage)
    run.lock.take()
    run.inputs = hashes(config, inputs_of(config, stage))
    return run


def _first_to_run(config: Config, key: str) -> str:
    """What makes a file, and where to begin if stages before that have not finished either."""
    maker = maker_of(key)
    before = [*STAGES.values()][:[*STAGES.values()].index(maker)] if maker else []
    open_ones = [stage for stage in before if not read_manifest(config, stage.name)
                 and not idle(config, stage.name)]
    return (f"notebooks/{open_ones[0].notebook}.ipynb and those after it" if open_ones
            else made_by(key))


def _left_out(config: Config, key: str) -> str:
    if never_made(config, key):
        return f"{key} is left out: there is nothing in your files to make it of."
    return f"{key} is missing and left out; {made_by(key)} makes it."


def _to_copy(config: Config, manifest: Mapping[str, Any]) -> str:
    """The overrides that a stage before was run with, for who wants to go on from its results."""
    keys = [str(reason).partition(" ")[0] for reason in changed_reads(config, manifest)
            if reason.kind == "setting"]
    copied = [f"{key}={manifest['settings'][key]}" for key in keys if key in manifest["settings"]]
    return f"; or give this one the same settings: overrides = {copied}" if copied else ""


def _check_origin(run: StageRun, key: str) -> None:
    """Refuse an input whose maker would now make something else.

    A file that no stage of ours made has no manifest: it is the user's own and is used as it is.
    """
    maker = maker_of(key)
    manifest = read_manifest(run.config, maker.name) if maker else None
    if maker is None or manifest is None:
        run.warnings.append(f"{key} was not made by this project's notebooks; used as it is.")
        return
    reasons = [r for r in state(run.config, maker.name)[1] if r.kind != "output"]
    changed = [r.text for r in reasons if r.kind not in ("code", "open")]
    if content_hash(path_of(run.config, key)) != manifest["outputs"].get(key):
        changed.append(f"{key} was changed after it was made")
    if changed:
        raise StaleInput(f"{path_of(run.config, key)} is not what {made_by(key)} would make now: "
                         f"{'; '.join(changed)}. Run that notebook again, or undo the change"
                         f"{_to_copy(run.config, manifest)}.")
    found = {"code": f"{maker.notebook} ran with other code", "open": f"{maker.notebook} is not "
             "complete, and what is there is used"}
    run.warnings += [f"{found[r.kind]}: {r.text}." for r in reasons]
