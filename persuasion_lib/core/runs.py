"""What a result is a result of: its run, day, revision and settings; and all runs of a project."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.manifest import manifest_in, open_items, read_manifest
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.store import read_json

_SAYS_WHICH = ("name", "replace", "paths.data", "paths.models", "paths.results")


def identity(config: Config) -> dict[str, Any]:
    """Name, profile, day, revision, and the settings that differ from the profile."""
    return {"name": config.name, "profile": config.profile, "day": date.today().isoformat(),
            "revision": revision(config.root), "settings": differing(config),
            "versions": versions()}


def differing(config: Config) -> dict[str, Any]:
    """The settings that are not those of the profile alone."""
    plain = load_config(config.profile, root=config.root).flat()
    return {key: value for key, value in config.flat().items()
            if key not in _SAYS_WHICH and value != plain.get(key)}


def described(run: Mapping[str, Any] | None) -> str:
    """An identity as a sentence; "" where there is none."""
    if not run:
        return ""
    name = f"Run {run['name']} of the" if run["name"] else "The"
    settings = ", ".join(f"{key} = {shown(value)}" for key, value in run["settings"].items())
    return (f"{name} profile {run['profile']}, {run['day']}, revision {run['revision']}; "
            f"{f'settings of its own: {settings}' if settings else 'no setting differs from it'}.")


def so_far(config: Config) -> dict[str, dict[str, Any]]:
    """Of every finished stage what it planned and did, its minutes, and its dollars where known."""
    found = {}
    for name in STAGES:
        if manifest := read_manifest(config, name):
            began, ended = (datetime.fromisoformat(manifest[key])
                            for key in ("started", "finished"))
            counts = manifest["counts"]
            found[name] = {"planned": counts.get("planned"), "done": counts.get("done"),
                           "minutes": round((ended - began).total_seconds() / 60, 1),
                           "usd": (counts.get("ledger") or {}).get("usd")}
    return found


def summed(stages: Mapping[str, Mapping[str, Any]] | None) -> str:
    """The same as a sentence; "" where nothing is known."""
    if not stages:
        return ""
    parts = [f"{STAGES[name].notebook} {row['done']} of {row['planned']}"
             for name, row in stages.items() if name in STAGES]
    minutes = sum(row["minutes"] for row in stages.values())
    dollars = sum(row["usd"] or 0 for row in stages.values())
    return (f"Done of planned: {', '.join(parts)}; {minutes:.0f} min, {dollars:.2f} dollars "
            "for labels.")


def shown(value: Any) -> str:
    """A setting's value without the path of anybody's machine."""
    is_path = isinstance(value, str) and Path(value).expanduser().is_absolute()
    return f"…/{Path(value).name}" if is_path else str(value)


def settings_shown(config: Config, keys: Sequence[str] = ()) -> list[str]:
    """A line for each setting, or those of `keys` and sections: its value and where it is from.

    Raises:
        ConfigError: there is no such setting.
    """
    values = config.flat()
    wanted = keys or list(values)
    found = {key: value for key, value in values.items()
             if any(key == name or key.startswith(f"{name}.") for name in wanted)}
    if not found:
        raise ConfigError(f"there is no setting {', '.join(wanted)}. `persuasion show-config` "
                          "lists all.")
    places = {key: config.place_of(key).removeprefix(f"{config.root}/") for key in found}
    return [f"{key} = {'null' if value is None else value}    ({places[key] or 'default'})"
            for key, value in found.items()]


def all_runs(config: Config) -> list[dict[str, str]]:
    """Every run with a manifest below the results of the project, the newest first.

    The cells of a study are one row.
    """
    places = {config.root / "results", config.folder("results")}
    folders = {path.parent for place in places for path in place.glob("**/manifests")}
    found = []
    for folder in folders:
        kinds: dict[str, list[Path]] = {}
        for path in folder.glob("manifests/*.json"):
            kinds.setdefault(path.stem.partition(".")[2], []).append(path)
        found += [_run_of(config, folder, kind, paths) for kind, paths in kinds.items()]
    found = [*_studies(config, found)]
    return sorted(found, key=lambda row: row["finished"], reverse=True)


def _studies(config: Config, rows: Sequence[dict[str, str]]) -> Iterator[dict[str, str]]:
    """The same rows with one in the place of all cells of a study: what it plans and found."""
    cells: dict[Path, list[dict[str, str]]] = {}
    for row in rows:
        folder = config.root / "results" / row["run"]
        # A run's name has no dot, that of a study's cell begins with the study's and one.
        study = folder.parent.parent / "studies" / folder.name.partition(".")[0]
        if "." in folder.name and study.is_dir():
            cells.setdefault(study, []).append(row)
        else:
            yield row
    for study, of_it in cells.items():
        file = study / "study.json"
        read = read_json(file, made_by="persuasion study") if file.exists() else {}
        found = read if isinstance(read, dict) else {}      # 07 writes it anew
        headline, *_ = found.get("sentences") or ["–" if found else "no study.json yet"]
        name = Path(of_it[0]["run"]).parent.parent / "studies" / study.name
        yield {"run": str(name), "finished": max(row["finished"] for row in of_it),
               "differs": f"by cell, {len(of_it)} so far",
               "state": "complete" if found else "begun", "headline": headline}


def _run_of(config: Config, folder: Path, kind: str, paths: list[Path]) -> dict[str, str]:
    """One line: the manifests of a folder whose names have one ending, such as `trial`."""
    found = [{"finished": "", **manifest_in(path, made_by="persuasion run")} for path in paths]
    manifests = sorted(found, key=lambda manifest: str(manifest.get("stage")))
    last = max(manifests, key=lambda manifest: manifest["finished"])
    # As `manifest_name` wrote it; the file's name in given/NAME may have hyphens of its own.
    place = folder / kind.replace("-", "/", -1 if kind.startswith("trial") else 1)
    settings = ", ".join(f"{key}={value}" for key, value in _of_its_stages(manifests).items())
    name = folder.relative_to(config.root / "results") if folder.is_relative_to(
        config.root / "results") else folder
    return {"run": f"{name}{f' ({kind})' if kind else ''}", "finished": last["finished"],
            "differs": settings or "–", "state": _state(manifests), "headline": _headline(place)}


def _of_its_stages(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """The settings of a run's own that one of its stages has read, as the last of those had them.

    Others had no part: a study runs 00 to 03 for its cells, under settings that are for 04 and 05.
    """
    found: dict[str, Any] = {}
    for manifest in sorted(manifests, key=lambda each: each["finished"]):
        said = (manifest.get("run") or {}).get("settings") or {}
        read = manifest.get("settings") or {}
        found = {key: value for key, value in found.items() if key not in read}
        found |= {key: value for key, value in said.items() if key in read}
    return found


def _state(manifests: list[dict[str, Any]]) -> str:
    stages = [name for name in STAGES if name in {m.get("stage") for m in manifests}]
    is_open = any(open_items(manifest) for manifest in manifests)
    last = STAGES[stages[-1]].notebook if stages else "?"
    reached = "complete" if last == "06_analysis" else f"until {last}"
    return f"{reached}, open" if is_open else reached


def _headline(folder: Path) -> str:
    path = folder / "analysis.json"
    if not path.exists():
        return "no report yet"
    result = read_json(path, made_by="notebooks/06_analysis.ipynb")
    sentences = result["answer"]["sentences"]
    return next((text for text in sentences if text != result.get("banner")), "–")


def revision(root: Path) -> str:
    """The commit of the project, with "-dirty" where it was changed since."""
    try:
        result = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"],
                                capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return result.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Of Python and of the libraries on which results depend."""
    names = ("torch", "transformers", "trl", "peft", "datasets", "scipy", "statsmodels")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in names}
