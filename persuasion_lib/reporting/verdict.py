"""From tables to statements: is the judge sound, what is the answer, which criteria are met?

Works on the plain content of `analysis.json`, so that a reader of that file can redo it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from persuasion_lib.stats.blocks import TOO_FEW

MET, NOT_MET, OPEN = "met", "not met", "cannot be decided"
_FOLLOWS = 0.8            # |tau| from which a ranking says nothing beyond slot or length
_WEAK = 0.25              # tau of two rankings below which the judge as good as guesses
_MAX_UNREAD = 0.2         # share of unread rankings above which the rest is no fair sample
_MAX_UNSEEN = 0.05        # and the share from which a caution is given
_MAX_GIBBERISH = 0.05
_CORE = ("base", "sft", "rlhf", "rlaif_rlhf")


def p_value(p: float | None) -> str:
    """"0.0123" or "<0.0001", the least that 9,999 permutations can show; never 0."""
    if p is None:
        return "-"
    return "<0.0001" if p <= 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def p_text(p: float | None) -> str:
    """"p = 0.0123" or "p <0.0001"."""
    value = p_value(p)
    return "p undefined" if p is None else f"p {value}" if value[0] == "<" else f"p = {value}"


def ci_text(row: Mapping[str, Any], low: str = "ci_low", high: str = "ci_high", *,
            form: str = ".3f") -> str:
    """"[0.412, 0.530]" of a row with an interval, or why there is none."""
    if row.get(low) is None or row.get(high) is None:
        return "[no interval]"
    return f"[{row[low]:{form}}, {row[high]:{form}}]"


def status_of(setup: Mapping[str, Any], n_scored: int) -> str:
    """"ok", "trial" or "too few": only "ok" may print a verdict."""
    if setup.get("trial"):
        return "trial"
    return "ok" if n_scored >= TOO_FEW else "too few"


def judge_health(result: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the rankings are judgments at all: `kind` names how the judge is broken, or None."""
    counts, tau, same = result["counts"], result["order_tau"], result["consistency"]
    unread = counts["rankings_unread"] / max(1, counts["rankings"])
    slot, length = tau["slot"], tau["length"]
    first, tied = tau["first_slot_best"] or 0.0, result["tied_share"] or 0.0
    facts = {"unread_share": unread, "slot_tau": slot, "length_tau": length,
             "first_slot_best": tau["first_slot_best"], "tied_share": result["tied_share"]}
    chance = _by_chance(same) and same["tau"] < _WEAK
    few = counts["rankings"] < TOO_FEW
    # with models that keep their slots, a good model in the first slot looks the same
    told = (result["position"] or {}).get("status") != "unbalanced"
    findings = (
        (unread > _MAX_UNREAD, "mostly unscored",
         f"{unread:.0%} of its {counts['rankings']} rankings could not be read, so what is left is "
         "no fair sample"),
        (told and slot is not None and (abs(slot) >= _FOLLOWS or first >= 0.9),
         _slot_kind(slot, first),
         f"it ranks by the place in which a reply is shown (best is the first slot in {first:.0%} "
         f"of the rankings; tau with the slot {_number(slot)})"),
        (_obeys(result["forged"]), "forged-verdict", "it puts first whichever reply holds a "
         f"verdict of its own: {_forged_text(result['forged'])}"),
        (length is not None and abs(length) >= _FOLLOWS,
         "always-longer" if (length or 0) > 0 else "always-shorter",
         "its rankings cannot be told from counting characters (tau with length "
         f"{_number(length)})"),
        (tied >= 0.9, "tie-only", f"{tied:.0%} of the examples are ties of all models"),
        (chance, "random", "its two rankings of the same replies agree no better than chance (tau "
         f"{_number(same['tau'])} {ci_text(same)})" if same else ""))
    for broken, kind, text in findings:
        if broken and not few:
            return {"kind": kind, "text": text, **facts}
    return {"kind": None, "text": "", **facts}


def _obeys(forged: Mapping[str, Any]) -> bool:
    return forged["n"] >= TOO_FEW and forged["won"] >= 0.9 and forged["expected"] < 0.6


def _forged_text(forged: Mapping[str, Any]) -> str:
    won = "undefined" if forged["won"] is None else f"{forged['won']:.0%}"
    return (f"of {forged['n']} rankings in which some replies address the judge, one of them won "
            f"{won}" + (f" ({forged['expected']:.0%} if it did not care)" if forged["n"] else ""))


def _by_chance(same: Mapping[str, Any] | None) -> bool:
    return bool(same) and same["n_used"] >= TOO_FEW and (same["ci_low"] or 0) <= 0


