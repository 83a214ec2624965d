"""What should alarm whoever reads the agreement of a judge with the annotator.

Every function takes the result of `agreement.judge_against_annotator`.
"""

from collections.abc import Mapping
from typing import Any

from scipy.stats import binom

FEW = 20                  # pairs below which nothing is concluded
MIN_REPEATS = 30          # pairs labelled twice before the annotator is a ceiling for the judge
# Pairs without one difference that make a copy likely: readers who agree on 95 % of all pairs agree
# on so many in a row less than once in twenty times.
COPIED = 60
RARE = 0.005              # of annotators with nothing in common with the judge, so many are stopped
# Below it agreement is slight at best (Landis & Koch 1977). An interval that reaches 0 is no
# alarm: of annotators who repeat 80 % of 30 labels 6 % have such a one, .3 % such a kappa.
SLIGHT = 0.2
_FOLLOWS_SLOT = 0.8       # share of verdicts for one slot from which the slot is the verdict


def like_chance(row: Mapping[str, Any]) -> bool:
    """Whether the interval of kappa reaches 0, or there is none."""
    return row["kappa"] is None or (row["kappa_low"] or 0) <= 0


def share_text(row: Mapping[str, Any]) -> str:
    kappa = "kappa undefined" if row["kappa"] is None else f"kappa {row['kappa']:.2f}"
    if row["kappa"] is not None and row["kappa_low"] is not None:
        kappa += f" [{row['kappa_low']:.2f}, {row['kappa_high']:.2f}]"
    return f"{row['raw']:.0%} [{row['ci_low']:.0%}, {row['ci_high']:.0%}], {kappa}"


def _goes_by_place(result: Mapping[str, Any]) -> str | None:
    slot = result["slot"]["p_first"]
    if slot is None or 1 - _FOLLOWS_SLOT < slot < _FOLLOWS_SLOT:
        return None
    return (f"The judge chose the reply shown {'first' if slot > 0.5 else 'second'} in "
            f"{max(slot, 1 - slot):.0%} of its decided verdicts: it goes by the place and not by "
            "the text.")


def _annotator_like_a_coin(result: Mapping[str, Any]) -> str | None:
    own = (result["self"] or {}).get("with_ties")
    if not own or own["n"] < MIN_REPEATS or own["raw"] == 1 or not like_chance(own) or (
            own["kappa"] or 0) >= SLIGHT:
        return None
    return (f"The annotator contradicts themselves like a coin ({share_text(own)} on {own['n']} "
            "repeats): these labels are no yardstick for any judge, and little to train on.")


def _copied(result: Mapping[str, Any]) -> str | None:
    ties = result["with_ties"]
    if ties["n"] < COPIED or ties["raw"] < 1:
        return None
    return (f"Annotator and judge gave the same label to all {ties['n']} pairs, which two readers "
            "hardly ever do: were the labels copied?")


def _upside_down(result: Mapping[str, Any]) -> str | None:
    decided = result["decided"]
    agreed = round(decided["raw"] * decided["n"]) if decided["n"] >= FEW else decided["n"]
    if (decided["kappa_high"] or 0) >= 0 or binom.cdf(agreed, decided["n"], 0.5) >= RARE:
        return None
    return (f"Annotator and judge chose different replies in {1 - decided['raw']:.0%} of the "
            f"{decided['n']} pairs that both decided, which is more than chance: one of the two "
            "is read upside down (chosen and rejected, or the sides of the screen, exchanged).")


def _no_better_than_chance(result: Mapping[str, Any]) -> str | None:
    if not like_chance(result["with_ties"]):
        return None
    return ("The judge agrees with the annotator no better than chance would (the interval of "
            "kappa reaches 0, or there is none).")


def _below_the_commonest(result: Mapping[str, Any]) -> str | None:
    ties = result["with_ties"]
    if like_chance(ties) or ties["ci_high"] >= ties["majority_baseline"]:
        return None
    return "Always giving the annotator's commonest label would agree more often."


# By name: what is wrong with one rater, and what is wrong between the two (not of a few pairs).
_OF_ONE = {"judge goes by the place": _goes_by_place,
           "annotator contradicts themselves": _annotator_like_a_coin}
_OF_BOTH = {"labels copied from the judge": _copied, "labels upside down": _upside_down,
            "judge and annotator agree by chance": _no_better_than_chance,
            "the commonest label agrees more": _below_the_commonest}
ALARMS = (*_OF_ONE, *_OF_BOTH)


def alarm(result: Mapping[str, Any], name: str) -> str | None:
    """The sentence of an alarm of `ALARMS`; None where there is nothing to say."""
    if name in _OF_ONE:
        return _OF_ONE[name](result)
    return _OF_BOTH[name](result) if result["status"] == "ok" else None


def alarms(result: Mapping[str, Any]) -> list[str]:
    return [text for name in ALARMS if (text := alarm(result, name))]
