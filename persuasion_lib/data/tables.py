"""What notebook 00 shows: tables of sets, cleaning, lengths and pairs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.records import Example, parse_pair
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.data.cleaning import RULES, clean, rules_that_fire
from persuasion_lib.data.splits import POOLS, SETS, Corpus, planned, prompts_in, tokens_in
from persuasion_lib.models.loading import load_tokenizer, prompt_ids


def counts(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Planned and done rows per set, with conversations."""
    rows, plan = corpus.rows, planned(run.config)
    return pd.DataFrame([
        {"set": name, "planned": plan[name], "done": len(rows.get(name, ())),
         "conversations": len({e.metadata.get("conversation_id") for e in rows.get(name, ())})}
        for name in SETS]).set_index("set")


def token_lengths(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Lengths in tokens of prompts and human replies by set: mean, 95th percentile, maximum."""
    tokenizer = load_tokenizer(run.config)
    rows = []
    for name, examples in corpus.rows.items():
        lengths = {"prompt": [len(prompt_ids(tokenizer, e.prompt)) for e in examples],
                   "reply": [tokens_in(tokenizer, e.response) for e in examples
                             if isinstance(e, Example)]}
        for what, values in lengths.items():
            if values:
                series = pd.Series(values)
                rows.append({"set": name, "what": what, "mean": round(series.mean(), 1),
                             "p95": int(series.quantile(0.95)), "max": int(series.max())})
    return pd.DataFrame(rows).set_index(["set", "what"])


def split_table(corpus: Corpus) -> pd.DataFrame:
    """Conversations and different prompts per set, before any limit."""
    return pd.DataFrame([
        {"set": name, "conversations": len({c.conversation_id for c in conversations}),
         "prompts": len(corpus.rows[name]) if name in corpus.rows else prompts_in(conversations)}
        for name, conversations in corpus.conversations.items()]).set_index("set")


def show_conversation(corpus: Corpus) -> TextTable:
    """The first conversation of the set nearest to training, a row per turn."""
    turns = next(cs for cs in reversed(corpus.conversations.values()) if cs)[0].turns
    return TextTable(pd.DataFrame(
        [{"role": t.role, "text": t.text, "won": t.won} for t in turns]))


def cleaning_table(corpus: Corpus) -> pd.DataFrame:
    """Messages that each cleaning rule concerns, by set, beside how many messages there are."""
    rows = {}
    for name, conversations in corpus.conversations.items():
        turns = {(c.conversation_id, at, t) for c in conversations for at, t in enumerate(c.turns)}
        fired = Counter(rule for _, _, t in turns if t.raw for rule in rules_that_fire(t.raw))
        rows[name] = {"messages": len(turns), **{rule: fired[rule] for rule in RULES}}
    return pd.DataFrame(rows).T


def show_cleaning(corpus: Corpus) -> TextTable:
    """One message per cleaning rule that concerns any, before and after."""
    shown: dict[str, dict[str, str]] = {}
    for turn in (t for cs in corpus.conversations.values() for c in cs for t in c.turns):
        for rule in rules_that_fire(turn.raw) if turn.raw else ():
            shown.setdefault(rule, {"before": turn.raw or "", "after": clean(turn.raw or "")})
    return TextTable(pd.DataFrame.from_dict(shown, orient="index", columns=["before", "after"]))


def dropped_table(corpus: Corpus) -> pd.DataFrame:
    """What was left out or shortened, by set and reason."""
    rows = [{"set": reason.split(": ")[0], "reason": reason.split(": ")[1], "rows": count}
            for reason, count in corpus.dropped.items() if count]
    return pd.DataFrame(rows, columns=["set", "reason", "rows"])


def rendered(run: StageRun, corpus: Corpus, set_name: str = "test") -> str:
    """A set's first prompt in the model's own chat format, up to where the reply begins."""
    tokenizer = load_tokenizer(run.config)
    rows = corpus.rows.get(set_name) or next(iter(corpus.rows.values()))
    return tokenizer.decode(prompt_ids(tokenizer, rows[0].prompt))


def pair_table(pairs: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Replies, truncation and identical pairs by pool."""
    return pd.DataFrame(pairs).T.convert_dtypes()       # counts stay whole numbers


def show_pair(run: StageRun) -> TextTable:
    """The first pair, of the human pool if there is one: the message answered and both replies."""
    path = next(run.path(f"{pool}_responses") for pool in reversed(POOLS)
                if run.path(f"{pool}_responses").exists())
    pair = read_jsonl(path, parse_pair, made_by=made_by("human_pool_responses"))[0]
    return TextTable(pd.DataFrame({"text": {
        "answered message": pair.prompt[-1]["content"], "response_1": pair.response_a,
        "response_2": pair.response_b}}))
