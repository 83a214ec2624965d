"""What notebook 00 shows: tables of sets, cleaning, lengths and pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.records import Example, Pair, render_text
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.data.cleaning import RULES, clean, rules_that_fire
from persuasion_lib.data.splits import Corpus, planned, prompts_in, tokens_in
from persuasion_lib.models.loading import prompt_ids, tokenizer_if_there
from persuasion_lib.models.sampling import Generation, truncation

Pools = Mapping[str, Sequence[Pair]]


def split_table(corpus: Corpus) -> pd.DataFrame:
    """Conversations and different prompts per set, before any limit."""
    return pd.DataFrame([
        {"set": name, "conversations": len({c.conversation_id for c in conversations}),
         "prompts": len(corpus.rows[name]) if name in corpus.rows else prompts_in(conversations)}
        for name, conversations in corpus.conversations.items()]).set_index("set")


def set_sizes(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Planned and done rows per set, with conversations."""
    table = {}
    for name, wanted in planned(run.config).items():
        rows = corpus.planned_rows(name)
        threads = {row.conversation_id for row in rows}
        table[name] = {"planned": wanted, "done": len(rows), "conversations": len(threads)}
    return pd.DataFrame(table).T.rename_axis("set")


def token_lengths(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Lengths in tokens of prompts and human replies by set: mean, 95th percentile, maximum."""
    tokenizer = tokenizer_if_there(run.config)
    if tokenizer is None:       # pairs alone need no model
        return pd.DataFrame(columns=["mean", "p95", "max"])
    lengths = []
    for name, rows in corpus.rows.items():
        for row in rows:
            lengths.append((name, "prompt", len(prompt_ids(tokenizer, row.prompt))))
            if isinstance(row, Example):
                lengths.append((name, "reply", tokens_in(tokenizer, row.response)))
    table = pd.DataFrame(lengths, columns=["set", "what", "tokens"])
    groups = table.groupby(["set", "what"], sort=False)["tokens"]
    return pd.DataFrame({"mean": groups.mean().round(1), "p95": groups.quantile(0.95).astype(int),
                         "max": groups.max()})


def show_conversation(corpus: Corpus) -> TextTable:
    """The first conversation of the set nearest to training, a row per turn."""
    turns = next(cs for cs in reversed(corpus.conversations.values()) if cs)[0].turns
    return TextTable(pd.DataFrame(turns)[["role", "text", "won"]])


def cleaning_table(corpus: Corpus) -> pd.DataFrame:
    """Messages that each cleaning rule concerns, by set, beside how many messages there are."""
    table = {}
    for name, conversations in corpus.conversations.items():
        # A message that several branches of a conversation begin with counts once.
        turns = {(c.conversation_id, at, t) for c in conversations for at, t in enumerate(c.turns)}
        fired = Counter(rule for _, _, t in turns if t.raw for rule in rules_that_fire(t.raw))
        table[name] = {"messages": len(turns), **{rule: fired[rule] for rule in RULES}}
    return pd.DataFrame(table).T


def show_cleaning(corpus: Corpus) -> TextTable:
    """One message per cleaning rule that concerns any, before and after."""
    shown: dict[str, dict[str, str]] = {}
    messages = [turn.raw for conversations in corpus.conversations.values()
                for conversation in conversations for turn in conversation.turns if turn.raw]
    for message in messages:
        for rule in rules_that_fire(message):
            shown.setdefault(rule, {"before": message, "after": clean(message)})
    return TextTable(pd.DataFrame.from_dict(shown, orient="index", columns=["before", "after"]))


def dropped_table(corpus: Corpus) -> pd.DataFrame:
    """What was left out or shortened, by set and reason."""
    rows = [(*reason.split(": "), count) for reason, count in corpus.dropped.items() if count]
    return pd.DataFrame(rows, columns=["set", "reason", "rows"])


def rendered_prompt(run: StageRun, corpus: Corpus) -> str:
    """The first prompt in the model's own chat format, up to where the reply begins."""
    tokenizer = tokenizer_if_there(run.config)
    first = next(iter(corpus.rows.values()))[0]
    if tokenizer is None:
        return render_text(first.prompt)
    return tokenizer.decode(prompt_ids(tokenizer, first.prompt))


def sampled_replies(corpus: Corpus, pools: Pools) -> dict[str, dict[str, Any]]:
    """Replies, truncation and identical pairs by pool; of a pool that was given only its size."""
    facts: dict[str, dict[str, Any]] = {}
    for pool, pairs in pools.items():
        if pool in corpus.pairs:
            facts[pool] = {"given pairs": len(pairs)}
        else:
            replies = [Generation("", finish, tokens) for pair in pairs for finish, tokens in zip(
                pair.metadata["finish"], pair.metadata["tokens"], strict=True)]
            same = sum(pair.response_a == pair.response_b for pair in pairs)
            facts[pool] = truncation(replies) | {"identical_pairs": same}
    return facts


def sampling_table(corpus: Corpus, pools: Pools) -> pd.DataFrame:
    """`sampled_replies` to be read, a row per pool; counts stay whole numbers."""
    return pd.DataFrame(sampled_replies(corpus, pools)).T.convert_dtypes()


def show_pair(pools: Pools) -> TextTable:
    """The first pair, of the human pool if there is one: the message answered and both replies."""
    pair = pools["human_pool" if "human_pool" in pools else "ai_pool"][0]
    return TextTable(pd.DataFrame({"text": {
        "answered message": pair.prompt[-1]["content"], "response_1": pair.response_a,
        "response_2": pair.response_b}}))
