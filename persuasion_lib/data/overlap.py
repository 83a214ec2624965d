"""Do two sets of rows share conversations, prompts or passages?

Passages are those of Brown et al. (2020, GPT-3, appendix C): 13 words in a row, case and
punctuation ignored, without the stock phrases that more than ten documents hold (a document is a
conversation here). What counts is the share of a held-out prompt's words that stand in passages of
one prompt of the other set, as in the decontamination of Tülu 3 (Lambert et al. 2024, 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from persuasion_lib.core.records import Example, Message, Pair, content_id

PASSAGE = 13        # words
COMMON = 10         # conversations: what more of them hold is a stock phrase
SHORTEST = 100      # words: stock phrases are too large a part of shorter prompts

Sets = Mapping[str, Sequence[Example | Pair]]


def overlap_table(sets: Sets, shared: pd.DataFrame) -> pd.DataFrame:
    """Per two sets: shared conversations, prompts wholly in both, the largest shared part.

    Beside the last, how many prompts of the first set are long enough to be compared in parts.
    """
    ids = {name: {e.metadata.get("conversation_id") for e in rows} - {None}
           for name, rows in sets.items()}
    return pd.DataFrame([
        {"set": a, "other set": b, "shared conversations": len(ids[a] & ids[b]),
         "whole prompts": int((part["share"] == 1).sum()),
         f"prompts of {SHORTEST} words": sum(len(_words(e.prompt)) >= SHORTEST for e in sets[a]),
         "largest shared part of a prompt": round(part["share"].max(), 2) if len(part) else 0.0}
        for a, b, part in _by_sets(sets, shared)])


def overlap_faults(sets: Sets, shared: pd.DataFrame, limit: float) -> list[str]:
    """Per two sets that share a conversation, or more than `limit` of a prompt: which rows."""
    faults = []
    for a, b, part in _by_sets(sets, shared):
        threads = {e.metadata.get("conversation_id"): at for at, e in enumerate(sets[b])}
        threads.pop(None, None)
        both = [at for at, e in enumerate(sets[a]) if e.metadata.get("conversation_id") in threads]
        if both:
            thread = sets[a][both[0]].metadata["conversation_id"]
            faults.append(f"{len(both)} rows of {a} share a conversation with {b}: row "
                          f"{both[0] + 1} and row {threads[thread] + 1} both have {thread}.")
        near = part[part["share"] > limit].sort_values("share", ascending=False)
        if len(near):
            row, other, share = near[["row", "other row", "share"]].iloc[0]
            faults.append(
                f"{near['row'].nunique()} prompts of {a} are copied in {b}: {share:.0%} of row "
                f"{row + 1:.0f} ({_name(sets[a][int(row)])}) stands in row {other + 1:.0f} "
                f"({_name(sets[b][int(other)])}), the limit is {limit:.0%} "
                "(data.max_shared_passages).")
    return faults


def _name(row: Example | Pair) -> str:
    return str(row.metadata.get("conversation_id") or getattr(row, "pair_id", None)
               or row.example_id)


def _by_sets(sets: Sets, shared: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for a, b in combinations(sets, 2):
        yield a, b, shared[(shared["set"] == a) & (shared["other set"] == b)]


def shared_passages(sets: Sets) -> pd.DataFrame:
    """Which prompts have passages in common with a prompt of a later set.

    Columns: set, other set, row and other row (their places, from 0), share (of the words of the
    first prompt that stand in passages of the other; 1 for the same words, however few).
    """
    if len(sets) < 2:
        return pd.DataFrame(columns=["set", "other set", "row", "other row", "share"])
    rows = pd.DataFrame([
        (name, at, words, str(row.metadata.get("conversation_id") or words[:PASSAGE]))
        for name, part in sets.items() for at, row in enumerate(part)
        for words in [_words(row.prompt)]], columns=["set", "row", "words", "conversation"])
    rows["key"] = [content_id(words) for words in rows["words"]]
    passages = _passages(rows)
    found = []
    for a, b in combinations(sets, 2):
        same = _merged(rows, a, b, "key").assign(share=1.0)
        near = _covered(_merged(passages, a, b, "passage"))
        both = pd.concat([same, near])[["row", "other row", "share"]]
        both = both.groupby(["row", "other row"], as_index=False)["share"].max()
        found.append(both.assign(**{"set": a, "other set": b}))
    return pd.concat(found, ignore_index=True)


def _words(prompt: Sequence[Message]) -> list[str]:
    return re.findall(r"\w+", " ".join(
        m["content"] for m in prompt if m["role"] != "system").lower())


def _passages(rows: pd.DataFrame) -> pd.DataFrame:
    """Every passage that two sets have and that is no stock phrase, with where it stands."""
    odd = np.random.default_rng(0).integers(2**63, size=PASSAGE, dtype=np.uint64) * 2 + 1
    long = rows[rows["words"].map(len) >= SHORTEST]
    hashes = [(np.lib.stride_tricks.sliding_window_view(
        np.array([hash(word) for word in words]).astype(np.uint64), PASSAGE) * odd).sum(axis=1)
        for words in long["words"]]
    counts = [len(h) for h in hashes]
    table = pd.DataFrame({
        "passage": np.concatenate([*hashes, np.empty(0, np.uint64)]),
        "at": np.concatenate([*map(np.arange, counts), np.empty(0, int)]),
        **{name: np.repeat(pd.factorize(long[name])[0], counts) for name in (
            "set", "conversation")},
        "row": np.repeat(long["row"].to_numpy(int), counts),
        "length": np.repeat(long["words"].map(len).to_numpy(int), counts)})
    table["set"] = long["set"].unique()[table["set"]]
    table = table[table["passage"].duplicated(keep=False)]      # the rest is quicker without them
    for what, least, most in (("set", 2, len(rows)), ("conversation", 1, COMMON)):
        spread = table.drop_duplicates(["passage", what])["passage"].value_counts()
        table = table[table["passage"].map(spread).between(least, most)]
    return table


def _merged(table: pd.DataFrame, a: str, b: str, on: str) -> pd.DataFrame:
    other = table.loc[table["set"] == b, [on, "row"]].rename(columns={"row": "other row"})
    return table[table["set"] == a].merge(other, on=on)


def _covered(pairs: pd.DataFrame) -> pd.DataFrame:
    """The share of words covered, for each two rows, by passages that overlap one another."""
    by = ["row", "other row"]
    pairs = pairs.drop_duplicates([*by, "at"]).sort_values([*by, "at"])
    step = -pairs.groupby(by)["at"].diff(-1)
    pairs["new"] = step.clip(upper=PASSAGE).fillna(PASSAGE)     # words the next one does not cover
    words = pairs.groupby(by).agg({"new": "sum", "length": "first"})
    return (words["new"] / words["length"]).rename("share").reset_index()
