"""The tables of `analysis.json` about the replies: similarity, length, tactics, faults, truth."""

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.data.gates import is_empty, is_gibberish, mostly_repeats
from persuasion_lib.judging.word_lists import RUBRIC
from persuasion_lib.reporting.evaluated import Evaluated
from persuasion_lib.reporting.suspicions import unfinished
from persuasion_lib.reporting.tables import Options, comparisons, scored, share, turned
from persuasion_lib.stats.blocks import complete_blocks, normalised_scores
from persuasion_lib.stats.length import length_bias
from persuasion_lib.stats.ranks import similarity_vs_rank
from persuasion_lib.stats.resample import wilson
from persuasion_lib.stats.scores import paired_tests, summarise

COSINES = (-1.0, 1.0)     # between which every prompt's value must lie; also of scores' differences
SHARES = (0.0, 1.0)
BINS = 24                 # of the histograms of similarity
PARTS = 5                 # a model's replies by length, for the figure of length against score


def similarity(data: Evaluated, options: Options) -> dict[str, Any] | None:
    """Similarity to the oracle: means, baselines, histograms, and against the ranking."""
    table = data.table("similarity_scores")
    if table is None or table.isna().all(axis=None):
        return None
    complete = complete_blocks(table)
    both = complete.index.intersection(data.ranks.dropna().index)
    models = list(complete.columns)
    scores = normalised_scores(data.ranks.loc[both])
    return {"table": summarise(complete, **{**options, "span": COSINES}),
            "baselines": _baselines(data, complete, options), "histogram": _histogram(complete),
            "against_rank": similarity_vs_rank(complete.loc[both], scores[models], **options)}


def _baselines(data: Evaluated, complete: pd.DataFrame, options: Options) -> dict[str, Any] | None:
    """What a similarity means: of texts that have nothing, or only the prompt, in common.

    `oracle` has the oracle's reply against its reply to another prompt, and against the prompt;
    `closer` how much nearer each model's reply is to its own oracle reply than to another one.
    """
    given = [row.similarity_baselines for row in data.rows]
    if not any(found.model_fields_set for found in given):
        return None
    oracle = pd.DataFrame({"another oracle reply": [found.oracle for found in given],
                           "the prompt": [found.prompt for found in given]},
                          index=data.ranks.index, dtype=float)
    other = pd.DataFrame([found.responses for found in given], index=data.ranks.index,
                         columns=complete.columns, dtype=float)
    gain = (complete - other.loc[complete.index]).dropna()
    return {"oracle": summarise(oracle.dropna(), **{**options, "span": COSINES}),
            "closer": summarise(gain, **{**options, "span": (-2.0, 2.0)})}


def _histogram(table: pd.DataFrame) -> dict[str, Any]:
    edges = np.histogram_bin_edges(table.to_numpy(), bins=BINS)
    return {"edges": edges.tolist(), "counts": {
        model: np.histogram(table[model], edges)[0].tolist() for model in table.columns}}


def length(data: Evaluated, ranks: pd.DataFrame, options: Options) -> dict[str, Any]:
    """Length of the replies in characters, and how much the verdicts go with it."""
    lengths = data.lengths().loc[ranks.index].dropna()
    ranks = ranks.loc[lengths.index]
    pairs = pd.concat([pd.DataFrame({
        "prompt_id": ranks.index, "length_a": lengths[a].to_numpy(),
        "length_b": lengths[b].to_numpy(),
        "label": np.select([ranks[a] < ranks[b], ranks[a] > ranks[b]], ["a", "b"], "tie")})
        for a, b in combinations(ranks.columns, 2)], ignore_index=True)
    if len(ranks) < 2:        # pairs of one prompt alone have no variance between prompts
        pairs = pairs.iloc[:0]
    return {"table": summarise(lengths, **options),
            "bias": length_bias(pairs, confidence=options["confidence"]),
            "profile": _profile(lengths, normalised_scores(ranks))}


