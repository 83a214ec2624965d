"""Is a model the one that it is called, as far as its texts can tell?

`replies` are the texts of one model, or of all by name, in the order of the prompts; None where
there is none. No text is read as better or worse.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse

from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.checks.texts import said
from persuasion_lib.stats.blocks import TOO_FEW

Replies = Sequence[str | None]

TOLD_APART = 0.75   # share of base and sft replies that must be recognised to judge others by it
_FOLDS = 5
_MOST = 500         # prompts; more hardly sharpen a share


def same_text(first: Replies, second: Replies) -> Measured:
    """Share of prompts on which two models say the same, whatever case and punctuation.

    On those prompts their difference is the judge's noise. Look whether one model was loaded twice,
    or the second training learned nothing: its weights, its loss, its learning rate.
    """
    return _same(_said(first), _said(second))


def _said(replies: Replies) -> list[str | None]:
    return [None if text is None else said(text) for text in replies]


def _same(first: Replies, second: Replies) -> Measured:
    both = [at for at, texts in enumerate(zip(first, second, strict=True)) if None not in texts]
    need(both, "there is no prompt that both models answered")
    same = [at for at in both if first[at] == second[at]]
    example = f"prompt {same[0] + 1}: “{first[same[0]][:60]}”" if same else ""
    return Measured(len(same) / len(both), len(both), example)


def unlike_sft(replies: Mapping[str, Replies], *, seed: int = 0) -> Measured:
    """Share of a model's replies that a classifier takes for those of `base`, not of `sft`.

    The model with the most of them; the example gives the share of every one. Such a model does not
    descend from SFT. In the earlier run, whose adapters were loaded on the plain base model, it was
    .91 to .93; in our demo it is .03 to .12 (LESSONS 1). A model that learned to write as base does
    is possible, too. Load its adapter on base and SFT together, and evaluate again.

    The classifier (logistic regression on words and parts of words) learns from other prompts than
    those whose replies it reads. Where it cannot tell base from sft there is nothing to say.
    """
    others = [name for name in replies if name not in ("base", "sft")]
    need(others and len(others) != len(replies) - 1 and "sft" in replies,
         "it needs replies of base, of sft, and of a model made from them")
    used = [at for at, texts in enumerate(zip(*replies.values(), strict=True)) if all(texts)]
    need(len(used) >= TOO_FEW, f"all models answered {len(used)} prompts, {TOO_FEW} are needed")
    taken = _taken_for_base({name: [texts[at] for at in used[:_MOST]]
                             for name, texts in replies.items()}, seed)
    known = (taken["base"] + 1 - taken["sft"]) / 2
    need(known >= TOLD_APART,
         "base and sft write too much alike: a classifier of words tells whose a reply is in "
         f"{known:.0%} of cases, and {TOLD_APART:.0%} are needed")
    worst = max(others, key=taken.get)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in taken.items())
    return Measured(taken[worst], len(used[:_MOST]), f"{worst}; taken for base: {shares}")


def _taken_for_base(replies: Mapping[str, Sequence[str]], seed: int) -> dict[str, float]:
    """Per model the share of replies that a classifier of other prompts' replies calls base's."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    features = {name: _features(texts) for name, texts in replies.items()}
    n = features["base"].shape[0]
    folds = np.random.default_rng(seed).permutation(n) % _FOLDS
    taken = dict.fromkeys(replies, 0)
    for fold in range(_FOLDS):
        others = folds != fold
        learn = sparse.vstack([features[name][others] for name in ("base", "sft")])
        is_base = np.repeat([True, False], others.sum())
        classifier = LogisticRegression(C=10).fit(learn, is_base)
        for name in taken:
            taken[name] += int(classifier.predict(features[name][~others]).sum())
    return {name: count / n for name, count in taken.items()}


def _features(texts: Sequence[str]) -> sparse.csr_matrix:
    """Which words, pairs of words and parts of words a text has; a text decides its own row."""
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(ngram_range=(1, 2), binary=True, n_features=2**18)
    parts = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), binary=True,
                              n_features=2**18)
    return sparse.hstack([words.transform(texts), parts.transform(texts)]).tocsr()
