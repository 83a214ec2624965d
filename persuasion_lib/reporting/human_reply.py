"""How often each model is ranked above the reply that a person really wrote to the same prompt.

The person is ranked with the models and is none: their place is struck out of the models' scores.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.core.family import HUMAN
from persuasion_lib.core.rankings import Ranking
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.core.rehearsal import is_stand_in
from persuasion_lib.data.gates import ends_with_mark, is_gibberish
from persuasion_lib.reporting.evaluated import Evaluated, ranks_with
from persuasion_lib.reporting.page import Part
from persuasion_lib.reporting.people import SCORE, of_these
from persuasion_lib.reporting.tables import Options, share
from persuasion_lib.reporting.wording import told, with_interval
from persuasion_lib.stats.people import ENOUGH, preference
from persuasion_lib.stats.scores import win_matrix

Result = Mapping[str, Any]


def against_people(data: Evaluated, comparisons: Sequence[LabeledPair | Ranking],
                   options: Options) -> dict[str, Any] | None:
    """The part of `analysis.json` on people's own replies; None where none was ranked.

    Args:
        comparisons: what people said; their rankings with the person's own reply are used.

    Returns:
        n (prompts), without (prompts whose person's reply was not ranked) and left_out {why:
        replies}; table [model, mean (share of prompts on which it is ranked above the person, a
        tie half), ci_low, ci_high, win, tie, loss, by_people (estimate, ci_low, ci_high: of people
        with the judge as a helper, None where nobody ranked)]; rankings by people, and whether
        they are simulated; characters {who: mean}; of the person's replies the shares unfinished
        and gibberish.
    """
    ranks = ranks_with(data, HUMAN)
    if ranks.empty:
        return None
    wins = win_matrix(ranks, **{**options, "span": (0.0, 1.0)})
    rankings = [one for one in of_these(comparisons, data) if HUMAN in one.replies]
    rows = []
    for model in data.models:
        ahead = np.sign(ranks[HUMAN] - ranks[model])
        rows.append({"model": model, "mean": wins["win_rate"].loc[model, HUMAN],
                     "ci_low": wins["ci_low"].loc[model, HUMAN],
                     "ci_high": wins["ci_high"].loc[model, HUMAN],
                     "by_people": _by_people(rankings, ahead, model, options),
                     **{name: int((ahead == sign).sum())
                        for name, sign in (("win", 1), ("tie", 0), ("loss", -1))}})
    replies = [row for row in data.rows if row.example_id in ranks.index]
    texts = [row.persons_reply for row in replies]
    lengths = data.lengths().loc[ranks.index].mean()
    return {"n": len(ranks), "without": len(data.rows) - len(ranks), "rankings": len(rankings),
            "simulated": any(is_stand_in(one.labeled_by) for one in rankings),
            "left_out": (data.setup.human_reply or {}).get("left_out") or {}, "table": rows,
            "characters": {HUMAN: float(np.mean([len(text) for text in texts])), **lengths},
            "unfinished": share(np.array([not ends_with_mark(text) for text in texts])),
            "gibberish": share(np.array([is_gibberish(text) for text in texts]))}


def _by_people(rankings: Sequence[Ranking], ahead: pd.Series, model: str, options: Options
               ) -> dict[str, Any] | None:
    """How often people prefer a model to the person; `ahead` has the judge's sign on all prompts.
    """
    given: dict[str, list[float]] = {}
    for one in rankings:
        given.setdefault(one.example_id, []).append(SCORE[one.pair(model, HUMAN).label])
    if not given:
        return None
    scores = pd.Series({key: np.mean(several) for key, several in given.items()}, dtype=float)
    known = pd.DataFrame({"judge": (ahead + 1) / 2})
    return preference(scores, known, confidence=options["confidence"])


def sentence(result: Result) -> str:
    """For the first lines: the declared model against people, or the best one."""
    found = result["against_people"]
    rows = {row["model"]: row for row in found["table"]}
    row = rows.get(result["primary"][0]) or max(found["table"], key=lambda one: one["mean"] or 0)
    by_judge = f"on {with_interval(row, form='.0%')} of {found['n']} prompts by this judge"
    by_people = ""
    if said := row["by_people"]:
        who = "simulated people (a stand-in)" if found["simulated"] else "people"
        few = "" if said["status"] == "ok" else f", fewer than {ENOUGH} decide nothing"
        by_people = (f"on {_share_by_people(row)} of prompts by {who} ({said['n_human']} "
                     f"rankings{few}), ")
    return (f"Against what people really wrote, ranked blind with the models: {row['model']} is "
            f"above the person {by_people}{by_judge}.")


def _share_by_people(row: Result) -> str:
    return with_interval(row["by_people"], "estimate", form=".0%")


def part(result: Result) -> Part | None:
    """Every model against people, best first; nothing where nobody's reply was ranked."""
    found = result.get("against_people")
    if not found:
        return None
    table = pd.DataFrame({row["model"]: {
        **({"by people": _share_by_people(row)} if row["by_people"] else {}),
        "by the judge": with_interval(row, form=".0%"),
        "its win/tie/loss": f"{row['win']}/{row['tie']}/{row['loss']}",
        "characters": told(found["characters"][row["model"]], ".0f")}
        for row in sorted(found["table"], key=lambda one: -(one["mean"] or 0))}).T
    why = "; ".join(f"{count}: {text}" for text, count in found["left_out"].items())
    lines = [f"{found['n']} replies of people took part, of "
             f"{told(found['characters'][HUMAN], '.0f')} characters on average, "
             f"{told(found['unfinished'], '.0%')} without an end mark and "
             f"{told(found['gibberish'], '.0%')} not words."]
    if found["rankings"]:
        who = "Simulated people (a stand-in)" if found["simulated"] else "People"
        lines.append(f"{who} gave {found['rankings']} rankings with the person's reply among the "
                     "models', blind; the judge's rankings of all prompts narrow the intervals.")
    if found["without"]:
        lines.append(f"{found['without']} prompts are left out of this table"
                     f"{f' ({why})' if why else ''}; the models are compared on them all the same.")
    return Part("Against the reply that a person really wrote", lines, table.rename_axis("model"),
                None, ("Share of prompts on which the model is ranked above the person, a tie "
                       "half. The judge saw one reply more than there are models; the person's "
                       "place is struck out of every other table, whose scores are still not to "
                       "be compared with a run in which nobody's reply took part. A reply to a "
                       "post is no random person's: the corpus chose who wrote.",))
