"""The success criteria of the specification, each met, not met, or cannot be decided."""

from collections.abc import Callable

import numpy as np

from persuasion_lib.core.family import PREFERENCE_TRAINED
from persuasion_lib.reporting.checked import failed_replies, withheld
from persuasion_lib.reporting.judge_health import Result, difference
from persuasion_lib.reporting.wording import ci_text, p_text, told

MET = "met"
NOT_MET = "not met"
OPEN = "cannot be decided"
Decision = tuple[str, str]      # verdict, figure

_MAX_GIBBERISH = 0.05
SPECIFIED = ("base", "sft", "rlhf", "rlaif_rlhf")     # "all 4 models" of the specification


def criteria(result: Result) -> list[dict[str, str]]:
    """One row per criterion: level, criterion, verdict, figure."""
    rows = [("minimum", "All 4 models trained and evaluated", _all_models(result)),
            ("minimum", "Evaluation completes on the planned test examples", _complete(result)),
            ("minimum", "Grader scores improve: RLHF/RLAIF > SFT > Base",
             _by_judge(_improves, result)),
            ("minimum", "No catastrophic failures (gibberish)", _no_gibberish(result)),
            ("strong", "RLAIF+RLHF > RLHF-only (warm-up)", _warmed_up(result)),
            ("strong", "Similarity correlates with grader rankings", _by_judge(_similar, result)),
            ("strong", "Statistical significance (p < 0.05) in comparisons",
             _by_judge(_significant, result)),
            ("strong", "Qualitative examples show clear improvements",
             (OPEN, "a person must read qualitative_examples.txt"))]
    return [{"level": level, "criterion": text, "verdict": verdict, "figure": figure}
            for level, text, (verdict, figure) in rows]


def _by_judge(decide: Callable[[Result], Decision], result: Result) -> Decision:
    """What rests on the judge's scores cannot be decided by a broken judge or a trial."""
    if result["judge"]["kind"]:
        return OPEN, f"the judge is broken ({result['judge']['kind']})"
    if names := withheld(result):
        return OPEN, f"withheld: {names}"
    if result["status"] != "ok":
        return OPEN, f"{result['status']}: n = {result['counts']['scored']}"
    return decide(result)


def _all_models(result: Result) -> Decision:
    missing = [model for model in SPECIFIED if model not in result["models"]]
    if missing:
        return NOT_MET, f"missing: {', '.join(missing)}"
    others = [model for model in result["models"] if model not in SPECIFIED]
    return MET, "; besides ".join(", ".join(names) for names in (SPECIFIED, others) if names)


def _complete(result: Result) -> Decision:
    counts = result["counts"]
    text = (f"{counts['examples']} of {counts['planned'] or 'an unknown number of'} planned "
            f"examples, {counts['scored']} scored")
    if not counts["planned"]:
        return OPEN, text
    return (MET if counts["scored"] >= counts["planned"] else NOT_MET), text


def _improves(result: Result) -> Decision:
    tuned = [model for model in result["models"] if model in PREFERENCE_TRAINED]
    tests = {frozenset((row["a"], row["b"])): row for row in result["pairs"]}
    wanted = [(model, "sft") for model in tuned] + [("sft", "base")]
    if not tuned or any(frozenset(pair) not in tests for pair in wanted):
        return OPEN, "base, sft or the tuned models are missing"
    texts = []
    signs = []
    for better, worse in wanted:
        row = tests[frozenset((better, worse))]
        gain = difference(row, better, "mean_diff")["mean_diff"]
        texts.append(f"{better} - {worse}: {told(gain)}, {p_text(row['p_holm'])}")
        signs.append(np.sign(gain) if row["significant"] else 0)
    if min(signs) > 0:
        return MET, "; ".join(texts)
    return (NOT_MET if min(signs) < 0 else OPEN), "; ".join(texts)


def _no_gibberish(result: Result) -> Decision:
    shares = {model: found["gibberish"] for model, found in result["quality"].items()}
    worst = max(shares, key=shares.get)
    share = shares[worst]
    found = f"most in {worst}: {share:.0%} of its replies are" if share else "no reply is"
    if names := failed_replies(result):
        return NOT_MET, f"{found} empty, not words, or repeating itself; but found: {names}"
    return (MET if share <= _MAX_GIBBERISH else NOT_MET,
            f"{found} empty, not words, or repeating itself; the limit is {_MAX_GIBBERISH:.0%}")


def _warmed_up(result: Result) -> Decision:
    """By people where they compared, since they need no sound judge."""
    found = result["people"]
    if not found:
        return _by_judge(_warm_up, result)
    who = "simulated people" if found["simulated"] else "people"
    text = (f"{who} prefer it in {told(found['estimate'], '.0%')} of prompts "
            f"{ci_text(found, form='.0%')}, {found['n_human']} comparisons")
    return {"helped": MET, "harmed": NOT_MET}.get(result["answer"]["verdict"], OPEN), text


def _warm_up(result: Result) -> Decision:
    test = result["primary_test"]
    if test is None:
        return OPEN, "not both evaluated"
    text = f"{told(test['mean_diff'])} {ci_text(test, form='+.3f')}, {p_text(test['p_perm'])}"
    if test["significant"]:
        return (MET if test["mean_diff"] > 0 else NOT_MET), text
    if test["mde80"]:
        text += f"; detectable: {test['mde80']:.3f}"
    return OPEN, text


def _similar(result: Result) -> Decision:
    against = (result["similarity"] or {}).get("against_rank")
    if against is None or against["p"] is None:
        return OPEN, "no similarity to compare"
    text = (f"mean within-prompt Spearman {against['rho']:+.3f} {ci_text(against, form='+.3f')}, "
            f"{p_text(against['p'])}")
    if against["p"] >= result["alpha"]:
        return OPEN, text
    return (MET if against["rho"] > 0 else NOT_MET), text


def _significant(result: Result) -> Decision:
    found = [row for row in result["pairs"] if row["significant"]]
    text = (f"{len(found)} of {len(result['pairs'])} pairs of models differ: the declared one by a "
            "test of its own, the others by Holm's")
    return (MET if found else OPEN), text
