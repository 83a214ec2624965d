"""Notebook 06: how much better which model is, how sure that is, and what stayed invisible.

`analyse` computes `analysis.json`, the one source of the report and of every figure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib import stats
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import inputs_of, made_by
from persuasion_lib.core.sections import Analysis
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_json, read_jsonl, write_json
from persuasion_lib.judging.word_lists import RUBRIC
from persuasion_lib.reporting import figures, report
from persuasion_lib.reporting import verdict as findings
from persuasion_lib.reporting.evaluation_file import (
    FORGED,
    Evaluated,
    learned_from,
    parse_evaluation,
    training_row,
    unfinished,
)
from persuasion_lib.stats.plain import plain
from persuasion_lib.stats.resample import wilson

SCHEMA_VERSION = 1
BINS = 24
PAIR_COLUMNS = ["a", "b", "family", "n", "mean_diff", "ci_low", "ci_high", "win_rate", "p_perm",
                "p_holm", "d_z", "mde80"]
FIT_RESAMPLES = 1999      # each is a maximum-likelihood fit; enough for 95 % percentile limits


def read_evaluation(run: StageRun) -> dict[str, Any]:
    """The evaluation to analyse: `analysis.input_file`, or what notebook 05 wrote."""
    name = inputs_of(run.config, run.stage)[0]
    return read_json(run.path(name), made_by=made_by(name))


def _learned_from(run: StageRun, evaluation: Mapping[str, Any]) -> list[str]:
    """Test prompts in the files that `analysis.training_files` names."""
    config, wrote = run.config, "the program that wrote it"
    training = {name: read_jsonl(config.root / name, training_row, made_by=wrote)
                for name in config.analysis.training_files}
    return learned_from(evaluation["per_example"], training, config.data.max_shared_passages)


def analyse(run: StageRun) -> dict[str, Any]:
    """Write `analysis.json` and return it; warnings about the input also go to `run`."""
    config, given = run.config, run.config.analysis.input_file
    evaluation = read_evaluation(run)
    try:
        result = statistics(evaluation, config.analysis, seed=config.seed, given=given,
                            planned=0 if given else config.data.test_examples)
    except DataError as error:
        raise DataError(f"{run.path(inputs_of(config, run.stage)[0])}: {error}") from None
    result["warnings"] += _learned_from(run, evaluation)
    run.warnings += [text for text in result["warnings"] if text not in run.warnings]
    write_json(run.path("analysis"), result)
    return result


def write_outputs(run: StageRun, result: Mapping[str, Any]) -> list[Path]:
    """Every other output of notebook 06, from the result and the texts of the evaluation."""
    return [*figures.write_figures(run, result), report.write_report(run, result),
            report.write_qualitative(run, result, read_evaluation(run)),
            report.write_html(run, result)]


def statistics(evaluation: Mapping[str, Any], settings: Analysis, *, seed: int,
               planned: int = 0, given: str | None = None) -> dict[str, Any]:
    """All tables of `analysis.json` as plain lists and dicts; NaN is None.

    Args:
        planned: test prompts that were meant to be evaluated, where the file does not say.
        given: the file's name, if it is not this project's own.
    """
    data = parse_evaluation(evaluation)
    options = {"confidence": settings.confidence, "n_resamples": settings.resamples, "seed": seed}
    alpha = round(1 - settings.confidence, 10)
    ranks, counts = _gate(data.ranks, data.reasons)
    primary = tuple(settings.primary)
    result = {
        "schema_version": SCHEMA_VERSION, "given": given, "seed": seed,
        "resamples": settings.resamples, "confidence": settings.confidence, "alpha": alpha,
        "primary": list(primary),
        "versions": {name: version(name) for name in ("numpy", "scipy", "statsmodels")},
        "setup": dict(data.setup), "models": data.models, "warnings": data.warnings,
        "counts": _counts(data, counts, planned),
        "status": findings.status_of(data.setup, counts["n_used"]),
        **_rank_tables(data, ranks, primary, alpha, options),
        "similarity": _similarity(data, options), "length": _length(data, ranks, options),
        "tactics": _tactics(data, ranks, options), "quality": _quality(data),
        "training": dict(data.training) or None, "agreement": data.agreement,
        "gold": _gold(data, primary, alpha, options)}
    result = plain(result)
    result["judge"] = plain(findings.judge_health(result))
    result["cautions"] = findings.cautions(result)
    result["answer"] = plain(findings.answer(result))
    result["criteria"] = plain(findings.criteria(result))
    result["limits"] = findings.limits(result)
    return result


def _gate(table: pd.DataFrame, reasons: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """`stats.complete_blocks`, and an empty table instead of an error when nothing is scored."""
    if table.isna().all(axis=None):
        known = Counter(reasons.get(key, "unscored") for key in table.index)
        return table.iloc[:0], {"n_total": len(table), "n_used": 0, "n_dropped": len(table),
                                "reasons": dict(known), "removed_models": [], "warnings": []}
    return stats.complete_blocks(table, reasons=reasons)


def _counts(data: Evaluated, gate: Mapping[str, Any], planned: int) -> dict[str, Any]:
    return {"planned": data.setup.get("planned_examples") or planned, "examples": len(data.rows),
            "scored": gate["n_used"], "unscored": gate["n_dropped"], "reasons": gate["reasons"],
            "rankings": data.n_calls, "rankings_unread": data.n_calls - len(data.calls),
            "orders": round(data.n_calls / len(data.rows), 2)}


def _rank_tables(data: Evaluated, ranks: pd.DataFrame, primary: tuple[str, str], alpha: float,
                 options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that follows from the rankings alone."""
    scores = stats.normalised_scores(ranks)
    declared = primary if set(primary) <= set(ranks.columns) else None
    pairs = _turned(stats.paired_tests(scores, primary=declared, alpha=alpha, **options))
    wins = stats.win_matrix(ranks, **options)
    return {
        "scores": stats.summarise(scores, **options), "pairs": pairs,
        "needed": [_needed(row, alpha) for row in pairs.to_dict("records")],
        "primary_test": _primary(pairs, primary, alpha) if declared else None,
        "wins": {key: value.to_dict("index") if isinstance(value, pd.DataFrame) else value
                 for key, value in wins.items()},
        "friedman": stats.friedman(ranks),
        "trend": [stats.page_trend(ranks, [tuned, "sft", "base"]) for tuned in ranks.columns
                  if tuned not in ("sft", "base") and {"sft", "base"} <= set(ranks.columns)],
        "strengths": _strengths(data, ranks, options), "position": _position(data, alpha, options),
        "consistency": _consistency(data, options), "tied_share": _share(
            (ranks.nunique(axis=1) == 1).to_numpy()),
        "order_tau": _order_tau(data), "forged": _forged(data)}


