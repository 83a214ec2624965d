"""Notebook 05b: people compare final replies, blind: of the declared two models, or of all.

The judge's taste is in every figure that rests on it alone. A few dozen comparisons by people, of
prompts drawn before anybody reads them, say how large it is (see `stats.people`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.brought import read_brought
from persuasion_lib.core.errors import ConfigError, DataError
from persuasion_lib.core.manifest import hash_if_there
from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.prose import Prose, prose
from persuasion_lib.core.rankings import Ranking, comparison_row, parse_comparison
from persuasion_lib.core.records import LabeledPair, Pair, content_id, to_messages
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling import opening, ranking
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.summary import session_figures, session_table
from persuasion_lib.reporting import evaluation_file, parts_people
from persuasion_lib.reporting.evaluated import Evaluated, tabulated
from persuasion_lib.reporting.evaluation_file import ExampleRow
from persuasion_lib.reporting.people import contestants, known_of, ranked_by_judge, same_texts
from persuasion_lib.stats.people import half_width, smallest_win_rate

SECONDS_EACH = 72       # of a person for one comparison: fifty in an hour
_SIZES = (30, 50, 80, 115)
_OTHER_PERSON = 1       # of the demo: not who labelled for training
Asking = Session | ranking.RankingSession
Made = LabeledPair | Ranking


def read_evaluation(run: StageRun) -> Evaluated:
    """What notebook 05 wrote."""
    return tabulated(evaluation_file.read(run.path("evaluation"), made_by=made_by("evaluation")))


def declared(run: StageRun) -> tuple[str, str]:
    """The two models that people compare: `analysis.primary`."""
    first, second = run.config.analysis.primary
    return first, second


def comparable(run: StageRun, data: Evaluated) -> list[ExampleRow]:
    """The prompts that people could compare, in the order in which they are drawn.

    Both models (to be ranked: all) answered, otherwise than in the same words, and the judge's
    ranking was read. The order is a hash of the prompt and the seed: nobody chose.

    Raises:
        DataError: a model of the declared pair was not evaluated.
    """
    ready = _judged(run, data).difference(_alike(run, data))
    return sorted((row for row in data.rows if row.example_id in ready),
                  key=lambda row: content_id("people", run.config.seed, row.example_id))


def _judged(run: StageRun, data: Evaluated) -> pd.Index:
    """The prompts whose ranking by the judge was read."""
    if _ranks(run):
        return ranked_by_judge(data).index
    pair = declared(run)
    absent = [model for model in pair if model not in data.models]
    if absent:
        raise DataError(f"{' and '.join(absent)} of analysis.primary was not evaluated. Train it "
                        "with notebooks/04_train_dpo.ipynb, or declare another pair.")
    return known_of(data, pair).index


def _alike(run: StageRun, data: Evaluated) -> pd.Index:
    """The prompts to which both models, or all that are to be ranked, gave one text."""
    if not _ranks(run):
        return same_texts(data, declared(run))
    return pd.Index([row.example_id for row in data.rows if len(
        {(row.responses[model] or "").strip() for model in data.models}) < 2])


def _ranks(run: StageRun) -> bool:
    return run.config.human_eval.kind == "ranking"


def where_from(run: StageRun, data: Evaluated, asked: Sequence[Pair] | Sequence[Ranking]) -> Prose:
    """How many prompts were drawn of how many, and why no others could be."""
    judged = _judged(run, data)
    alike = len(judged.intersection(_alike(run, data)))
    what = "rankings" if _ranks(run) else "comparisons"
    lines = [f"{len(asked)} {what}, drawn from {len(judged) - alike} of {len(data.rows)} prompts."]
    if alike:
        lines.append(f"To {alike} prompts the models gave the same text: a tie for everybody.")
    if unread := len(data.rows) - len(judged):
        lines.append(f"Of {unread} prompts the judge's ranking could not be read.")
    return prose(lines)


def plan(run: StageRun, data: Evaluated) -> pd.DataFrame:
    """What so many comparisons are good for, with the judge's verdicts on all prompts.

    Columns: half of the interval's width and the smallest win rate that is told from one half in
    four of five experiments (both expected, with a judge that agrees as in the demo), and time.
    """
    most = len(comparable(run, data))
    sizes = sorted({size for size in (*_SIZES, run.config.human_eval.comparisons, most)
                    if 2 <= size <= most})
    is_ranking = _ranks(run)
    every = tabulated(data.file, judge_only=True)
    judged = len(ranked_by_judge(data) if is_ranking else known_of(every, declared(run)))
    most_replies = max(map(len, contestants(data).values()))
    seconds = SECONDS_EACH / 2 * (most_replies if is_ranking else 2)
    table = pd.DataFrame({
        "interval ±": [half_width(size, n_judged=judged) for size in sizes],
        "win rate found": [smallest_win_rate(size, n_judged=judged) for size in sizes],
        "minutes of a person": [round(size * seconds / 60) for size in sizes]},
        index=pd.Index(sizes, name="comparisons"))
    return table.round(2)


def drawn(run: StageRun, data: Evaluated) -> list[Pair] | list[Ranking]:
    """The comparisons to make: `response_a` is of the first of the declared models.

    With `human_eval.kind=ranking`, the prompts whose replies are to be ranked.
    """
    wanted = comparable(run, data)[:run.config.human_eval.comparisons]
    if _ranks(run):
        replies = contestants(data)
        return [Ranking(row.example_id, _messages(row), replies[row.example_id]) for row in wanted]
    return [_pair(row, declared(run)) for row in wanted]


def _pair(row: ExampleRow, models: tuple[str, str]) -> Pair:
    texts = [row.responses[model] for model in models]
    prompt = _messages(row)
    key = content_id("people", row.example_id, *texts)
    return Pair(key, prompt, *texts, {"example_id": row.example_id, "models": list(models)})


def _messages(row: ExampleRow) -> list[dict[str, str]]:
    return to_messages(row.messages or [{"role": "user", "content": str(row.prompt)}])


def open_session(run: StageRun, pairs: Sequence[Pair] | Sequence[Ranking]) -> Asking:
    """The session of `human_eval.source`: a person's log, the stand-in's answers, or a file's.

    Raises:
        ConfigError: no file is named.
        DataError: the file is malformed (file:line).
    """
    settings = run.config.human_eval
    if settings.kind == "ranking":
        return _open_ranking(run, pairs)
    asked = opening.Asked(pairs, opening.read_guidelines(run.config), seed=run.config.seed,
                          repeat_fraction=settings.repeat_fraction, checks=settings.checks)
    if settings.source == "simulated":
        return asked.by_stand_in(SimulatedAnnotator(seed=run.config.seed + _OTHER_PERSON))
    if settings.source == "file":
        return _from_file(run, asked)
    if settings.source == "none":
        return asked.session(settings.annotator)
    return asked.by_log(settings.annotator, run.path("final_events"))


def _open_ranking(run: StageRun, asked: Sequence[Ranking]) -> ranking.RankingSession:
    settings = run.config.human_eval
    guidelines = opening.read_guidelines(run.config, settings.kind)
    items = ranking.rank_items(asked, seed=run.config.seed, annotator=settings.annotator,
                               repeat_fraction=settings.repeat_fraction)
    if settings.source == "simulated":
        person = SimulatedAnnotator(seed=run.config.seed + _OTHER_PERSON)
        return ranking.by_stand_in(items, lambda item: person.rank(
            item.asked.prompt, item.texts, sample=int(item.is_repeat)), guidelines)
    if settings.source == "widget":
        return ranking.RankingSession(items, *opening.events_of(run.path("ranking_events")),
                                      annotator=settings.annotator, guidelines=guidelines)
    given = _given_rankings(run, asked) if settings.source == "file" else []
    return ranking.by_file(items, given, annotator=settings.annotator, guidelines=guidelines)


def _given_rankings(run: StageRun, asked: Sequence[Ranking]) -> list[Ranking]:
    """The rankings of a file that are of these replies; a prompt twice is an error (file:line)."""
    wanted = {one.key for one in asked}
    seen: set[str] = set()

    def parse(row: dict[str, Any]) -> Ranking:
        given = parse_comparison(row)
        if not isinstance(given, Ranking):
            raise DataError("a comparison of two replies, and human_eval.kind is ranking")
        if given.key in seen:
            raise DataError(f"prompt {given.example_id} is ranked a second time; keep one line")
        seen.add(given.key)
        return given

    given = read_brought(_named(run), "labels", parse)
    _note_others(run, [one.example_id for one in given if one.key not in wanted])
    return [one for one in given if one.key in wanted]


def _named(run: StageRun) -> Path:
    if not run.config.human_eval.path:
        raise ConfigError("human_eval.source=file needs human_eval.path, a file in the format of "
                          "human_comparisons.jsonl.")
    return run.config.named_file("human_eval.path")


def _note_others(run: StageRun, others: Sequence[str]) -> None:
    if others:
        run.warnings.append(f"{len(others)} comparisons of {run.config.human_eval.path} are not "
                            f"among those that were drawn (first: {others[0]}) and do not count.")


def _from_file(run: StageRun, asked: opening.Asked) -> Session:
    """A session that knows the comparisons of a file, in the format that this notebook writes."""
    fitting = opening.Fitting(asked.pairs, others_too=True)
    given = read_brought(_named(run), "labels", fitting)
    _note_others(run, fitting.others)
    return asked.by_labels(run.config.human_eval.annotator, [label for label in given if label])


def view(run: StageRun, session: Asking) -> Any:
    """The widget; where no person compares now, a sentence on the comparisons instead."""
    settings = run.config.human_eval
    if isinstance(session, ranking.RankingSession):
        return ranking.screen(session, settings.source, break_every=settings.break_every)
    return opening.screen(session, settings.source, noun="comparisons",
                          break_every=settings.break_every)


def figures(session: Asking) -> pd.DataFrame:
    """What the answers say about themselves, and nothing about who is ahead."""
    if not isinstance(session, ranking.RankingSession):
        return session_table(session)
    found = ranking.figures(session).dropna(subset="value")
    forms = {"prompts ranked": ",.0f", "median seconds": ".1f"}
    return pd.DataFrame({"value": [format(value, forms.get(name, ".0%"))
                                   for name, value in found["value"].items()],
                         "out of": found["n"]}, index=found.index)


def steadiness(session: Asking) -> Prose | None:
    """How far comparisons that came twice tell whether people are steady; None without any."""
    if isinstance(session, ranking.RankingSession):
        return None
    found = session_figures(session).rename(columns={"value": "raw"})
    return prose(parts_people.repeats(found.loc["same answer on the repeat"])) or None


def comparisons(run: StageRun, session: Asking) -> list[Made]:
    """The comparisons that were made, ties too; how each came about is in its metadata."""
    is_simulated = run.config.human_eval.source == "simulated"
    name = ANNOTATOR_NAME if is_simulated else session.annotator
    if isinstance(session, ranking.RankingSession):
        return session.ranked(name)
    return opening.labels_of(session, name)


def write_comparisons(run: StageRun, session: Asking) -> list[Made]:
    """Write `human_comparisons.jsonl`, be it empty; what is missing is said and stops nothing."""
    made = comparisons(run, session)
    if not made:
        run.warnings.append("No person compared final replies, so the report goes by this judge "
                            "alone. To compare: notebooks/05b_human_eval.ipynb with "
                            "human_eval.source=widget.")
    elif session.missing:
        run.warnings.append(f"{len(session.missing)} of {len(session.pool)} comparisons are not "
                            "answered yet; the report uses those that are.")
    if session.foreign:
        run.warnings.append(f"{session.foreign} answers in the log belong to other texts than "
                            "these replies and do not count.")
    if _trained_by_the_same(run) and made:
        run.warnings.append("The person who compared also labelled for training: their taste is "
                            "what rlhf was trained on. Another person's comparisons say more.")
    if run.config.human_eval.source == "widget":
        # An answer that comes later makes this stage stale.
        log = "ranking_events" if run.config.human_eval.kind == "ranking" else "final_events"
        run.inputs[log] = hash_if_there(run.path(log))
    write_jsonl(run.path("human_comparisons"), map(comparison_row, made))
    return made


def ties(made: Sequence[Made]) -> int:
    """How many comparisons are ties, or rankings in which somebody shares a place."""
    return sum(one.label == "tie" if isinstance(one, LabeledPair)
               else len(set(one.ranks.values())) < len(one.ranks) for one in made)


def _trained_by_the_same(run: StageRun) -> bool:
    labels, final = run.config.label_human, run.config.human_eval
    return (labels.source, final.source) == ("widget", "widget") and (
        final.annotator in (labels.annotators or [labels.annotator]))
