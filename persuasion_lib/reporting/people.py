"""What people say of the declared comparison, with the judge as a helper whose bias is told.

A comparison is a labelled pair: replies of two models to a test prompt, whose models stand in its
metadata. The judge's verdicts on all prompts narrow the interval; people's alone decide where it
lies (see `stats.people`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.core.family import HUMAN
from persuasion_lib.core.rankings import Ranking
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.reporting.evaluated import Evaluated, ranks_with, tabulated
from persuasion_lib.reporting.tables import Options
from persuasion_lib.reporting.wording import ci_text
from persuasion_lib.stats.agreement import agreement
from persuasion_lib.stats.people import ENOUGH, LEAST_RANKED, preference, several
from persuasion_lib.stats.resample import Resampling, mean_interval

Result = Mapping[str, Any]

MANY = 40       # comparisons from which ranks and lengths are used beside the judge's verdict
SCORE = {"a": 1.0, "tie": 0.5, "b": 0.0}
LABELS = {score: label for label, score in SCORE.items()}


def known_of(data: Evaluated, pair: tuple[str, str]) -> pd.DataFrame:
    """What is known of a pair of models without a person, for every prompt that the judge read.

    Columns: `judge` (share of its rankings with the first model above, ties half), `ranks`
    (difference of the mean ranks, as a share of the places), `length` (tanh of the log ratio).
    """
    one, two = pair
    calls = data.read[[one, two]]
    ahead = np.select([calls[one] < calls[two], calls[one] > calls[two]], [1.0, 0.0], 0.5)
    judge = pd.Series(ahead, index=calls.index).groupby(level=0, sort=False).mean()
    lengths = data.lengths().clip(lower=1)
    return pd.DataFrame({
        "judge": judge,
        "ranks": (data.ranks[two] - data.ranks[one]) / max(1, len(data.models) - 1),
        "length": np.tanh(np.log(lengths[one] / lengths[two]))}).dropna()


def ranked_by_judge(data: Evaluated) -> pd.DataFrame:
    """The judge's ranks of all models, for every prompt on which it gave one to each."""
    return data.ranks[data.models].dropna()


def contestants(data: Evaluated) -> dict[str, dict[str, str | None]]:
    """Whose replies there are to rank, by prompt: the models', and the person's own where the judge
    ranked it with them."""
    with_person = ranks_with(data, HUMAN).index
    return {row.example_id: {model: row.responses.get(model) for model in data.models}
            | ({HUMAN: row.persons_reply} if row.example_id in with_person else {})
            for row in data.rows}


def _panel_of(data: Evaluated, pair: tuple[str, str], prompts: pd.Index) -> pd.DataFrame:
    """`judge` of every further judge, a column each; its silence on a prompt is for neither."""
    found = {f"judge {name}": known_of(tabulated(data.file, judge=name, judge_only=True), pair)
             ["judge"].reindex(prompts, fill_value=0.5) for name in data.file.panel()}
    return pd.DataFrame(found, index=prompts)


def same_texts(data: Evaluated, pair: tuple[str, str]) -> pd.Index:
    """The prompts on which both models gave the same text, which nobody needs to compare."""
    same = [row.example_id for row in data.rows
            if (row.responses.get(pair[0]) or "").strip()
            == (row.responses.get(pair[1]) or "").strip()]
    return pd.Index(same, name="prompt_id")


def of_people(data: Evaluated, comparisons: Sequence[LabeledPair | Ranking],
              primary: tuple[str, str], options: Options) -> dict[str, Any] | None:
    """The part of `analysis.json` on people; None without a comparison or a declared model.

    Returns:
        what `stats.people.preference` does for the first of `primary`, and of the judge alone
        `judge_alone`, `judge_low`, `judge_high` on the `judge_prompts` prompts of the tables;
        `alone` (people without the judge: estimate, ci_low, ci_high), `on_same` (means by `people`
        and by the `judge` on the prompts compared), `verdict`, `annotators` {name: comparisons},
        `agreement` (judge against people on the same prompts), `steady` (people against
        themselves on repeats), `not_used` {why: comparisons}.
    """
    if not comparisons or not set(primary) <= set(data.models):
        return None
    rankings = [one for one in comparisons if isinstance(one, Ranking)]
    comparisons = [_as_pair(one, primary) for one in comparisons]
    scores, not_used = _scores(data, comparisons, primary)
    every = tabulated(data.file, judge_only=True)       # the more prompts, the narrower
    known = known_of(every, primary)
    panel = _panel_of(every, primary, known.index)
    known = known[["judge"]].join(panel).join(known[["ranks", "length"]])
    unread = scores.index.difference(known.index)
    if len(unread):
        not_used["the judge's ranking of the prompt is missing"] = len(unread)
    alike = same_texts(every, primary).intersection(known.index)
    different = known.drop(index=alike)
    used = scores[scores.index.isin(different.index)]
    if different.empty:
        return None
    columns = list(different) if len(used) >= MANY else ["judge", *panel]
    found = preference(used, different[columns], identical=len(alike),
                       confidence=options["confidence"])
    return {"a": primary[0], "b": primary[1], **found, **_judge_alone(data, primary, options),
            "alone": _without_judge(used, different, len(alike), options),
            "on_same": {"people": used.mean(), "judge": different.loc[used.index, "judge"].mean()},
            "verdict": _verdict(found),
            "annotators": _annotators(comparisons, used.index),
            "agreement": _judge_agrees(used, different["judge"], options),
            "steady": _steady(comparisons, options), "not_used": not_used,
            "ranked": _ranked(data, rankings, options)}


