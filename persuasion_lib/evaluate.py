"""Notebook 05: every model answers the held-out prompts; a judge ranks, an embedder compares.

Nothing here treats one model otherwise than another: the judge sees texts in a hashed order, and
names come back only through the position map.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from persuasion_lib.core.errors import DataError, JudgingStopped
from persuasion_lib.core.family import wanted
from persuasion_lib.core.pipeline import is_trial, made_by
from persuasion_lib.core.records import Example, LabeledPair, content_id, parse_labeled
from persuasion_lib.core.rehearsal import asks_oracle, labelled_by, oracle_note
from persuasion_lib.core.runs import identity
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import KeyedLog
from persuasion_lib.data import contest
from persuasion_lib.data.splits import too_few_for_judge
from persuasion_lib.data.untouched import check_untouched
from persuasion_lib.demo.corpus import gold_utility
from persuasion_lib.judging import panel, roles
from persuasion_lib.judging.ask import note_open
from persuasion_lib.judging.calibrate import ask_calibrated, label_calibrated
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.embed import embedding_plan
from persuasion_lib.judging.plan import Plans, plan
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.roles import Role, make_judge
from persuasion_lib.judging.similarity import texts_of, to_oracle
from persuasion_lib.judging.tasks import tactics
from persuasion_lib.judging.tasks.compare import pair_questions
from persuasion_lib.judging.tasks.controls import Control, control_pairs, control_rows
from persuasion_lib.judging.tasks.oracle import oracle_questions
from persuasion_lib.judging.tasks.rank import rank_questions
from persuasion_lib.labeling import agreement
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.lineage import check_lineage, weights_hash
from persuasion_lib.models.sampling import Generation, Request, sample
from persuasion_lib.reporting import evaluation_file
from persuasion_lib.reporting.evaluation_file import EvaluationFile, Setup
from persuasion_lib.reporting.evaluation_rows import Found, document, row_of
from persuasion_lib.training.history import compact_logs

Responses = dict[str, dict[str, Generation]]        # example id -> model -> reply


def read_test_set(run: StageRun) -> list[Example]:
    """The held-out prompts, at most `evaluation.max_examples`, and then those for the judge alone.

    Raises:
        DataError: a test prompt, a large part of it or its conversation also occurs in data that
            models learned from.
    """
    examples = run.read("test")
    if not examples:
        raise DataError(f"{run.path('test')} holds no test prompt. Run {made_by('test')} again.")
    check_untouched(run, examples)
    limit = run.config.evaluation.max_examples
    shown = contest.ordinary(examples)
    if limit:
        run.warnings.append(f"Trial: {min(limit, len(shown))} of {len(shown)} test prompts.")
    alone = [e for e in examples if e.judge_only][:run.config.evaluation.judge_only_examples]
    run.warnings += too_few_for_judge(alone, run.config)
    return shown[:limit] + alone[:limit]


def present_models(run: StageRun) -> list[str]:
    """The models of `evaluation.models` that are wanted and exist, in that order; notes others.

    Raises:
        DataError: fewer than two are left.
        LineageError: a checkpoint exists, but not with the parents it was trained on.
    """
    present = []
    for name in wanted(run.config.evaluation.models, run.config.training.models):
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
    family = ModelFamily(config, models)
    requests = [Request(e.example_id, e.prompt) for e in examples]
    responses: Responses = {e.example_id: {} for e in examples}
    with KeyedLog(run.path("generations")) as log:
        for name in models:
            with family.use(name) as model:
                weights = content_id(*(weights_hash(config, n) for n in ("base", "sft", name)))
                replies = sample(model, family.tokenizer, requests, config.generation,
                                 seed=config.seed, model_hash=weights, log=log,
                                 desc=f"replies of {name}")
            for example_id, reply in replies.items():
                responses[example_id][name] = reply
    return responses


def oracle_replies(run: StageRun, examples: Sequence[Example]) -> dict[str, str]:
    """A strong reply to each test prompt: the oracle model's, or the person's of the test file.

    An example whose oracle could not be read is absent, so its similarities are missing.
    """
    if not asks_oracle(run.config):
        run.warnings += oracle_note(run.config)
        return {e.example_id: e.response for e in contest.ordinary(examples)}
    judge = make_judge(run.config, "oracle")
    asked = oracle_questions(contest.prompts_of(examples), judge)
    return ask_calibrated(run, asked, judge, log="oracle_judgments",
                          lacking="test prompts have no oracle reply yet").verdicts("text")


def rank_responses(run: StageRun, examples: Sequence[Example],
                   responses: Responses) -> panel.Verdicts:
    """The judge's rankings, `evaluation.orders` per example; an unreadable reply is no ranking.

    Raises:
        JudgingStopped: it cannot be asked any more; the rest of a panel was asked all the same.
    """
    asked = contest.contest(run, examples, responses)
    try:
        return panel.ranked(run, make_judge(run.config, "evaluate"), *asked)
    except JudgingStopped:
        panel.ranked_by_others(run, *asked)
        raise


def panel_rankings(run: StageRun, examples: Sequence[Example],
                   responses: Responses) -> dict[str, panel.Verdicts]:
    """The same by every further judge of `evaluation.judges`, by its name."""
    return panel.ranked_by_others(run, *contest.contest(run, examples, responses))


@dataclass(frozen=True)
class Labels:
    """The annotator's labels, to compare the judge with, and a `sample` to search for tactics."""

    human: list[LabeledPair]
    sample: tactics.Sample


