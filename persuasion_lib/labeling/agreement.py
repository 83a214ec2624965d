"""Does the judge say what the annotator says? Both label the human pool, blind to each other.

Used by 03 (the judge that labelled for training) and by 05 (the judge that ranks). Labels are
matched by pair and by text, never by the slot in which somebody saw a reply.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from persuasion_lib.core.answers import IN_WORDS, SWAPPED, reasons_in_words, verdicts_of
from persuasion_lib.core.prose import Prose, prose
from persuasion_lib.core.records import SLOT_OF_CODE, Label, LabeledPair, Slot, unswap
from persuasion_lib.core.show import TextTable, numbered
from persuasion_lib.labeling import people
from persuasion_lib.labeling.alarms import FEW, MIN_REPEATS, alarms, like_chance, share_text
from persuasion_lib.labeling.votes import by_person
from persuasion_lib.stats.agreement import agreement, right_in_both_orders
from persuasion_lib.stats.plain import plain
from persuasion_lib.stats.position import pair_position_bias


def judge_against_annotator(judged: Sequence[LabeledPair], human: Sequence[LabeledPair], *,
                            seed: int = 0) -> dict[str, Any]:
    """Agreement of a judge with the annotator, and of the annotator with themselves, as plain JSON.

    Args:
        judged: as read from `human_pool_judged.jsonl`; the verdicts are in the pairs' metadata.

    Returns:
        `status` ("ok", "few", or "none" where no pair has both labels); with_ties, decided (what
        `stats.agreement` says, the annotator first; a flip counts as a tie), both_orders (how often
        both orders gave the annotator's label); self (the same of the repeats, or None);
        acceptable (does the judge reach the annotator's agreement with themselves? None without
        `MIN_REPEATS`), flips, slot, smoothing, alarms; where several people labelled `people`
        (see `people.of_people`, and under `judge` this result for each of them).
    """
    judged = [p for p in judged if not p.pair.metadata.get("identical")]    # nobody was asked
    judge = labels_on(human, judged)
    person = pd.Series({p.pair.pair_id: p.label for p in human}, dtype=object)
    again = pd.Series({p.pair.pair_id: p.again for p in human}, dtype=object)
    both = int((judge.notna() & person.notna()).sum())
    result = plain({
        "status": _status(both), "judge": _names(judged), "annotator": _names(human),
        "pairs": len(human), "both": both, **_with_and_without_ties(person, judge, seed),
        "both_orders": right_in_both_orders(person, *_by_order(human, judged)),
        "self": _with_and_without_ties(person, again, seed) if again.notna().any() else None,
        "flips": sum(bool(p.pair.metadata.get("flip")) for p in judged),
        "slot": pair_position_bias(_slots_chosen(judged)),
    })
    result["acceptable"] = acceptable(result["with_ties"], (result["self"] or {}).get("with_ties"))
    result["smoothing"] = implied_smoothing(result)
    result["alarms"] = alarms(result)
    if several := by_person(human):
        rule = str(human[0].pair.metadata.get("labels_from"))
        result["people"] = plain(people.of_people(several, rule, seed=seed)) | {
            "judge": {name: judge_against_annotator(judged, own, seed=seed)
                      for name, own in several.items()}}
    return result


def _status(both: int) -> str:
    if not both:
        return "none"
    return "few" if both < FEW else "ok"


def _slots_chosen(judged: Sequence[LabeledPair]) -> list[Slot]:
    return [SLOT_OF_CODE[code] for label in judged for code in verdicts_of(label).values()]


def _by_order(human: Sequence[LabeledPair],
              judged: Sequence[LabeledPair]) -> tuple[pd.Series, pd.Series]:
    """The judge's labels in its first and in its second order; missing where it saw only one."""
    def of(shown: str) -> pd.Series:
        given = [(label, verdicts_of(label).get(shown)) for label in judged]
        return labels_on(human, [
            replace(label, label=unswap(SLOT_OF_CODE[code], swapped=SWAPPED[shown]))
            for label, code in given if code])
    return of("12"), of("21")


def labels_on(human: Sequence[LabeledPair], judged: Sequence[LabeledPair]) -> pd.Series:
    """The judge's label of each pair, in the pair's own order; missing for other texts."""
    given = {p.pair.pair_id: p for p in judged}

    def label(person: LabeledPair) -> Label | None:
        texts = (person.pair.response_a, person.pair.response_b)
        judge = given.get(person.pair.pair_id)
        for one in (judge, judge.swapped()) if judge else ():
            if (one.pair.response_a, one.pair.response_b) == texts:
                return one.label
        return None

    return pd.Series({p.pair.pair_id: label(p) for p in human}, dtype=object)


def _names(labels: Sequence[LabeledPair]) -> str:
    return ", ".join(sorted({p.labeled_by for p in labels}))


def _with_and_without_ties(first: pd.Series, second: pd.Series, seed: int) -> dict[str, Any]:
    found = {"with_ties": agreement(first, second, ties="class", seed=seed),
             "decided": agreement(first, second, ties="drop", seed=seed)}
    return {name: {**one, "confusion": one["confusion"].to_dict("index")}
            for name, one in found.items()}


def acceptable(judge: Mapping[str, Any], own: Mapping[str, Any] | None) -> bool | None:
    """Whether the judge's kappa may be as high as the annotator's with themselves.

    Args:
        judge: agreement of judge and annotator, ties as a label of their own.
        own: the same of the annotator's repeats, if there are any.

    Returns:
        True if the two intervals overlap or the judge's is higher; None if undecided. Somebody
        who contradicts themselves like a coin is no yardstick: every judge would reach that.
    """
    if own is None or own["n"] < MIN_REPEATS or like_chance(own):
        return None
    if judge["kappa_high"] is None or own["kappa_low"] is None:
        return None
    return judge["kappa_high"] >= own["kappa_low"]


def implied_smoothing(result: Mapping[str, Any]) -> dict[str, Any]:
    """How many of the judge's decided labels may be wrong: what `dpo.label_smoothing` assumes.

    `rate` is the judge's disagreement with the annotator on pairs that both decided, so it takes
    the annotator as right. Two raters who err independently with rates h and j disagree at
    d = h + j - 2hj, and one with themselves at 2h(1 - h); from the repeats h follows, and
    `judge_error` is j. `suggestion` is None where the data do not support one.
    """
    decided = result["decided"]
    n = decided["n"]
    found = {"n": n, **dict.fromkeys(("rate", "low", "high", "annotator_error", "judge_error",
                                      "suggestion"))}
    if not n:
        return found
    rate = 1 - decided["raw"]
    found |= {"rate": rate, "low": 1 - decided["ci_high"], "high": 1 - decided["ci_low"]}
    own = (result["self"] or {}).get("decided")
    unsteady = 1 - own["raw"] if own and own["n"] else 1.0
    if unsteady < 0.5:
        person = (1 - math.sqrt(1 - 2 * unsteady)) / 2
        found["annotator_error"] = person
        found["judge_error"] = max(0.0, (rate - person) / (1 - 2 * person))
    if n >= FEW and found["high"] < 0.5:
        found["suggestion"] = round(rate, 2)
    return found


def sentences(result: Mapping[str, Any] | None) -> list[str]:
    """What the figures say, for reports and notebooks; what is unknown is said as well."""
    several = (result or {}).get("people")
    lines = people.sentences(several) if several else []
    if result is None or result["status"] == "none":
        return lines + [
                "How far the judge agrees with the annotator is not known: no pair of the human "
                "pool was labelled by both. Run the notebooks again, from 01, to measure it."]
    lines += [f"{result['both']} of {result['pairs']} pairs of the human pool were labelled twice, "
              f"blind: by the judge, {result['judge']}, and by the annotator, "
              f"{result['annotator']}.",
              f"The same label (reply 1, reply 2 or tie): {share_text(result['with_ties'])}. Who "
              "always gave the annotator's commonest label would reach "
              f"{result['with_ties']['majority_baseline']:.0%}.", *_strictly(result)]
    if result["decided"]["n"]:
        lines.append(f"The same reply, on the {result['decided']['n']} pairs that both decided: "
                     f"{share_text(result['decided'])}.")
    lines += _ceilings(result)
    if result["status"] == "few":
        lines.append(f"With fewer than {FEW} pairs these figures decide nothing.")
    return lines + [f"ALARM: {text}" for text in result["alarms"]]


def in_short(result: Mapping[str, Any] | None) -> Prose:
    """The two figures that matter most, for who has read all of them in 03; and every alarm."""
    if result is None or result["status"] == "none":
        return prose(sentences(result))
    found = result["with_ties"]
    few = [f"Fewer than {FEW} pairs decide nothing."] if result["status"] == "few" else []
    return prose([
        f"On {found['n']} pairs of the human pool {result['judge']} gives the annotator's label in "
        f"{share_text(found)}.", *_ceilings(result), *few,
        *(f"ALARM: {text}" for text in result["alarms"])])


def _strictly(result: Mapping[str, Any]) -> list[str]:
    """The stricter way of counting, where the judge saw pairs in both orders."""
    both = result.get("both_orders") or {"n": 0}
    if not both["n"]:
        return []
    return [f"On {result['flips']} pairs the judge contradicted itself when the two replies were "
            "exchanged. That counts as a tie above; counted as wrong, the judge is right in both "
            f"orders on {both['raw']:.0%} [{both['ci_low']:.0%}, {both['ci_high']:.0%}] of "
            f"{both['n']} pairs."]


def _ceilings(result: Mapping[str, Any]) -> list[str]:
    """The ceiling; of several people each has their own, as a label of two is nobody's repeat."""
    several = (result.get("people") or {}).get("judge") or {}
    found = [_ceiling(one, f"the annotator {name}") for name, one in several.items()]
    return found or [_ceiling(result, "the annotator")]


def _ceiling(result: Mapping[str, Any], who: str) -> str:
    own = result["self"]
    if not own:
        return (f"The ceiling for any judge's agreement is unknown: {who} was shown no pair twice "
                "(label_human.repeat_fraction).")
    verdict = {True: "the judge's kappa reaches that: it is as good a judge as this person is "
                     "steady", False: "the judge's kappa stays below that",
               None: f"that is too few repeats (fewer than {MIN_REPEATS}), or too near to chance, "
                     "to judge a judge by"}
    return (f"The ceiling, {who} against themselves: {share_text(own['with_ties'])} on "
            f"{own['with_ties']['n']} repeats; {verdict[result['acceptable']]}.")


def smoothing_note(result: Mapping[str, Any] | None) -> str:
    """What the disagreement would say about `dpo.label_smoothing`; nothing sets it but you."""
    found = (result or {}).get("smoothing") or {"n": 0}
    if not found["n"]:
        return ("dpo.label_smoothing: nothing is suggested, because the judge's disagreement with "
                "the annotator was not measured.")
    text = (f"The judge disagreed with the annotator on {found['rate']:.0%} "
            f"[{found['low']:.0%}, {found['high']:.0%}] of the {found['n']} pairs that both "
            "decided; ")
    if found["suggestion"] is None:
        return text + ("dpo.label_smoothing: nothing is suggested, as that is too few pairs, or "
                       "too near to a coin flip for smoothing to mend.")
    text += (f"dpo.label_smoothing={found['suggestion']} would say so. It assumes that the "
             "annotator is right and that the AI pool is like the human pool, and would hold for "
             "all three models.")
    if found["judge_error"] is not None:
        text += (f" The annotator, by the repeats, errs on about {found['annotator_error']:.0%} "
                 "themselves; if both err independently, the judge's own share of wrong labels is "
                 f"nearer to {found['judge_error']:.0%}.")
    return text


def kappa_in_numbers(result: Mapping[str, Any]) -> Prose:
    """Kappa's formula with the figures of this run, ties as a label of their own."""
    found = result["with_ties"] if result["status"] != "none" else {"kappa": None}
    if found["kappa"] is None:
        return Prose("Kappa is not defined here: no pair has both labels, or only one label is "
                     "ever given.")
    return Prose(f"kappa = (observed − by chance) / (1 − by chance) = ({found['raw']:.3f} − "
                 f"{found['pe']:.3f}) / (1 − {found['pe']:.3f}) = {found['kappa']:.2f}")


def noise_table(result: Mapping[str, Any]) -> TextTable:
    """What the disagreement says of wrong labels, with what each figure takes for granted."""
    found = result["smoothing"]

    def share(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.0%}"

    interval = "" if found["rate"] is None else f" [{share(found['low'])}, {share(found['high'])}]"
    suggested = "none" if found["suggestion"] is None else f"{found['suggestion']:g}"
    rows = {
        "pairs on which they disagree": (share(found["rate"]) + interval,
                                         f"{found['n']} pairs that both decided"),
        "wrong labels of the annotator": (share(found["annotator_error"]),
                                          "errors on the repeats are independent"),
        "wrong labels of the judge": (share(found["judge_error"]),
                                      "judge and annotator err independently"),
        "dpo.label_smoothing to match": (suggested, "the annotator is always right")}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["share", "taken for granted"])
    return TextTable(table)


def confusion(result: Mapping[str, Any]) -> pd.DataFrame:
    """Pairs by the annotator's label (rows) and the judge's (columns), by reply."""
    counts = result["with_ties"]["confusion"] if result["status"] != "none" else {}
    table = pd.DataFrame(counts, dtype=int).T.rename(index=IN_WORDS, columns=IN_WORDS)
    return table.rename_axis(index="annotator", columns="judge")


def disagreement_examples(judged: Sequence[LabeledPair], human: Sequence[LabeledPair], *,
                          count: int = 3) -> TextTable:
    """The first pairs on which the two decided for different replies, with the judge's reason."""
    judge = labels_on(human, judged)
    said = {p.pair.pair_id: p for p in judged}
    rows = [{"message answered": p.pair.prompt[-1]["content"], "annotator's choice": p.chosen,
             "judge's choice": p.rejected,
             "judge's words": reasons_in_words(said[p.pair.pair_id], p.pair)}
            for p in human if {p.label, judge[p.pair.pair_id]} == {"a", "b"}]
    columns = ["message answered", "annotator's choice", "judge's choice", "judge's words"]
    return TextTable(numbered(pd.DataFrame(rows[:count], columns=columns)))
