"""The seven stages: which files each reads and writes, and whether its results are still true.

Files are the only interface between stages. When a stage ends it leaves a manifest with the
hashes of what it read, wrote and ran with; from that alone `state` decides what must run again.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import ConfigError, MissingInput, StaleInput
from persuasion_lib.core.records import content_id
from persuasion_lib.core.store import file_hash, read_json, write_json

# {data}, {models}, {results} are the folders of the settings. A trial (see `is_trial`) writes what
# it derives below `trial/` instead, and the analysis of a file from elsewhere below `given/`; what
# was paid for or trained stays in one place, {records}.
FILES = {
    "base": "{models}/checkpoints/base",
    "sft_train": "{data}/processed/sft_train.jsonl",
    "sft_val": "{data}/processed/sft_val.jsonl",
    "ai_pool_prompts": "{data}/preferences/ai_pool_prompts.jsonl",
    "human_pool_prompts": "{data}/preferences/human_pool_prompts.jsonl",
    "ai_pool_responses": "{data}/preferences/ai_pool_responses.jsonl",
    "human_pool_responses": "{data}/preferences/human_pool_responses.jsonl",
    "pool_generations": "{data}/preferences/pool_generations.jsonl",
    "pool_samples": "{data}/preferences/pool_samples.jsonl",
    "prepare_report": "{data}/processed/prepare_report.txt",
    "ai_pool_labeled": "{labels}/ai_pool_labeled.jsonl",
    "ai_judgments": "{data}/preferences/ai_judgments.jsonl",
    "human_pool_judged": "{labels}/human_pool_judged.jsonl",
    "human_pool_judgments": "{data}/preferences/human_pool_judgments.jsonl",
    "human_pool_labeled": "{data}/preferences/human_pool_labeled.jsonl",
    "human_events": "{data}/preferences/human_events.{annotator}.jsonl",
    "rlaif_train": "{labels}/rlaif_train.jsonl",
    "rlaif_val": "{labels}/rlaif_val.jsonl",
    "rlhf_train": "{labels}/rlhf_train.jsonl",
    "rlhf_val": "{labels}/rlhf_val.jsonl",
    "validation_report": "{labels}/validation_report.txt",
    "judge_agreement": "{labels}/judge_agreement.json",
    "sft": "{models}/checkpoints/qwen-sft/final",
    "rlaif": "{dpo}/qwen-rlaif/final",
    "rlhf": "{dpo}/qwen-rlhf/final",
    "rlaif_rlhf": "{dpo}/qwen-rlaif-rlhf/final",
    "reference_logps": "{models}/checkpoints/reference_logps.jsonl",
    "evaluation": "{results}/final_evaluation.json",
    "generations": "{records}/generations.jsonl",
    "oracle_judgments": "{records}/oracle_judgments.jsonl",
    "embeddings": "{records}/embeddings.jsonl",
    "rank_judgments": "{records}/rank_judgments.jsonl",
    "tactics_judgments": "{records}/tactics_judgments.jsonl",
    "given_evaluation": "{given}",
    "analysis": "{analysis}/analysis.json",
    "report": "{analysis}/analysis_report.txt",
    "report_html": "{analysis}/report.html",
    "qualitative": "{analysis}/qualitative_examples.txt",
    "figures": "{analysis}/figures",
    "manifests": "{records}/manifests",
    "notebooks": "{analysis}/notebooks",
}


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline = one notebook = one module.

    `reads` and `writes` are keys of FILES, `sections` the settings that change the outcome.
    `optional` inputs may be absent: the stage says so and goes on without them. `prompts` are files
    of configs/prompts that judges or people are shown.
    """

    name: str
    number: int
    writes: tuple[str, ...]
    sections: tuple[str, ...]
    reads: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    @property
    def notebook(self) -> str:
        """The file name of the notebook without its ending."""
        return f"{self.number:02d}_{self.name}"


