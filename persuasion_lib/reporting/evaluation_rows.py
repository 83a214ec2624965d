"""From what notebook 05 found to the document that it writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from persuasion_lib.core.prose import Prose, prose
from persuasion_lib.core.records import Example, render_text
from persuasion_lib.core.show import TextTable
from persuasion_lib.reporting.evaluation_file import EvaluationFile, ExampleRow, Judgment, Summary
from persuasion_lib.reporting.wording import number

_CHOSEN = {"1": "chose {a}", "2": "chose {b}", "EQUAL": "a tie"}


@dataclass(frozen=True)
class Found:
    """What was found about the replies to the test prompts: by example, but for `agreed`.

    `responses` are replies by model (text, finish, tokens), `verdicts` the judge's rankings in the
    orders that were asked; `agreed` is how far that judge agrees with the annotator, `controls`
    what it says of pairs of the same replies, `panel` the rankings of further judges by name.
    """

    responses: Mapping[str, Mapping[str, Any]]
    oracle: Mapping[str, str]
    verdicts: Mapping[str, Sequence[Any]]
    similarity: Mapping[str, Mapping[str, Any]]
    tactics: Mapping[str, Any]
    agreed: Mapping[str, Any]
    controls: Sequence[Mapping[str, Any]] = ()
    panel: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)

    def models(self) -> list[str]:
        """The models that answered, in their order."""
        return list(next(iter(self.responses.values())))


def row_of(example: Example, found: Found, **more: Any) -> ExampleRow:
    """One example of `final_evaluation.json`; `more` are fields that are not in `found` as such."""
    key = example.example_id
    replies = found.responses[key]
    judgments = [_judgment(verdict) for verdict in found.verdicts[key]]
    if key in found.similarity:
        more |= {"similarity_scores": found.similarity[key]["scores"],
                 "similarity_baselines": found.similarity[key]["baselines"]}
    if found.panel:
        more["panel"] = {name: [_judgment(verdict) for verdict in verdicts[key]]
                         for name, verdicts in found.panel.items()}
    return ExampleRow(
        example_id=key, conversation_id=example.conversation_id,
        prompt=render_text(example.prompt), messages=example.prompt,
        responses={model: reply.text for model, reply in replies.items()},
        finish={model: reply.finish for model, reply in replies.items()},
        tokens={model: reply.tokens for model, reply in replies.items()},
        oracle=found.oracle.get(key), human_response=example.response,
        **graded(judgments, found.models()), **more)


def _judgment(verdict: Any) -> Judgment:
    tied = {"tied": list(map(list, verdict.tied))} if verdict.tied else {}
    return Judgment(ranking=list(verdict.ranking) or None, error=verdict.error,
                    position_map=verdict.position_map, explanation=verdict.explanation, **tied)


def graded(judgments: Sequence[Judgment], models: Sequence[str]) -> dict[str, Any]:
    """The fields of a row that follow from its judgments."""
    among = [judgment.among(models) for judgment in judgments]      # without the person's place
    scores = mean_scores(among, models)
    ranks = rankdata([-score for score in scores.values()]).tolist()
    return {"grader_ranking": sorted(scores, key=lambda model: -scores[model]),
            "grader_ranks": dict(zip(scores, ranks, strict=True)), "grader_scores": scores,
            "grader_explanation": judgments[0].explanation if judgments else "",
            "position_map": among[0].position_map if judgments else {},
            "judgments": list(judgments)}


def mean_scores(judgments: Sequence[Judgment], models: Sequence[str]) -> dict[str, float]:
    """Normalised score (K - rank) / (K - 1) per model, averaged over the orders that were read.

    Empty if no judgment of the example could be read: unscored, never zero.
    """
    most = len(models) - 1
    ranks = [judgment.ranks(models) for judgment in judgments if judgment.ranking]
    if not ranks:
        return {}
    means = np.mean([[(most + 1 - rank) / most for rank in call] for call in ranks], axis=0)
    return dict(zip(models, means.tolist(), strict=True))


def document(rows: Sequence[ExampleRow], models: Sequence[str], **rest: Any) -> EvaluationFile:
    """The document of these rows, with the lists and means that the format repeats from them.

    Prompts for the judge alone are in none of those.
    """
    every, rows = rows, [row for row in rows if not row.judge_only]
    scores = {model: [row.grader_scores.get(model) for row in rows] for model in models}
    similar = {model: [row.similarity_scores[model] for row in rows] for model in models}
    summary = Summary(
        num_examples=len(rows), models_evaluated=list(models),
        num_unscored=sum(not row.grader_scores for row in rows),
        grader_normalized_scores={model: _mean(values) for model, values in scores.items()},
        average_similarity_scores={model: _mean(values) for model, values in similar.items()},
        truncated_share={model: _mean([row.finish[model] == "length" for row in rows])
                         for model in models})
    return EvaluationFile(grader_scores=scores, similarity_scores=similar, per_example=list(every),
                          summary=summary, **rest)


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def means_table(evaluation: EvaluationFile) -> pd.DataFrame:
    """Means per model: judge's score, similarity, length, truncation, and gold in the demo."""
    summary = evaluation.summary
    rows = [row for row in evaluation.per_example if not row.judge_only]
    table = pd.DataFrame({
        "score": summary.grader_normalized_scores,
        "similarity": summary.average_similarity_scores,
        "tokens": pd.DataFrame([row.tokens for row in rows]).mean(),
        "share cut off": summary.truncated_share}).astype(float)
    if rows[0].gold_utility:
        table["gold utility"] = pd.DataFrame([row.gold_utility for row in rows]).mean()
    return table.loc[summary.models_evaluated].round(3).round({"tokens": 1})