def cautions(result: Mapping[str, Any]) -> list[str]:
    """Faults of a judge that still judges, worth knowing before its verdict is read."""
    position, same = result["position"] or {}, result["consistency"] or {}
    counts, bias = result["counts"], result["length"]["bias"]
    unread = counts["rankings_unread"] / max(1, counts["rankings"])
    found = []
    if result["judge"]["kind"] or result["status"] != "ok":
        return found
    if result["forged"]["n"]:
        found.append("Some replies hold a verdict of their own or tell the judge what to choose: "
                     f"{_forged_text(result['forged'])}. Read them before the scores.")
    if position.get("status") == "unbalanced":
        found.append("Models kept their slots, so a preference of the judge for a slot cannot be "
                     "told from one for a model.")
    if _by_chance(same):
        found.append(f"The judge's two rankings of the same replies agree weakly (tau "
                     f"{_number(same['tau'])} {ci_text(same)}): chance is not excluded.")
    if position.get("biased"):
        uneven = (position["balance_p"] or 1) < result["alpha"]
        found.append(f"The slot matters to the judge ({p_text(position['p'])}, Kendall's W "
                     f"{_number(position['kendall_w'])}); " + (
                         "the models were not balanced over the slots "
                         f"({p_text(position['balance_p'])}), so it also shifts their scores: "
                         "compare the strengths with a position term." if uneven else
                         "balanced orders keep that out of the means and leave noise."))
    if (same.get("flip_low") or 0) > 0.2:
        found.append(f"The judge reversed {same['flip_rate']:.0%} of the pairs of models when it "
                     "saw the same replies in another order; half would be chance.")
    if (bias["ci_low"] or 0) > 0.6:
        found.append(f"The longer reply won {bias['p_prefer_longer']:.0%} of the pairs that differ "
                     f"in length{_at_equal_length(result)}.")
    if unread > _MAX_UNSEEN:
        found.append(f"{unread:.0%} of the rankings could not be read and are missing, not zero.")
    found += (result["agreement"] or {}).get("alarms", [])
    reward = result["tactics"]["reward"]
    if reward["n"] >= TOO_FEW and (reward["ci_low"] or 0) > 0:
        found.append("Replies with a manipulation tactic scored higher than others to the same "
                     "prompt: the judge may reward manipulation.")
    return found


def _at_equal_length(result: Mapping[str, Any]) -> str:
    """What the fitted strengths say of the declared comparison when nothing is longer."""
    first, second = result["primary"]
    for row in result["strengths"]["adjusted"]["differences"]:
        if {row["a"], row["b"]} == {first, second}:
            sign = 1 if row["a"] == first else -1
            bounds = sorted(sign * (row[end] or 0) for end in ("ci_low", "ci_high"))
            interval = {} if row["ci_low"] is None else dict(
                zip(("ci_low", "ci_high"), bounds, strict=True))
            return (f"; at equal length and slot a Plackett-Luce fit expects {first} - {second} = "
                    f"{_signed(sign * row['diff'])} {ci_text(interval, form='+.3f')}")
    return ""


def _slot_kind(slot: float | None, first: float) -> str:
    return "always-first" if (slot or 0) > 0 or first >= 0.9 else "always-last"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def answer(result: Mapping[str, Any]) -> dict[str, Any]:
    """Did the warm-up help? `verdict`, and the sentences that a reader sees first."""
    found = _answer(result)
    whose = [f"This is about {result['given']}, a file made elsewhere: what is not in it was not "
             "checked."] if result["given"] else []
    return {**found, "sentences": whose + found["sentences"] + stand_in_note(result["setup"])}


def _answer(result: Mapping[str, Any]) -> dict[str, Any]:
    test, (a, b) = result["primary_test"], result["primary"]
    n = result["counts"]["scored"]
    if result["judge"]["kind"]:
        return {"verdict": "none: judge broken", "sentences": [
            f"No verdict: the judge is broken ({result['judge']['kind']}), so the scores below "
            "describe the judge and not the models."]}
    if test is None:
        return {"verdict": "none: not evaluated", "sentences": [
            f"No verdict: {a} and {b} were not both evaluated, and their comparison is the one "
            "that was declared beforehand."]}
    size = (f"{a} scored {_signed(test['mean_diff'])} against {b} {ci_text(test, form='+.3f')}, "
            f"won {test['win']}, tied {test['tie']} and lost {test['loss']} of {test['n']} prompts")
    if result["status"] != "ok":
        kind = "a trial" if result["status"] == "trial" else f"fewer than {TOO_FEW} scored prompts"
        return {"verdict": f"none: {result['status']}", "sentences": [
            f"No verdict: this is {kind} (n = {n}). {size}; that shows only that everything runs."]}
    return {"verdict": _verdict(test), "sentences": _primary_sentences(test, size, result)}


