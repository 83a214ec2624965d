"""Several judges side by side: what each says of the models, and how far they agree.

The first one named is the judge of the criteria and of every other table.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.reporting.evaluated import Evaluated, tabulated
from persuasion_lib.reporting.page import Part
from persuasion_lib.reporting.tables import Options, comparisons, scored
from persuasion_lib.reporting.wording import ci_text, told, with_interval
from persuasion_lib.stats.agreement import agreement
from persuasion_lib.stats.blocks import TOO_FEW, normalised_scores
from persuasion_lib.stats.ranks import consistency_rankings
from persuasion_lib.stats.scores import summarise

Result = Mapping[str, Any]
Pair = tuple[str, str]


def of_panel(data: Evaluated, primary: Pair, alpha: float, options: Options, *,
             may_decide: bool) -> dict[str, Any] | None:
    """The part of `analysis.json` on the panel; None where one judge ranked.

    Args:
        may_decide: whether this is no trial and no rehearsal, which have no verdict.

    Returns:
        judges [judge, model, labelled (whether it also labelled the AI pool), n (prompts), unread
        (rankings), scores, verdict, and of the declared comparison mean_diff, ci_low, ci_high];
        pairs [a, b, n (prompts that both ranked), same (share with the same order of the declared
        two) with its interval, kappa, tau (mean rank correlation) with tau_low and tau_high].
    """
    further = data.file.panel()
    if not further:
        return None
    asked = data.setup.panel or {}
    first = next((name for name in asked if name not in further), data.setup.judge or "the judge")
    tables = {first: data, **{name: tabulated(data.file, judge=name) for name in further}}
    ranks = {name: scored(table.ranks) for name, table in tables.items()}
    labeller = (data.setup.asked_models or {}).get("labeller") or ""
    judges = [{"judge": name, "model": asked.get(name),
               "labelled": bool(asked.get(name)) and asked[name] in labeller.split(", "),
               "unread": table.asked - len(table.calls) - table.tied,
               **_says(ranks[name], primary, alpha, options, may_decide)}
              for name, table in tables.items()]
    return {"judges": judges, "pairs": [
        {"a": a, "b": b, **_agree(ranks[a], ranks[b], primary, options)}
        for a, b in combinations(tables, 2)]}


def _says(ranks: pd.DataFrame, primary: Pair, alpha: float, options: Options,
          may_decide: bool) -> dict[str, Any]:
    scores = normalised_scores(ranks)
    how = {**options, "span": (0.0, 1.0)}
    test = comparisons(scores, primary, alpha, how)[1] or {}
    return {"n": len(ranks), "scores": summarise(scores, **how),
            "verdict": _verdict(test) if may_decide else "none",
            **{name: test.get(name) for name in ("mean_diff", "ci_low", "ci_high")}}


def _verdict(test: Mapping[str, Any]) -> str:
    if not test or test["n"] < TOO_FEW:
        return "none"
    if not test["significant"]:
        return "no difference detected"
    return "helped" if test["mean_diff"] > 0 else "harmed"


def _agree(one: pd.DataFrame, two: pd.DataFrame, primary: Pair, options: Options
           ) -> dict[str, Any]:
    both = one.index.intersection(two.index)
    first, second = one.loc[both], two.loc[both]
    tau = consistency_rankings(first, second, **{**options, "span": (-1.0, 1.0)})
    found: dict[str, Any] = {"n": len(both), "tau": tau["tau"], "tau_low": tau["ci_low"],
                             "tau_high": tau["ci_high"]}
    if set(primary) <= set(one.columns):
        same = agreement(_order(first, primary), _order(second, primary), **options)
        found |= {"same": same["raw"], "kappa": same["kappa"], "ci_low": same["ci_low"],
                  "ci_high": same["ci_high"]}
    return found


def _order(ranks: pd.DataFrame, primary: Pair) -> list[str]:
    """Which of the declared two is above, by prompt."""
    a, b = (ranks[model] for model in primary)
    return np.select([a < b, a > b], ["a", "b"], "tie").tolist()


def differ(found: Result) -> bool:
    """Whether the judges do not all say the same of the declared comparison."""
    return len({judge["verdict"] for judge in found["judges"]} - {"none"}) > 1


def said(found: Result) -> str:
    """What each judge says of the declared comparison."""
    return "; ".join(f"{judge['judge']}: {_WORDS[judge['verdict']]} "
                     f"{with_interval(judge, 'mean_diff', form='+.3f')}"
                     for judge in found["judges"])


_WORDS = {"helped": "helped,", "harmed": "harmed,", "none": "",
          "no difference detected": "no difference detected,"}


def sentences(result: Result) -> list[str]:
    """For the first lines: whether the panel agrees, and who judges what it taught."""
    found = result["panel"]
    opening = "THE PANEL DISAGREES" if differ(found) else "The panel agrees"
    silent = [judge["judge"] for judge in found["judges"] if judge["verdict"] == "none"]
    if len(silent) == len(found["judges"]):
        opening = "The panel has no verdict"
    elif silent and not differ(found):
        opening = f"Of the panel, {', '.join(silent)} read too few rankings for a verdict"
    one, two = result["primary"]
    lines = [f"{opening} about {one} against {two}. {said(found)}. The first judge is that of "
             "everything else here."]
    return lines + [f"The judge that labelled also judges ({judge['judge']}, {judge['model']}): it "
                    "may prefer what its labels taught." for judge in found["judges"]
                    if judge["labelled"]]


def part(result: Result) -> Part | None:
    """Scores by model and judge, and how far the judges agree; nothing where one ranked."""
    found = result.get("panel")
    if not found:
        return None
    table = pd.DataFrame({_title(judge): {row["model"]: with_interval(row, form=".2f")
                                          for row in judge["scores"]}
                          for judge in found["judges"]})
    return Part("The judges of the panel, side by side", [*map(_told, found["pairs"])],
                table.rename_axis("model"), None, (
        "Score of every model by every judge, with intervals over prompts. Judges of one family "
        "share a taste: their agreement is no proof that people agree.",))


def _title(judge: Result) -> str:
    unread = f", {judge['unread']} unread" if judge["unread"] else ""
    return f"{judge['judge']} (n = {judge['n']}{unread})"


def _told(pair: Result) -> str:
    text = (f"{pair['a']} and {pair['b']} on {pair['n']} prompts: rank correlation "
            f"{told(pair['tau'], '.2f')} {ci_text(pair, 'tau_low', 'tau_high', form='.2f')}")
    if "same" in pair:
        text += (f"; the same order of the declared two on {told(pair['same'], '.0%')} "
                 f"{ci_text(pair, form='.0%')} (kappa {told(pair['kappa'], '.2f')})")
    return text + "."
