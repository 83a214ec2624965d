"""What a study cannot say, as far as its own data tell."""

from collections.abc import Mapping
from typing import Any

from persuasion_lib.study import words
from persuasion_lib.study.answer import SATURATED, missing, out_of_date, saturated
from persuasion_lib.study.file import HUMAN_LABELS

Result = Mapping[str, Any]

MANY_UNDECIDED = 0.5    # share of comparisons without one preference in both orders


def limits(result: Result) -> list[str]:
    """One sentence for each limit that this study has."""
    found = result["anchors"][result["leading"]]
    texts = [*result["study"]["notes"], _fixed(result), _seeds(result, found), _prompts(found),
             _absent(found), _out_of_date(result), _undecided(found), _taste(result, found),
             _range(result, found), *_shape(result, found), _anchor(result),
             "One reply was sampled for each prompt, and preferring a reply is not being persuaded "
             "by it."]
    return [text for text in texts if text]


def _fixed(result: Result) -> str:
    text = ("Corpus, SFT, pools and labels are the same in every cell, so all of this is given "
            "them: another SFT or another annotator is another study.")
    decided = result["costs"]["human"]["decided"]
    levels = result["study"]["levels"]
    if result["study"]["axis"] == HUMAN_LABELS and decided and str(decided) in levels:
        text += (f" At {decided} labels every seed has all of them, so that what other labels "
                 "would have given is in no interval there.")
    return text


def _seeds(result: Result, found: Result) -> str:
    count = len(result["study"]["seeds"])
    row = next((row for row in [*found["advantage"], *found["points"]]
                if row["level"] == result["study"]["primary"] and row["se"] is not None), None)
    if row is None:
        return f"{count} seed: no interval, since one training says nothing of the next."
    text = (f"{count} seeds: a figure moves by {_moves(row['sd_seed'])} from seed to seed and by "
            f"{_moves(row['sd_prompt'])} from prompt to prompt (at {row['level']}); "
            f"{words.smallest(row)} would be found in four of five such studies.")
    if count == 2:
        text += (" With two seeds such intervals held the truth in only 87 to 95 of 100 "
                 "simulations.")
    return text


def _moves(deviation: float) -> str:
    return f"{100 * deviation:.1f} points" if deviation else "no more than chance"


def _prompts(found: Result) -> str:
    if found["prompts"] == found["asked"]:
        return ""
    return (f"Only {found['prompts']} of {found['asked']} prompts count: the others have no "
            "readable verdict in some cell.")


def _absent(found: Result) -> str:
    if not found["absent"]:
        return ""
    return (f"{missing(found)}; a figure stands on the seeds that have "
            "all of its models, so that figures may stand on different seeds.")


def _out_of_date(result: Result) -> str:
    names = out_of_date(result)
    if not names:
        return ""
    more = f", and {len(names) - 3} more" if len(names) > 3 else ""
    return (f"Scores of {len(names)} cells are from before something changed "
            f"({', '.join(names[:3])}{more}): persuasion study {result['study']['name']} renews "
            "them.")


def _undecided(found: Result) -> str:
    if not found["undecided"] or found["undecided"] < MANY_UNDECIDED:
        return ""
    return (f"In {found['undecided']:.0%} of comparisons the judge gave no preference, or another "
            "one in each order: there it says nothing about the replies.")


def _taste(result: Result, found: Result) -> str:
    levels = [row["level"] for row in found["advantage"] + found["points"]
              if row["people"] and row["people"]["mean"] is not None]
    if not levels:
        return (f"Everything is by one judge ({result['judge']}), and no interval covers its "
                "taste: more prompts and seeds only make a moved figure look surer.")
    corrected = ", ".join(dict.fromkeys(levels))
    return (f"People corrected the figures at {corrected} alone; everywhere else, in the slope and "
            f"in the exchange rate, the judge's taste ({result['judge']}) is left, and no interval "
            "covers it.")


def _range(result: Result, found: Result) -> str:
    if result["study"]["axis"] != HUMAN_LABELS or not found["sizes"]:
        return ""
    return (f"{min(found['sizes']):,.0f} to {max(found['sizes']):,.0f} human labels were trained; "
            "nothing is known of fewer or more.")


def _shape(result: Result, found: Result) -> list[str]:
    """Where the curve that labels are read from is not the line that stands for it."""
    if not found["exchange"]:
        return []
    plain = result["study"]["plain"]
    means = [row["mean"] for row in found["points"] if row["arm"] == plain]
    texts = []
    if any(later < earlier for earlier, later in zip(means, means[1:], strict=False)):
        texts.append(f"The curve of {plain} falls somewhere between two levels; the line that "
                     "labels are read from passes over that.")
    bend = found["bend"]
    if bend and bend["ci_low"] is not None and not bend["ci_low"] <= 0 <= bend["ci_high"]:
        texts.append(f"The curve of {plain} is no straight line on the scale of doublings (its "
                     f"square is {words.points(bend)}), so labels read from a line are rough.")
    return texts


def _anchor(result: Result) -> str:
    first = result["study"]["anchors"][0]
    if result["leading"] != first:
        return (f"Against {first} some models win, or lose, more than {SATURATED:.0%}, so the "
                f"answer is read against {result['leading']}.")
    if saturated(result["anchors"][first]):
        return (f"Where a model wins, or loses, more than {SATURATED:.0%} against {first}, "
                "differences and the change with labels look smaller than they are.")
    return (f"Win rates are against {first} alone; against another reply differences may be "
            "other.")
