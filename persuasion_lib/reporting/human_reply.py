"""How often each model is ranked above the reply that a person really wrote to the same prompt.

The person is ranked with the models and is none: their place is struck out of the models' scores.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.core.family import HUMAN
from persuasion_lib.data.gates import ends_with_mark, is_gibberish
from persuasion_lib.reporting.evaluated import Evaluated, ranks_with
from persuasion_lib.reporting.page import Part
from persuasion_lib.reporting.tables import Options, share
from persuasion_lib.reporting.wording import told, with_interval
from persuasion_lib.stats.scores import win_matrix

Result = Mapping[str, Any]


def against_people(data: Evaluated, options: Options) -> dict[str, Any] | None:
    """The part of `analysis.json` on people's own replies; None where none was ranked.

    Returns:
        n (prompts), without (prompts whose person's reply was not ranked) and left_out {why:
        replies}; table [model, mean (share of prompts on which it is ranked above the person, a
        tie half), ci_low, ci_high, win, tie, loss]; characters {who: mean}; of the person's
        replies the shares unfinished and gibberish.
    """
    ranks = ranks_with(data, HUMAN)
    if ranks.empty:
        return None
    wins = win_matrix(ranks, **{**options, "span": (0.0, 1.0)})
    rows = []
    for model in data.models:
        ahead = np.sign(ranks[HUMAN] - ranks[model])
        rows.append({"model": model, "mean": wins["win_rate"].loc[model, HUMAN],
                     "ci_low": wins["ci_low"].loc[model, HUMAN],
                     "ci_high": wins["ci_high"].loc[model, HUMAN],
                     **{name: int((ahead == sign).sum())
                        for name, sign in (("win", 1), ("tie", 0), ("loss", -1))}})
    replies = [row for row in data.rows if row.example_id in ranks.index]
    texts = [str(row.responses.get(HUMAN) or row.human_response or "") for row in replies]
    lengths = data.lengths().loc[ranks.index].mean()
    return {"n": len(ranks), "without": len(data.rows) - len(ranks),
            "left_out": (data.setup.human_reply or {}).get("left_out") or {}, "table": rows,
            "characters": {HUMAN: float(np.mean([len(text) for text in texts])), **lengths},
            "unfinished": share(np.array([not ends_with_mark(text) for text in texts])),
            "gibberish": share(np.array([is_gibberish(text) for text in texts]))}


def sentence(result: Result) -> str:
    """For the first lines: the declared model against people, or the best one."""
    found = result["against_people"]
    rows = {row["model"]: row for row in found["table"]}
    row = rows.get(result["primary"][0]) or max(found["table"], key=lambda one: one["mean"] or 0)
    return (f"Against what people really wrote, ranked blind with the models: {row['model']} is "
            f"above the person on {with_interval(row, form='.0%')} of {found['n']} prompts, by "
            "this judge.")


def part(result: Result) -> Part | None:
    """Every model against people, best first; nothing where nobody's reply was ranked."""
    found = result.get("against_people")
    if not found:
        return None
    table = pd.DataFrame({row["model"]: {
        "above the person": with_interval(row, form=".0%"),
        "win/tie/loss": f"{row['win']}/{row['tie']}/{row['loss']}",
        "characters": told(found["characters"][row["model"]], ".0f")}
        for row in sorted(found["table"], key=lambda one: -(one["mean"] or 0))}).T
    why = "; ".join(f"{count}: {text}" for text, count in found["left_out"].items())
    lines = [f"{found['n']} replies of people took part, of "
             f"{told(found['characters'][HUMAN], '.0f')} characters on average, "
             f"{told(found['unfinished'], '.0%')} without an end mark and "
             f"{told(found['gibberish'], '.0%')} not words."]
    if found["without"]:
        lines.append(f"{found['without']} prompts are left out of this table"
                     f"{f' ({why})' if why else ''}; the models are compared on them all the same.")
    return Part("Against the reply that a person really wrote", lines, table.rename_axis("model"),
                None, ("Share of prompts on which the model is ranked above the person, a tie "
                       "half. The judge saw one reply more than there are models; the person's "
                       "place is struck out of every other table, whose scores are still not to "
                       "be compared with a run in which nobody's reply took part. A reply to a "
                       "post is no random person's: the corpus chose who wrote.",))
