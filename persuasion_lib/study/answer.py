"""What a study says, in sentences: the answer, or why there is none, and what limits it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from persuasion_lib.reporting.wording import p_text
from persuasion_lib.stats.blocks import TOO_FEW
from persuasion_lib.study import words
from persuasion_lib.study.file import HUMAN_LABELS

Result = Mapping[str, Any]

# Win rate against an anchor above which, or below the same near 0, differences can hardly be seen.
SATURATED = 0.85


def leading(anchors: Mapping[str, Result]) -> str:
    """The anchor that the answer is read against: one with no curve near 1 or 0 of it, if there is
    one; of those the one that people compared with, or else the first.
    """
    free = [name for name, found in anchors.items() if not saturated(found)] or list(anchors)
    by_people = [name for name in free
                 if any(row["people"] for row in anchors[name]["advantage"])]
    return (by_people or free)[0]


def saturated(found: Result) -> list[str]:
    """"rlaif_rlhf at 50 (91 %)": points that win, or lose, nearly all against an anchor."""
    return [f"{row['arm']} at {row['level']} ({row['mean']:.1%})" for row in found["points"]
            if not 1 - SATURATED <= row["mean"] <= SATURATED]


def withheld(result: Result) -> list[str]:
    """Why there is no answer in one sentence; nothing where there is one."""
    found = result["anchors"][result["leading"]]
    arms = {row["arm"] for row in found["points"]}
    reasons = [] if result["kind"] == "study" else [f"this is a {result['kind']}"]
    reasons += [f"{arm} has no scores" for arm in result["study"]["arms"] if arm not in arms]
    if found["absent"]:
        names = [f"{row['arm']} at {row['level']}, seed {row['seed']}: {row['why']}"
                 for row in found["absent"]]
        more = f", and {len(names) - 3} more" if len(names) > 3 else ""
        reasons.append(f"{missing(found)} ({'; '.join(names[:3])}{more})")
    if old := out_of_date(result):
        reasons.append(f"scores of {len(old)} cells are from before something changed")
    if len(result["study"]["seeds"]) < 2:
        reasons.append("one seed cannot say what the next would; a study needs 2 or more")
    if found["prompts"] < TOO_FEW:
        reasons.append(f"only {found['prompts']} prompts have a verdict in every cell; "
                       f"{TOO_FEW} are the least")
    reasons += [f"{row['arm']} at {row['level']} ties with {result['leading']} on every prompt, as "
                "if it had not been trained, or the judge could not choose"
                for row in found["points"] if _all_ties(row)]
    if points := saturated(found):
        needed = ("an anchor between those is needed" if len(result["anchors"]) > 1 else
                  "a second, stronger anchor is needed (second_anchor in the study file)")
        reasons.append(f"against {result['leading']}, {' and '.join(points[:2])} won more than "
                       f"{SATURATED:.0%} of prompts or fewer than {1 - SATURATED:.0%}, where "
                       f"differences shrink: {needed}")
    return reasons


def out_of_date(result: Result) -> list[str]:
    """Cells whose scores are from before something changed, with their states.

    An arm without labels has its rate in every cell of a seed, so it does not count.
    """
    bare = result["study"]["unlabelled"]
    return [f"{row['cell']} is {row['state']}" for row in result["cells"]
            if row["state"] not in ("done", "missing")
            and any(rate is not None for arm, rate in row["win_rate"].items() if arm not in bare)]


def missing(found: Result) -> str:
    """How many trained models are not there."""
    count = len(found["absent"])
    return (f"{count} of {found['cells_planned']} trained models {'is' if count == 1 else 'are'} "
            "missing")


def _all_ties(row: words.Row) -> bool:
    """No verdict but a tie: of all seeds and prompts, or nothing would be exactly one half."""
    return row["mean"] == 0.5 and row["se"] == 0


def sentences(result: Result) -> list[str]:
    """What a reader sees first."""
    if result["withheld"]:
        none = (f"No answer in one sentence: {'; '.join(result['withheld'])}. The figures below "
                "are what there is.")
        return [none, *_at_least(result)]
    found = result["anchors"][result["leading"]]
    if result["study"]["axis"] == HUMAN_LABELS:
        parts = [_advantage(result, found), _scarcity(result, found), *_exchange(result, found),
                 *_truth(result, found)]
    else:
        parts = [*_levels(result, found), *_by_level(result, found)]
    return [text for text in parts if text] or [_points(result, found)]


def _at_least(result: Result) -> list[str]:
    """What holds although differences shrink near 1: a rate there is worth no less than it looks.

    Only where that is all that is wrong.
    """
    found = result["anchors"][result["leading"]]
    near_one_alone = (len(result["withheld"]) == 1 and saturated(found)
                      and all(row["mean"] >= 1 - SATURATED for row in found["points"]))
    beyond = [row for row in found["exchange"] if row["beyond"] == "more"
              and row["ci_low"] is not None and row["ci_low"] > max(found["sizes"])]
    if not near_one_alone or result["study"]["axis"] != HUMAN_LABELS:
        return []
    return _exchange(result, {**found, "exchange": beyond})


def _points(result: Result, found: Result) -> str:
    """Where there is nothing to compare with."""
    rates = [f"{row['arm']} at {row['level']} {words.rate(row)}" for row in found["points"]]
    return (f"{_by(result, people=False)}, win rates against {result['leading']}: "
            f"{'; '.join(rates)}.")


def _advantage(result: Result, found: Result) -> str:
    row = next((row for row in found["advantage"]
                if row["level"] == result["study"]["primary"]), None)
    if row is None:
        return ""
    first, second = result["study"]["pair"]
    people = row["people"] if row["people"] and row["people"]["mean"] is not None else None
    said = people or row
    rates = {point["arm"]: point for point in found["points"] if point["level"] == row["level"]}
    against = f"{result['leading']} ({rates[first]['mean']:.0%} and {rates[second]['mean']:.0%}"
    size = (f"with {row['level']} human labels the win rate of {first} differs from that of "
            f"{second} by {words.points(said)}, against {against} by the judge; "
            f"{row['n_seeds']} seeds, {row['n_prompts']} prompts)")
    if people:
        size += (f"; {people['n_human']} comparisons by people; the judge alone says "
                 f"{words.points(row)}, which leaves out its taste")
    return f"{_opening(said, result)}{_by(result, bool(people))}: {size}."


def _opening(row: words.Row, result: Result) -> str:
    if result["stand_ins"]:             # nobody is told "Yes" by a stand-in
        return ""
    if row["ci_low"] > 0:
        return "Yes, the warm-up helped. "
    if row["ci_high"] < 0:
        return "No: the warm-up made it worse. "
    return "No difference was detected, which does not mean that there is none. "


def _by(result: Result, people: bool) -> str:
    if people:
        simulated = "people who compare" in result["stand_ins"]
        return "By simulated people (a stand-in)" if simulated else "By people"
    return f"By this judge ({result['judge']})"


def _scarcity(result: Result, found: Result) -> str:
    """Whether the advantage changes with labels: the slope's one test; and where curves cross."""
    slope = found["slope"]
    if slope is None or slope["ci_low"] is None:
        return ""
    size = (f"with every doubling of human labels the advantage changes by {words.points(slope)} "
            f"({p_text(slope['p'])}, the one test of the slope)")
    crossing = _crossing(found["advantage"])
    if slope["ci_low"] <= 0 <= slope["ci_high"]:
        return ("That it depends on how scarce labels are was not detected: "
                f"{size}; {words.smallest(slope)} would be found in four of five such "
                f"studies.{crossing}")
    kind = ("It helps more the scarcer human labels are" if slope["mean"] < 0
            else "It helps more the more human labels there are")
    return f"{kind}: {size}.{crossing}"


