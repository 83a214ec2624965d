"""Notebook 05: every model answers the held-out prompts; a judge ranks, an embedder compares.

Nothing here treats one model otherwise than another: the judge sees texts in a hashed order, and
names come back only through the position map.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from persuasion_lib import judging
from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import (
    Example,
    LabeledPair,
    Pair,
    content_id,
    parse_example,
    parse_labeled,
    parse_pair,
    render_text,
)
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun, is_trial, made_by, path_of
from persuasion_lib.core.store import AppendLog, read_jsonl, write_json
from persuasion_lib.data.overlap import overlap_faults, shared_passages
from persuasion_lib.demo.standins import gold_utility
from persuasion_lib.judging import Question, RankItem, RankVerdict, TacticsOutcome, safety
from persuasion_lib.labeling import agreement
from persuasion_lib.models.loading import ModelFamily, check_lineage, weights_hash
from persuasion_lib.models.sampling import Generation, Request, sample, truncation
from persuasion_lib.training.drift import by_step
from persuasion_lib.training.loop import CURVE, training_log

_LEARNED_FROM = {"sft_train": parse_example, "sft_val": parse_example,
                 "ai_pool_responses": parse_pair, "human_pool_responses": parse_pair,
                 "rlaif_train": parse_labeled, "rlhf_train": parse_labeled}
Responses = dict[str, dict[str, Generation]]        # example id -> model -> reply


def read_test_set(run: StageRun) -> list[Example]:
    """The held-out prompts, at most `evaluation.max_examples`.

    Raises:
        DataError: a test prompt, a large part of it or its conversation also occurs in data that
            models learned from.
    """
    examples = read_jsonl(run.path("test"), parse_example, made_by=made_by("test"))
    if not examples:
        raise DataError(f"{run.path('test')} holds no test prompt. Run {made_by('test')} again.")
    _check_untouched(run, examples)
    limit = run.config.evaluation.max_examples
    if limit:
        run.warnings.append(f"Trial: {min(limit, len(examples))} of {len(examples)} test prompts.")
    return examples[:limit]


def _check_untouched(run: StageRun, examples: Sequence[Example]) -> None:
    sets: dict[str, Sequence[Example | Pair]] = {"test": examples}
    for name, parse in _LEARNED_FROM.items():
        if run.path(name).exists():
            rows = read_jsonl(run.path(name), parse, made_by=made_by(name))
            sets[name] = [row.pair if isinstance(row, LabeledPair) else row for row in rows]
        else:
            run.warnings.append(f"{name} is not there, so overlap with it was not checked.")
    shared = shared_passages(sets)
    faults = [fault for name in sets if name != "test" for fault in overlap_faults(
        {"test": examples, name: sets[name]}, shared, run.config.data.max_shared_passages)]
    if faults:
        raise DataError(f"{run.path('test')} is not independent of what models learned from, so "
                        "their scores would be too good:\n" + "\n".join(faults) + "\n"
                        f"Run {made_by('test')} again; it splits by conversation.")


def present_models(run: StageRun) -> list[str]:
    """The models of `evaluation.models` that exist, in that order; others are left out and noted.

    Raises:
        DataError: fewer than two are left.
        LineageError: a checkpoint exists, but not with the parents it was trained on.
    """
    present = []
    for name in run.config.evaluation.models:
        if name == "base" or run.path(name).exists():
            present.append(name)
            if name != "base":
                check_lineage(run.config, name)
        else:
            run.warnings.append(f"Model not found, left out: {name} ({run.path(name)}).")
    if len(present) < 2:
        raise DataError(f"only {present} of {run.config.evaluation.models} exist; a comparison "
                        "needs two. Run notebooks/04_train_dpo.ipynb.")
    return present


def generate_responses(run: StageRun, examples: Sequence[Example],
                       models: Sequence[str]) -> Responses:
    """One sampled reply per example and model, all from one loaded base; resumes where it stopped.

    Every model gets the same random numbers for an example, so differences are the models' own.
    """
    config = run.config
    family = ModelFamily(config, [m for m in models if m not in ("base", "sft")])
    requests = [Request(e.example_id, e.prompt) for e in examples]
    responses: Responses = {e.example_id: {} for e in examples}
    with AppendLog(run.path("generations")) as log:
        for name in models:
            with family.use(name) as model:
                weights = content_id(weights_hash(config, "base"), weights_hash(config, "sft"),
                                     weights_hash(config, name))
                replies = sample(model, family.tokenizer, requests, config.generation,
                                 seed=config.seed, model_hash=weights, log=log,
                                 desc=f"answers of {name}")
            for example_id, reply in replies.items():
                responses[example_id][name] = reply
    return responses


def oracle_replies(run: StageRun, examples: Sequence[Example]) -> dict[str, str]:
    """A strong reply to each test prompt: the oracle model's, or the person's of the test file.

    An example whose oracle could not be read is absent, so its similarities are missing.
    """
    if not run.config.oracle.generate:
        return {e.example_id: e.response for e in examples}
    judge = judging.make_judge(run.config, "oracle")
    prompts = {e.example_id: e.prompt for e in examples}
    return judging.oracle_replies(prompts, judge, log=run.path("oracle_judgments"))


def rank_responses(run: StageRun, examples: Sequence[Example],
                   responses: Responses) -> dict[str, list[RankVerdict]]:
    """The judge's rankings, `evaluation.orders` per example; an unreadable reply is no ranking."""
    judge = judging.make_judge(run.config, "evaluate")
    return judging.rank(_rank_items(examples, responses), judge, log=run.path("rank_judgments"),
                        **_rank_how(run))


