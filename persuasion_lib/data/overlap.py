"""Do two sets of rows share conversations, prompts or passages?

What counts is the share of a held-out prompt's words that stand in passages of one prompt of the
other set: 8 words in a row, case and punctuation ignored, as in the decontamination of Tülu 3
(Lambert et al. 2024, 3.2). Stock phrases, which more than ten documents hold, are no passages
(Brown et al. 2020, GPT-3, appendix C; a document is a conversation here). So a copy is found in
which every tenth word was changed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from persuasion_lib.core.records import Example, Message, Pair, content_id

PASSAGE = 8         # words
COMMON = 10         # conversations: what more of them hold is a stock phrase
SHORTEST = 100      # words: stock phrases are too large a part of shorter prompts
NEAR = 0.6          # share from which shorter prompts are nearly the same; by chance up to .54

Sets = Mapping[str, Sequence[Example | Pair]]


def overlap_table(sets: Sets, shared: pd.DataFrame) -> pd.DataFrame:
    """Per two sets: shared conversations, prompts wholly in both, the largest shared part.

    Beside the last, how many prompts of the first set are long enough to be compared in parts.
    """
    threads = {name: {row.conversation_id for row in rows} - {None} for name, rows in sets.items()}
    return pd.DataFrame([
        {"set": a, "other set": b, "shared conversations": len(threads[a] & threads[b]),
         "whole prompts": int((part["share"] == 1).sum()),
         f"prompts of {SHORTEST} words or more": sum(
             len(_words(row.prompt)) >= SHORTEST for row in sets[a]),
         "largest shared part of a prompt": round(part["share"].max(), 2) if len(part) else 0.0}
        for a, b, part in _by_sets(sets, shared)])


def overlap_faults(sets: Sets, shared: pd.DataFrame, limit: float) -> list[str]:
    """Per two sets that share a conversation, or more than `limit` of a prompt: which rows."""
    faults = []
    for a, b, part in _by_sets(sets, shared):
        places = {row.conversation_id: at for at, row in enumerate(sets[b], start=1)}
        places.pop(None, None)
        both = [at for at, row in enumerate(sets[a], start=1) if row.conversation_id in places]
        if both:
            thread = sets[a][both[0] - 1].conversation_id
            faults.append(f"{len(both)} rows of {a} share a conversation with {b}: row {both[0]} "
                          f"and row {places[thread]} both have {thread}.")
        near = part[part["share"] > limit]
        if len(near):
            worst = near.loc[near["share"].idxmax()]
            row, other = int(worst["row"]), int(worst["other row"])
            faults.append(
                f"{near['row'].nunique()} prompts of {a} are copied in {b}: {worst['share']:.0%} "
                f"of row {row + 1} ({_name(sets[a][row])}) stands in row {other + 1} "
                f"({_name(sets[b][other])}), the limit is {limit:.0%} (data.max_shared_passages).")
    return faults


def thread_of(row: Example | Pair) -> str:
    """What stays on one side of a split: its conversation.

    Where nobody knows it, rows that answer one post are of one, be it quoted with other turns; an
    opening such as "Hello!" says nothing, so that of a short one the whole prompt counts.
    """
    said = [m["content"] for m in row.prompt if m["role"] != "system"]
    opening = said[:1] if len(" ".join(said[:1]).split()) >= SHORTEST else said
    return row.conversation_id or content_id([" ".join(text.casefold().split())
                                              for text in opening])


def _name(row: Example | Pair) -> str:
    return str(row.conversation_id or getattr(row, "pair_id", None) or row.example_id)


def _by_sets(sets: Sets, shared: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for a, b in combinations(sets, 2):
        yield a, b, shared[(shared["set"] == a) & (shared["other set"] == b)]


def near_copies(tests: Sequence[Example | Pair],
                learned: Sequence[Example | Pair]) -> pd.DataFrame:
    """Which test prompts of 20 words or more are nearly the same as one of another set.

    The columns of `shared_passages`, those with a share above `NEAR`, the largest first. Of 2,365
    prompts of real dialogues 3 are, all of them stock greetings. Short prompts are compared in
    passages of 5 words, and among few conversations a phrase that 2 in 100 hold is stock.
    """
    sets = {"test": tests, "learned": learned}
    conversations = len({_name(row) for rows in sets.values() for row in rows})
    found = shared_passages(sets, passage=5, shortest=20,
                            common=max(2, min(COMMON, conversations // 50)))
    return found[found["share"] > NEAR].sort_values("share", ascending=False, kind="stable")


def shared_passages(sets: Sets, *, passage: int = PASSAGE,
                    shortest: int = SHORTEST, common: int = COMMON) -> pd.DataFrame:
    """Which prompts have passages in common with a prompt of a later set.

    Args:
        passage, shortest: words of a passage, and of a prompt that is compared in passages.
        common: conversations; what more of them hold is a stock phrase.

    Columns: set, other set, row and other row (their places, from 0), share (of the words of the
    first prompt that stand in passages of the other; 1 for the same words, however few).
    """
    if len(sets) < 2:
        return pd.DataFrame(columns=["set", "other set", "row", "other row", "share"])
    rows = _words_of_rows(sets)
    passages = _passages(rows, passage, shortest, common)
    found = []
    for a, b in combinations(sets, 2):
        same = _merged(rows, a, b, "key").assign(share=1.0)
        near = _covered(_merged(passages, a, b, "passage"), passage)
        both = pd.concat([same, near])[["row", "other row", "share"]]
        both = both.groupby(["row", "other row"], as_index=False)["share"].max()
        found.append(both.assign(**{"set": a, "other set": b}))
    return pd.concat(found, ignore_index=True)


def _words_of_rows(sets: Sets) -> pd.DataFrame:
    found = []
    for name, rows in sets.items():
        for at, row in enumerate(rows):
            words = _words(row.prompt)
            # Rows without an id that begin alike are about one post, which else were stock.
            conversation = str(row.conversation_id or words[:PASSAGE])
            found.append((name, at, words, conversation, content_id(words)))
    table = pd.DataFrame(found, columns=["set", "row", "words", "conversation", "key"])
    return table.astype({"set": "category", "conversation": "category"})    # quick to compare


def _words(prompt: Sequence[Message]) -> list[str]:
    said = [message["content"] for message in prompt if message["role"] != "system"]
    return re.findall(r"\w+", " ".join(said).lower())


def _passages(rows: pd.DataFrame, size: int, shortest: int, common: int) -> pd.DataFrame:
    """Every passage that two sets have and that is no stock phrase, with where it stands.

    A passage is the sum of its words' hashes, each times an odd number of its place modulo 2^64:
    the same words in another order are another passage, and no loop over words is needed.
    """
    odd = np.random.default_rng(0).integers(2**63, size=size, dtype=np.uint64) * 2 + 1
    rows = rows.assign(length=rows["words"].map(len))
    long = rows[rows["length"] >= shortest]
    hashes = [np.empty(0, np.uint64)]
    for words in long["words"]:
        codes = np.array([hash(word) for word in words]).astype(np.uint64)
        hashes.append((np.lib.stride_tricks.sliding_window_view(codes, size) * odd).sum(axis=1))
    table = long.loc[long.index.repeat(long["length"] - size + 1)]
    table = table.assign(passage=np.concatenate(hashes), at=table.groupby(level=0).cumcount())
    table = table[table["passage"].duplicated(keep=False)]      # the rest is quicker without them
    spread = table.groupby("passage")[["set", "conversation"]].transform("nunique")
    return table[(spread["set"] >= 2) & (spread["conversation"] <= common)]


def _merged(table: pd.DataFrame, a: str, b: str, on: str) -> pd.DataFrame:
    other = table.loc[table["set"] == b, [on, "row"]].rename(columns={"row": "other row"})
    return table[table["set"] == a].merge(other, on=on)


def _covered(pairs: pd.DataFrame, size: int) -> pd.DataFrame:
    """The share of words covered, for each two rows, by passages that overlap one another."""
    by = ["row", "other row"]
    pairs = pairs.drop_duplicates([*by, "at"]).sort_values([*by, "at"])
    step = -pairs.groupby(by)["at"].diff(-1)
    pairs["new"] = step.clip(upper=size).fillna(size)     # words the next one does not cover
    words = pairs.groupby(by).agg({"new": "sum", "length": "first"})
    return (words["new"] / words["length"]).rename("share").reset_index()
