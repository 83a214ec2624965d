"""Rows of the registry for what other modules decide already: gates, alarms, suspicions, health."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from persuasion_lib.checks.check import Check
from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.data.gates import FIGURES, GATES
from persuasion_lib.labeling import alarms
from persuasion_lib.reporting import judge_health, suspicions
from persuasion_lib.stats.blocks import TOO_FEW

_FEW_PAIRS = 100


def said(find: Callable[[Any], Sequence[str]]) -> Callable[[Any], Measured]:
    """A check that says by itself what it found, in sentences."""
    def look(thing: Any) -> Measured:
        found = find(thing)
        return Measured(len(found), 0, " ".join(found))
    return look


def unknown(find: Callable[[Any], Sequence[str]]) -> Callable[[Any], Measured]:
    """A check whose sentences say what the file lacks."""
    def look(thing: Any) -> Measured:
        found = find(thing)
        need(not found, " ".join(found))
        return Measured(0, 0)
    return look


def tie_share(labels: Sequence[LabeledPair]) -> Measured:
    """The share of labels that are ties."""
    ties = sum(label.label == "tie" for label in labels)
    need(labels, "no label")
    return Measured(ties / len(labels), len(labels))


def _pair_figure(name: str) -> Callable[[Sequence[Pair]], Measured]:
    def look(pairs: Sequence[Pair]) -> Measured:
        need(pairs, "no pair")
        share, n = FIGURES[name](pairs), len(pairs)
        # Slots that were sampled alike differ by about 1.5 / √pairs.
        by_chance = name == "opening gap between slots" and share < 2 / math.sqrt(n)
        need(n >= _FEW_PAIRS or not by_chance, f"{n} pairs are too few to tell a gap from chance")
        return Measured(share, n)
    return look


def _gate(name: str) -> Check:
    setting, meaning, remedy = GATES[name]
    of, look = "pairs", _pair_figure(name)
    if name == "tie share":
        of, look = "labels", tie_share
    return Check(name, of, look, None, "a setting", f"{{value:.0%}} {meaning}, the limit is "
                 f"{{limit:.0%}} (gates.{setting}).", remedy, stops=True,
                 setting=f"gates.{setting}")


def _alarm(name: str) -> Check:
    return Check(name, "agreement", said(lambda agreed: [
        text for text in [alarms.alarm(agreed, name)] if text]), 0,
        "labeling/alarms.py says, beside each", "{example}",
        stops=name in ("labels copied from the judge", "annotator contradicts themselves",
                       "labels upside down"))


def _health(name: str) -> Check:
    def look(result: judge_health.Result) -> Measured:
        need(result["counts"]["rankings"] >= TOO_FEW, f"fewer than {TOO_FEW} rankings")
        broken, _, text = judge_health.faults(result)[name]
        return Measured(broken, result["counts"]["rankings"], text)
    return Check(name, "rankings", look, 0, "reporting/judge_health.py says, beside each",
                 "the judge is broken: {example}.", "Ask another judge.", stops=True)


def _seen(name: str) -> Check:
    return Check(name, "evaluation", said(suspicions.SEEN[name]), 0,
                 "reporting/suspicions.py says, beside each", "{example}")


def _unknown(name: str) -> Check:
    return Check(name, "evaluation", unknown(suspicions.UNKNOWN[name]), 0, "", "")


GATED = tuple(map(_gate, GATES))
ALARMED = tuple(map(_alarm, alarms.ALARMS))
JUDGED = (*map(_unknown, suspicions.UNKNOWN), *map(_seen, suspicions.SEEN),
          *map(_health, judge_health.FAULTS))