def _rank_items(examples: Sequence[Example], responses: Responses) -> list[RankItem]:
    return [RankItem(e.example_id, render_text(e.prompt),
                     {name: g.text for name, g in responses[e.example_id].items()})
            for e in examples]


def _rank_how(run: StageRun) -> dict[str, Any]:
    settings = run.config.evaluation
    return {"orders": settings.orders, "randomize": settings.randomize_positions,
            "seed": run.config.seed}


def _human_labels(run: StageRun) -> list[LabeledPair]:
    """The annotator's labels, to compare the judge with; no more than a trial has examples."""
    path = run.path("human_pool_labeled")
    found = read_jsonl(path, parse_labeled, made_by=made_by(path.stem)) if path.exists() else []
    return found[:run.config.evaluation.max_examples]


def judge_agreement(run: StageRun) -> dict[str, Any]:
    """How far the judge that ranks agrees with the annotator, on the pairs of the human pool.

    It labels them in both orders; what the same judge answered in 01 is not asked again.
    """
    human = _human_labels(run)
    judge = judging.make_judge(run.config, "evaluate")
    outcome = judging.label_pairs([h.pair for h in human], judge, seed=run.config.seed,
                                  log=run.path("human_pool_judgments"))
    return agreement.judge_against_annotator([parse_labeled(row) for row in outcome.rows()], human,
                             seed=run.config.seed)


def find_tactics(run: StageRun, examples: Sequence[Example],
                 responses: Responses) -> TacticsOutcome:
    """The manipulation tactics in every reply and in a sample of the labelled pairs."""
    judge = judging.make_judge(run.config, "safety")
    found = judging.find_tactics(safety.items(examples, responses, safety.sampled_labels(run)),
                                 judge, log=run.path("tactics_judgments"))
    if found.errors:
        run.warnings.append(f"{len(found.errors)} replies could not be searched for tactics; they "
                            "are missing, not clean.")
    return found


def plan_of(run: StageRun, examples: Sequence[Example], responses: Responses) -> judging.Plans:
    """What the paid calls of this notebook would cost, before the first of them."""
    plans = judging.Plans()

    def add(what: str, role: judging.Role, log: str, ask: Callable[..., list[Question]]) -> None:
        judge = judging.make_judge(run.config, role)
        plans[what] = judging.plan(ask(judge), judge, log=run.path(log))

    if run.config.oracle.generate:
        add("oracle replies", "oracle", "oracle_judgments", lambda judge: list(
            judging.oracle_questions({e.example_id: e.prompt for e in examples}, judge).values()))
    add("rankings", "evaluate", "rank_judgments", lambda judge: _flat(judging.rank_questions(
        _rank_items(examples, responses), judge, **_rank_how(run))))
    add("labels of the human pool", "evaluate", "human_pool_judgments", lambda judge: _flat(
        judging.pair_questions([h.pair for h in _human_labels(run)], judge, both_orders=True,
                               seed=run.config.seed)))
    add("manipulation tactics", "safety", "tactics_judgments", lambda judge: list(
        judging.tactics_questions(safety.items(examples, responses, safety.sampled_labels(run)),
                                  judge).values()))
    unknown = plans["oracle replies"].calls if run.config.oracle.generate else 0
    plans["embeddings"] = judging.embedding_plan(
        [text for text in _texts(examples, responses, {}).values() if text.strip()], run.config,
        cache=run.path("embeddings"), unknown=unknown)
    return plans


def _flat(groups: Mapping[str, list[Question]]) -> list[Question]:
    return [question for group in groups.values() for question in group]


