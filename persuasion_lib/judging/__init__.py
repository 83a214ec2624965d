"""Judgments that are paid for: labels, rankings, oracle replies and embeddings.

    questions   what is asked, how a reply is read; pure, untrusted texts stay in their place
    tasks       compare, rank, oracle, tactics: one module for each kind of question
    faults      what a failure means: retry, pause, give up this question, stop
    pace        the account's limits, the budget, and how long to wait after failures
    connect     lines to a service: no redirects, no foreign keys, bounded bodies
    habits      what a server refuses, learned once; replies: what it sends
    clients     the judges: Anthropic, OpenAI-compatible, offline stand-in
    roles       which of them the settings name for a role
    calibrate   questions with known answers, before a judge is used
    rows        what a log holds, and what it cost
    run         the loop: paced, within the budget, saved, interruptible
    panel       everybody who ranks: the judge, and further ones
    ask         what the stages call: everything that the log does not hold is asked
    batch       the same questions through Message Batches, at half the price
    embed       embeddings, checked and cached; local_embedder: computed here
    similarity  how close replies come to the oracle's
    plan        what a run would cost; check: what is missing for one
    word_lists  the rubric of manipulation tactics, and phrases that stand for a judge of it

A key is looked up by `core.keys` and leaves `connect` in no other form than a header. Nothing here
imports torch.
"""