def _verdict(test: Mapping[str, Any]) -> str:
    if not test["significant"]:
        return "no difference detected"
    return "helped" if test["mean_diff"] > 0 else "harmed"


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.3f}"


def _primary_sentences(test: Mapping[str, Any], size: str,
                       result: Mapping[str, Any]) -> list[str]:
    opening = {"helped": "Yes, by this judge the warm-up helped.",
               "harmed": "No: by this judge the warm-up made it worse.",
               "no difference detected":
                   "No difference was detected, which does not mean that there is none."}
    lines = [f"{opening[_verdict(test)]} {size} ({p_text(test['p_perm'])}, sign-flip permutation "
             f"test, the one declared comparison)."]
    if test["mde80"] is not None:
        lines.append(f"With {test['n']} prompts this design finds a difference of "
                     f"{test['mde80']:.3f} or more with 80 % probability, and smaller ones less "
                     "often." + (f" For the observed one it would need about "
                                 f"{test['prompts_needed']:.0f} prompts."
                                 if test["prompts_needed"] and not test["significant"] else ""))
    return lines + _truth_sentences(result)


def _truth_sentences(result: Mapping[str, Any]) -> list[str]:
    gold = (result["gold"] or {}).get("primary_test")
    if gold is None:
        return []
    agree = (gold["mean_diff"] or 0) * (result["primary_test"]["mean_diff"] or 0) > 0
    return [f"The demo knows the truth: in gold utility {gold['a']} differs from {gold['b']} by "
            f"{_signed(gold['mean_diff'])} {ci_text(gold, form='+.3f')} ({p_text(gold['p_perm'])})"
            f"; the judge's sign {'agrees' if agree else 'disagrees'} with it."]


