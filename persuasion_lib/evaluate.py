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

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import is_trial, made_by
from persuasion_lib.core.records import (
    Example,
    LabeledPair,
    Message,
    Pair,
    content_id,
    parse_example,
    parse_labeled,
    parse_pair,
    render_text,
)
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import AppendLog, read_jsonl, write_json
from persuasion_lib.data.overlap import overlap_faults, shared_passages
from persuasion_lib.demo.standins import gold_utility
from persuasion_lib.judging.ask import ask_all, check_unique
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.embed import embed, embedding_plan
from persuasion_lib.judging.plan import Plans, plan
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.roles import Role, make_judge, model_of, provider_of
from persuasion_lib.judging.tasks.compare import label_pairs, pair_questions
from persuasion_lib.judging.tasks.oracle import oracle_questions
from persuasion_lib.judging.tasks.rank import RankVerdict, rank, rank_questions
from persuasion_lib.judging.tasks.tactics import (
    Tactics,
    TacticsFound,
    sampled_labels,
    tactics_of_example,
    tactics_of_labels,
    tactics_questions,
    tactics_table,
)
from persuasion_lib.labeling import agreement
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.lineage import check_lineage, weights_hash
from persuasion_lib.models.sampling import Generation, Request, sample, truncation
from persuasion_lib.training.history import compact_logs

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
    judge = make_judge(run.config, "oracle")
    questions = oracle_questions(_prompts(examples), judge)
    return ask_all(questions, judge, log=run.path("oracle_judgments")).verdicts("text")


def rank_responses(run: StageRun, examples: Sequence[Example],
                   responses: Responses) -> dict[str, list[RankVerdict]]:
    """The judge's rankings, `evaluation.orders` per example; an unreadable reply is no ranking."""
    judge = make_judge(run.config, "evaluate")
    return rank(_prompts(examples), _reply_texts(responses), judge,
                log=run.path("rank_judgments"), **_rank_how(run))


def _prompts(examples: Sequence[Example]) -> dict[str, list[Message]]:
    check_unique(e.example_id for e in examples)
    return {e.example_id: e.prompt for e in examples}


def _reply_texts(responses: Responses) -> dict[str, dict[str, str]]:
    return {example_id: {name: reply.text for name, reply in replies.items()}
            for example_id, replies in responses.items()}


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
    judge = make_judge(run.config, "evaluate")
    outcome = label_pairs([h.pair for h in human], judge, seed=run.config.seed,
                          log=run.path("human_pool_judgments"))
    return agreement.judge_against_annotator([parse_labeled(row) for row in outcome.rows()], human,
                             seed=run.config.seed)


def find_tactics(run: StageRun, examples: Sequence[Example],
                 responses: Responses) -> TacticsFound:
    """The manipulation tactics in every reply and in a sample of the labelled pairs."""
    judge = make_judge(run.config, "safety")
    answers = ask_all(_tactics_questions(run, examples, responses, judge), judge,
                      log=run.path("tactics_judgments"))
    if answers.errors:
        run.warnings.append(f"{len(answers.errors)} replies could not be searched for tactics; "
                            "they are missing, not clean.")
    return answers.verdicts("tactics")


def _tactics_questions(run: StageRun, examples: Sequence[Example], responses: Responses,
                       judge: Judge) -> dict[str, Tactics]:
    return tactics_questions(_prompts(examples), _reply_texts(responses), sampled_labels(run),
                             judge)


def show_tactics(responses: Responses, found: TacticsFound) -> TextTable:
    """The first test replies in which a tactic was found, with the judge's reasons and no model."""
    return tactics_table(_reply_texts(responses), found)


def plan_of(run: StageRun, examples: Sequence[Example], responses: Responses) -> Plans:
    """What the paid calls of this notebook would cost, before the first of them."""
    plans = Plans()

    def add(what: str, role: Role, log: str, ask: Callable[..., Mapping[Any, Question]]) -> None:
        judge = make_judge(run.config, role)
        plans[what] = plan(ask(judge), judge, log=run.path(log))

    if run.config.oracle.generate:
        add("oracle replies", "oracle", "oracle_judgments", lambda judge:
            oracle_questions(_prompts(examples), judge))
    add("rankings", "evaluate", "rank_judgments", lambda judge: rank_questions(
        _prompts(examples), _reply_texts(responses), judge, **_rank_how(run)))
    add("labels of the human pool", "evaluate", "human_pool_judgments", lambda judge:
        pair_questions([h.pair for h in _human_labels(run)], judge, both_orders=True,
                       seed=run.config.seed))
    add("manipulation tactics", "safety", "tactics_judgments", lambda judge:
        _tactics_questions(run, examples, responses, judge))
    unknown = plans["oracle replies"].calls if run.config.oracle.generate else 0
    plans["embeddings"] = embedding_plan(
        [text for text in _texts(examples, responses, {}).values() if text.strip()], run.config,
        cache=run.path("embeddings"), unknown=unknown)
    return plans


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
    vectors = embed([texts[key] for key in keys], run.config, cache=run.path("embeddings"))
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
                     similarity: Mapping[str, Mapping[str, Any]], *, tactics: TacticsFound,
                     agreed: Mapping[str, Any]) -> dict[str, Any]:
    """Write `final_evaluation.json` in the specified format, with additions, and return it."""
    rows = [_example_entry(run, e, models, responses[e.example_id], oracle.get(e.example_id),
                           verdicts[e.example_id], similarity[e.example_id])
            | {"tactics": tactics_of_example(tactics, e.example_id, models)} for e in examples]
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
        "training": compact_logs(config, models),
        "label_tactics": tactics_of_labels(tactics, sampled_labels(run)),
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


def _models_asked(run: StageRun) -> dict[str, str | None]:
    """Which model, beyond which service, was asked for what; the labeller as its labels name it."""
    config = run.config
    names: dict[str, str | None] = {
        key: f"{provider_of(config, role)}/{model_of(config, role)}"
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