def _annotators(comparisons: Sequence[LabeledPair], used: pd.Index) -> dict[str, int]:
    """Who compared how many of the prompts that count."""
    return dict(Counter(label.labeled_by for label in comparisons
                        if str(label.pair.metadata.get("example_id")) in used))


def _as_pair(one: LabeledPair | Ranking, primary: tuple[str, str]) -> LabeledPair:
    """What is said of the declared two; of others, where these were not ranked."""
    if isinstance(one, LabeledPair):
        return one
    return one.pair(*(primary if set(primary) <= set(one.replies) else list(one.replies)[:2]))


def _ranked(data: Evaluated, rankings: Sequence[Ranking],
            options: Options) -> dict[str, Any] | None:
    """All models by people's rankings and the judge's, every interval held together.

    Returns:
        n, n_judged, models (by model `score`, `slope`, `rank_low`, `rank_high`), differences (a
        row a pair: a, b, diff, ci_low, ci_high), status ("ok", "too_few": below 30, no verdict;
        "n<10": nothing is computed); None where nobody ranked.
    """
    judge = ranked_by_judge(data)
    if not rankings:
        return None
    given: dict[str, list[pd.Series]] = {}
    for one in of_these(rankings, data):
        if one.example_id in judge.index:
            ranks = one.among(data.models).ranks
            given.setdefault(one.example_id, []).append(pd.Series(ranks, dtype=float))
    sizes = {"n": len(given), "n_judged": len(judge)}
    if len(given) < LEAST_RANKED:
        return {**sizes, "status": f"n<{LEAST_RANKED}", "models": [], "differences": []}
    human = pd.DataFrame({key: pd.concat(several_people, axis=1).mean(axis=1)
                          for key, several_people in given.items()}).T[data.models]
    models, differences = several(human, judge, confidence=options["confidence"],
                                  seed=options["seed"])
    return {**sizes, "status": "ok" if len(given) >= ENOUGH else "too_few",
            "models": models.rename_axis("model").reset_index().to_dict("records"),
            "differences": differences.to_dict("records")}


def of_these(comparisons: Sequence[LabeledPair | Ranking], data: Evaluated) -> list[Ranking]:
    """The rankings of all models' replies as they are now, with the person's own or without."""
    there = contestants(data)
    fields = (set(data.models), {*data.models, HUMAN})
    return [one for one in comparisons if isinstance(one, Ranking) and set(one.replies) in fields
            and one.replies.items() <= there.get(one.example_id, {}).items()]


def _scores(data: Evaluated, comparisons: Sequence[LabeledPair], primary: tuple[str, str]
            ) -> tuple[pd.Series, dict[str, int]]:
    """People's score of the first model by prompt (of several people, the mean); what is left out.

    A comparison counts for the texts that were compared: not when a model has answered anew.
    """
    rows = {row.example_id: row.responses for row in data.rows}
    used: dict[str, list[float]] = {}
    left: Counter[str] = Counter()
    for label in comparisons:
        models = tuple(label.pair.metadata.get("models", ()))
        turned = label if models == primary else label.swapped()
        texts = rows.get(str(label.pair.metadata.get("example_id")))
        if set(models) != set(primary):
            left["they compare other models"] += 1
        elif texts is None or [turned.pair.response_a, turned.pair.response_b] != [
                texts.get(model) for model in primary]:
            left["the texts are not those of this evaluation"] += 1
        else:
            used.setdefault(str(label.pair.metadata["example_id"]), []).append(SCORE[turned.label])
    scores = pd.Series({key: float(np.mean(given)) for key, given in used.items()}, dtype=float)
    return scores.rename_axis("prompt_id"), dict(left)


