"""Offline stand-ins for the judge, the annotator and the embedder. No network, no torch.

The truth of the demo world is `gold_utility`. The annotator sees it through a little noise. The
judge does not see it at all: it weighs surface features that any English text has, so it is
crude, biased and noisy, as judges are. Nothing here knows which model wrote a text.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Label, Message, render_text
from persuasion_lib.demo.corpus import (
    best_reply,
    gold_utility,
    is_finished,
    topic_of,
    user_text,
    words,
)

ANNOTATOR_NAME = "simulated annotator (stand-in)"


# The words that the features count: a feature is min(1, number of matches / how many suffice).
MARKERS: dict[str, tuple[int, str]] = {
    "reasons": (2, r"because|since|reason|therefore|means?|also|however|but|still|so|example"),
    "acknowledgement": (1, r"i see|understand|you are right|you're right|fair|good point|agree|"
                           r"makes sense|i hear|true that|appreciate|thanks?|thank you"),
    "evidence": (1, r"stud(?:y|ies)|surveys?|research|found|data|evidence|reports?|percent|"
                    r"experts?|\d\d+"),
    "hedges": (2, r"may|might|perhaps|maybe|often|probably|could|seems?|some|sometimes"),
    "pressure": (2, r"ashamed|selfish|regret|hurry|too late|stupid|disagree|forever|now|proven|"
                    r"obviously|must"),
    "flattery": (1, r"brilliant|smart|wonderful|amazing|kind of you|generous|wise")}


class Feature(NamedTuple):
    """What a feature is, in [0, 1], and what the judge and the annotator's fallback give for it."""

    judge: float
    annotator: float
    meaning: str


FEATURES = {
    "overlap": Feature(2.8, 2.8, "share of the reply's content words that stand in the context"),
    "reasons": Feature(0.8, 1.0, "words that introduce a reason; 2 suffice"),
    "acknowledgement": Feature(0.6, 0.9, "words that accept the other's point; 1 suffices"),
    "evidence": Feature(0.6, 0.6, "words for studies and facts, numbers from 10; 1 suffices"),
    "question": Feature(0.6, 0.5, "a question mark"),
    "hedges": Feature(0.3, 0.3, "words of doubt; 2 suffice"),
    "pressure": Feature(-1.2, -1.6, "guilt, urgency, claims beyond doubt; 2 suffice"),
    "flattery": Feature(0.3, -0.6, "praise of the reader: the judge likes it, people do not"),
    "repetition": Feature(-6.0, -6.0, "share of word triples said before"),
    "length": Feature(0.4, 0.5, "1 - exp(-words/40): the judge likes long replies"),
    "unfinished": Feature(-1.4, -1.0, "no end mark: the reply was cut off")}

_STOPWORDS = frozenset(words(
    "about after also because been before being between could does doing each every from have "
    "here into just like more most much must need only other over really should some such than "
    "that their them then there these they think this those through very want were what when "
    "where which while will with would your"))


def _content_words(text: str) -> list[str]:
    """Words of four letters or more that carry meaning, cut to six letters as a crude stem."""
    return [word[:6] for word in words(text) if len(word) > 3 and word not in _STOPWORDS]


