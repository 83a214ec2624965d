"""The eight stages and the files between them: where each file is, how it is read, who makes it.

Files are the only interface between stages.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from persuasion_lib.core.config import Config
from persuasion_lib.core.family import FAMILY, PREFERENCE_TRAINED, trainings
from persuasion_lib.core.named import is_own, of_run
from persuasion_lib.core.rankings import parse_comparison
from persuasion_lib.core.records import content_id, parse_example, parse_labeled, parse_pair
from persuasion_lib.core.rehearsal import rehearsed
from persuasion_lib.core.store import read_json, read_jsonl


@dataclass(frozen=True)
class File:
    """A file or folder of the pipeline.

    `{data}`, `{models}` and `{records}` in `place` are the folders of the settings. A trial and a
    rehearsal (see `apart`) write what they derive below `trial/` instead ({ai_labels},
    {human_labels}, {labels}, {dpo}, {evaluation}, {analysis}), and the analysis of a file from
    elsewhere below `given/`. Logs stay in one place: their rows are found by who was asked what.
    `parse` reads a row; a `.json` file is read whole.
    """

    place: str
    parse: Callable[[dict[str, Any]], Any] | None = None


@dataclass(frozen=True)
class Pool:
    """The files of one pool of pairs, as names of FILES.

    `judged` holds what the AI judge says: of the AI pool these are the labels, of the human pool
    they train nothing. `trains` is the model that learns from the labels alone.
    """

    prompts: str
    responses: str
    judgments: str
    judged: str
    labels: str
    trains: str


POOLS = {
    "ai_pool": Pool(
        prompts="ai_pool_prompts", responses="ai_pool_responses", judgments="ai_judgments",
        judged="ai_pool_labeled", labels="ai_pool_labeled", trains="rlaif"),
    "human_pool": Pool(
        prompts="human_pool_prompts", responses="human_pool_responses",
        judgments="human_pool_judgments", judged="human_pool_judged",
        labels="human_pool_labeled", trains="rlhf")}

FILES = {
    "base": File("{models}/checkpoints/base"),           # the demo's
    "unpacked": File("{models}/checkpoints/unpacked"),   # of a file of llama.cpp
    "embedder": File("{embedder}"),                      # of similarity.embedder=local
    "sft_train": File("{data}/processed/sft_train.jsonl", parse_example),
    "sft_val": File("{data}/processed/sft_val.jsonl", parse_example),
    "test": File("{test}", parse_example),
    "ai_pool_prompts": File("{data}/preferences/ai_pool_prompts.jsonl", parse_example),
    "human_pool_prompts": File("{data}/preferences/human_pool_prompts.jsonl", parse_example),
    "ai_pool_responses": File("{data}/preferences/ai_pool_responses.jsonl", parse_pair),
    "human_pool_responses": File("{data}/preferences/human_pool_responses.jsonl", parse_pair),
    "pool_generations": File("{data}/preferences/pool_generations.jsonl"),
    "pool_samples": File("{data}/preferences/pool_samples.jsonl"),
    "prepare_report": File("{data}/processed/prepare_report.txt"),
    "ai_pool_labeled": File("{ai_labels}/ai_pool_labeled.jsonl", parse_labeled),
    "ai_judgments": File("{data}/preferences/ai_judgments.jsonl"),
    "judge_checks": File("{data}/preferences/judge_checks.jsonl"),
    "human_pool_judged": File("{ai_labels}/human_pool_judged.jsonl", parse_labeled),
    "human_pool_judgments": File("{data}/preferences/human_pool_judgments.jsonl"),
    "human_pool_labeled": File("{human_labels}/human_pool_labeled.jsonl", parse_labeled),
    "human_events": File("{data}/preferences/human_events.{annotator}.jsonl"),
    "adjudications": File("{data}/preferences/human_adjudications.jsonl"),
    "rlaif_train": File("{labels}/rlaif_train.jsonl", parse_labeled),
    "rlaif_val": File("{labels}/rlaif_val.jsonl", parse_labeled),
    "rlhf_train": File("{labels}/rlhf_train.jsonl", parse_labeled),
    "rlhf_val": File("{labels}/rlhf_val.jsonl", parse_labeled),
    "validation_report": File("{labels}/validation_report.txt"),
    "judge_agreement": File("{labels}/judge_agreement.json"),
    "minds_judged": File("{labels}/minds_judged.jsonl", parse_labeled),
    "minds_judgments": File("{data}/preferences/minds_judgments.jsonl"),
    "sft": File(f"{{models}}/checkpoints/{FAMILY['sft'].folder}/final"),
    **{name: File(f"{{dpo}}/{FAMILY[name].folder}/final") for name in PREFERENCE_TRAINED},
    "reference_logps": File("{models}/checkpoints/reference_logps.jsonl"),
    "evaluation": File("{evaluation}/final_evaluation.json"),
    "generations": File("{records}/generations.jsonl"),
    "oracle_judgments": File("{records}/oracle_judgments.jsonl"),
    "embeddings": File("{records}/embeddings.jsonl"),
    "rank_judgments": File("{records}/rank_judgments.jsonl"),
    "anchor_judgments": File("{records}/anchor_judgments.jsonl"),     # of studies
    "control_judgments": File("{records}/control_judgments.jsonl"),
    "tactics_judgments": File("{records}/tactics_judgments.jsonl"),
    "human_comparisons": File("{people}/human_comparisons.jsonl", parse_comparison),
    "final_events": File("{people_log}/final_events.{evaluator}.jsonl"),
    "ranking_events": File("{people_log}/ranking_events.{evaluator}.jsonl"),
    "given_evaluation": File("{given}"),
    "analysis": File("{analysis}/analysis.json"),
    "report": File("{analysis}/analysis_report.txt"),
    "report_html": File("{analysis}/report.html"),
    "qualitative": File("{analysis}/qualitative_examples.txt"),
    "figures": File("{analysis}/figures"),
    "manifests": File("{records}/manifests"),
    "notebooks": File("{analysis}/notebooks"),
}


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline = one notebook = one module.

    `reads` and `writes` are names of FILES; without a file of `reads` the stage cannot begin, one
    of `optional` may be absent: the stage says so and goes on without it. So it does where nobody
    can ever make a file of `reads`, because the user's own files hold no such pool; with none of
    `work` there is nothing to do.
    """

    name: str
    number: str
    writes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    work: tuple[str, ...] = ()

    @property
    def notebook(self) -> str:
        """The file name of the notebook without its ending."""
        return f"{self.number}_{self.name}"


