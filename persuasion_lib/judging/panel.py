"""Everybody who ranks: the judge, and the further ones that `evaluation.judges` names.

All of them rank the same texts in the same orders, into one log, whose rows are found by who was
asked: another first judge asks nothing again.
"""

from collections.abc import Mapping
from typing import Any

from persuasion_lib.core.errors import JudgingStopped
from persuasion_lib.core.stage import StageRun
from persuasion_lib.judging.ask import note_open
from persuasion_lib.judging.calibrate import calibrated
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.questions import Prompts, Texts
from persuasion_lib.judging.roles import panel_of
from persuasion_lib.judging.tasks.rank import RankVerdict, rank, rank_questions

LOG = "rank_judgments"
Verdicts = dict[str, list[RankVerdict]]     # by example, one per presentation


def ranked(run: StageRun, judge: Judge, prompts: Prompts, replies: Texts,
           how: Mapping[str, Any], *, what: str = "rankings are missing") -> Verdicts:
    """The rankings of one judge; those that cannot be had are noted as open, as `what`.

    Raises:
        JudgingStopped: it cannot be asked any more; what it answered is in the log.
    """
    log = run.path(LOG)
    with calibrated(run, judge, rank_questions(prompts, replies, judge, **how), log=log):
        return _noted(run, rank(prompts, replies, judge, log=log, **how), what)


def ranked_by_others(run: StageRun, prompts: Prompts, replies: Texts,
                     how: Mapping[str, Any]) -> dict[str, Verdicts]:
    """The rankings of every further judge, by its name; one that fails stops no other.

    Raises:
        ConfigError: one has no usable key or no price.
    """
    found = {}
    for name, judge in panel_of(run.config).items():
        what = f"rankings by {name} are missing"
        try:
            found[name] = ranked(run, judge, prompts, replies, how, what=what)
        except JudgingStopped as error:
            run.warnings.append(f"{name}, a judge of the panel, stopped: {error}")
            there = rank(prompts, replies, judge, log=run.path(LOG), given_up=f"stopped: {error}",
                         **how)
            found[name] = _noted(run, there, what)
    return found


def _noted(run: StageRun, verdicts: Verdicts, what: str) -> Verdicts:
    shown = sum(verdicts.values(), [])
    note_open(run, what, [v.error for v in shown if v.error], asked=len(shown), log=LOG)
    return verdicts
