"""The table of a study: what every reply is worth beside the anchor's reply to the same prompt."""

import pandas as pd

from persuasion_lib.study.design import Study
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
    """
    records = {cell: record for cell in study.cells if (record := scores_of(study, cell))}
    rows, seen = [], set()
    for cell, record in records.items():
        for score in record["scores"]:
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
