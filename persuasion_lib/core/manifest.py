"""What a stage ran with, and whether its results are still true.

When a stage ends it leaves a manifest: the hashes of what it read, wrote and ran with, and the
values of the settings that it really read. From that alone `state` decides what must run again.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.named import plain
from persuasion_lib.core.pipeline import (
    STAGES,
    Stage,
    folder_of,
    inputs_of,
    maker_of,
    manifest_name,
    path_of,
)
from persuasion_lib.core.store import file_hash, read_json
from persuasion_lib.core.weights import BASE, hash_since, weights_hash, weights_stamp

FORMAT = 2      # 1 stored the settings of hand-written lists of sections


@dataclass(frozen=True)
class Reason:
    """Why a stage's result is not what a run now would give."""

    kind: Literal["missing", "format", "setting", "prompt", "file", "input", "output", "code",
                  "before", "open", "idle"]
    text: str

    def __str__(self) -> str:
        return self.text


State = tuple[Literal["done", "stale", "missing", "idle"], list[Reason]]


def manifest_path(config: Config, stage: Stage) -> Path:
    """Where the manifest of a stage is, beside those of the run that its results belong to."""
    folder = folder_of(config, "results", stage.name)
    return folder / "manifests" / manifest_name(config, stage)


def read_manifest(config: Config, name: str) -> dict[str, Any] | None:
    """The manifest of a stage's last complete run, None if there was none."""
    stage = STAGES[name]
    path = manifest_path(config, stage)
    return manifest_in(path, made_by=f"{stage.notebook}.ipynb") if path.exists() else None


def manifest_in(path: Path, *, made_by: str) -> dict[str, Any]:
    """A manifest; DataError where it is not even an object with fields."""
    value = read_json(path, made_by=made_by)
    if not isinstance(value, dict) or not value:
        raise DataError(f"{path} is {value!r:.40}, no manifest. Delete it; run {made_by} again.")
    return value