def _without_judge(people: pd.Series, known: pd.DataFrame, identical: int,
                   options: Options) -> dict[str, Any]:
    """The same from people's comparisons alone: a judge with one verdict for all adds nothing."""
    silent = pd.DataFrame({"judge": 0.5}, index=known.index)
    found = preference(people, silent, identical=identical, confidence=options["confidence"])
    return {name: found[name] for name in ("estimate", "ci_low", "ci_high")}


def _judge_alone(data: Evaluated, pair: tuple[str, str], options: Options) -> dict[str, Any]:
    """What the judge says by itself, on the prompts of all tables and no others."""
    judge = known_of(data, pair)["judge"].to_numpy()
    low, high, _ = mean_interval(judge, Resampling(**options, span=(0.0, 1.0)))
    return {"judge_alone": float(judge.mean()) if len(judge) else np.nan, "judge_low": low,
            "judge_high": high, "judge_prompts": len(judge)}


def _verdict(found: Mapping[str, Any]) -> str:
    if found["status"] != "ok":
        return f"none: fewer than {ENOUGH} comparisons"
    if found["ci_low"] > 0.5:
        return "helped"
    return "harmed" if found["ci_high"] < 0.5 else "no difference detected"


def _judge_agrees(people: pd.Series, judge: pd.Series, options: Options) -> dict[str, Any]:
    """Agreement on the same prompts; a verdict that the judge's two orders share is no tie."""
    says = judge.loc[people.index].map(lambda score: LABELS.get(round(score), "tie")
                                       if score in SCORE.values() else "tie")
    said = people.map(LABELS)       # the mean of people who disagree is no label: left out
    found = agreement(said, says, **options)
    return {name: found[name] for name in ("n", "raw", "ci_low", "ci_high", "kappa", "status")}


def _steady(comparisons: Sequence[LabeledPair], options: Options) -> dict[str, Any]:
    """How often people gave the same answer to a comparison that came again."""
    twice = [label for label in comparisons if label.again]
    found = agreement([label.label for label in twice], [label.again for label in twice], **options)
    return {name: found[name] for name in ("n", "raw", "ci_low", "ci_high", "status")}


def sentences(found: Result, verdict: str, *, stand_ins: bool) -> list[str]:
    """What a reader sees first: people's preference, and what the judge adds to it.

    Args:
        verdict: of the report, which may be none for a reason that people cannot know.
        stand_ins: whether one had a part in it: then nobody is told "Yes".
    """
    who = "simulated people (a stand-in)" if found["simulated"] else "people"
    if found["status"] == "n<2":
        return [f"By {who}: no interval, {found['n_human']} comparison was given."]
    text = (f"By {who}, {found['a']} is preferred to {found['b']} on {found['estimate']:.0%} "
            f"{ci_text(found, form='.0%')} of prompts, a tie counting half.")
    rests = (f"That rests on {found['n_human']} comparisons; the judge's verdicts on "
             f"{found['n_judged']} prompts make it sharper.")
    if verdict.startswith("none"):
        text = f"No verdict: {verdict.removeprefix('none: ')}. {text}"
    elif not stand_ins:
        text = f"{OPENINGS[verdict]} {text}"
    return [text, rests, _taste(found)]


def _taste(found: Result) -> str:
    """What the judge says by itself, and how far that is off where people can tell."""
    same = found["on_same"]
    low, high = (f"{100 * found[name]:+.1f}" for name in ("bias_low", "bias_high"))
    return (f"The judge alone says {judge_says(found)}, which does not allow for its taste: on the "
            f"{found['n_human']} prompts that were compared it says {same['judge']:.1%} where "
            f"people say {same['people']:.1%}, a difference of {100 * found['judge_bias']:+.1f} "
            f"points [{low}, {high}].")


OPENINGS = {"helped": "Yes, the warm-up helped.",
             "harmed": "No: the warm-up made it worse.",
             "no difference detected":
                 "No difference was detected, which does not mean that there is none."}


def judge_says(found: Result) -> str:
    """The judge alone, with its prompts where it read more for people than the tables have."""
    text = f"{found['judge_alone']:.0%} [{found['judge_low']:.0%}, {found['judge_high']:.0%}]"
    if found["judge_prompts"] == found["n_judged"]:
        return text
    return f"{text} on the {found['judge_prompts']} prompts of the tables"