def _crossing(rows: Sequence[words.Row]) -> str:
    ahead = [row["level"] for row in rows if row["ci_low"] is not None and row["ci_low"] > 0]
    behind = [row["level"] for row in rows if row["ci_low"] is not None and row["ci_high"] < 0]
    if not (ahead and behind):
        return ""
    return f" The curves cross: ahead at {', '.join(ahead)}, behind at {', '.join(behind)}."


def _exchange(result: Result, found: Result) -> list[str]:
    """What the AI labels are worth, for the arm without human labels and at the primary level."""
    plain = result["study"]["plain"]
    sizes, costs, texts = found["sizes"], result["costs"], []
    for row in found["exchange"]:
        amount = words.labels(row, sizes)
        if row["level"] == "0":
            texts.append(f"Without any human label, {row['arm']} reaches what {plain} reaches with "
                         f"{amount} of them.")
            if costs["ai"]["decided"]:
                one = words.for_one(row, costs["ai"]["decided"], sizes)
                texts.append(f"It learned from {costs['ai']['decided']:,} decided AI labels: "
                             f"{one} for one human label.")
        elif row["level"] == result["study"]["primary"]:
            texts.append(f"With {row['level']} human labels, {row['arm']} reaches what {plain} "
                         f"reaches with {amount}.")
    return texts


def _truth(result: Result, found: Result) -> list[str]:
    """The demo's known truth of the same figures."""
    row = next((row for row in found["advantage"]
                if row["level"] == result["study"]["primary"]), None)
    if row is None or row["gold"] is None:
        return []
    text = (f"The demo knows the truth of these models: {words.points(row['gold'])} at "
            f"{row['level']} human labels")
    first = next((row for row in found["exchange"] if row["level"] == "0" and row["gold"]), None)
    if first:
        amount = words.labels(first["gold"], found["sizes"])
        text += f", and {first['arm']} worth {amount} human labels"
    return [f"{text}."]


def _levels(result: Result, found: Result) -> list[str]:
    """Which levels of a setting differ from the primary one."""
    rows, study = found["against_primary"], result["study"]
    tested = [row for row in rows if row["p_holm"] is not None]
    if not tested:
        return []
    clear = [row for row in tested if row["p_holm"] < 1 - result["confidence"]]
    by = _by(result, people=False)
    where = f"{study['axis']} = {study['primary']}"
    if not clear:
        worst = max(tested, key=lambda row: row["smallest"] or np.inf)
        return [f"{by}: no level differs detectably from {where} ({len(tested)} comparisons, "
                f"Holm's correction); before it, {words.smallest(worst)} would be found in four "
                "of five such studies."]
    named = [f"{row['arm']} at {row['level']} by {words.points(row)}" for row in clear]
    return [f"{by}: {len(clear)} of {len(tested)} comparisons with {where} differ (Holm's "
            f"correction): {'; '.join(named)}."]


def _by_level(result: Result, found: Result) -> list[str]:
    if not found["advantage"]:
        return []
    first, second = result["study"]["pair"]
    sizes = [f"{words.points(row)} at {row['level']}" for row in found["advantage"]]
    return [f"{first} against {second}: {'; '.join(sizes)}."]