def open_items(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What a stage asked for and did not get, such as "3 pairs have no label", and more of it."""
    return {f"{found['count']} {what}": f"{found['count']} of {found['of']} {what} "
            f"({_counted(found['why'])}; see {found['see']}). Run again to ask once more."
            for what, found in manifest.get("open", {}).items()}


def notes_of(manifest: Mapping[str, Any]) -> list[str]:
    """All that a stage's last run has to say of itself: what is open, and its warnings, once."""
    return list(dict.fromkeys([*open_items(manifest).values(), *manifest.get("warnings", ())]))


def _counted(why: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in why.items())


def what_was_read(config: Config) -> dict[str, Any]:
    """The values of the settings, and the hashes of prompts and files, that were read so far."""
    reads = config.reads
    return {"settings": {key: plain(config.peek(key)) for key in sorted(reads.settings)},
            "prompts": {name: _hash_of_prompt(config, name) for name in sorted(reads.prompts)},
            # Before the hash, so that what changes in between is looked into again.
            "stamp": weights_stamp(config) if BASE in reads.files else None,
            "files": {key: _hash_of_named(config, key) for key in sorted(reads.files)}}


def _hash_of_prompt(config: Config, name: str) -> str | None:
    path = config.root / "configs" / "prompts" / name
    return file_hash(path) if path.exists() else None


def _hash_of_named(config: Config, key: str) -> Any:
    """The content of the file or folder that a setting names; of a list, by what is written."""
    if key == BASE:
        return weights_hash(config)
    value = config.peek(key)
    if isinstance(value, list):
        return {text: hash_if_there(config.user_path(text, key)) for text in value}
    return hash_if_there(config.user_path(value, key)) if value else None


def content_hash(path: Path) -> str:
    """sha256 of a file, or of the names and contents of all files below a folder."""
    if path.is_file():
        return file_hash(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {file_hash(file)}\n".encode())
    return digest.hexdigest()


def hash_if_there(path: Path) -> str | None:
    """`content_hash`, None for what is not there."""
    return content_hash(path) if path.exists() else None


def hashes(config: Config, names: Iterable[str]) -> dict[str, str | None]:
    """`hash_if_there` of files of the pipeline."""
    return {name: hash_if_there(path_of(config, name)) for name in names}


def code_of(config: Config, stage: Stage) -> dict[str, str]:
    """Hash per source file that a stage runs: its notebook, its module and all their imports.

    Comments, docstrings and layout do not count, so that a better sentence retrains nothing.
    """
    modules: dict[str, str] = {}
    _follow(f"persuasion_lib.{stage.name}", modules)
    notebook = config.root / "notebooks" / f"{stage.notebook}.ipynb"
    if notebook.exists():
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"
                           and "parameters" not in c["metadata"].get("tags", []))
        modules[f"notebooks/{notebook.name}"] = hashlib.sha256(source.encode()).hexdigest()
    return modules


def _follow(module: str, seen: dict[str, str]) -> None:
    path = Path(__file__).parents[2] / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not path.exists():
        return
    for data in (p for p in path.parent.iterdir() if p.suffix in (".yaml", ".j2")):
        seen[f"persuasion_lib/{path.parent.name}/{data.name}"] = file_hash(data)
    seen[module], imported = _source(path, path.stat().st_mtime_ns)
    for name in imported:
        _follow(name, seen)


@cache
def _source(path: Path, changed_ns: int) -> tuple[str, tuple[str, ...]]:
    """Hash of a module, and what of this library it imports; `changed_ns` tells versions apart."""
    tree = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    ours = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("persuasion_lib")]
    return digest, tuple(name for node in ours for name in (
        node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree


def never_made(config: Config, name: str) -> bool:
    """Whether the stage before has ended without this file, as the user's own files lack its pool.

    Then nobody can be sent there to make it.
    """
    maker = maker_of(name)
    if maker is None or path_of(config, name).exists():
        return False
    manifest = read_manifest(config, maker.name)
    if manifest is None:
        return bool(idle(config, maker.name))
    return manifest["outputs"].get(name) is None


def idle(config: Config, name: str) -> str:
    """Why a stage has nothing to do; "" where it has."""
    stage = STAGES[name]
    if not stage.work or inputs_of(config, stage) == ("given_evaluation",):
        return ""
    if not all(never_made(config, key) for key in stage.work):
        return ""
    return f"your files hold nothing for it: no {' and no '.join(stage.work)}"


def state(config: Config, name: str) -> State:
    """(condition, reasons) of a stage: would a run now give something else?

    The condition is done, stale, missing, or idle where there is nothing to do.
    """
    stage = STAGES[name]
    if reason := idle(config, name):
        return "idle", [Reason("idle", reason)]
    manifest = read_manifest(config, name)
    if manifest is None:
        return "missing", [Reason("missing", "never finished")]
    if manifest.get("format") != FORMAT:
        return "stale", [Reason("format", "its manifest is of an earlier version, which did not "
                                "record what the stage read")]
    reasons = [*changed_reads(config, manifest), *_changed_files(config, stage, manifest)]
    reasons += _changed_code(_differences(manifest["code"], code_of(config, stage)))
    reasons += [Reason("open", text) for text in open_items(manifest)]
    return ("stale", reasons) if reasons else ("done", [])


def _changed_code(differences: Iterable[tuple[str, Any, Any]]) -> list[Reason]:
    """One reason, however many modules a newer version has changed."""
    names = [key for key, _, _ in differences]
    if not names:
        return []
    more = f" and of {len(names) - 3} modules more" if len(names) > 3 else ""
    return [Reason("code", f"code of {', '.join(names[:3])}{more} changed")]


def changed_reads(config: Config, manifest: Mapping[str, Any]) -> list[Reason]:
    """What a run read of its settings, prompts and named files, and finds otherwise now."""
    settings = {key: plain(config.peek(key)) for key in manifest["settings"]}
    prompts = {name: _hash_of_prompt(config, name) for name in manifest["prompts"]}
    files = {key: hash_since(config, old, manifest.get("stamp")) if key == BASE
             else _hash_of_named(config, key) for key, old in manifest["files"].items()}
    found = [Reason("setting", f"{key} was {_brief(old)}, is {_brief(new)}")
             for key, old, new in _differences(manifest["settings"], settings)]
    found += [Reason("prompt", f"configs/prompts/{name} changed")
              for name, _, _ in _differences(manifest["prompts"], prompts)]
    found += [Reason("file", f"content of {key} changed")
              for key, _, _ in _differences(manifest["files"], files)]
    return found


def _changed_files(config: Config, stage: Stage, manifest: Mapping[str, Any]) -> list[Reason]:
    read = dict.fromkeys((*inputs_of(config, stage), *manifest["inputs"]))
    found = [Reason("input", f"input {key} changed")
             for key, _, _ in _differences(manifest["inputs"], hashes(config, read))]
    return found + [Reason("output", f"output {key} changed or missing") for key, _, _ in
                    _differences(manifest["outputs"], hashes(config, stage.writes))]


def conditions(config: Config) -> dict[str, State]:
    """`state` of every stage; one that is done is stale if a stage that it reads from is not.

    What is open elsewhere makes no stage stale: it used what was there.
    """
    found: dict[str, State] = {}
    for name, stage in STAGES.items():
        condition, reasons = state(config, name)
        makers = {maker_of(key) for key in inputs_of(config, stage)} - {None}
        before = sorted(m.notebook for m in makers if will_change(found[m.name]))
        if condition == "done" and before:
            condition = "stale"
            reasons = [Reason("before", f"{', '.join(before)} will run again")]
        found[name] = condition, reasons
    return found


def will_change(found: State) -> bool:
    """Whether a stage is more than open: what was made of its results is out of date, too."""
    condition, reasons = found
    return condition in ("stale", "missing") and any(reason.kind != "open" for reason in reasons)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)]


def _brief(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
