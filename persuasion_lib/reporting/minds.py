"""Does the judge see which of two arguments really changed a mind?

The judge's labels of such pairs, asked in both orders; a tie of the judge, be it a flip, is half
right, so that a judge who sees nothing is right in one half whatever it says.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.core.records import LABEL_OF_CODE, LabeledPair
from persuasion_lib.reporting.page import Part
from persuasion_lib.reporting.wording import told
from persuasion_lib.stats.blocks import TOO_FEW
from persuasion_lib.stats.plain import plain
from persuasion_lib.stats.resample import Resampling, mean_interval

Result = Mapping[str, Any]

_SCORE = {True: 1.0, False: 0.0}
# By where the pairs are from: what they are, and what they cannot say.
_ABOUT = {
    "arguments": ("of two arguments answering one post, the one that changed its author's mind "
                  "(ChangeMyView)", "An argument also wins by its reader and by when it was "
                  "written, and people read the other replies as well."),
    "gifts": ("of two dialogues, the one that was followed by a gift (PersuasionForGood; the judge "
              "reads the persuader's part of the first half)", "The two dialogues are with "
              "different people, of whom some would have given anyway."),
    "demo": ("of two replies to one post, the one with the higher gold utility",
             "The gold utility is the demo's own formula: it says nothing about real minds."),
    "file": ("of two arguments, the one that won as your file says", "What it means to win, and "
             "how it was found out, is up to the file.")}


def of_minds(labels: Sequence[LabeledPair], options: Mapping[str, Any], *,
             labellers: Iterable[str] = ()) -> dict[str, Any] | None:
    """The part of `analysis.json` on minds that changed; None where no judge was asked.

    Args:
        labels: what a judge said; what really won stands in the metadata, as `really`.
        labellers: who gave the AI labels to learn from, as the labels name them; none if unknown.

    Returns:
        judge, labellers, labelled (whether the judge is one of them; None: unknown), source, n,
        right, wrong, ties, flips, unnamed (pairs without a conversation's id, of which only the
        texts were compared with other sets); accuracy, ci_low, ci_high (ties half); longer (the
        same of the rule that the longer argument wins) and prefers_longer (share of the judge's
        decided labels for the longer one); status ("ok", or "few": below 20 pairs, which conclude
        nothing).
    """
    known = [label for label in labels if str(label.pair.metadata.get("really")) in LABEL_OF_CODE]
    if not known:
        return None
    truth = [LABEL_OF_CODE[str(label.pair.metadata["really"])] for label in known]
    right = [0.5 if label.label == "tie" else _SCORE[label.label == true]
             for label, true in zip(known, truth, strict=True)]
    longer = [_longer(label.pair.response_a, label.pair.response_b) for label in known]
    counts = Counter(right)
    judges, labellers = ({*names} for names in ((one.labeled_by for one in known), labellers))
    return plain({
        "judge": ", ".join(sorted(judges)), "labellers": sorted(labellers),
        "labelled": bool(judges & labellers) if labellers else None,
        "source": str(known[0].pair.metadata.get("source")), "n": len(known),
        "right": counts[1.0], "wrong": counts[0.0], "ties": counts[0.5],
        "flips": sum(bool(label.pair.metadata.get("flip")) for label in known),
        **_share(right, options),
        "longer": _share([0.5 if one == "tie" else _SCORE[one == true]
                          for one, true in zip(longer, truth, strict=True)], options),
        "prefers_longer": _prefers(known, longer),
        "unnamed": sum(label.pair.conversation_id is None for label in known),
        "status": "ok" if len(known) >= TOO_FEW else "few"})


def _longer(first: str, second: str) -> str:
    if len(first) == len(second):
        return "tie"
    return "a" if len(first) > len(second) else "b"


def _share(scores: Sequence[float], options: Mapping[str, Any]) -> dict[str, float]:
    values = np.array(scores)
    low, high, _ = mean_interval(values, Resampling(**options, span=(0.0, 1.0)))
    return {"accuracy": float(values.mean()), "ci_low": low, "ci_high": high}


def _prefers(labels: Sequence[LabeledPair], longer: Sequence[str]) -> float:
    decided = [label.label == one for label, one in zip(labels, longer, strict=True)
               if "tie" not in (label.label, one)]
    return float(np.mean(decided)) if decided else np.nan


def sentences(found: Result | None) -> list[str]:
    """What the figures say, and what they cannot, for reports and notebooks."""
    if not found:
        return ["Whether the judge sees what changes minds is not known: nobody asked it about "
                "arguments of which one really won (minds.pairs)."]
    what, limit = _ABOUT.get(found["source"], _ABOUT["file"])
    lines = [f"{found['judge']} was asked in both orders about {found['n']} pairs from "
             f"conversations used nowhere else: {what}.",
             f"It chose what really won in {found['right']}, the other in {found['wrong']}, and "
             f"neither in {found['ties']}; in {found['flips']} of those its two orders "
             "contradicted each other.",
             f"Counting neither as half right, that is {_told(found)} of all pairs; chance is "
             f"50 %. {_against_chance(found)}".strip(),
             f"Always the longer one would be right in {_told(found['longer'])}. Of the pairs that "
             f"it decided the judge took the longer one in {told(found['prefers_longer'], '.0%')}."]
    if found["labelled"] is False:
        lines.append(f"{found['judge']} gave none of the AI labels to learn from: "
                     f"{', '.join(found['labellers'])} did, and of that judge this says nothing.")
    if found["unnamed"]:
        lines.append(f"{found['unnamed']} of the pairs name no conversation: of these only the "
                     "texts are known to be in no other set.")
    if found["status"] == "few":
        lines.append(f"Fewer than {TOO_FEW} pairs decide nothing.")
    return [*lines, limit]


def _told(share: Result) -> str:
    return (f"{told(share['accuracy'], '.0%')} [{told(share['ci_low'], '.0%')}, "
            f"{told(share['ci_high'], '.0%')}]")


def _against_chance(found: Result) -> str:
    if found["status"] == "few" or found["ci_low"] is None:
        return ""
    if found["ci_low"] > 0.5:
        return "That is better than chance."
    if found["ci_high"] < 0.5:
        return ("That is WORSE than chance: this judge prefers what does not win, or the pairs "
                "are stored the wrong way round.")
    return "Chance is not excluded."


def part(result: Result) -> Part | None:
    """The part of the report; None where nobody was asked."""
    found = result.get("minds")
    if not found:
        return None
    rows = {"the judge": found, "always the longer": found["longer"], "chance": {
        "accuracy": 0.5, "ci_low": None, "ci_high": None}}
    table = pd.DataFrame({name: {"right": told(row["accuracy"], ".0%"), "interval":
                                 "-" if row["ci_low"] is None else
                                 f"[{row['ci_low']:.0%}, {row['ci_high']:.0%}]"}
                          for name, row in rows.items()}).T
    who = {True: "The judge that labelled the pairs to learn from (01).", None: "The judge of 01.",
           False: "Another judge than labelled the pairs to learn from."}[found["labelled"]]
    return Part("Does the judge see what changes minds?", sentences(found), table, None, (
        f"{who} Few pairs, one kind of outcome: the only evidence here that its taste has to do "
        "with persuasion.",))
