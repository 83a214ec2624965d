"""The statistics of the evaluation: pure functions of tables, without files, network or printing.

    blocks       one gate for missing values; validation that names the prompt; normalised scores
    resample     intervals over prompts, sign-flip p-values, Wilson intervals
    scores       score per model; all pairs of models; matrix of win rates
    ranks        Friedman, Page's trend, consistency of two rankings, similarity against ranking
    position     does the slot decide?
    strengths    Plackett-Luce worths, with covariates such as position and length
    agreement    how far two raters agree, beyond chance
    length       do longer responses win?
    people       what people prefer: a judge's verdicts, corrected by a few comparisons
    crossed      means over seeds and prompts, and what labels are worth
    power        smallest detectable difference, prompts needed
    plain        results as JSON can hold them

Tables have one row per prompt (index `prompt_id`) and one column per model, in the order of the
configuration; rank 1 is best. `complete_blocks` is the only place where missing values are dropped:
every other function refuses a table that has them. An undefined result is NaN and says why in
`status`; it is never 0 and never an exception.
"""
