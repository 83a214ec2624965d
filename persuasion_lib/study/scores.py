"""The table of a study: what every reply is worth beside the anchor's reply to the same prompt."""

import pandas as pd

from persuasion_lib.study.design import Study

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
    raise NotImplementedError
