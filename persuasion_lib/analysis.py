"""Notebook 06: how much better which model is, how sure that is, and what stayed invisible.

`analyse` computes `analysis.json`, the one source of the report and of every figure.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.checks import audit
from persuasion_lib.checks.check import Finding, look
from persuasion_lib.checks.material import of_evaluation
from persuasion_lib.checks.registry import checks_of
from persuasion_lib.core.brought import MADE_BY
from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.foreign import read_each
from persuasion_lib.core.pipeline import inputs_of, made_by
from persuasion_lib.core.prose import Prose, nearby, prose
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.core.rehearsal import is_stand_in
from persuasion_lib.core.runs import identity, so_far
from persuasion_lib.core.sections import Analysis
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_json
from persuasion_lib.reporting import (
    criteria,
    evaluation_file,
    figures,
    human_reply,
    judge_health,
    measures,
    minds,
    panel,
    people,
    report,
    suspicions,
    tables,
    verdict,
)
from persuasion_lib.reporting.evaluated import Evaluated, tabulated
from persuasion_lib.reporting.evaluation_file import Setup
from persuasion_lib.stats.plain import plain

EVALUATION = "the evaluation"
AUDIT_RESAMPLES = 199       # an audit asks whether a judge judges, not for digits of intervals


def read_evaluation(run: StageRun) -> Evaluated:
    """The evaluation to analyse: `analysis.input_file`, or what notebook 05 wrote."""
    name = _source(run)
    return tabulated(evaluation_file.read(run.path(name), made_by=made_by(name)))


def _source(run: StageRun) -> str:
    return inputs_of(run.config, run.stage)[0]


def analyse(run: StageRun, evaluation: Evaluated) -> dict[str, Any]:
    """Write `analysis.json` and return it; warnings about the input also go to `run`."""
    config = run.config
    given = config.analysis.input_file
    try:
        result = statistics(evaluation, config.analysis, seed=config.seed, given=given,
                            planned=0 if given else config.data.test_examples,
                            comparisons=[] if given else run.read_if_there("human_comparisons"),
                            outcomes=_outcomes(run) if not given else [],
                            allow=config.checks.allow)
    except DataError as error:
        raise DataError(f"{run.path(_source(run))}: {error}") from None
    stages = None if given else so_far(config)
    result = {"run": identity(config), "stages": stages, **result}
    result["warnings"] += _learned_from(run, evaluation)
    run.warnings += [text for text in result["warnings"] if text not in run.warnings]
    write_json(run.path("analysis"), result)
    return result


def _outcomes(run: StageRun) -> list[LabeledPair]:
    """What the judge of 01 said of arguments of which one really won, if it was asked."""
    return run.read_if_there("minds_judged") if run.config.minds.pairs else []


def _learned_from(run: StageRun, evaluation: Evaluated) -> list[str]:
    """Test prompts in the files that `analysis.training_files` names."""
    training = {name: read_each(path, suspicions.training_row, made_by=MADE_BY)
                for name, path in run.config.named_files("analysis.training_files").items()}
    return suspicions.learned_from(evaluation.file.per_example, training,
                                   run.config.data.max_shared_passages)


def statistics(data: Evaluated, settings: Analysis, *, seed: int, planned: int = 0,
               given: str | None = None, comparisons: Sequence[LabeledPair] = (),
               outcomes: Sequence[LabeledPair] = (), allow: Sequence[str] = ()) -> dict[str, Any]:
    """The content of `analysis.json` as plain lists and dicts; NaN is None.

    Args:
        planned: prompts that were meant to be evaluated; given: the file's name, if not ours.
        comparisons, outcomes: what people said of final replies; a judge, of what really won.
        allow: checks that withhold no verdict.
    """
    options = {"confidence": settings.confidence, "n_resamples": settings.resamples, "seed": seed}
    alpha = round(1 - settings.confidence, 10)
    primary = tuple(settings.primary)
    ranks = tables.scored(data.ranks)
    compared = people.of_people(data, comparisons, primary, options)
    setup = _with_people(data.setup, compared)
    status = verdict.status_of(setup, len(ranks))
    logs = {model: log for model, log in data.file.training.items() if log and log.kept()}
    result = plain({
        "banner": " ".join(verdict.banner_of(setup)),
        "given": given, "seed": seed, "resamples": settings.resamples,
        "confidence": settings.confidence, "alpha": alpha, "primary": primary,
        "setup": setup.model_dump(exclude_unset=True), "models": data.models,
        "warnings": suspicions.seen_in(data), "counts": tables.counts(data, ranks, planned),
        "status": status, **tables.of_rankings(data, ranks, primary, alpha, options),
        "similarity": measures.similarity(data, options), "quality": measures.quality(data),
        "length": measures.length(data, ranks, options), "people": compared,
        "tactics": measures.tactics(data, ranks, options),
        "training": {model: log.model_dump() for model, log in logs.items()} or None,
        "against_people": human_reply.against_people(data, comparisons, options),
        "panel": panel.of_panel(data, primary, alpha, options, may_decide=status == "ok"),
        "agreement": data.file.agreement(), "gold": measures.gold(data, primary, alpha, options)})
    result["minds"] = minds.of_minds(outcomes, options, labellers=_labellers(setup))
    result["judge"] = judge_health.judge_health(result)
    result["cautions"] = judge_health.cautions(result)
    result["checks"] = _checked(data, result, outcomes, allow)
    result["answer"] = verdict.answer(result)
    result["criteria"] = criteria.criteria(result)
    result["limits"] = verdict.limits(setup, by_people=bool(result["people"]))
    return result


def _labellers(setup: Setup) -> list[str]:
    """Who gave the AI labels to learn from, as 05 found them named in the labels."""
    named = (setup.asked_models or {}).get("labeller")
    return named.split(", ") if named else []


def _with_people(setup: Setup, compared: dict[str, Any] | None) -> Setup:
    """The roles with those who compared, whom 05 could not know; it is noted of them, too."""
    if not compared:
        return setup
    compared["simulated"] = any(map(is_stand_in, compared["annotators"]))
    return setup.model_copy(update={"people": "simulated"}) if compared["simulated"] else setup


def _checked(data: Evaluated, result: Mapping[str, Any], outcomes: Sequence[LabeledPair],
             allow: Sequence[str]) -> list[dict[str, Any]]:
    """What the evaluation shows of itself."""
    agreed = data.file.agreement()
    things = of_evaluation(EVALUATION, data, result["primary"])
    things |= {"rankings": {EVALUATION: result},
               "agreement": {"the judge that ranked": agreed} if agreed else {},
               "minds": _minds(result["minds"], outcomes),
               "panel": {EVALUATION: result["panel"]} if result["panel"] else {}}
    findings = look(checks_of(*things), things, allow=allow)
    return [found.row() for found in findings]


def _minds(found: Mapping[str, Any] | None, outcomes: Sequence[LabeledPair]
           ) -> dict[str, Sequence[LabeledPair]]:
    """The labels of pairs of which one really won, by whose they are."""
    if not found:
        return {}
    return {"the judge that labelled" if found["labelled"] else found["judge"]: outcomes}


def audited(config: Config, paths: Sequence[Path]) -> tuple[list[Finding], str]:
    """Every check that files allow, whoever made them, and the one table of what was found.

    Args:
        paths: folders and files; none are the data, models and results of the settings.
    """
    own = [folder for kind in ("data", "models", "results")
           if (folder := config.folder(kind)).exists()]
    given = audit.gather(list(paths) or own)
    settings = config.analysis.model_copy(update={"resamples": AUDIT_RESAMPLES})
    rankings = {}
    for name, data in given.of("evaluation").items():
        try:
            rankings[name] = statistics(data, settings, seed=config.seed)
        except DataError as error:
            given.notes.append(f"{name}: {error}")
    findings, notes = audit.audit(given, config, rankings)
    return findings, audit.as_table(findings, notes)


def write_outputs(run: StageRun, result: Mapping[str, Any], evaluation: Evaluated) -> list[Path]:
    """Every other output of notebook 06, from the result and the texts of the evaluation."""
    return [*figures.write_figures(run, result), *report.write_report(run, result, evaluation)]


def scores_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Per model: score with its interval, similarity, length, and gold utility where known."""
    scores = pd.DataFrame(result["scores"]).set_index("model")
    out = scores[["mean", "ci_low", "ci_high"]].set_axis(["score", "low", "high"], axis=1)
    for column, name in (("similarity", "similarity"), ("length", "length"),
                         ("gold utility", "gold")):
        if result[name]:
            out[column] = pd.DataFrame(result[name]["table"]).set_index("model")["mean"]
    out = out.astype(float).round(3)
    if "length" in out:
        out["length"] = out["length"].round().convert_dtypes()
    return out


def written(run: StageRun, paths: Sequence[Path]) -> Prose:
    """Where results lie, seen from the project folder: the texts, and the figures by name."""
    figures_in = run.path("figures")
    drawn = [path for path in paths if path.parent == figures_in]
    texts = [nearby(path, run.config.root) for path in paths if path not in drawn]
    names, kinds = (sorted({getattr(path, part) for path in drawn}) for part in ("stem", "suffix"))
    return prose([f"Written: {', '.join(texts)}.",
                  f"In {nearby(figures_in, run.config.root)} lie {len(names)} figures, each as "
                  f"{', '.join(kinds)}: {', '.join(names)}."])


def criteria_table(result: Mapping[str, Any]) -> TextTable:
    """The success criteria with verdict and figure."""
    return TextTable(pd.DataFrame(result["criteria"]).set_index("criterion"))


def manifest_counts(result: Mapping[str, Any]) -> dict[str, Any]:
    """Prompts planned and scored, and the verdict on the declared comparison."""
    counts = result["counts"]
    return {"planned": counts["planned"] or counts["examples"], "done": counts["scored"],
            "unscored": counts["unscored"], "status": result["status"],
            "judge": result["judge"]["kind"] or "sound", "verdict": result["answer"]["verdict"]}
