"""Runs the cells of a study that are missing."""

import pandas as pd

from persuasion_lib.study.design import Study


def states(study: Study) -> pd.DataFrame:
    """One row a cell: cell, arms (a tuple), level, seed, state, folder, sentence.

    `state` is done, missing, stale, failed or running; `folder` is a Path of its results;
    `sentence` says why it is not done.
    """
    raise NotImplementedError