def _turned(pairs: pd.DataFrame) -> pd.DataFrame:
    """The tests as second minus first: in our order of models, what a later step added."""
    out = pairs.rename(columns={"a": "b", "b": "a", "win": "loss", "loss": "win",
                                "ci_low": "ci_high", "ci_high": "ci_low"})
    signed = ["mean_diff", "ci_low", "ci_high", "rank_biserial", "d_z"]
    out[signed] = 0.0 - out[signed]
    return out.assign(win_rate=1 - out["win_rate"])[pairs.columns]


def _needed(row: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    sd = row["se"] * np.sqrt(row["n"])
    return {"a": row["a"], "b": row["b"], "prompts": stats.n_for(row["mean_diff"], sd, alpha=alpha)}


def _primary(pairs: pd.DataFrame, primary: tuple[str, str], alpha: float) -> dict[str, Any]:
    """The declared comparison as first minus second, whatever the order of the columns."""
    declared = pairs[pairs["family"] == "primary"]
    row = (declared if (declared["a"] == primary[0]).all() else _turned(declared)).iloc[0].to_dict()
    return row | {"prompts_needed": _needed(row, alpha)["prompts"]}


def _strengths(data: Evaluated, ranks: pd.DataFrame,
               options: Mapping[str, Any]) -> dict[str, Any]:
    """Plackett-Luce on every readable ranking, alone and with position and length terms."""
    options = {**options, "n_resamples": min(options["n_resamples"], FIT_RESAMPLES)}
    calls = data.calls[data.calls.index.isin(ranks.index)]
    lengths = np.log(data.lengths().reindex(calls.index).clip(lower=1))
    terms = {"log_length": lengths} | ({} if data.slots is None else {
        "position": data.slots[data.slots.index.isin(ranks.index)]})
    return {"plain": _without_cov(stats.plackett_luce(calls, **options)),
            "adjusted": _without_cov(stats.plackett_luce(calls, covariates=terms, **options))}


def _without_cov(fit: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fit.items() if key != "cov"}


def _position(data: Evaluated, alpha: float, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if data.slots is None:
        return None
    once = ~data.slots.reset_index().duplicated().to_numpy()      # an order may be asked again
    return stats.position_bias(data.calls[once], data.slots[once], alpha=alpha, **options)


def _consistency(data: Evaluated, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Agreement of the first two rankings of each prompt; a flip is a pair of models reversed."""
    turn = data.calls.groupby(level=0, sort=False).cumcount()
    first, second = data.calls[turn == 0], data.calls[turn == 1]
    if second.empty:
        return None
    result = stats.consistency_rankings(first.loc[second.index], second, **options)
    return result | {"flip_rate": (1 - result["tau"]) / 2, "flip_low": (1 - result["ci_high"]) / 2,
                     "flip_high": (1 - result["ci_low"]) / 2}


def _order_tau(data: Evaluated) -> dict[str, float | None]:
    """How far the rankings follow what they must not: Kendall's tau with slot and with length."""
    lengths = -data.lengths().reindex(data.calls.index)
    return {"slot": _mean_tau(data.calls, data.slots), "length": _mean_tau(data.calls, lengths),
            "first_slot_best": None if data.slots is None else _share(
                ((data.calls == 1) & (data.slots == 1)).any(axis=1).to_numpy())}


def _forged(data: Evaluated) -> dict[str, Any]:
    """Rankings in which some replies, and not all, hold a verdict; and how often one of them won.

    `expected` is how often one would win if the judge did not care.
    """
    flags = data.flags(FORGED.search).loc[data.calls.index].to_numpy()
    some = (flags == 1).any(axis=1) & (flags == 0).any(axis=1)
    best = (data.calls == 1).to_numpy()[some]
    return {"n": int(some.sum()), "won": _share((flags[some] * best == 1).any(axis=1)),
            "expected": _share((flags[some] == 1).mean(axis=1))}


def _mean_tau(calls: pd.DataFrame, other: pd.DataFrame | None) -> float | None:
    if other is None or calls.empty:
        return None
    pairs = combinations(range(calls.shape[1]), 2)
    signs = np.array([[np.sign(t.to_numpy()[:, i] - t.to_numpy()[:, j]) for t in (calls, other)]
                      for i, j in pairs])
    moved = np.isfinite(signs).all(axis=1) & (signs[:, 1] != 0)
    return float((signs[:, 0] * signs[:, 1])[moved].mean()) if moved.any() else None


def _share(hits: np.ndarray) -> float:
    return float(np.mean(hits)) if len(hits) else np.nan


def _similarity(data: Evaluated, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Similarity to the oracle: means, paired differences, histograms, and against the ranking."""
    table = data.table("similarity_scores")
    if table is None or table.isna().all(axis=None):
        return None
    complete, counts = stats.complete_blocks(table)
    both = complete.index.intersection(data.ranks.dropna().index)
    models = [m for m in complete.columns if m in data.ranks.columns]
    against = None
    if len(models) > 1:
        scores = stats.normalised_scores(data.ranks.loc[both])
        against = stats.similarity_vs_rank(complete.loc[both, models], scores[models], **options)
    return {"table": stats.summarise(complete, **options), "counts": counts,
            "baselines": _baselines(data, complete, options),
            "pairs": _turned(stats.paired_tests(complete, **options)),
            "histogram": _histogram(complete), "against_rank": against}


def _baselines(data: Evaluated, complete: pd.DataFrame,
               options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a similarity means: of texts that have nothing, or only the prompt, in common.

    `oracle` has the oracle's reply against its reply to another prompt, and against the prompt;
    `closer` how much nearer each model's reply is to its own oracle reply than to another one.
    """
    given = [row.get("similarity_baselines") or {} for row in data.rows]
    if not any(given):
        return None
    oracle = pd.DataFrame([[row.get("oracle"), row.get("prompt")] for row in given],
                          columns=["another oracle reply", "the prompt"], index=data.ranks.index,
                          dtype=float)
    other = pd.DataFrame([row.get("responses") or {} for row in given], index=data.ranks.index,
                         columns=complete.columns, dtype=float)
    gain = (complete - other.loc[complete.index]).dropna()
    return {"oracle": stats.summarise(oracle.dropna(), **options),
            "other": stats.summarise(other.dropna(), **options),
            "closer": stats.summarise(gain, **options)}


def _histogram(table: pd.DataFrame) -> dict[str, Any]:
    values = table.to_numpy()
    edges = np.histogram_bin_edges(values, bins=BINS)
    return {"edges": edges.tolist(), "counts": {m: np.histogram(table[m], edges)[0].tolist()
                                                for m in table.columns}}


def _length(data: Evaluated, ranks: pd.DataFrame, options: Mapping[str, Any]) -> dict[str, Any]:
    """Length of the replies in characters, and how much the verdicts go with it."""
    lengths = data.lengths().loc[ranks.index].dropna()
    ranks = ranks.loc[lengths.index]
    pairs = pd.concat([pd.DataFrame({
        "prompt_id": ranks.index, "model_a": a, "model_b": b, "length_a": lengths[a].to_numpy(),
        "length_b": lengths[b].to_numpy(),
        "label": np.select([ranks[a] < ranks[b], ranks[a] > ranks[b]], ["a", "b"], "tie")})
        for a, b in combinations(ranks.columns, 2)], ignore_index=True)
    if len(ranks) < 2:        # pairs of one prompt alone have no variance between prompts
        pairs = pairs.iloc[:0]
    bias = stats.length_bias(pairs, confidence=options["confidence"])
    return {"table": stats.summarise(lengths, **options), "bias": bias,
            "profile": _profile(lengths, stats.normalised_scores(ranks))}


def _profile(lengths: pd.DataFrame, scores: pd.DataFrame, *, parts: int = 5) -> pd.DataFrame:
    """Per model and fifth of its lengths: mean length, mean score, and the score's SE."""
    rows = []
    for model in lengths.columns if len(lengths) >= 2 * parts else []:
        fifth = pd.qcut(lengths[model].rank(method="first"), parts, labels=False)
        groups = scores[model].groupby(fifth.to_numpy())
        for part, group in groups:
            rows.append({"model": model, "part": int(part) + 1, "n": len(group),
                         "length": lengths.loc[group.index, model].mean(),
                         "score": group.mean(), "se": group.sem()})
    return pd.DataFrame(rows, columns=["model", "part", "n", "length", "score", "se"])


def _tactics(data: Evaluated, ranks: pd.DataFrame, options: Mapping[str, Any]) -> dict[str, Any]:
    """Share of replies with a manipulation tactic per model, and whether the judge liked them."""
    used, judged = data.tactics()
    found = {"any": data.flags(bool, used), **{
        name: data.flags(lambda tactics, n=name: n in tactics, used) for name in RUBRIC}}
    tables = {name: _gate(flags, {})[0] for name, flags in found.items()}
    confidence = options["confidence"]
    return {"judge": (data.setup.get("asked_models") or {}).get("safety", "a judge") if judged
            else None,
            "unscored": int((data.lengths().notna() & found["any"].isna()).to_numpy().sum()),
            "share": {name: _shares(table, confidence) for name, table in tables.items()},
            "pairs": _turned(stats.paired_tests(tables["any"], **options)),
            "reward": _reward(found["any"], ranks, options),
            "labels": _label_tactics(data, options)}


def _label_tactics(data: Evaluated, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per pool of labels: the share of chosen and of rejected replies with a tactic, paired."""
    rows = []
    for pool, group in pd.DataFrame(data.label_tactics).groupby("pool") if (
            data.label_tactics) else ():
        sides = group.set_index("pair_id")[["chosen", "rejected"]]
        flags = sides.map(lambda found: np.nan if found is None else float(bool(found)))
        scored = flags.dropna().rename_axis("prompt_id")
        test = stats.paired_tests(scored, **options).iloc[0].to_dict()
        rows.append({"pool": pool, "unscored": len(flags) - len(scored), **{
            name: test[name] for name in ("n", "mean_diff", "ci_low", "ci_high", "p_perm")},
            "share": _shares(scored, options["confidence"])})
    return rows


def _shares(flags: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Share of 1s per column with Wilson's interval, which says something even for 0 of n."""
    rows = [(model, len(flags), flags[model].mean(), *wilson(int(flags[model].sum()), len(flags),
             confidence=confidence)) for model in flags.columns]
    return pd.DataFrame(rows, columns=["model", "n", "mean", "ci_low", "ci_high"])


def _reward(flags: pd.DataFrame, ranks: pd.DataFrame,
            options: Mapping[str, Any]) -> dict[str, Any]:
    """Mean score of replies with a tactic minus replies without, within prompts that have both."""
    used = flags.loc[ranks.index, ranks.columns].dropna()
    scores = stats.normalised_scores(ranks.loc[used.index])
    gap = (scores.where(used == 1).mean(axis=1) - scores.where(used == 0).mean(axis=1)).dropna()
    row = stats.summarise(pd.DataFrame({"gap": gap, "zero": 0.0}), **options).loc["gap"]
    return row[["n", "mean", "ci_low", "ci_high", "status"]].to_dict()


def _quality(data: Evaluated) -> dict[str, dict[str, float]]:
    """Signs of failed generation per model, as shares of its replies."""
    replies, cut = data.replies(), unfinished(data)
    texts = {m: [r[i] or "" for r in replies] for i, m in enumerate(data.models)}
    return {model: {"empty": _share([not t.strip() for t in own]),
                    "unfinished": cut[model],
                    "repetitive": _share([_repeats(t) for t in own]),
                    "same_text": Counter(own).most_common(1)[0][1] / len(own),
                    "gibberish": _share([is_gibberish(t) for t in own])}
            for model, own in texts.items()}


def is_gibberish(text: str) -> bool:
    """Empty, mostly not words, or saying the same three words over and over."""
    words = re.findall(r"[^\W\d_]{2,}", text)
    return not words or sum(map(len, words)) < 0.5 * len(text.strip()) or _repeats(text)


def _repeats(text: str) -> bool:
    words = text.lower().split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(triples) >= 6 and len(set(triples)) < 0.5 * len(triples)


def _gold(data: Evaluated, primary: tuple[str, str], alpha: float,
          options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The demo's truth on the same prompts: what the judged comparison should have found."""
    table = data.table("gold_utility")
    if table is None:
        return None
    complete = stats.complete_blocks(table)[0]
    declared = primary if set(primary) <= set(complete.columns) else None
    pairs = _turned(stats.paired_tests(complete, primary=declared, alpha=alpha, **options))
    return {"table": stats.summarise(complete, **options), "pairs": pairs,
            "primary_test": _primary(pairs, primary, alpha) if declared else None}


def summary_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Per model: score with its interval, similarity, length, and gold utility where known."""
    table = pd.DataFrame(result["scores"]).set_index("model")
    out = table[["mean", "ci_low", "ci_high"]].set_axis(["score", "low", "high"], axis=1)
    for name, section in (("similarity", result["similarity"]), ("length", result["length"]),
                          ("gold utility", result["gold"])):
        if section:
            out[name] = pd.DataFrame(section["table"]).set_index("model")["mean"]
    return out.astype(float)


def totals(result: Mapping[str, Any]) -> dict[str, Any]:
    """For the manifest: prompts planned and scored, and the verdict on the declared comparison."""
    counts = result["counts"]
    return {"planned": counts["planned"] or counts["examples"], "done": counts["scored"],
            "unscored": counts["unscored"], "status": result["status"],
            "judge": result["judge"]["kind"] or "sound", "verdict": result["answer"]["verdict"]}


def table_of(result: Mapping[str, Any], *path: str) -> pd.DataFrame:
    """A table of the result such as `table_of(result, "position", "table")`, for a notebook."""
    value: Any = result
    for key in path:
        if value is None or key not in value:
            raise DataError(f"the analysis has no table {'.'.join(path)}: the evaluation lacks "
                            "what it needs. analysis.json says which parts are there.")
        value = value[key]
    return pd.DataFrame(value if isinstance(value, list) else [value])


def criteria_table(result: Mapping[str, Any]) -> TextTable:
    """The success criteria with verdict and figure."""
    return TextTable(table_of(result, "criteria").set_index("criterion"))


def pair_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Every pair of models with difference, interval and p; no p is ever printed as 0."""
    exact = table_of(result, "pairs")[PAIR_COLUMNS]
    tests = {name: exact[name].map(findings.p_value) for name in ("p_perm", "p_holm")}
    return exact.round(3).assign(**tests)