def replies_table(example: Example, responses: Mapping[str, Mapping[str, Any]]) -> TextTable:
    """The message answered and every model's reply to one example."""
    replies = {name: reply.text for name, reply in responses[example.example_id].items()}
    return TextTable(pd.DataFrame({"text": {
        "message answered": example.prompt[-1]["content"], **replies}}))


def verdict_table(example: Example, verdicts: Mapping[str, Sequence[Any]]) -> TextTable:
    """The rankings of one example, each with its order of presentation and reason."""
    rows = [{"slots": ", ".join(f"{slot} = {name}" for slot, name in v.position_map.items()),
             "best first": ", ".join(v.ranking) or "unread", "reason": v.explanation or v.error}
            for v in verdicts[example.example_id]]
    return TextTable(pd.DataFrame(rows, index=_orders(len(rows))))


def _orders(count: int) -> list[str]:
    return [f"order {turn}" for turn in range(1, count + 1)]


def score_steps(example: Example, verdicts: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """How the rankings of one example become scores: rank and score by order, and their mean.

    Best model first, scores with three digits; no row where no ranking could be read.
    """
    read = [_judgment(verdict) for verdict in verdicts[example.example_id] if verdict.ranking]
    models = read[0].ranking or [] if read else []
    table = pd.DataFrame(index=models)
    for name, judgment in zip(_orders(len(read)), read, strict=True):
        table[f"rank, {name}"] = judgment.ranks(models)
        table[f"score, {name}"] = _digits(mean_scores([judgment], models))
    table["score"] = _digits(mean_scores(read, models))
    return table.sort_values("score", ascending=False, kind="stable").convert_dtypes()


def _digits(values: Mapping[str, float | None]) -> pd.Series:
    return pd.Series({name: number(value, none="none") for name, value in values.items()},
                     dtype=object)


def closeness(example: Example, similarity: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """How close each reply to one example is to its oracle reply, and what says how much that is.
    """
    found = similarity[example.example_id]
    beside = {"the prompt itself": found["baselines"]["prompt"],
              "the oracle's reply to another prompt": found["baselines"]["oracle"]}
    return _digits({**found["scores"], **beside}).rename("similarity to the oracle").to_frame()


def panel_in_words(panel: Mapping[str, Mapping[str, Sequence[Any]]]) -> Prose:
    """Which further judges ranked, and how many of their rankings were read."""
    lines = []
    for name, verdicts in panel.items():
        given = [verdict for shown in verdicts.values() for verdict in shown]
        read = sum(bool(verdict.ranking) for verdict in given)
        lines.append(f"{name}: {read:,} of {len(given):,} rankings could be read.")
    return prose(lines or ["One judge ranks here, and no further one was asked."])


def controls_table(controls: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What the judge says of the controls, counted by kind."""
    rows = [{"control": "a reply beside itself" if row["a"] == row["b"] else
             f"{row['a']} beside {row['b']}",
             "the judge": _CHOSEN.get(row["label"], "unread").format(**row)} for row in controls]
    table = pd.DataFrame(rows, columns=["control", "the judge"])
    return table.value_counts().rename("examples").to_frame().sort_index()


def manifest_counts(evaluation: EvaluationFile) -> dict[str, Any]:
    """Planned and scored examples, and the models."""
    summary = evaluation.summary
    return {"planned": evaluation.config.planned_examples, "unscored": summary.num_unscored,
            "done": summary.num_examples - summary.num_unscored,
            "models": summary.models_evaluated}
