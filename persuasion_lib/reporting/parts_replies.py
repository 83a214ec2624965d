"""The parts of the report about the replies and the models, read from `analysis.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.family import FAMILY, PREFERENCE_TRAINED
from persuasion_lib.core.show import in_order
from persuasion_lib.judging.word_lists import RUBRIC
from persuasion_lib.reporting.evaluation_file import Setup
from persuasion_lib.reporting.judge_health import Result
from persuasion_lib.reporting.page import Part
from persuasion_lib.reporting.wording import ci_text, number, p_text, with_interval


def similarity(result: Result) -> Part:
    """Closeness to the oracle's replies, and what such a number means."""
    found = result["similarity"]
    title = "Average Similarity to Oracle"
    if found is None:
        return Part(title, ("No similarity in the evaluation.",))
    against = found["against_rank"]
    baselines = found["baselines"]
    table = _means(found["table"]).assign(
        SD={row["model"]: number(row["sd"]) for row in found["table"]})
    lines = [
        f"Within a prompt, similarity and score: mean Spearman "
        f"{with_interval(against, 'rho', form='+.3f')}, {p_text(against['p'])} over "
        f"{against['n_used']} prompts "
        f"({against['n_constant']} without variation left out). Of the models' means: "
        f"{number(against['system']['rho'], '+.2f')} ({against['system']['note']})."]
    if result["setup"].get("oracle") == "human replies":
        lines.insert(0, "The yardstick is the reply that a person really wrote to each prompt; no "
                        "oracle model was asked.")
    if baselines:
        reached = [f"the oracle's reply against {row['model']} {with_interval(row)}"
                   for row in baselines["oracle"]]
        lines.append(f"What such a number means: {'; '.join(reached)}. 'closer' is how much nearer "
                     "a reply is to its own oracle reply than to one for another prompt; 0 would "
                     "be no relation to the prompt.")
        table = table.assign(closer={row["model"]: with_interval(row, form="+.3f")
                                     for row in baselines["closer"]})
    return Part(title, lines, table, "similarity_distributions")


def length(result: Result) -> Part:
    """Length, whether the longer reply wins, and signs of failed generation."""
    bias = result["length"]["bias"]
    lines = [f"The longer reply won {with_interval(bias, 'p_prefer_longer', form='.0%')} of "
             f"{bias['n_considered']} pairs whose lengths differ by "
             f"more than 30; winners were {number(bias['mean_difference'], '+.1f')} longer on "
             f"average {ci_text(bias, 'difference_low', 'difference_high', form='+.1f')}. The "
             "intervals allow for pairs of one prompt being related; length-adjusted scores are "
             "those of Strengths."]
    quality = pd.DataFrame(result["quality"]).T.map("{:.0%}".format)
    table = _means(result["length"]["table"], ".0f").join(
        quality.rename(columns={"same_text": "commonest text"}))
    return Part("Length (characters) and signs of failed generation (share of replies)", lines,
                table, "length_vs_score")


def tactics(result: Result) -> Part:
    """Manipulation: how much of it, and what training, the judge and the labellers did about it."""
    found, setup = result["tactics"], Setup(**result["setup"])
    reward = found["reward"]
    table = pd.DataFrame({name: {row["model"]: with_interval(row, form=".0%") for row in rows}
                          for name, rows in found["share"].items()})
    changes = [f"{row['a']} - {row['b']} {with_interval(row, 'mean_diff', form='+.0%')}"
               for row in found["pairs"] if row["b"] == "sft"]
    return Part("Safety: manipulation tactics", (
        *_found_by(found, setup),
        "Did training on preferences add to it? Any tactic, within prompts: "
        f"{'; '.join(changes) or 'SFT was not evaluated'}.",
        f"Did the judge that ranks reward it? Within {reward['n']} prompts that have replies with "
        f"and without a tactic, those with one scored {with_interval(reward, form='+.3f')}.",
        *map(_rewarded, found["labels"])), table, folded=_word_lists(found, setup))


def _word_lists(found: Mapping[str, Any], setup: Setup) -> dict[str, list[str]]:
    """What a word list looks for; a judge has a rubric of its own."""
    if _by_judge(found, setup):
        return {}
    return {"What it looks for": [f"{name}: {text}" for name, text in RUBRIC.items()]}


def _by_judge(found: Mapping[str, Any], setup: Setup) -> bool:
    return bool(found["judge"]) and "safety" not in setup.stand_ins()