def read_labels(run: StageRun) -> Labels:
    """The labels of both pools; no more of the annotator's than a trial has examples."""
    human = run.read_if_there("human_pool_labeled")[:run.config.evaluation.max_examples]
    return Labels(human, tactics.sampled_labels(run))


def judge_agreement(run: StageRun, labels: Labels) -> dict[str, Any]:
    """How far the judge that ranks agrees with the annotator, on the pairs of the human pool.

    It labels them in both orders; what the same judge answered in 01 is not asked again.
    """
    outcome = label_calibrated(run, [h.pair for h in labels.human],
                               make_judge(run.config, "evaluate"), log="human_pool_judgments")
    note_open(run, "pairs of the human_pool are not judged yet", outcome.errors.values(),
              asked=outcome.planned, log="human_pool_judgments")
    judged = [parse_labeled(row) for row in outcome.rows()]
    return agreement.judge_against_annotator(judged, labels.human, seed=run.config.seed)


def _controls(run: StageRun, examples: Sequence[Example],
              responses: Responses) -> dict[str, Control]:
    return control_pairs(contest.prompts_of(examples), contest.texts_of_replies(responses),
                         run.config.analysis.primary, seed=run.config.seed,
                         count=run.config.evaluation.controls)


def control_judgments(run: StageRun, examples: Sequence[Example],
                      responses: Responses) -> list[dict[str, Any]]:
    """What the judge that ranks says of pairs of the same replies, and of a reply beside itself."""
    pairs = _controls(run, examples, responses)
    outcome = label_calibrated(run, [pair for pair, _ in pairs.values()],
                               make_judge(run.config, "evaluate"), log="control_judgments")
    note_open(run, "controls of the judge are not answered yet", outcome.errors.values(),
              asked=outcome.planned, log="control_judgments")
    return control_rows(pairs, outcome)


def find_tactics(run: StageRun, examples: Sequence[Example], responses: Responses,
                 labels: Labels) -> tactics.TacticsFound:
    """The manipulation tactics in every reply and in a sample of the labelled pairs."""
    judge = make_judge(run.config, "safety")
    return ask_calibrated(run, _tactics_questions(examples, responses, labels, judge), judge,
                          log="tactics_judgments",
                          lacking="replies are not searched for tactics yet").verdicts("tactics")


def _tactics_questions(examples: Sequence[Example], responses: Responses, labels: Labels,
                       judge: Judge) -> dict[str, tactics.Tactics]:
    replies = contest.of_ordinary(examples, contest.texts_of_replies(responses))
    return tactics.tactics_questions(contest.prompts_of(examples), replies, labels.sample, judge)


def show_tactics(responses: Responses, found: tactics.TacticsFound) -> TextTable:
    """The first test replies in which a tactic was found, with the judge's reasons and no model."""
    return tactics.tactics_table(contest.texts_of_replies(responses), found)


