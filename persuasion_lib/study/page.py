"""`study.html`, and the same parts one by one for notebook 07; all from `study.json`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from persuasion_lib.reporting.page import Part, as_page
from persuasion_lib.reporting.wording import number, p_value
from persuasion_lib.study import words
from persuasion_lib.study.answer import SATURATED

Result = Mapping[str, Any]

_TRUTH, _PEOPLE = "the demo's truth", "by people"
_INTERVALS = "Intervals allow for other seeds and other prompts"


def answer(result: Result) -> Part:
    return Part(result["study"]["question"], result["sentences"])


def design(result: Result) -> Part:
    study, found = result["study"], _leading(result)
    models = found["cells_planned"] - len(found["absent"])
    at = {arm: [row["level"] for row in found["points"] if row["arm"] == arm]
          for arm in study["arms"]}
    trained = "; ".join(f"{arm} at {', '.join(levels)}" for arm, levels in at.items() if levels)
    lines = [f"{models} of {found['cells_planned']} models, {len(study['seeds'])} seeds of each: "
             f"{trained} ({words.axis(study['axis'])}).",
             f"They are compared on {found['prompts']} of {found['asked']} prompts: those for "
             "which all of them have a verdict."]
    return Part("The design", lines, figure="design", caption=(
        "Every square is a trained model, one for each seed; a cross is one that is missing. "
        "All models of a seed share its choice of labels, so that arms are compared within seeds."))


def curves(result: Result) -> Part:
    return Part(f"Win rates against {result['leading']}", table=_points(_leading(result)),
                figure="curves", notes=_other_anchors(result), caption=(
        f"Hollow: the judge; filled: corrected by people; plus: {_TRUTH}, where it is known. "
        f"{_INTERVALS}. Dotted: no better than the anchor, and {SATURATED:.0%}, above which "
        "differences shrink. Two intervals that overlap are no test."))


def _points(found: Result) -> pd.DataFrame:
    rows = [{"arm": row["arm"], "level": row["level"], **_three(row, words.rate),
             "seeds": row["n_seeds"]} for row in found["points"]]
    return _table(rows, ["arm", "level"])


def _three(row: Result, worded: Callable[[Result | None], str]) -> dict[str, str]:
    """People first, where they compared; the judge; the truth, where it is known."""
    people = row["people"]
    said = {} if people is None else {
        _PEOPLE: worded(people) if people["mean"] is not None
        else f"too few ({people['n_human']})"}
    truth = {_TRUTH: worded(row["gold"])} if row["gold"] else {}
    return {**said, "by the judge": worded(row), **truth}


def _other_anchors(result: Result) -> list[str]:
    return [f"Against {name}: " + "; ".join(
        f"{row['arm']} at {row['level']} {words.rate(row)}" for row in found["points"]) + "."
        for name, found in result["anchors"].items() if name != result["leading"]]


def advantage(result: Result) -> Part | None:
    found, pair = _leading(result), result["study"]["pair"]
    if not found["advantage"]:
        return None
    rows = [{"level": row["level"], **_three(row, words.points), "p": p_value(row["p"]),
             "found in 4 of 5": words.smallest(row), "seeds": row["n_seeds"]}
            for row in found["advantage"]]
    if slope := found["slope"]:
        rows.append({"level": "with every doubling", **_three(slope, words.points),
                     "p": p_value(slope["p"]), "found in 4 of 5": words.smallest(slope),
                     "seeds": slope["n_seeds"]})
    return Part(
        f"What the warm-up adds: {pair[0]} − {pair[1]}", table=_table(rows, ["level"]),
        figure="advantage", caption=(
            "Difference of the two win rates on the same seeds and prompts, in points of a "
            f"hundred in the table. {_INTERVALS}; those of single levels are not corrected for "
            "their number."))


def exchange(result: Result) -> Part | None:
    found = _leading(result)
    if not found["exchange"]:
        return None
    plain, sizes = result["study"]["plain"], found["sizes"]
    rows = [{"model": f"{row['arm']} with {row['level']}",
             f"as good as {plain} with": words.labels(row, sizes),
             "so worth": words.worth(row, sizes), "the line drawn on": words.drawn_on(row),
             **({_TRUTH: words.labels(row["gold"], sizes)} if row["gold"] else {})}
            for row in found["exchange"]]
    return Part(
        "How many human labels is the warm-up worth?", _out_of_reach(found, plain),
        table=_table(rows, ["model"]),
        figure="exchange", notes=[
            f"Read from a straight line through {plain}'s curve on the scale of doublings, by the "
            "judge's verdicts. Outside of what was trained only the side is known: the line drawn "
            "on is a guess."], caption=(
            f"The number of human labels with which {plain} is as good; an arrow is an interval "
            f"that leaves what was trained, a bar the labels that the model has had itself, a plus "
            f"{_TRUTH}."))


def _out_of_reach(found: Result, plain: str) -> list[str]:
    """What a figure of arrows alone says."""
    most = max(found["sizes"])
    if any((row["ci_low"] or 0) <= most for row in found["exchange"]):
        return []
    return [f"By the judge, all of these models reach more than {plain} does with {most:,.0f} "
            "human labels, the most that it was trained with. How many they are worth is not "
            "known, but that it is more."]


def costs(result: Result) -> Part | None:
    """What one label of each kind takes, and what the AI labels stand for."""
    kinds, found = result["costs"], _leading(result)
    if not found["exchange"] or not (kinds["ai"]["decided"] or kinds["human"]["decided"]):
        return None
    ai, human = kinds["ai"], kinds["human"]
    rows = [
        {"labels": "AI labels", "decided": number(ai["decided"], ",", none="unknown"),
         "dollars": number(ai["usd"], ",.2f", none="unknown"),
         "dollars for one": _for_one(ai["usd"], ai["decided"], ".4f"),
         "hours of people": "none", "minutes for one": "none"},
        {"labels": "human labels", "decided": number(human["decided"], ",", none="unknown"),
         "dollars": "unknown", "dollars for one": "unknown",
         "hours of people": number(human["hours"], ".1f", none="unknown"),
         "minutes for one": _for_one(human["hours"], human["decided"], ".1f", 60)}]
    return Part("What labels cost", _trade(result, found), table=_table(rows, ["labels"]), notes=[
        "Decided labels train or validate; ties were paid, too. Unknown: nobody was timed, or "
        "nobody said what an hour of theirs costs."])


def _trade(result: Result, found: Result) -> list[str]:
    """What does as much as one human label, where a model without human labels is there."""
    ai, sizes = result["costs"]["ai"], found["sizes"]
    texts = []
    for row in found["exchange"]:
        if row["level"] == "0" and ai["decided"] and row["beyond"] != "no rise":
            text = (f"{row['arm']} learned from {ai['decided']:,} AI labels, which are worth "
                    f"{words.labels(row, sizes)} human ones: "
                    f"{words.for_one(row, ai['decided'], sizes)} AI labels")
            if ai["usd"]:
                text += f", or {words.for_one(row, ai['usd'], sizes, ',.2f')} dollars,"
            texts.append(f"{text} do what one human label does.")
    return texts


def _for_one(total: float | None, count: int | None, form: str, times: float = 1) -> str:
    if total is None or not count:
        return "unknown"
    return format(times * total / count, form) if total else "0"


def levels(result: Result) -> Part | None:
    found, study = _leading(result), result["study"]
    if not found["against_primary"]:
        return None
    rows = [{"arm": row["arm"], "level": row["level"], **_three(row, words.points),
             "p": p_value(row["p"]), "corrected": p_value(row["p_holm"]),
             "found in 4 of 5": words.smallest(row), "seeds": row["n_seeds"]}
            for row in found["against_primary"]]
    return Part(f"Every level against {study['primary']}", table=_table(rows, ["arm", "level"]),
                notes=["Differences of win rates on the same seeds and prompts; p is corrected for "
                       "the number of comparisons (Holm), intervals are not."])


def cells(result: Result) -> Part:
    arms = result["study"]["arms"]
    rows = [{"cell": row["cell"], "level": row["level"], "seed": row["seed"],
             "state": ": ".join(filter(None, (row["state"], row["why"]))),
             **{arm: number(row["win_rate"][arm], ".3f") for arm in arms},
             "open": _links(row["links"])} for row in result["cells"]]
    return Part("All cells", table=_table(rows, ["cell"]), notes=[
        "Each is an ordinary run, which the command persuasion runs lists too; win rates are by "
        f"the judge, against {result['study']['anchors'][0]}."])


def _links(links: Mapping[str, str]) -> Markup:
    return Markup(", ").join(Markup('<a href="{}">{}</a>').format(link, name)
                             for name, link in links.items())


def limits(result: Result) -> Part:
    return Part("What limits these figures", result["limits"])


# In reading order. None is what a study of this kind does not have.
PARTS: dict[str, Callable[[Result], Part | None]] = {
    make.__name__: make for make in (answer, design, curves, levels, advantage, exchange, costs,
                                     cells, limits)}


# What a notebook shows instead.
_NOTHING = {
    "advantage": "Only a study that trains both models of analysis.primary at one level says it.",
    "exchange": "Only a study of human labels says it, with the second model of analysis.primary.",
    "costs": "Only a study of human labels says it, with the second model of analysis.primary.",
    "levels": "Only a study of a setting, such as beta, has this table."}


def part(result: Result, name: str) -> Part:
    """A part of the page; one that says so where a study of this kind has none."""
    return PARTS[name](result) or Part(name, (_NOTHING.get(name, "This study has none."),))


def as_html(result: Result, figures: Path) -> str:
    """The study as one HTML page; figures that are missing in the folder are left out."""
    found = {name: make(result) for name, make in PARTS.items()}
    study = result["study"]
    return as_page({name: part for name, part in found.items() if part}, figures,
                   title=f"Study: {study['name']}", banner=result["banner"], examples="",
                   about=f"Profile {result['profile']}; judge: {result['judge']}; intervals of "
                         f"{result['confidence']:.0%}.", level="", n=0)


def _leading(result: Result) -> Result:
    return result["anchors"][result["leading"]]


def _table(rows: Sequence[Mapping[str, Any]], index: list[str]) -> pd.DataFrame:
    """Rows with the first columns as one name; a column that a row has not is "-"."""
    table = pd.DataFrame(rows, dtype=object)    # or pandas makes texts of links
    table = table.where(table.notna(), "-")
    names = table[index].astype(str).agg(" at ".join, axis=1)
    table = table.drop(columns=index).set_axis(names, axis=0)
    if _PEOPLE in table:
        table.insert(0, _PEOPLE, table.pop(_PEOPLE))    # before the judge
    return table
