"""The statistics of the evaluation: pure functions of tables, without files, network or printing.

    blocks       one gate for missing values; validation that names the prompt; normalised scores
    resample     intervals over prompts, sign-flip p-values, Wilson intervals
    scores       score per model; all pairs of models; matrix of win rates
    ranks        Friedman, Page's trend, consistency of two rankings, similarity against ranking
    position     does the slot decide? does the same pair get the same verdict when swapped?
    strengths    Plackett-Luce worths, with covariates such as position and length
    agreement    how far two raters agree, beyond chance
    length       do longer responses win?
    power        smallest detectable difference, prompts needed
    plain        results as JSON can hold them

Tables have one row per prompt (index `prompt_id`) and one column per model, in the order of the
configuration; rank 1 is best. `complete_blocks` is the only place where missing values are dropped:
every other function refuses a table that has them. An undefined result is NaN and says why in
`status`; it is never 0 and never an exception.
"""

from persuasion_lib.stats.agreement import agreement
from persuasion_lib.stats.blocks import complete_blocks, normalised_scores
from persuasion_lib.stats.length import length_bias
from persuasion_lib.stats.position import consistency_pairs, pair_position_bias, position_bias
from persuasion_lib.stats.power import n_for, power
from persuasion_lib.stats.ranks import (
    consistency_rankings,
    friedman,
    page_trend,
    similarity_vs_rank,
)
from persuasion_lib.stats.scores import paired_tests, summarise, win_matrix
from persuasion_lib.stats.strengths import plackett_luce

__all__ = [
    "agreement",
    "complete_blocks",
    "consistency_pairs",
    "consistency_rankings",
    "friedman",
    "length_bias",
    "n_for",
    "normalised_scores",
    "page_trend",
    "pair_position_bias",
    "paired_tests",
    "plackett_luce",
    "position_bias",
    "power",
    "similarity_vs_rank",
    "summarise",
    "win_matrix",
]