_TRAINED = ("rlhf", "rlaif", "rlaif_rlhf")
STAGES = {stage.name: stage for stage in (
    Stage("prepare", 0, sections=("seed", "model", "data", "demo_model", "sft", "lora",
                                  "training", "pairs"),
          writes=("sft_train", "sft_val", "test", "ai_pool_prompts", "human_pool_prompts", "sft",
                  "ai_pool_responses", "human_pool_responses", "prepare_report")),
    Stage("label_ai", 1, sections=("seed", "label_ai", "anthropic", "openai"),
          reads=("ai_pool_responses",), optional=("human_pool_responses",),
          writes=("ai_pool_labeled", "human_pool_judged"), prompts=("compare.txt",)),
    Stage("label_human", 2, sections=("seed", "label_human"),
          reads=("human_pool_responses",), writes=("human_pool_labeled",),
          prompts=("label_guidelines.md",)),
    Stage("validate", 3, sections=("seed", "validate"),
          reads=("ai_pool_labeled", "human_pool_labeled"), optional=("human_pool_judged",),
          writes=("rlaif_train", "rlaif_val", "rlhf_train", "rlhf_val", "validation_report",
                  "judge_agreement")),
    Stage("train_dpo", 4, sections=("seed", "model", "lora", "training", "dpo", "rlaif",
                                    "rlhf", "rlaif_to_rlhf"),
          reads=("rlaif_train", "rlaif_val", "rlhf_train", "rlhf_val", "sft"), writes=_TRAINED),
    Stage("evaluate", 5, sections=("seed", "model", "generation", "oracle", "similarity",
                                   "safety", "evaluation", "anthropic", "openai"),
          reads=("test", "sft"), optional=(*_TRAINED, "ai_pool_labeled", "human_pool_labeled"),
          writes=("evaluation",), prompts=("compare.txt", "oracle.txt", "rank.txt", "tactics.txt")),
    Stage("analysis", 6, sections=("seed", "analysis", "evaluation"), reads=("evaluation",),
          writes=("analysis", "report", "report_html", "qualitative", "figures")),
)}


def path_of(config: Config, name: str) -> Path:
    """The absolute path of a file or folder of the pipeline (a key of FILES, or "test")."""
    template = config.evaluation.test_file if name == "test" else FILES[name]
    data, models, results = (config.folder(kind) for kind in ("data", "models", "results"))
    labels, evaluation, analysis = (_apart(config, STAGES[name]) for name in (
        "label_ai", "evaluate", "analysis"))
    path = template.format(
        data=data, models=models, results=results / evaluation, records=results,
        labels=data / "preferences" / labels, dpo=models / "checkpoints" / labels,
        annotator=config.label_human.annotator, analysis=results / analysis,
        given=config.analysis.input_file)
    return (config.root / path).resolve()


def _apart(config: Config, stage: Stage) -> str:
    """The folder below the results for what must not replace the project's own; "" for the own."""
    if stage.name == "analysis" and config.analysis.input_file:
        given = Path(config.analysis.input_file)
        return f"given/{given.stem}-{content_id(str((config.root / given).resolve()), length=8)}"
    return "trial" if is_trial(config, stage) else ""


def inputs_of(config: Config, stage: Stage) -> tuple[str, ...]:
    """What a stage reads; an analysis of a file from elsewhere needs that file and nothing else."""
    if stage.name == "analysis" and config.analysis.input_file:
        return ("given_evaluation",)
    return stage.reads + stage.optional


def is_trial(config: Config, stage: Stage) -> bool:
    """Whether a stage works on a part only (`max_examples`), or on the outcome of such a stage."""
    if config.label_ai.max_examples is not None and stage.name not in ("prepare", "label_human"):
        return True
    return config.evaluation.max_examples is not None and stage.name in ("evaluate", "analysis")


def made_by(name: str) -> str:
    """Where to get a missing file from, for error messages."""
    if name == "given_evaluation":
        return "the program that wrote it"
    maker = _maker(name)
    return f"notebooks/{maker.notebook}.ipynb" if maker else "the stage before"


