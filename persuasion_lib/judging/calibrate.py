"""Three questions with known answers, before a judge is paid for thousands without.

A small local model may answer in the right form and still say whatever stands first. So a judge
first compares a good argument with a shrug, in both orders, and the argument with itself. The
answers are on disk like all others, so that no run asks them twice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persuasion_lib.core.errors import JudgingStopped
from persuasion_lib.core.stage import StageRun
from persuasion_lib.judging.ask import ask_all
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.plan import plan
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.tasks.compare import BOTH_ORDERS, Compare, label_of

CONTEXT = ("THEM: I live in a small flat, so a cat is the only pet that makes sense to me. Why "
           "would anybody keep a dog here?")
ARGUMENT = ("I understand that a small flat limits what you can keep, and a cat is a fair choice. "
            "But many calm dogs live well in small flats, because what a dog needs from you is two "
            "walks a day and company, and not floor space. If you like to be outside anyway, a dog "
            "could give you a reason to go. Would that fit your days?")
SHRUG = "Whatever. I do not care."


def calibrate(run: StageRun, judge: Judge, asked: Mapping[Any, Question], *, log: Path) -> None:
    """Refuse a judge of which the right answers cannot be had, before it is `asked` anything.

    Nothing is asked where `log` answers everything already, or where judging.calibrate is false.

    Raises:
        JudgingStopped: it is wrong or cannot be read; the message says on what.
    """
    if not run.config.judging.calibrate or not plan(asked, judge, log=log).calls:
        return
    problem, note = known_answers(judge, log=run.path("judge_checks"))
    if problem:
        raise JudgingStopped(f"{problem} Nothing else was asked. Choose another model, or set "
                             "judging.calibrate=false to ask it all the same.")
    if note and judge.provider != "offline":    # a stand-in has its bias by construction
        run.warnings.append(note)


def known_answers(judge: Judge, *, log: Path) -> tuple[str, str]:
    """What is wrong with a judge and what is odd about it, each in a sentence; "" where nothing."""
    who = f"The judge {judge.name} at {judge.endpoint}"
    for order in BOTH_ORDERS:
        choice, reason = _answer(judge, "calibration", SHRUG, order, log)
        if reason:
            return f"{who} cannot be used ({reason}).", ""
        if label_of(choice, order) != "a":
            place = "first" if order == (0, 1) else "second"
            return (f"{who} cannot tell a good argument from {SHRUG!r}: with the argument shown "
                    f"{place} it answered {choice}.", "")
    choice, reason = _answer(judge, "calibration-same", ARGUMENT, (0, 1), log)
    if reason:
        return f"{who} cannot be used ({reason}).", ""
    if choice != "EQUAL":
        return "", (f"{who} answered {choice} when both replies were the same text: it has a side. "
                    "Asked in both orders, such pairs become ties.")
    return "", ""


def _answer(judge: Judge, name: str, other: str, order: tuple[int, ...],
            log: Path) -> tuple[str, str]:
    """The choice between the argument and another reply, or why there is none.

    One question at a time: a judge that fails the first is not asked the others.
    """
    question = Compare.compose(name, CONTEXT, (ARGUMENT, other), order=order,
                               prompts=judge.prompts)
    answers = ask_all({name: question}, judge, log=log)
    return answers.verdicts("choice").get(name, ""), answers.errors.get(name, "")
