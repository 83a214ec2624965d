"""Is what replies are measured with a yardstick: oracle, prompts, and a judge that is blind?"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.checks.texts import said
from persuasion_lib.core.records import Example, Pair
from persuasion_lib.data.gates import id_of
from persuasion_lib.data.overlap import NEAR, near_copies, shared_passages
from persuasion_lib.stats.blocks import TOO_FEW

Column = Sequence[str | None]       # texts in the order of the prompts; None where there is none

SAME = 1 - 1e-6     # similarity from which two texts are one
_SURE = 2.5         # standard errors by which texts of one prompt are more alike than others
_FAR = 5.0          # standard deviations by which one distance between columns is beyond others
_KNOWN = 500        # rows from which stock phrases are known
_SAMPLE = 300       # rows from which the natural likeness of prompts is known
_MOST = 1_000       # prompts; more do not make it surer, and cost time
# Names that stand for models alone; of others ("base") a label must be made of them.
_OF_MODELS = re.compile(r"\b(?:sft|rlhf|rlaif|dpo|ppo|gpt|qwen|llama|claude)", re.IGNORECASE)


def oracle_is_reply(oracle: Column, replies: Mapping[str, Column],
                    similarity: Mapping[str, Sequence[float | None]] | None = None) -> Measured:
    """Share of prompts whose oracle reply is the reply of one model: the model with most of them.

    The oracle must be written by somebody
    else: look at `oracle.source`, or whether a column of the file was taken for another.

    Args:
        similarity: by model; where it is 1 the texts are one, also where the file lacks them.
    """
    shares = {}
    for model, texts in replies.items():
        close = (similarity or {}).get(model) or [None] * len(texts)
        same = [_is_one(*three) for three in zip(oracle, texts, close, strict=True)]
        known = [one for one in same if one is not None]
        if known:
            shares[model] = (sum(known) / len(known), len(known), same)
    need(shares, "there are no oracle replies")
    worst = max(shares, key=lambda model: shares[model][0])
    share, n, same = shares[worst]
    return Measured(share, n, f"{worst}, prompt {same.index(True) + 1}" if share else "")


def _is_one(oracle: str | None, reply: str | None, close: float | None) -> bool | None:
    if close is not None and close >= SAME:
        return True
    if oracle and reply:
        return said(oracle) == said(reply)
    return None if close is None else False


def misplaced(columns: Mapping[str, Column], *, seed: int = 0) -> Measured:
    """How many columns do not belong to the prompts beside them: 0 is as it must be.

    Columns are
    moved against each other by a lost or a doubled row (LESSONS 4): join the files by id.

    Two columns are linked if their texts of one prompt are more alike than texts of this prompt and
    of the next, of the one before, and of one drawn. Columns without a link to that with the most,
    directly or through others, are misplaced; they may also say the same whatever the prompt.

    Args:
        columns: by name, such as "prompt", "oracle" and the models.
    """
    full = {name: texts for name, texts in columns.items() if any(texts)}
    at = [row for row in range(len(next(iter(full.values()), [])))
          if all(texts[row] for texts in full.values())][:_MOST]
    need(len(at) >= TOO_FEW and len(full) >= 3,
         f"{len(at)} prompts have a text in each of {len(full)} columns; "
         f"{TOO_FEW} prompts and 3 columns are needed")
    gains, most = _gains({name: [texts[row] for row in at] for name, texts in full.items()}, seed)
    links = gains > 0
    need(links.any(), "no texts of one prompt are more alike than those of different prompts")
    group = connected_components(links, directed=False)[1]
    largest = Counter(group.tolist()).most_common(1)[0][0]
    lost, kept = np.flatnonzero(group != largest), np.flatnonzero(group == largest)
    need(len(kept) > len(lost), "most columns have no texts that are more alike within a prompt")
    # Few texts, or answers that hardly follow their prompts, may leave a true link unseen.
    surely = lost[(most[np.ix_(lost, kept)] < gains[links].min()).all(axis=1)]
    need(len(surely) or not len(lost),
         f"{len(at)} prompts are too few to tell where {len(lost)} columns belong")
    lost = surely
    named = [", ".join(np.array([*full])[part]) for part in (lost, kept)]
    return Measured(len(lost), len(at), " against ".join(named) if len(lost) else "")


def moved(column: Column, others: Mapping[str, Column]) -> Measured:
    """By how many rows a column stands off: 0 where it is most alike to the texts beside it.

    For texts that may have few words in common with what they answer, as a person's reply to a
    prompt: that they are not alike shows nothing, that they are alike elsewhere does.
    """
    full = [texts for texts in others.values() if any(texts)]
    at = [row for row, text in enumerate(column) if text and all(texts[row] for texts in full)]
    need(len(at) >= TOO_FEW and full, f"{len(at)} prompts have all texts; {TOO_FEW} are needed")
    rows, n = np.arange(len(at)), len(at)
    own, *parts = _weighted([[texts[row] for row in at] for texts in (column, *full)])
    alike = sum((own @ part.T).toarray() for part in parts)
    by_distance = np.stack([alike[rows, (rows + off) % n] for off in range(n)])
    best = int(by_distance.mean(axis=1).argmax())
    rest = np.delete(by_distance.mean(axis=1), best)
    need(by_distance[best].mean() > rest.mean() + _FAR * rest.std(),
         "its texts are no more alike to those beside them than to any others")
    off = best if best <= n / 2 else best - n
    return Measured(abs(off), n, f"{off:+d} rows" if off else "")


def _gains(columns: Mapping[str, Sequence[str]], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """By how much two columns are more alike within a prompt than across prompts, where that is
    sure (0 elsewhere); and the most that it may be. Both of shape (columns, columns), symmetric.
    """
    parts = _weighted([*columns.values()])
    n = parts[0].shape[0]
    drawn = (np.arange(n) + np.random.default_rng(seed).integers(2, n - 1)) % n
    orders = [np.roll(np.arange(n), 1), np.roll(np.arange(n), -1), drawn]
    sure, most = np.zeros((2, len(parts), len(parts)))
    for one, two in combinations(range(len(parts)), 2):
        own = _alike(parts[one], parts[two])
        more = [own - _alike(parts[one], parts[two][order]) for order in orders]
        least = min(more, key=_standard_errors)
        if _standard_errors(least) > _SURE:
            sure[one, two] = sure[two, one] = least.mean()
        most[one, two] = most[two, one] = min(
            gain.mean() + _SURE * gain.std() / np.sqrt(n) for gain in more)
    return sure, most


def _weighted(columns: Sequence[Sequence[str]]) -> list[sparse.csr_matrix]:
    """The words of texts, rare ones weighing more, a matrix of unit rows for each column."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

    n = len(columns[0])
    found = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform(
        [text for column in columns for text in column])
    return [found[start:start + n] for start in range(0, found.shape[0], n)]