def _maker(name: str) -> Stage | None:
    return next((stage for stage in STAGES.values() if name in stage.writes), None)


def content_hash(path: Path) -> str:
    """sha256 of a file, or of the names and contents of all files below a folder."""
    if path.is_file():
        return file_hash(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {file_hash(file)}\n".encode())
    return digest.hexdigest()


def _manifest_path(config: Config, stage: Stage) -> Path:
    name = ".".join(filter(None, (stage.notebook, _apart(config, stage).replace("/", "-"))))
    return path_of(config, "manifests") / f"{name}.json"


def read_manifest(config: Config, name: str) -> dict[str, Any] | None:
    """The manifest of a stage's last complete run, None if there was none."""
    stage = STAGES[name]
    path = _manifest_path(config, stage)
    return read_json(path, made_by=f"{stage.notebook}.ipynb") if path.exists() else None


def settings_of(config: Config, stage: Stage) -> dict[str, Any]:
    """The settings that a stage's outcome depends on, flat."""
    values: dict[str, Any] = {}
    for section in stage.sections:
        values |= config.section(section)
    if stage.name == "prepare" and config.data.path:
        # A corpus is the user's own file: it has no manifest, so its content is a setting here.
        corpus = config.root / config.data.path
        values["data.path content"] = content_hash(corpus) if corpus.exists() else "missing"
    if stage.name == "analysis":
        files = {name: config.root / name for name in config.analysis.training_files}
        values["analysis.training_files content"] = {
            name: content_hash(file) for name, file in files.items() if file.exists()}
        values["data.max_shared_passages"] = config.data.max_shared_passages
    for prompt in stage.prompts:
        file = config.root / "configs" / "prompts" / prompt
        values[f"configs/prompts/{prompt} content"] = (
            content_hash(file) if file.exists() else "missing")
    return json.loads(json.dumps(values, default=str))


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
    tree = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
    seen[module] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("persuasion_lib"):
            _follow(node.module, seen)
            for alias in node.names:
                _follow(f"{node.module}.{alias.name}", seen)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree


def _hashes(config: Config, names: Sequence[str]) -> dict[str, str]:
    return {name: content_hash(path_of(config, name)) for name in names
            if path_of(config, name).exists()}


def state(config: Config, name: str) -> tuple[str, list[str]]:
    """("done" | "stale" | "missing", reasons) of a stage: would a run now give something else?"""
    stage = STAGES[name]
    manifest = read_manifest(config, name)
    if manifest is None:
        return "missing", ["never finished"]
    reasons = [f"{key} was {_brief(old)}, is {_brief(new)}" for key, old, new in
               _differences(manifest["settings"], settings_of(config, stage))]
    reasons += [f"input {key} changed" for key, _, _ in _differences(
        manifest["inputs"], _hashes(config, inputs_of(config, stage)))]
    reasons += [f"output {key} changed or missing" for key, _, _ in _differences(
        manifest["outputs"], _hashes(config, stage.writes))]
    reasons += [f"code of {key} changed" for key, _, _ in
                _differences(manifest["code"], code_of(config, stage))]
    return ("stale", reasons) if reasons else ("done", [])


def conditions(config: Config) -> dict[str, tuple[str, list[str]]]:
    """`state` of every stage; one that is done is stale if a stage that it reads from is not."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, stage in STAGES.items():
        condition, reasons = state(config, name)
        makers = {_maker(key) for key in inputs_of(config, stage)} - {None}
        before = sorted(m.notebook for m in makers if found[m.name][0] != "done")
        if condition == "done" and before:
            condition, reasons = "stale", [f"{', '.join(before)} will run again"]
        found[name] = condition, reasons
    return found


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)]


def _brief(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"


@dataclass
class StageRun:
    """A stage in progress: its settings, and the inputs it began with.

    `without` are outputs that it does not make this time, because the user has no use for them.
    """

    stage: Stage
    config: Config
    inputs: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    without: set[str] = field(default_factory=set)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def path(self, name: str) -> Path:
        """The absolute path of a file of the pipeline."""
        return path_of(self.config, name)

    def finish(self, **counts: Any) -> dict[str, Any]:
        """Write the manifest; `counts` are what the stage did, with `planned` and `done`.

        Raises:
            MissingInput: an output is missing, so the stage did not really end.
        """
        absent = [n for n in self.stage.writes
                  if n not in self.without and not self.path(n).exists()]
        if absent:
            raise MissingInput(f"{self.stage.notebook} did not write {', '.join(absent)}. "
                               "Run its cells from the top.")
        manifest = {
            "stage": self.stage.name, "profile": self.config.profile,
            "started": self.started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "counts": counts, "warnings": self.warnings, "inputs": self.inputs,
            "outputs": _hashes(self.config, self.stage.writes),
            "settings": settings_of(self.config, self.stage),
            "code": code_of(self.config, self.stage),
            "revision": _revision(self.config.root), "versions": _versions(),
        }
        write_json(_manifest_path(self.config, self.stage), manifest)
        return manifest

    def _repr_markdown_(self) -> str:
        rows = [f"| {verb} | `{self.path(name)}` | {'yes' if self.path(name).exists() else 'no'} |"
                for verb, names in (("reads", inputs_of(self.config, self.stage)),
                                    ("writes", self.stage.writes)) for name in names]
        notes = "".join(f"\n\n**Note:** {warning}" for warning in self.warnings)
        return "\n".join([f"**{self.stage.notebook}**, profile `{self.config.profile}`", "",
                          "| | file | there |", "|---|---|---|", *rows]) + notes


def start(name: str, profile: str = "demo", overrides: Sequence[str] = ()) -> StageRun:
    """Load the settings and check the inputs of a stage before anything is spent.

    Raises:
        ConfigError: unknown stage, profile or setting.
        MissingInput: an input is missing; the message names the notebook that writes it.
        StaleInput: an input was made with other settings, or changed after it was made.
    """
    if name not in STAGES:
        raise ConfigError(f"no stage {name!r}. There are: {', '.join(STAGES)}.")
    config, stage = load_config(profile, overrides), STAGES[name]
    run = StageRun(stage, config, {})
    for key in inputs_of(config, stage):
        if path_of(config, key).exists():
            _check_origin(run, key)
        elif key == "given_evaluation":
            raise MissingInput(f"{path_of(config, key)} is missing. Correct analysis.input_file; a "
                               f"relative path begins at {config.root}.")
        elif key in stage.reads:
            raise MissingInput(f"{path_of(config, key)} is missing. Run {made_by(key)} first "
                               f"(profile {profile}).")
        else:
            run.warnings.append(f"{key} is missing and left out; {made_by(key)} makes it.")
    run.inputs = _hashes(config, inputs_of(config, stage))
    return run


def _check_origin(run: StageRun, key: str) -> None:
    """Refuse an input whose maker would now make something else.

    A file that no stage of ours made has no manifest: it is the user's own and is used as it is.
    """
    maker = _maker(key)
    manifest = read_manifest(run.config, maker.name) if maker else None
    if maker is None or manifest is None:
        run.warnings.append(f"{key} was not made by this project's notebooks; used as it is.")
        return
    reasons = [r for r in state(run.config, maker.name)[1] if not r.startswith("output")]
    changed = [r for r in reasons if not r.startswith("code")]
    if content_hash(path_of(run.config, key)) != manifest["outputs"].get(key):
        changed.append(f"{key} was changed after it was made")
    if changed:
        raise StaleInput(f"{path_of(run.config, key)} is not what {made_by(key)} would make now: "
                         f"{'; '.join(changed)}. Run that notebook again, or undo the change.")
    run.warnings += [f"{maker.notebook} ran with other code: {r}." for r in reasons]


def _revision(root: Path) -> str:
    try:
        result = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"],
                                capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return result.stdout.strip() or "unknown"


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "trl", "peft", "datasets", "scipy", "statsmodels")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in names}
