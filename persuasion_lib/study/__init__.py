"""One question asked over many trainings: levels of one setting, several seeds, one anchor.

    file      a study file, read and checked
    design    the cells that it expands to, and the run of an anchor that is trained
    plan      what it would take, and what it could show, before anything runs
    shared    what all cells share, made once before them
    run       runs the cells that are missing, each an ordinary named run
    anchored  every reply against the anchor's reply to the same prompt, by the judge
    people    the same comparison by people, at the primary level
    record    that file of a cell, and manifests of others, read and checked
    scores    the table of all these comparisons
    grid      the table as seeds x prompts, with the prompts that all cells share
    estimates win rates, what the warm-up adds, its slope, what it is worth in human labels
    analysis  study.json: all of that, computed once
    answer, limits, words   what it says, why it may say nothing, and what it cannot say
    figures, page   what is drawn and shown of it; notebook: runs notebook 07
    compare   runs beside each other: what differs, and what may be compared

Nothing here imports torch: notebooks train and answer, in processes of their own.
"""