def _alike(one: sparse.csr_matrix, two: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(one.multiply(two).sum(axis=1)).ravel()


def _standard_errors(gain: np.ndarray) -> float:
    return float(gain.mean() / max(gain.std() / np.sqrt(len(gain)), 1e-12))


def asked_twice(prompts: Mapping[str, str]) -> Measured:
    """Share of test prompts that are one that stands before under another id.

    The same words count, and of 100 words or more the same for the most part. A prompt that counts
    twice narrows every interval. Keep one of each.

    Args:
        prompts: by id.
    """
    need(prompts, "there are no prompts")
    rows = [Example(name, [{"role": "user", "content": text}], "", {"conversation_id": name})
            for name, text in prompts.items()]
    pairs = shared_passages({"test": rows, "again": rows})
    pairs = pairs[(pairs["share"] > NEAR) & (pairs["row"] > pairs["other row"])]
    return _copies(pairs, rows, rows)


def nearly_learned(tests: Sequence[Example], learned: Sequence[Example | Pair]) -> Measured:
    """Share of test prompts that are nearly one that models learned from, beyond what is natural.

    Read the two, and remove the row that is learned from. It sees prompts of 20
    words or more, and shorter ones if they are the same; `data.max_shared_passages` stops what is
    copied in prompts of 100 words. How often prompts of different conversations are alike without a
    leak is learned from the rows that models learned from, against each other: prompts made from
    one template, as in the demo, are so alike that one changed copy does not stand out.
    """
    need(tests and len(learned) >= _KNOWN,
         f"{len(tests)} test prompts and {len(learned)} rows that models learned "
         f"from; of fewer than {_KNOWN} it is not known what is a stock phrase")
    found = near_copies(tests, learned)
    share = found["row"].nunique() / len(tests)
    step = max(2, len(learned) // _SAMPLE)
    drawn = learned[::step]
    drawn_from = {row.conversation_id or id_of(row) for row in drawn}
    rest = [row for row in learned if (row.conversation_id or id_of(row)) not in drawn_from]
    natural = near_copies(drawn, rest)["row"].nunique() / len(drawn)
    error = np.sqrt(natural * (1 - natural) * (1 / len(tests) + 1 / len(drawn)))
    beyond = max(0.0, float(share - natural - 3 * error))
    result = _copies(found, tests, learned)
    return Measured(beyond, result.n, result.example if beyond else "")


def learned_in_sets(sets: Mapping[str, Sequence[Example | Pair]]) -> Measured:
    """`nearly_learned` of the set with the test prompts against all others."""
    test = next((name for name in sets if "test" in name or "final_eval" in name), None)
    need(test is not None, "no set holds test prompts")
    others = [row for name, rows in sets.items() if name != test for row in rows]
    return nearly_learned(sets[test], others)


def not_numbers(values: Mapping[str, Sequence[str]]) -> Measured:
    """Share of examples with a score or similarity that is there and is no number.

    It was left out, and never counted as 0.

    Args:
        values: what is no number, in words, by example.
    """
    need(values, "there are no examples")
    found = [f"{name}: {words[0]}" for name, words in values.items() if words]
    return Measured(len(found) / len(values), len(values), "".join(found[:1]))


def _copies(pairs: pd.DataFrame, rows: Sequence[Example],
            others: Sequence[Example | Pair]) -> Measured:
    example = ""
    if len(pairs):
        worst = pairs.loc[pairs["share"].idxmax()]
        row, other = int(worst["row"]), int(worst["other row"])
        example = (f"{worst['share']:.0%} of row {row + 1} ({id_of(rows[row])}) stands in row "
                   f"{other + 1} ({id_of(others[other])})")
    return Measured(pairs["row"].nunique() / len(rows), len(rows), example)


def names_in_replies(replies: Mapping[str, Column], others: Sequence[str] = ()) -> Measured:
    """Share of the replies of one model that hold a model's name: the model with most of them.

    A judge that reads the name is not blind. Names that are words as well ("base")
    count as labels only, as in "base:" or "[base]". Remove the name from what models learn from.

    Args:
        others: more names that a judge must not read, such as that of the base model.
    """
    names = [name for name in (*replies, *others) if len(name) > 2]
    plain = "|".join(re.escape(name) for name in names if _OF_MODELS.search(name))
    label = "|".join(re.escape(name) for name in names)
    pattern = re.compile(rf"(?<![\w-])(?:{plain or '(?!)'})(?![\w-])|^\W*(?:{label})\s*[:\])>]"
                         rf"|[\[(<](?:{label})[\])>]|\b(?:model|response) (?:{label})\b",
                         re.IGNORECASE)
    found = {model: {at: hit.group(0) for at, text in enumerate(texts)
                     if text and (hit := pattern.search(text))}
             for model, texts in replies.items()}
    counts = {model: sum(text is not None for text in texts) for model, texts in replies.items()}
    answered = [model for model in replies if counts[model]]
    need(answered, "there are no replies")
    worst = max(answered, key=lambda model: len(found[model]) / counts[model])
    first = "".join(f"{worst}, prompt {at + 1}: “{hit.strip()}”"
                    for at, hit in list(found[worst].items())[:1])
    return Measured(len(found[worst]) / counts[worst], counts[worst], first)
