"""Did the warm-up help? The answer that a reader sees first, and what no figure can say."""

from collections.abc import Mapping
from typing import Any

from persuasion_lib.core.rehearsal import banner
from persuasion_lib.reporting import people
from persuasion_lib.reporting.checked import OF_THE_JUDGE, withheld
from persuasion_lib.reporting.evaluation_file import Setup
from persuasion_lib.reporting.judge_health import Result
from persuasion_lib.reporting.wording import ci_text, p_text, told
from persuasion_lib.stats.blocks import TOO_FEW


def status_of(setup: Setup, n_scored: int) -> str:
    """"ok", "trial", "rehearsal" or "too few": only "ok" may print a verdict."""
    if setup.trial:
        return "trial"
    if setup.stand_ins() and not setup.is_demo():
        return "rehearsal"
    return "ok" if n_scored >= TOO_FEW else "too few"


def answer(result: Result) -> dict[str, Any]:
    """`verdict`, and the sentences that a reader sees first: people's before the judge's."""
    verdict, sentences = _answer(result)
    if found := result["people"]:
        verdict = _with_people(result, verdict)
        stand_ins = bool(Setup(**result["setup"]).stand_ins())
        sentences = [*people.sentences(found, verdict, stand_ins=stand_ins), *sentences]
    if result["given"]:
        sentences.insert(0, f"This is about {result['given']}, a file made elsewhere: what is not "
                            "in it was not checked.")
    # Before the first sentence: who reads only that must know who spoke.
    return {"verdict": verdict, "sentences": [*banner_of(Setup(**result["setup"])), *sentences]}


def _with_people(result: Result, verdict: str) -> str:
    """People's verdict, unless something makes the comparison itself unbelievable.

    A broken judge does not: people's mean needs no sound judge.
    """
    if result["status"] != "ok":
        return f"none: {result['status']}"
    if withheld(result, but=OF_THE_JUDGE):
        return "none: not to be believed"
    return result["people"]["verdict"]


def _answer(result: Result) -> tuple[str, list[str]]:
    test = result["primary_test"]
    a, b = result["primary"]
    n = result["counts"]["scored"]
    if result["judge"]["kind"]:
        return "none: judge broken", [
            f"No verdict: the judge is broken ({result['judge']['kind']}), so the scores below "
            "describe the judge and not the models."]
    if names := withheld(result):
        return "none: not to be believed", [
            f"No verdict: checks found what makes this comparison unbelievable ({names}). The "
            "figures below are shown and mean nothing until that is mended."]
    if test is None:
        return "none: not evaluated", [
            f"No verdict: {a} and {b} were not both evaluated, and their comparison is the one "
            "that was declared beforehand."]
    size = (f"{a} scored {told(test['mean_diff'])} against {b} {ci_text(test, form='+.3f')}, "
            f"won {test['win']}, tied {test['tie']} and lost {test['loss']} of {test['n']} prompts")
    if result["status"] != "ok":
        kind = _BELOW[result["status"]]
        return f"none: {result['status']}", [
            f"No verdict: this is {kind} (n = {n}). {size}; that shows only that everything runs."]
    verdict = _verdict(test)
    setup = Setup(**result["setup"])
    openings = _OPENINGS_OF_STAND_INS if setup.stand_ins() else _OPENINGS
    opening = f"{openings[verdict]} {size} ({p_text(test['p_perm'])}, sign-flip permutation test, "
    return verdict, [opening + "the one declared comparison).", *_power(test), *_truth(result)]


_OPENINGS = people.OPENINGS | {"helped": "Yes, by this judge the warm-up helped.",
                               "harmed": "No: by this judge the warm-up made it worse."}


_OPENINGS_OF_STAND_INS = _OPENINGS | {
    "helped": "By the stand-ins, the model with the warm-up came out ahead.",
    "harmed": "By the stand-ins, the model with the warm-up came out behind."}
_BELOW = {"trial": "a trial", "rehearsal": "a rehearsal",
          "too few": f"fewer than {TOO_FEW} scored prompts"}


def _verdict(test: Mapping[str, Any]) -> str:
    if not test["significant"]:
        return "no difference detected"
    return "helped" if test["mean_diff"] > 0 else "harmed"


def _power(test: Mapping[str, Any]) -> list[str]:
    """What this number of prompts could have seen."""
    if test["mde80"] is None:
        return []
    text = (f"With {test['n']} prompts, a true difference of {test['mde80']:.3f} in score is found "
            "four times in five, a smaller one less often.")
    if test["prompts_needed"] and not test["significant"]:
        text += f" The observed one would need about {test['prompts_needed']:.0f} prompts."
    return [text]


def _truth(result: Result) -> list[str]:
    gold = (result["gold"] or {}).get("primary_test")
    if gold is None:
        return []
    product = (gold["mean_diff"] or 0) * (result["primary_test"]["mean_diff"] or 0)
    ahead = "the same model" if product > 0 else "the other model" if product else "neither"
    return [f"The demo knows the truth: in gold utility {gold['a']} differs from {gold['b']} by "
            f"{told(gold['mean_diff'])} {ci_text(gold, form='+.3f')} ({p_text(gold['p_perm'])}). "
            f"The judge puts {ahead} ahead."]


def banner_of(setup: Setup) -> list[str]:
    """The sentence that names the stand-ins behind an evaluation; none if all was real."""
    text = banner(setup.stand_ins().values(), real_model=not setup.is_demo())
    return [text] if text else []


def limits(setup: Setup, *, by_people: bool = False) -> list[str]:
    """What these figures cannot say, for the end of every report."""
    taste = ("No interval covers the judge's taste: one that likes length, say, moves every score, "
             "and more prompts only make the moved figure look surer.")
    if by_people:
        taste = ("Only the declared comparison is corrected by people. In every other figure the "
                 "judge's taste is left, and no interval covers it.")
    return [
        *banner_of(setup), *_circular(setup),
        "One training seed per model: the claims are about these checkpoints, not the recipes.",
        "One sampled reply per prompt: the intervals cover the choice of prompts, not of samples.",
        taste,
        "One domain and one kind of prompt; a score depends on which models are compared and must "
        "never be compared across runs with other models.",
        "A judge's preference is not persuasion: nobody's view was measured before and after."]


def _circular(setup: Setup) -> list[str]:
    """Whether what judged also wrote the yardstick, or the labels that models learned from."""
    if not setup.judge:
        return ["The file does not say which model judged, labelled or wrote the oracle replies."]
    roles = [role for role in ("oracle", "labeller") if getattr(setup, role) == setup.judge]
    if not roles:
        return []
    asked = setup.asked_models or {}
    twins = [role for role in roles if asked.get(role) == asked.get("judge")]
    if setup.judge == "offline":
        who = "the same stand-in"
    elif asked and twins:
        who = f"the same model ({asked['judge']})"
    else:
        who = f"of the same service ({setup.judge})"
    names = " and ".join(setup.name_of(role) for role in (asked and twins or roles))
    return [f"The judge and {names} are {who}: similarity to the oracle and the judge's preference "
            "are not independent evidence."]
