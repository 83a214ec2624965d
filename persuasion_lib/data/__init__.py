"""From corpora and files to prompts and pairs, and the gates that they pass.

    corpora      every corpus as conversations with a persuading side
    cleaning     named rules for forum text, each counted
    splits       which conversation is in which set; prompts that fit the limits
    given_files  files that somebody already has, instead of a corpus
    overlap      do two sets share conversations, prompts or passages?
    pairs        two replies per prompt, sampled here
    server       the same, sampled by a server that has the model
    contest      who is ranked, on which prompts
    gates        what counts as a defect of a reply or a pair, and how many are too many
    untouched    is the test set independent of what models learned from?
    tables       what notebook 00 shows
"""
