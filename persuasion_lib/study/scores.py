"""The table of a study: what every reply is worth beside the anchor's reply to the same prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.errors import DataError
from persuasion_lib.study.design import Cell, Study
from persuasion_lib.study.people import comparisons
from persuasion_lib.study.run import scores_of

COLUMNS = ("cell", "arm", "level", "seed", "example_id", "anchor", "judge", "human", "gold")


def read_scores(study: Study) -> pd.DataFrame:
    """One row for every (anchor, arm, level, seed, example_id) of the cells that have ended.

    `judge` is 1 where the arm's reply was preferred to the anchor's in both orders, 0 where the
    anchor's was, .5 for ties and flips, NaN where the judge was not readable or not asked.
    `human` is the same of a person, NaN where nobody compared; with two arms, people compare both
    of them on the same prompts of a seed. `gold` is what the demo's person says on average, NaN
    elsewhere. An arm without human labels stands at level 0 of "human_labels", once for each seed.
    Nothing is asked here.

    Raises:
        DataError: an anchor replied to a prompt otherwise in another cell.
    """
    records = {cell: record for cell in study.cells if (record := scores_of(study, cell))}
    # It may hold scores against an anchor that the study had earlier.
    scores = [(cell, score) for cell, record in records.items() for score in record["scores"]
              if score["anchor"] in study.anchors]
    _check_anchors(study, scores)
    rows, seen = [], set()
    for cell, score in scores:
        level = study.level_of(score["arm"], cell)
        point = (score["anchor"], score["arm"], level, cell.seed, score["example_id"])
        if point not in seen:
            seen.add(point)
            rows.append({"cell": cell.name, "level": level, "seed": cell.seed, **score})
    human = comparisons(study, list(records))
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "human"])
    table["human"] = [human.get((row.cell, row.arm, row.example_id, row.anchor))
                      for row in table.itertuples()]
    return table[list(COLUMNS)].astype(dict.fromkeys(("judge", "human", "gold"), float))


def _check_anchors(study: Study, scores: Sequence[tuple[Cell, Mapping[str, Any]]]) -> None:
    """Win rates are against one reply to each prompt, or they are no measure of the arms."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for cell, score in scores:
        place, reply = (score["anchor"], score["example_id"]), score.get("anchor_reply")
        known, name = first.setdefault(place, (reply, cell.name)) if reply else (reply, "")
        if known != reply:
            raise DataError(
                f"{place[0]} replied to the prompt {place[1]!r} otherwise in {cell.name} than in "
                f"{name}, so that their win rates cannot be compared. A setting, SFT or the "
                f"corpus has changed between them: persuasion study {study.name} runs anew the "
                "cells that are stale.")