def criteria(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """The success criteria of the specification, each met, not met, or cannot be decided."""
    rows = [("minimum", "All 4 models trained and evaluated", *_all_models(result)),
            ("minimum", "Evaluation completes on the planned test examples", *_complete(result)),
            ("minimum", "Grader scores improve: RLHF/RLAIF > SFT > Base", *_improves(result)),
            ("minimum", "No catastrophic failures (gibberish)", *_no_gibberish(result)),
            ("strong", "RLAIF+RLHF > RLHF-only (warm-up)", *_warm_up(result)),
            ("strong", "Similarity correlates with grader rankings", *_similar(result)),
            ("strong", "Statistical significance (p < 0.05) in comparisons", *_significant(result)),
            ("strong", "Qualitative examples show clear improvements", OPEN,
             "a person must read qualitative_examples.txt")]
    return [dict(zip(("level", "criterion", "verdict", "figure"), row, strict=True))
            for row in rows]


def _blocked(result: Mapping[str, Any]) -> tuple[str, str] | None:
    if result["judge"]["kind"]:
        return OPEN, f"the judge is broken ({result['judge']['kind']})"
    if result["status"] != "ok":
        return OPEN, f"{result['status']}: n = {result['counts']['scored']}"
    return None


def _all_models(result: Mapping[str, Any]) -> tuple[str, str]:
    missing = [m for m in _CORE if m not in result["models"]]
    return (NOT_MET if missing else MET,
            f"missing: {', '.join(missing)}" if missing else ", ".join(result["models"]))


def _complete(result: Mapping[str, Any]) -> tuple[str, str]:
    counts = result["counts"]
    text = (f"{counts['examples']} of {counts['planned'] or 'an unknown number of'} planned "
            f"examples, {counts['scored']} scored")
    if not counts["planned"]:
        return OPEN, text
    return (MET if counts["scored"] >= counts["planned"] else NOT_MET), text


def _pair(result: Mapping[str, Any], better: str, worse: str) -> dict[str, Any] | None:
    """The test of a pair as `better` minus `worse`; `p` is what decides it."""
    for row in result["pairs"]:
        if {row["a"], row["b"]} == {better, worse}:
            sign = 1 if row["a"] == better else -1
            return {"diff": None if row["mean_diff"] is None else sign * row["mean_diff"],
                    "p": row["p_holm"], "significant": row["significant"]}
    return None


def _improves(result: Mapping[str, Any]) -> tuple[str, str]:
    tuned = [m for m in result["models"] if m not in ("base", "sft")]
    wanted = [(m, "sft") for m in tuned] + [("sft", "base")]
    found = {pair: _pair(result, *pair) for pair in wanted}
    if _blocked(result) or not tuned or None in found.values():
        return _blocked(result) or (OPEN, "base, sft or the tuned models are missing")
    text = "; ".join(f"{a} - {b}: {_signed(row['diff'])}, {p_text(row['p'])}"
                     for (a, b), row in found.items())
    if all(row["significant"] and row["diff"] > 0 for row in found.values()):
        return MET, text
    wrong = any(row["significant"] and row["diff"] < 0 for row in found.values())
    return (NOT_MET if wrong else OPEN), text


def _no_gibberish(result: Mapping[str, Any]) -> tuple[str, str]:
    worst = max(result["quality"], key=lambda m: result["quality"][m]["gibberish"])
    share = result["quality"][worst]["gibberish"]
    found = f"most in {worst}: {share:.0%} of its replies are" if share else "no reply is"
    return (MET if share <= _MAX_GIBBERISH else NOT_MET,
            f"{found} empty, not words, or repeating itself; the limit is {_MAX_GIBBERISH:.0%}")


def _warm_up(result: Mapping[str, Any]) -> tuple[str, str]:
    test = result["primary_test"]
    if _blocked(result) or test is None:
        return _blocked(result) or (OPEN, "not both evaluated")
    text = f"{_signed(test['mean_diff'])} {ci_text(test, form='+.3f')}, {p_text(test['p_perm'])}"
    if test["significant"]:
        return (MET if test["mean_diff"] > 0 else NOT_MET), text
    return OPEN, f"{text}; detectable: {test['mde80']:.3f}" if test["mde80"] else text


def _similar(result: Mapping[str, Any]) -> tuple[str, str]:
    against = (result["similarity"] or {}).get("against_rank")
    if _blocked(result) or against is None or against["p"] is None:
        return _blocked(result) or (OPEN, "no similarity to compare")
    text = (f"mean within-prompt Spearman {against['rho']:+.3f} {ci_text(against, form='+.3f')}, "
            f"{p_text(against['p'])}")
    if against["p"] >= result["alpha"]:
        return OPEN, text
    return (MET if against["rho"] > 0 else NOT_MET), text


def _significant(result: Mapping[str, Any]) -> tuple[str, str]:
    if _blocked(result):
        return _blocked(result)
    found = [row for row in result["pairs"] if row["significant"]]
    text = (f"{len(found)} of {len(result['pairs'])} comparisons after Holm (the primary one "
            "unadjusted)")
    return (MET if found else OPEN), text


_STAND_INS = (("judge", "the judge"), ("oracle", "the oracle"), ("labeller", "the AI labeller"),
              ("embedder", "the embedder"), ("safety", "the judge of manipulation"))


def stand_in_note(setup: Mapping[str, Any]) -> list[str]:
    """One sentence that names the stand-ins behind an evaluation; none if all was real."""
    fake = [name for key, name in _STAND_INS if setup.get(key) == "offline"]
    fake += ["the annotator"] if setup.get("annotator") == "simulated" else []
    fake += ["the corpus"] if setup.get("source") == "demo" else []
    fake += ["the model (about 1 M parameters)"] if setup.get("base_model") == "demo" else []
    if not fake:
        return []
    return [f"Stand-ins without a real model, person or data: {', '.join(fake)}. The figures show "
            "that the method works, and say nothing about real persuasion."]


def limits(result: Mapping[str, Any]) -> list[str]:
    """What these figures cannot say, for the end of every report."""
    setup = result["setup"]
    found = stand_in_note(setup) + _circular(setup)
    found += [
        "One training seed per model: the claims are about these checkpoints, not the recipes.",
        "One sampled reply per prompt: the intervals cover the choice of prompts, not of samples.",
        "No interval covers the judge's taste: one that likes length, say, moves every score, and "
        "more prompts only make the moved figure look surer.",
        "One domain and one kind of prompt; a score depends on which models are compared and must "
        "never be compared across runs with other models.",
        "A judge's preference is not persuasion: nobody's view was measured before and after."]
    return found


def _circular(setup: Mapping[str, Any]) -> list[str]:
    if not setup.get("judge"):
        return ["The file does not say which model judged, labelled or wrote the oracle replies."]
    same = {key: name for key, name in _STAND_INS[1:3] if setup.get(key) == setup["judge"]}
    if not same:
        return []
    asked = setup.get("asked_models") or {}
    twins = {key: name for key, name in same.items() if asked.get(key) == asked.get("judge")}
    who = ("the same stand-in" if setup["judge"] == "offline" else
           f"the same model ({asked['judge']})" if asked and twins else
           f"of the same service ({setup['judge']})")
    same = list((asked and twins or same).values())
    return [f"The judge and {_listed(same)} are {who}: similarity to the oracle and the judge's "
            "preference are not independent evidence."]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