def _found_by(found: Mapping[str, Any], setup: Setup) -> list[str]:
    """Who found the tactics, and what that cannot say."""
    count = found["share"]["any"][0]["n"]
    if _by_judge(found, setup):
        return [f"Share of replies in which {found['judge']}, told neither model nor label, finds a"
                f" tactic of its rubric, over {count} prompts; {found['unscored']} replies are "
                "unscored and not counted as clean. One model's reading in one call: no person "
                "checked it, and it may miss what the labeller missed."]
    return [f"Share of replies in which a word list (a stand-in for a judge with this rubric) "
            f"finds a tactic, blind to the model, over {count} prompts. It finds phrases, not "
            "intent."]


_LABELLERS = {"ai": "AI labels", "human": "human labels"}


def _rewarded(row: Mapping[str, Any]) -> str:
    """Whether labellers preferred replies with a tactic."""
    chosen, rejected = (with_interval(side, form=".0%") for side in row["share"])
    missing = f" ({row['unscored']} pairs unscored)" if row["unscored"] else ""
    return (f"Did the {_LABELLERS.get(row['pool'], row['pool'])} reward it? Of {row['n']} decided "
            f"pairs{missing} the chosen reply has a tactic in {chosen}, the rejected one in "
            f"{rejected}: {with_interval(row, 'mean_diff', form='+.0%')}, {p_text(row['p_perm'])}.")


# column: (what the curve calls it, how it is printed)
_WATCHED = {"held-out loss": ("held_out_loss", ".3f"), "accuracy": ("accuracy", ".2f"),
            "margin": ("margin", ".3f"), "KL to SFT": ("kl", ".2f"),
            "reply tokens": ("reply_tokens", ".0f")}


def models(result: Result) -> Part | None:
    """What the names of the models mean; None for somebody else's, which may mean anything."""
    if result["given"]:
        return None
    logs = result["training"] or {}
    base = result["setup"].get("base_model") or "unknown"
    rows = {name: {"made of": FAMILY[name].built_of if FAMILY[name].labels else base,
                   "learned from": _rows_of(name, logs.get(name))}
            for name in in_order(result["models"]) if name in FAMILY}
    return Part("What the models are", (
        "Every row but the first adds one training to the model that it names first.",),
        pd.DataFrame(rows).T.rename_axis("model"))


def _rows_of(name: str, log: Mapping[str, Any] | None) -> str:
    """How many rows taught a model: "180 pairs"; a checkpoint from before did not say."""
    if not FAMILY[name].labels:
        return "–"
    what = "pairs" if name in PREFERENCE_TRAINED else "replies"
    count = (log or {}).get("rows")
    return f"{count:,} {what}" if isinstance(count, int) else f"{what}, number not recorded"


def training(result: Result) -> Part | None:
    """From the first validation point of every training to the one that was kept, and alarms."""
    if not result["training"]:
        return None
    rows = {model: _trained(log) for model, log in result["training"].items()}
    alarms = [f"Alarm, {model}: {text}" for model, log in result["training"].items()
              for text in log["alarms"]]
    no_alarm = ("No alarm: loss fell, and neither likelihood, distance from SFT nor length of "
                "replies moved further than the stated bounds.")
    return Part("How the models were trained", (
        "From the first validation point (of DPO: before training, where every margin is 0 and "
        "none counts as accurate, but for rlaif_rlhf) to the step that was kept.",
        *(alarms or [no_alarm])), pd.DataFrame(rows).T.rename_axis("model"), "training_curves")


def _trained(log: Mapping[str, Any]) -> dict[str, Any]:
    points = [point for point in log["points"] if "held_out_loss" in point]
    first = points[0]
    kept = next(point for point in points if point["step"] == log["best_step"])
    row = {"steps": points[-1]["step"], "kept": kept["step"]}
    for name, (key, form) in _WATCHED.items():
        row[name] = "-"
        if key in kept:
            row[name] = f"{number(first.get(key), form)} → {number(kept[key], form)}"
    return row


def gold(result: Result) -> Part | None:
    """The demo's known truth."""
    if result["gold"] is None:
        return None
    return Part("The demo's truth (gold utility of the same replies)", (
        "Known only in the demo world, and hidden from every judge.",),
        _means(result["gold"]["table"]))


def limits(result: Result) -> Part:
    """What all of this cannot say."""
    return Part("What limits these figures", result["limits"])


def _means(rows: Sequence[Mapping[str, Any]], form: str = ".3f") -> pd.DataFrame:
    return pd.DataFrame({row["model"]: {"mean": number(row["mean"], form),
                                        "interval": ci_text(row, form=form)} for row in rows}
                        ).T.rename_axis("model")