def _profile(lengths: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Per model and fifth of its lengths: mean length, mean score, and the score's SE."""
    rows = []
    models = lengths.columns if len(lengths) >= 2 * PARTS else []
    for model in models:
        part = pd.qcut(lengths[model].rank(method="first"), PARTS, labels=False)
        for number, group in scores[model].groupby(part.to_numpy()):
            rows.append({"model": model, "part": int(number) + 1, "n": len(group),
                         "length": lengths.loc[group.index, model].mean(),
                         "score": group.mean(), "se": group.sem()})
    return pd.DataFrame(rows, columns=["model", "part", "n", "length", "score", "se"])


def tactics(data: Evaluated, ranks: pd.DataFrame, options: Options) -> dict[str, Any]:
    """Share of replies with a manipulation tactic per model, and whether the judge liked them."""
    used, judged = data.tactics()
    found = {"any": data.flags(bool, used)}
    for name in RUBRIC:
        found[name] = data.flags(lambda tactics, name=name: name in tactics, used)
    tables = {name: scored(flags) for name, flags in found.items()}
    unscored = data.lengths().notna() & found["any"].isna()
    judge = (data.setup.asked_models or {}).get("safety", "a judge")
    return {"judge": judge if judged else None, "unscored": int(unscored.to_numpy().sum()),
            "share": {name: _shares(table, options["confidence"])
                      for name, table in tables.items()},
            "pairs": turned(paired_tests(tables["any"], **{**options, "span": SHARES})),
            "reward": _reward(found["any"], ranks, options),
            "labels": _label_tactics(data, options)}


def _label_tactics(data: Evaluated, options: Options) -> list[dict[str, Any]]:
    """Per pool of labels: the share of chosen and of rejected replies with a tactic, paired."""
    pairs = data.file.label_tactics or []
    rows = []
    for pool in sorted({pair.pool for pair in pairs}):
        own = [pair for pair in pairs if pair.pool == pool]
        both = [pair for pair in own if None not in (pair.chosen, pair.rejected)]
        flags = pd.DataFrame([(bool(pair.chosen), bool(pair.rejected)) for pair in both],
                             index=pd.Index([pair.pair_id for pair in both], name="prompt_id"),
                             columns=["chosen", "rejected"], dtype=float)
        test = paired_tests(flags, **{**options, "span": SHARES}).iloc[0].to_dict()
        rows.append({"pool": pool, "unscored": len(own) - len(both),
                     "share": _shares(flags, options["confidence"]), **{name: test[name] for name in
                     ("n", "mean_diff", "ci_low", "ci_high", "p_perm")}})
    return rows


def _shares(flags: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Share of 1s per column with Wilson's interval, which says something even for 0 of n."""
    rows = []
    for model in flags.columns:
        low, high = wilson(int(flags[model].sum()), len(flags), confidence=confidence)
        rows.append({"model": model, "n": len(flags), "mean": flags[model].mean(),
                     "ci_low": low, "ci_high": high})
    return pd.DataFrame(rows)


def _reward(flags: pd.DataFrame, ranks: pd.DataFrame, options: Options) -> dict[str, Any]:
    """Mean score of replies with a tactic minus replies without, within prompts that have both."""
    used = flags.loc[ranks.index, ranks.columns].dropna()
    scores = normalised_scores(ranks.loc[used.index])
    gap = (scores.where(used == 1).mean(axis=1) - scores.where(used == 0).mean(axis=1)).dropna()
    # `summarise` compares columns, so the gap needs one beside it.
    both = pd.DataFrame({"gap": gap, "zero": 0.0})
    row = summarise(both, **{**options, "span": COSINES}).loc["gap"]
    return row[["n", "mean", "ci_low", "ci_high", "status"]].to_dict()


def quality(data: Evaluated) -> dict[str, dict[str, float]]:
    """Signs of failed generation per model, as shares of its replies."""
    cut = unfinished(data)
    found = {}
    for model in data.models:
        texts = [row.responses.get(model) or "" for row in data.rows]
        commonest = Counter(texts).most_common(1)[0][1]
        found[model] = {"empty": share([is_empty(text) for text in texts]),
                        "unfinished": cut[model],
                        "repetitive": share([mostly_repeats(text) for text in texts]),
                        "same_text": commonest / len(texts),
                        "gibberish": share([is_gibberish(text) for text in texts])}
    return found


def gold(data: Evaluated, primary: tuple[str, str], alpha: float,
         options: Options) -> dict[str, Any] | None:
    """The demo's truth on the same prompts: what the judged comparison should have found."""
    table = data.table("gold_utility")
    if table is None:
        return None
    complete = complete_blocks(table)
    return {"table": summarise(complete, **options),
            "primary_test": comparisons(complete, primary, alpha, options)[1]}
