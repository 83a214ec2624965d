"""Judgments that are paid for: labels, rankings, oracle replies and embeddings.

    questions   what is asked, how a reply is read; pure, untrusted texts stay in their place
    faults      what a failure means: retry, pause, give up this question, stop
    pace        the account's limits and the budget
    clients     the judges: Anthropic, OpenAI-compatible, offline stand-in
    rows        what a log holds, and what it cost
    run         the loop: paced, within the budget, saved, interruptible
    batch       the same questions through Message Batches, at half the price
    tasks       labels of pairs, rankings, oracle replies, manipulation tactics
    embed       embeddings, checked and cached
    plan        what a run would cost; check: what is missing for one

Keys and clients stay inside `clients`; nothing here imports torch.
"""

from persuasion_lib.judging.check import check
from persuasion_lib.judging.clients import (
    Judge,
    Role,
    check_model,
    make_judge,
    model_of,
    provider_of,
)
from persuasion_lib.judging.embed import embed, embedding_ledger, embedding_plan
from persuasion_lib.judging.plan import Plan, Plans, plan
from persuasion_lib.judging.questions import Question, compose, label_of
from persuasion_lib.judging.rows import Ledger, errors_path
from persuasion_lib.judging.run import ask_all
from persuasion_lib.judging.tasks import (
    LabelOutcome,
    OracleOutcome,
    RankItem,
    RankOutcome,
    RankVerdict,
    TacticsItem,
    TacticsOutcome,
    find_tactics,
    label_pairs,
    oracle_questions,
    oracle_replies,
    pair_questions,
    rank,
    rank_questions,
    tactics_questions,
)

__all__ = ["Judge", "LabelOutcome", "Ledger", "OracleOutcome", "Plan", "Plans", "Question",
           "RankItem", "RankOutcome", "RankVerdict", "Role", "TacticsItem", "TacticsOutcome",
           "ask_all", "check", "check_model", "compose", "embed", "embedding_ledger",
           "embedding_plan", "errors_path", "find_tactics", "label_of", "label_pairs",
           "make_judge", "model_of", "oracle_questions", "oracle_replies", "pair_questions",
           "plan", "provider_of", "rank", "rank_questions", "tactics_questions"]