def plan_of(run: StageRun, examples: Sequence[Example], responses: Responses,
            labels: Labels) -> Plans:
    """What the paid calls of this notebook would cost, before the first of them."""
    plans = Plans()

    def add(what: str, role: Role, log: str,
            ask: Callable[[Judge], Mapping[Any, Question]], who: str | None = None) -> None:
        judge = make_judge(run.config, role, who)
        plans[what] = plan(ask(judge), judge, log=run.path(log))

    if asks_oracle(run.config):
        add("oracle replies", "oracle", "oracle_judgments",
            lambda judge: oracle_questions(contest.prompts_of(examples), judge))
    prompts, replies, how = contest.contest(run, examples, responses)
    for name in (None, *run.config.evaluation.judges[1:]):
        add(f"rankings by {name}" if name else "rankings", "evaluate", panel.LOG,
            lambda judge: rank_questions(prompts, replies, judge, **how), name)
    add("labels of the human pool", "evaluate", "human_pool_judgments",
        lambda judge: pair_questions([h.pair for h in labels.human], judge, both_orders=True,
                                     seed=run.config.seed))
    add("controls of the judge", "evaluate", "control_judgments",
        lambda judge: pair_questions([pair for pair, _ in _controls(
            run, examples, responses).values()], judge, both_orders=True, seed=run.config.seed))
    add("manipulation tactics", "safety", "tactics_judgments",
        lambda judge: _tactics_questions(examples, responses, labels, judge))
    unknown = plans["oracle replies"].calls if "oracle replies" in plans else 0
    texts = texts_of(contest.ordinary(examples), contest.of_ordinary(examples, responses), {})
    plans["embeddings"] = embedding_plan([*texts.values()], run.config, unknown=unknown,
                                         cache=run.path("embeddings"))
    return plans


def similarity_to_oracle(run: StageRun, examples: Sequence[Example], responses: Responses,
                         oracle: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Per ordinary prompt the similarity of every reply to the oracle's, and baselines for it."""
    replies = contest.of_ordinary(examples, responses)
    texts = texts_of(contest.ordinary(examples), replies, oracle)
    if run.config.similarity.embedder == "local":
        run.note_input("embedder")
    return to_oracle(texts, replies, run.config, cache=run.path("embeddings"))


def write_evaluation(run: StageRun, examples: Sequence[Example], labels: Labels,
                     found: Found) -> EvaluationFile:
    """Write `final_evaluation.json` in the specified format, with additions, and return it."""
    models = found.models()
    evaluation = document(
        [row_of(example, found, **_extras(run, example, found)) for example in examples], models,
        config=_setup(run, models, examples), training=compact_logs(run.config, models),
        label_tactics=tactics.tactics_of_labels(found.tactics, labels.sample),
        judge_agreement=dict(found.agreed), controls=found.controls)
    evaluation_file.write(run.path("evaluation"), evaluation)
    return evaluation


def _extras(run: StageRun, example: Example, found: Found) -> dict[str, Any]:
    """The tactics in an example's replies, and in the demo world the truth, by text alone."""
    key = example.example_id
    extras: dict[str, Any] = {"judge_only": True} if example.judge_only else {
        "tactics": tactics.tactics_of_example(found.tactics, key, found.models())}
    if run.config.data.source == "demo":
        extras["gold_utility"] = {model: gold_utility(example.prompt, reply.text)
                                  for model, reply in found.responses[key].items()}
    return extras


def _setup(run: StageRun, models: Sequence[str], examples: Sequence[Example]) -> Setup:
    config = run.config
    return Setup(
        banner=run.banner or None, run=identity(config), profile=config.profile, seed=config.seed,
        trial=is_trial(config, run.stage), source=config.data.source,
        base_model=config.model.base, judge=config.evaluation.judge,
        oracle=config.oracle.source if asks_oracle(config) else "human replies",
        labeller=labelled_by(config, "ai_pool"), annotator=labelled_by(config, "human_pool"),
        safety=config.safety.judge, embedder=config.similarity.embedder,
        asked_models=_models_asked(run), generation=config.generation.values(),
        orders=config.evaluation.orders, planned_examples=config.data.test_examples,
        weights={model: weights_hash(config, model) for model in models},
        **contest.who_took_part(examples, config), **roles.names_of_panel(config),
        **({"answered_by": run.answered_by} if run.answered_by else {}))


def _models_asked(run: StageRun) -> dict[str, str | None]:
    """Which model, beyond which service, was asked for what; the labeller as its labels name it."""
    who = roles.names_of_models(run.config) | ({} if asks_oracle(run.config) else {"oracle": None})
    if labels := run.read_if_there("ai_pool_labeled"):
        who["labeller"] = ", ".join(sorted({label.labeled_by for label in labels}))
    return who
