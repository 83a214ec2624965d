"""Three questions with known answers, before a judge is paid for thousands without.

A small local model may answer in the right form and still say whatever stands first. So a judge
first compares a good argument with a shrug, in both orders, and the argument with itself. The
answers are on disk like all others, so that no run asks them twice.
"""

import re
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

    Nothing is asked where `log` answers everything already, or where judging.calibrate is false;
    what is odd about the judge is noted in every run, out of its answers on disk.

    Raises:
        JudgingStopped: it is wrong or cannot be read; the message says on what.
    """
    checks = run.path("judge_checks")
    will_ask = plan(asked, judge, log=log).calls > 0
    is_known = plan(dict(enumerate(_questions(judge))), judge, log=checks).calls == 0
    if not run.config.judging.calibrate or not (will_ask or is_known):
        return
    problem, note = known_answers(judge, log=checks)
    if problem and will_ask:
        raise JudgingStopped(f"{problem} Nothing else was asked. Choose another model, or set "
                             "judging.calibrate=false to ask it all the same.")
    said = problem or note
    if said and said not in run.warnings and judge.provider != "offline":
        run.warnings.append(said)       # a stand-in has its bias by construction


def known_answers(judge: Judge, *, log: Path) -> tuple[str, str]:
    """What is wrong with a judge and what is odd about it, each in a sentence; "" where nothing."""
    who = f"The judge {judge.name} at {judge.endpoint}"
    *both_orders, same = _questions(judge)
    for question in both_orders:
        choice, reason, _ = _answer(judge, question, log)
        if reason:
            return f"{who} cannot be used ({reason}).", ""
        if label_of(choice, question.order) != "a":
            place = "first" if question.order == (0, 1) else "second"
            return (f"{who} cannot tell a good argument from {SHRUG!r}: with the argument shown "
                    f"{place} it answered {choice}.", "")
    choice, reason, answered = _answer(judge, same, log)
    if reason:
        return f"{who} cannot be used ({reason}).", ""
    odd = [f"{who} answered {choice} when both replies were the same text: it has a side. Asked in "
           "both orders, such pairs become ties."] if choice != "EQUAL" else []
    if _is_another(answered, judge.model):
        odd.append(f"{who} answers as {answered}, another model than was asked for: every label "
                   "and report names the one that was asked for. See which model is loaded there.")
    return "", " ".join(odd)


def _is_another(answered: str, asked: str) -> bool:
    """Whether a reply names another model; folders, dates and versions are additions to a name."""
    one, two = (re.sub(r"[^a-z0-9]", "", name.lower().removesuffix(".gguf").rpartition("/")[2])
                for name in (answered, asked))
    is_named = answered not in ("", "None")
    return is_named and one not in two and two not in one


def _questions(judge: Judge) -> list[Compare]:
    """The argument and the shrug in both orders, and the argument with itself."""
    asked = [("calibration", SHRUG, order) for order in BOTH_ORDERS]
    return [Compare.compose(name, CONTEXT, (ARGUMENT, other), order=order, prompts=judge.prompts)
            for name, other, order in (*asked, ("calibration-same", ARGUMENT, (0, 1)))]


def _answer(judge: Judge, question: Compare, log: Path) -> tuple[str, str, str]:
    """The choice, or why there is none, and the model that answered.

    One question at a time: a judge that fails the first is not asked the others.
    """
    answers = ask_all({"": question}, judge, log=log)
    row = answers.rows.get("") or {"verdict": {"choice": ""}, "model": ""}
    return row["verdict"]["choice"], answers.errors.get("", ""), row["model"]