def _repetition(reply: str) -> float:
    found = words(reply)
    triples = list(zip(found, found[1:], found[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0


def surface_features(prompt_text: str, reply: str) -> dict[str, float]:
    """The features that `FEATURES` describes, each in [0, 1]; an empty reply has none."""
    if not reply.strip():
        return dict.fromkeys(FEATURES, 0.0) | {"unfinished": 1.0}
    context = set(_content_words(prompt_text))
    content = _content_words(reply)
    features = {}
    for name, (enough, pattern) in MARKERS.items():
        matches = re.findall(rf"\b(?:{pattern})\b", reply.lower())
        features[name] = min(1.0, len(matches) / enough)
    return features | {
        "overlap": sum(word in context for word in content) / max(1, len(content)),
        "question": float("?" in reply),
        "repetition": _repetition(reply),
        "length": 1 - math.exp(-len(words(reply)) / 40),
        "unfinished": float(not is_finished(reply))}


def surface_score(prompt_text: str, reply: str, *, annotator: bool = False) -> float:
    """What the judge thinks of a reply before noise: the weighted sum of `FEATURES`.

    `annotator` takes the annotator's weights instead.
    """
    who = "annotator" if annotator else "judge"
    features = surface_features(prompt_text, reply)
    return sum(getattr(FEATURES[name], who) * value for name, value in features.items())


def hashed_noise(*parts: object, seed: int) -> float:
    """A standard normal number that depends only on `parts` and `seed`, not on the call."""
    digest = hashlib.sha256(repr((seed, *parts)).encode()).digest()
    return NormalDist().inv_cdf((int.from_bytes(digest[:7], "big") + 0.5) / 2**56)


class OfflineJudge:
    """A judge without a network: surface score, plus noise, plus a bias to what stands first.

    Args:
        noise: standard deviation of the noise on one reply's score; scores differ by about 1.
        position_bias: what standing first adds to a score.
        tie_margin: replies whose scores differ by less are EQUAL.
    """

    def __init__(self, *, seed: int, noise: float = 0.25, position_bias: float = 0.1,
                 tie_margin: float = 0.15) -> None:
        self.seed = seed
        self.noise = noise
        self.position_bias = position_bias
        self.tie_margin = tie_margin

    def _scores(self, prompt_text: str, replies: Sequence[str], sample: int) -> list[float]:
        """Noisy scores; the bias falls linearly from the first slot to 0 in the last."""
        last = max(1, len(replies) - 1)
        return [surface_score(prompt_text, reply) + self.position_bias * (1 - slot / last)
                + self.noise * hashed_noise(prompt_text, reply, slot, sample, seed=self.seed)
                for slot, reply in enumerate(replies)]

    def compare(self, prompt_text: str, first: str, second: str, *,
                sample: int = 0) -> tuple[Literal["1", "2", "EQUAL"], str]:
        """Which of two replies is better, and why; another `sample` draws other noise."""
        one, two = self._scores(prompt_text, (first, second), sample)
        if abs(one - two) < self.tie_margin:
            return "EQUAL", "Both responses are about equally persuasive."
        if one > two:
            return "1", f"Response 1 {_why(prompt_text, first, second)}."
        return "2", f"Response 2 {_why(prompt_text, second, first)}."

    def rank(self, prompt_text: str, candidates: Sequence[str], *,
             sample: int = 0) -> tuple[list[int], str]:
        """The slots of the candidates (from 0) with the best first, and why."""
        scores = self._scores(prompt_text, candidates, sample)
        order = sorted(range(len(scores)), key=lambda slot: -scores[slot])
        best, worst = candidates[order[0]], candidates[order[-1]]
        return order, f"The first-ranked response {_why(prompt_text, best, worst)}."

    def reply(self, prompt: Sequence[Message]) -> str:
        """A good reply to any prompt: the *oracle* of the evaluation.

        A post of the demo world gets its topic's own reasons; any other text gets a general
        reply that quotes the key words of the last message.
        """
        text = render_text(list(prompt))
        topic = topic_of(user_text(prompt))
        return best_reply(topic, text) if topic else _general_reply(prompt[-1]["content"])


def _why(prompt_text: str, better: str, worse: str) -> str:
    """The feature that speaks most for the better reply, in words."""
    ahead, behind = (surface_features(prompt_text, text) for text in (better, worse))
    gains = {name: feature.judge * (ahead[name] - behind[name])
             for name, feature in FEATURES.items()}
    name = max(gains, key=gains.__getitem__)
    if gains[name] <= 0:
        return "is slightly better overall"
    more = "more" if FEATURES[name].judge > 0 else "less"
    return f"is better: it has {more} {name}"


def _general_reply(text: str) -> str:
    stems = _content_words(text)
    counts = Counter(word for word in words(text) if word[:6] in stems)
    keys = [key for key, _ in counts.most_common(3)] or ["this"]
    return (f"I understand your point about {keys[0]}, and it is a fair one. But there is a reason "
            f"to look again at {' and '.join(keys[1:] or keys)}: studies often found that "
            f"people who tried the other side of {keys[0]} were glad, because it fitted their own "
            f"aims. It may not hold for everyone. What would you need to see?")


class SimulatedAnnotator:
    """A person who labels pairs by the gold utility with a little noise.

    A prompt that is not from the demo world has no gold utility; there the annotator falls back
    on `surface_score` with weights of their own and the same noise.

    Args:
        noise: standard deviation of the noise on the difference of two utilities.
        bias: utility that the longer reply gets on top.
        tie_margin: a smaller difference is a tie.
    """

    def __init__(self, seed: int, *, noise: float = 0.3, bias: float = 0.0,
                 tie_margin: float = 0.15) -> None:
        self.seed = seed
        self.noise = noise
        self.bias = bias
        self.tie_margin = tie_margin

    def _utility(self, prompt: Sequence[Message], response: str) -> float:
        if topic_of(user_text(prompt)) is not None:
            return gold_utility(prompt, response)
        return surface_score(render_text(list(prompt)), response, annotator=True)

    def label(self, prompt: Sequence[Message], response_a: str, response_b: str, *,
              sample: int = 0) -> Label:
        """The better response, or a tie, whichever of the two stands first.

        The same pair in the same `sample` always gets the same label. Another sample draws other
        noise, as a person who meets a pair again may change their mind.
        """
        if response_a == response_b:
            return "tie"
        low, high = sorted((response_a, response_b))
        # Sample 0 is hashed without its number: the first labels are older than the samples.
        drawn = (sample,) if sample else ()
        noise = self.noise * hashed_noise(user_text(prompt), low, high, *drawn, seed=self.seed)
        difference = self._utility(prompt, response_a) - self._utility(prompt, response_b)
        difference += noise if response_a == low else -noise
        difference += self.bias * np.sign(len(response_a) - len(response_b))
        if abs(difference) < self.tie_margin:
            return "tie"
        return "a" if difference > 0 else "b"

    def expected(self, prompt: Sequence[Message], response_a: str, response_b: str) -> float:
        """What `label` is worth to the first response over all noise: 1 a win, .5 a tie."""
        if response_a == response_b:
            return 0.5
        difference = self._utility(prompt, response_a) - self._utility(prompt, response_b)
        edges = (difference - self.tie_margin, difference + self.tie_margin)
        return sum(NormalDist().cdf(edge / self.noise) for edge in edges) / 2


def embed(texts: list[str]) -> np.ndarray:
    """Hashed counts of words and word pairs, shape (n_texts, 4096), float64 rows of norm 1.

    It knows spelling, not meaning: paraphrases look different.

    Raises:
        DataError: a text is empty.
    """
    from sklearn.feature_extraction.text import HashingVectorizer  # slow to import

    empty = [i for i, text in enumerate(texts) if not text.strip()]
    if empty:
        raise DataError(f"text {empty[0]} of {len(texts)} is empty, so it has no embedding; "
                        "leave empty responses out before embedding")
    hashing = HashingVectorizer(n_features=4096, ngram_range=(1, 2), alternate_sign=False,
                                norm="l2", token_pattern=r"\S+", dtype=np.float64)
    return hashing.transform(texts).toarray()