STAGES = {stage.name: stage for stage in (
    Stage("prepare", "00",
          writes=("sft_train", "sft_val", "test", "ai_pool_prompts", "human_pool_prompts", "sft",
                  "ai_pool_responses", "human_pool_responses", "prepare_report")),
    Stage("label_ai", "01", reads=("ai_pool_responses",), optional=("human_pool_responses",),
          work=("ai_pool_responses", "human_pool_responses"),
          writes=("ai_pool_labeled", "human_pool_judged")),
    Stage("label_human", "02", reads=("human_pool_responses",), work=("human_pool_responses",),
          writes=("human_pool_labeled",)),
    Stage("validate", "03", reads=("ai_pool_labeled", "human_pool_labeled"),
          work=("ai_pool_labeled", "human_pool_labeled"),
          optional=("human_pool_judged",),
          writes=("rlaif_train", "rlaif_val", "rlhf_train", "rlhf_val", "validation_report",
                  "judge_agreement", "minds_judged")),
    Stage("train_dpo", "04",
          reads=("rlaif_train", "rlaif_val", "rlhf_train", "rlhf_val", "sft"),
          optional=("judge_agreement",), work=("rlaif_train", "rlhf_train"),
          writes=PREFERENCE_TRAINED),
    Stage("evaluate", "05", reads=("test", "sft"), work=("test",),
          optional=(*PREFERENCE_TRAINED, "ai_pool_labeled", "human_pool_labeled"),
          writes=("evaluation",)),
    Stage("human_eval", "05b", reads=("evaluation",), work=("evaluation",),
          writes=("human_comparisons",)),
    Stage("analysis", "06", reads=("evaluation",), work=("evaluation",),
          optional=("human_comparisons", "minds_judged"),
          writes=("analysis", "report", "report_html", "qualitative", "figures")),
)}

# What a folder's name in FILES stands for; asked only where a file needs it, because every
# question is recorded as a setting that was read.
_PLACES: dict[str, Callable[[Config], Path | str]] = {
    "data": lambda config: folder_of(config, "data", "prepare"),
    "models": lambda config: folder_of(config, "models", "prepare"),
    "records": lambda config: config.folder("results"),
    "evaluation": lambda config: _results(config, "evaluate"),
    "people": lambda config: _results(config, "human_eval"),
    # What a person answered stays where it is when a trial becomes the run.
    "people_log": lambda config: folder_of(config, "results", "human_eval"),
    "analysis": lambda config: _results(config, "analysis"),
    "ai_labels": lambda config: _labels(config, "label_ai"),
    "human_labels": lambda config: _labels(config, "label_human"),
    "labels": lambda config: _labels(config, "validate"),
    "dpo": lambda config: (folder_of(config, "models", "train_dpo") / "checkpoints"
                           / apart(config, STAGES["train_dpo"])),
    "embedder": lambda config: _embedder(config),
    "annotator": lambda config: config.label_human.annotator,
    "evaluator": lambda config: config.human_eval.annotator,
    # Its content is hashed as an input, not as a file that a setting names.
    "given": lambda config: config.user_path(config.analysis.input_file, "analysis.input_file"),
    "test": lambda config: config.evaluation.test_file.replace(
        "{data}", str(folder_of(config, "data", "prepare"))),
}