def _texts(examples: Sequence[Example], responses: Responses,
           oracle: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """What is embedded, by (who wrote it, example)."""
    return {**{("oracle", key): text for key, text in oracle.items()},
            **{("prompt", e.example_id): render_text(e.prompt) for e in examples},
            **{(name, key): reply.text for key, replies in responses.items()
               for name, reply in replies.items()}}


def similarity_to_oracle(run: StageRun, examples: Sequence[Example], responses: Responses,
                         oracle: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Cosine similarity of each reply to its example's oracle reply; an empty reply has none.

    Returns:
        per example `scores` by model, and `baselines` that say what such a number means: the
        example's `oracle` reply and each of the `responses` against the oracle's reply to
        `other_example`, drawn by a hash, and the `prompt` against the oracle's reply to it.
    """
    texts = _texts(examples, responses, oracle)
    keys = [key for key, text in texts.items() if text.strip()]
    vectors = judging.embed([texts[key] for key in keys], run.config,
                            cache=run.path("embeddings"))
    place, others = {key: at for at, key in enumerate(keys)}, another(oracle, run.config.seed)

    def cosine(name: str, example: str, to: str | None) -> float | None:
        if (name, example) not in place or ("oracle", to) not in place:
            return None
        a, b = vectors[place[name, example]], vectors[place["oracle", to]]
        return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))

    return {key: {
        "scores": {name: cosine(name, key, key) for name in replies},
        "baselines": {
            "other_example": others.get(key), "oracle": cosine("oracle", key, others.get(key)),
            "prompt": cosine("prompt", key, key),
            "responses": {name: cosine(name, key, others.get(key)) for name in replies}}}
        for key, replies in responses.items()}


def another(ids: Collection[str], seed: int) -> dict[str, str]:
    """For each id another one, each once, in an order that a hash draws; none for a lone id."""
    order = sorted(ids, key=lambda key: content_id(seed, "another", key, length=32))
    return dict(zip(order, order[1:] + order[:1], strict=True)) if len(order) > 1 else {}


def mean_scores(verdicts: Sequence[RankVerdict], models: Sequence[str]) -> dict[str, float] | None:
    """Normalised score (K - rank) / (K - 1) per model, averaged over the orders that were read.

    None if no verdict of the example could be read: unscored, never zero.
    """
    k = len(models)
    rankings = [v.ranking for v in verdicts if v.ranking]
    if not rankings:
        return None
    return {m: float(np.mean([(k - 1 - r.index(m)) / (k - 1) for r in rankings])) for m in models}


def write_evaluation(run: StageRun, examples: Sequence[Example], models: Sequence[str],
                     responses: Responses, oracle: Mapping[str, str],
                     verdicts: Mapping[str, Sequence[RankVerdict]],
                     similarity: Mapping[str, Mapping[str, Any]], *, tactics: TacticsOutcome,
                     agreed: Mapping[str, Any]) -> dict[str, Any]:
    """Write `final_evaluation.json` in the specified format, with additions, and return it."""
    rows = [_example_entry(run, e, models, responses[e.example_id], oracle.get(e.example_id),
                           verdicts[e.example_id], similarity[e.example_id])
            | {"tactics": safety.of_example(tactics, e.example_id, models)} for e in examples]
    graded = {m: [row["grader_scores"].get(m) for row in rows] for m in models}
    similar = {m: [row["similarity_scores"][m] for row in rows] for m in models}
    config = run.config
    result = {
        "config": {
            "profile": config.profile, "seed": config.seed,
            "trial": is_trial(config, run.stage), "source": config.data.source,
            "base_model": config.model.base, "judge": config.evaluation.judge,
            "oracle": config.oracle.source if config.oracle.generate else "human replies",
            "labeller": config.label_ai.judge, "annotator": config.label_human.source,
            "safety": config.safety.judge, "embedder": config.similarity.embedder,
            "asked_models": _models_asked(run),
            "generation": config.generation.model_dump(), "orders": config.evaluation.orders,
            "planned_examples": config.data.test_examples,
            "weights": {m: weights_hash(config, m) for m in models}},
        "grader_scores": graded, "similarity_scores": similar, "per_example": rows,
        "training": training_of(config, models),
        "label_tactics": safety.of_labels(tactics, safety.sampled_labels(run)),
        "judge_agreement": dict(agreed),
        "summary": {
            "num_examples": len(rows), "models_evaluated": list(models),
            "num_unscored": sum(not row["grader_scores"] for row in rows),
            "grader_normalized_scores": {m: _mean(graded[m]) for m in models},
            "average_similarity_scores": {m: _mean(similar[m]) for m in models},
            "truncated_share": {m: truncation([responses[e.example_id][m] for e in examples])[
                "truncated_share"] for m in models}}}
    write_json(run.path("evaluation"), result)
    return result


_CURVE = {"step": "step", "loss": "loss", "eval_loss": "held_out_loss",
          "eval_rewards/accuracies": "accuracy", "eval_rewards/margins": "margin",
          "eval_kl": "kl", "eval_reply_tokens": "reply_tokens"}


def training_of(config: Config, models: Sequence[str]) -> dict[str, Any]:
    """How each model was trained, compact: its curve by step, the step that was kept, and alarms.

    A checkpoint that came without a training log is left out.
    """
    logs = {m: training_log(config, m) for m in models
            if m != "base" and (path_of(config, m) / CURVE).exists()}
    return {m: {"best_step": log["best_step"], "alarms": log.get("alarms", []),
                "points": _points(log["history"])} for m, log in logs.items()}


def _points(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = [{_CURVE[key]: value for key, value in point.items() if key in _CURVE}
            for point in by_step(history)]
    return [row for row in rows if len(row) > 1]


def _models_asked(run: StageRun) -> dict[str, str | None]:
    """Which model, beyond which service, was asked for what; the labeller as its labels name it."""
    config = run.config
    names: dict[str, str | None] = {
        key: f"{judging.provider_of(config, role)}/{judging.model_of(config, role)}"
        for key, role in (("judge", "evaluate"), ("oracle", "oracle"), ("labeller", "label_ai"),
                          ("safety", "safety"))}
    if not config.oracle.generate:
        names["oracle"] = None
    path = run.path("ai_pool_labeled")
    if path.exists():
        labels = read_jsonl(path, parse_labeled, made_by=made_by(path.stem))
        names["labeller"] = ", ".join(sorted({label.labeled_by for label in labels}))
    return names


def _example_entry(run: StageRun, example: Example, models: Sequence[str],
                   replies: Mapping[str, Generation], oracle: str | None,
                   verdicts: Sequence[RankVerdict],
                   similarity: Mapping[str, Any]) -> dict[str, Any]:
    scores = mean_scores(verdicts, models)
    entry = {
        "example_id": example.example_id,
        "conversation_id": example.metadata.get("conversation_id"),
        "prompt": render_text(example.prompt),
        "messages": example.prompt, "responses": {m: replies[m].text for m in models},
        "finish": {m: replies[m].finish for m in models},
        "tokens": {m: replies[m].tokens for m in models}, "oracle": oracle,
        "human_response": example.response, "grader_ranking": _ranking(scores),
        "grader_ranks": _ranks(scores), "grader_scores": scores or {},
        "grader_explanation": verdicts[0].explanation if verdicts else "",
        "position_map": verdicts[0].position_map if verdicts else {},
        "judgments": [{"ranking": list(v.ranking) or None, "position_map": v.position_map,
                       "explanation": v.explanation, "error": v.error} for v in verdicts],
        "similarity_scores": similarity["scores"],
        "similarity_baselines": similarity["baselines"]}
    if run.config.data.source == "demo":
        # The demo world's truth, by text alone: what the statistics should find.
        entry["gold_utility"] = {m: gold_utility(example.prompt, replies[m].text) for m in models}
    return entry


def _ranking(scores: Mapping[str, float] | None) -> list[str]:
    return sorted(scores, key=lambda m: -scores[m]) if scores else []


def _ranks(scores: Mapping[str, float] | None) -> dict[str, float]:
    if not scores:
        return {}
    return dict(zip(scores, rankdata([-s for s in scores.values()]).tolist(), strict=True))


def _mean(values: Sequence[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return float(np.mean(present)) if present else None


def summary_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Means per model: judge's score, similarity, length, truncation, and gold in the demo."""
    summary, rows = result["summary"], result["per_example"]
    models = summary["models_evaluated"]
    table = pd.DataFrame({
        "score": summary["grader_normalized_scores"],
        "similarity": summary["average_similarity_scores"],
        "tokens": {m: np.mean([row["tokens"][m] for row in rows]) for m in models},
        "truncated": summary["truncated_share"]})
    if "gold_utility" in rows[0]:
        table["gold utility"] = {m: np.mean([r["gold_utility"][m] for r in rows]) for m in models}
    return table.loc[models]


def show_responses(example: Example, responses: Responses) -> TextTable:
    """The message answered and every model's reply to one example."""
    replies = {name: reply.text for name, reply in responses[example.example_id].items()}
    return TextTable(pd.DataFrame({"text": {
        "answered message": example.prompt[-1]["content"], **replies}}))


def show_verdict(example: Example,
                 verdicts: Mapping[str, Sequence[RankVerdict]]) -> TextTable:
    """The rankings of one example, each with its order of presentation and reason."""
    return TextTable(pd.DataFrame([
        {"best first": ", ".join(v.ranking), "reason": v.explanation or v.error,
         "slots": ", ".join(f"{slot} = {name}" for slot, name in v.position_map.items())}
        for v in verdicts[example.example_id]]))


def totals(result: Mapping[str, Any]) -> dict[str, Any]:
    """Planned and scored examples, for the manifest."""
    summary, config = result["summary"], result["config"]
    return {"planned": config["planned_examples"], "unscored": summary["num_unscored"],
            "done": summary["num_examples"] - summary["num_unscored"],
            "models": summary["models_evaluated"]}