def _embedder(config: Config) -> Path:
    """The folder that `similarity.local_model` names, or where `make small` unpacked that model."""
    name = config.similarity.local_model
    folder = config.user_path(name, "similarity.local_model")
    is_of_hub = re.fullmatch(r"(sentence-transformers/)?[\w-][\w.-]*", name)
    kept = config.root / "models" / Path(name).name
    return kept if is_of_hub and kept.is_dir() and not folder.is_dir() else folder


def _labels(config: Config, stage: str) -> Path:
    return folder_of(config, "data", stage) / "preferences" / apart(config, STAGES[stage])


def _results(config: Config, stage: str) -> Path:
    return folder_of(config, "results", stage) / apart(config, STAGES[stage])


def folder_of(config: Config, kind: Literal["data", "models", "results"], stage: str) -> Path:
    """The folder for what a stage makes: the project's, or below it that of a named run."""
    def manifests() -> dict[str, str]:
        return {name: manifest_name(config, each) for name, each in STAGES.items()}

    own = is_own(config, stage, manifests)
    return of_run(config.folder(kind), config.name if own else None)


def manifest_name(config: Config, stage: Stage) -> str:
    """The file name of a stage's manifest; a trial and a foreign analysis have their own."""
    return ".".join(filter(None, (stage.notebook, apart(config, stage).replace("/", "-"), "json")))


def path_of(config: Config, name: str) -> Path:
    """The absolute path of a file or folder of the pipeline (a name of FILES)."""
    place = FILES[name].place
    known = {key: find(config) for key, find in _PLACES.items() if f"{{{key}}}" in place}
    return (config.root / place.format(**known)).resolve()


def read_file(config: Config, name: str) -> Any:
    """The content of a file of the pipeline: its rows, parsed, or its one JSON value.

    Raises:
        MissingInput: it is not there; the message names the notebook that makes it.
        DataError: it is malformed (file:line).
    """
    path = path_of(config, name)
    parse = FILES[name].parse
    if parse:
        return read_jsonl(path, parse, made_by=made_by(name))
    return read_json(path, made_by=made_by(name))


def apart(config: Config, stage: Stage) -> str:
    """The folder for what must not be taken for the project's own results; "" for those.

    A rehearsal's files are never read by a real run, which looks for its inputs elsewhere.
    """
    if stage.name == "analysis" and config.analysis.input_file:
        given = config.user_path(config.analysis.input_file, "analysis.input_file").resolve()
        return f"given/{given.stem}-{content_id(str(given), length=8)}"
    is_rehearsal = bool(rehearsed(config, stage.name))
    if is_trial(config, stage):
        return "trial/rehearsal/part" if is_rehearsal else "trial"
    return "trial/rehearsal" if is_rehearsal else ""


def inputs_of(config: Config, stage: Stage) -> tuple[str, ...]:
    """What a stage reads; an analysis of a file from elsewhere needs that file and nothing else."""
    if stage.name == "analysis" and config.analysis.input_file:
        return ("given_evaluation",)
    names = stage.reads + stage.optional
    # Most runs ask about no minds, and nothing is missing then; nor are models nobody wants.
    unwanted = {"minds_judged"} if "minds_judged" in names and not config.minds.pairs else set()
    if PREFERENCE_TRAINED[0] in names:
        unwanted |= {*PREFERENCE_TRAINED} - {*trainings(config.training.models)}
    return tuple(name for name in names if name not in unwanted)


def is_trial(config: Config, stage: Stage) -> bool:
    """Whether a stage works on a part only (`max_examples`), or on the outcome of such a stage."""
    if stage.name in ("prepare", "label_human"):
        return False
    if config.label_ai.max_examples is not None:
        return True
    after = ("evaluate", "human_eval", "analysis")
    return stage.name in after and config.evaluation.max_examples is not None


def made_by(name: str) -> str:
    """Where to get a missing file from, for error messages."""
    if name == "given_evaluation":
        return "the program that wrote it"
    maker = maker_of(name)
    return f"notebooks/{maker.notebook}.ipynb" if maker else "the stage before"


def maker_of(name: str) -> Stage | None:
    """The stage that writes a file; None for files that a user brings."""
    return next((stage for stage in STAGES.values() if name in stage.writes), None)
