"""The demo world: short view-challenging posts, replies of mixed quality, and the truth about them.

`gold_utility` is the truth. It sums what the sentences of a reply are worth:

    part             worth  what the sentence does
    reason             1.0  speaks against the view; a second one is worth 0.7, each further one 0.2
    acknowledgement    0.8  grants a ground of the poster
    evidence           0.8  cites a study on the topic
    question           0.6  asks the poster something
    hedge              0.3  admits doubt
    irrelevant        -0.6  speaks of another topic
    repetition        -0.6  says what was said before in this conversation
    manipulation      -0.8  guilt, flattery, haste, a claim beyond doubt
    filler            -0.4  has nothing to do with anything
    unknown           -0.4  is not from this world, or broken
    unfinished        -0.8  once, where the reply has no end mark
    words_over       -0.05  for each word after the 56th

What is worth something counts once (reasons apart), what costs something every time. So nothing
said is worth 0 and the best reply about 3.5. `make_conversations` draws posts and replies whose
chance of changing a mind rises with the gold utility; the phrases stand in `world.yaml`.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import yaml

from persuasion_lib.core.records import Conversation, Message, Turn

REASON_GAINS = (1.0, 0.7, 0.2)
GOLD_WEIGHTS = {"acknowledgement": 0.8, "evidence": 0.8, "question": 0.6, "hedge": 0.3,
                "irrelevant": -0.6, "repetition": -0.6, "manipulation": -0.8, "filler": -0.4,
                "unknown": -0.4, "unfinished": -0.8, "words_over": -0.05}
MAX_WORDS = 56
_RECOGNISED = 0.7       # share of a phrase's word pairs that a sentence must say to count as it


def gold_utility(prompt: Sequence[Message], reply: str) -> float:
    """How good a reply is in the demo world, the truth that the statistics should recover."""
    topic = topic_of(user_text(prompt))
    before = [s for m in prompt if m["role"] == "assistant" for s in split_sentences(m["content"])]
    seen = {_identity(sentence) for sentence in before}
    counts: Counter[str] = Counter()
    utility = 0.0
    for sentence in split_sentences(reply):
        identity = _identity(sentence)
        part = "repetition" if identity in seen else _part(sentence, topic)
        utility += _worth(part, before=counts[part])
        counts[part] += 1
        seen.add(identity)
    if not is_finished(reply):
        utility += GOLD_WEIGHTS["unfinished"]
    return utility + GOLD_WEIGHTS["words_over"] * max(0, len(words(reply)) - MAX_WORDS)


def _worth(part: str, *, before: int) -> float:
    """What one more sentence of a kind adds to a reply that has `before` of them."""
    if part == "reason":
        return REASON_GAINS[min(before, len(REASON_GAINS) - 1)]
    counts_once = GOLD_WEIGHTS[part] > 0
    return 0.0 if before and counts_once else GOLD_WEIGHTS[part]


@dataclass(frozen=True)
class Topic:
    """A view, why somebody holds it, and what speaks against it; every phrase is a clause."""

    claim: str
    grounds: tuple[str, ...]
    reasons: tuple[str, ...]
    evidence: tuple[str, ...]


@cache
def world() -> SimpleNamespace:
    """The lists of `world.yaml` by name, in its order (every draw goes by position), read once."""
    phrases = yaml.safe_load(Path(__file__).with_name("world.yaml").read_text(encoding="utf-8"))
    topics = [Topic(row["claim"], tuple(row["grounds"]), tuple(row["reasons"]),
                    tuple(row["evidence"])) for row in phrases.pop("topics")]
    return SimpleNamespace(topics=topics, **phrases)


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, in order."""
    return re.findall(r"[a-z0-9]+", text.lower())


def split_sentences(text: str) -> list[str]:
    """Sentences of a text, each with its end mark; a cut last one has none."""
    return [s.strip() for s in re.findall(r"[^.!?]+[.!?]*", text) if s.strip()]


def is_finished(text: str) -> bool:
    """Whether a text ends with an end mark, quotes and brackets after it aside."""
    return bool(re.search(r"[.!?][\"')*]*$", text.strip()))


def user_text(prompt: Sequence[Message]) -> str:
    """What the poster said, all turns in one line."""
    return " ".join(m["content"] for m in prompt if m["role"] == "user")


@cache
def topic_of(text: str) -> Topic | None:
    """The topic whose claim stands in the text; None where the text is not from this world."""
    plain = " ".join(words(text))
    return next((topic for topic in world().topics if topic.claim in plain), None)


_Phrase = tuple[str, Topic | None, str]      # what it does, about which topic, and its words


@cache
def _phrases() -> list[tuple[frozenset[tuple[str, str]], _Phrase]]:
    """Every phrase that a reply may hold, with its word pairs."""
    found: list[_Phrase] = []
    for topic in world().topics:
        for kind, phrases in (("acknowledgement", topic.grounds), ("reason", topic.reasons),
                              ("evidence", topic.evidence)):
            found += [(kind, topic, phrase) for phrase in phrases]
    for kind, phrases in (("question", world().questions), ("hedge", world().hedges),
                          ("manipulation", world().manipulations), ("filler", world().fillers)):
        found += [(kind, None, phrase) for phrase in phrases]
    return [(_word_pairs(phrase), (kind, topic, phrase)) for kind, topic, phrase in found]


def _word_pairs(text: str) -> frozenset[tuple[str, str]]:
    found = words(text)
    return frozenset(zip(found, found[1:], strict=False))


@cache
def _recognise(sentence: str) -> _Phrase | None:
    """The phrase that a sentence says; of several equally likely ones the last of the file."""
    said = _word_pairs(sentence)
    shares = [(len(said & pairs) / len(pairs), i) for i, (pairs, _) in enumerate(_phrases())]
    share, best = max(shares)
    return _phrases()[best][1] if share >= _RECOGNISED else None


def _identity(sentence: str) -> _Phrase | str:
    """The same for two sentences that say the same."""
    return _recognise(sentence) or sentence.lower()


def _part(sentence: str, topic: Topic | None) -> str:
    """What a sentence does in a reply to a post on `topic`: "reason", or a key of the weights."""
    phrase = _recognise(sentence)
    if phrase is None:
        return "unknown"
    kind, about, _ = phrase
    off_topic = about is not None and about is not topic
    return "irrelevant" if off_topic else kind


def make_post(topic: Topic, rng: random.Random) -> tuple[str, str, str]:
    """(a post that states the view and one ground for it, that ground, the other ground)."""
    ground, other = rng.sample(topic.grounds, 2)
    who = f"I am a {rng.choice(world().who)} from {rng.choice(world().where)}."
    view = f"{who} {rng.choice(world().openers)} {topic.claim}, because {ground}."
    return f"{view} {rng.choice(world().asks)}", ground, other


def make_reply(topic: Topic, ground: str, rng: random.Random, *, care: float,
               used: Sequence[str] = ()) -> str:
    """A reply to a post that named `ground`; `care` in [0, 1] makes every good part likelier.

    `used` holds the reasons that the persuader gave before.
    """
    other = rng.choice([t for t in world().topics if t is not topic])
    parts: list[str] = []
    if rng.random() < 0.15 + 0.55 * care:
        parts.append(_sentence(rng.choice(world().acknowledgements), ground))
    parts += _reasons(topic, other, rng, care=care, used=used)
    if rng.random() < 0.15 + 0.35 * care:
        about = topic if rng.random() < 0.5 + 0.5 * care else other
        parts.append(_sentence(rng.choice(world().sources), rng.choice(about.evidence)))
    for phrases, at_worst, at_best in (
            (world().fillers, 0.7, 0.1), (world().manipulations, 0.9, 0.15),
            (world().hedges, 0.1, 0.25), (world().questions, 0.1, 0.4)):
        if rng.random() < at_worst + (at_best - at_worst) * care:
            parts.append(rng.choice(phrases))
    return " ".join(parts)


def _reasons(topic: Topic, other: Topic, rng: random.Random, *, care: float,
             used: Sequence[str]) -> list[str]:
    """One or two reasons on the topic, or, with little care, on another one."""
    left = [reason for reason in topic.reasons if reason not in used]
    count = rng.choice((1, 1, 2)) if care > 0.3 else 1
    said = []
    for reason in rng.sample(left, min(count, len(left))):
        relevant = rng.random() < 0.45 + 0.55 * care
        link = rng.choice(world().links)
        said.append(_sentence(link, reason if relevant else rng.choice(other.reasons)))
    return said


def _sentence(pattern: str, clause: str) -> str:
    text = pattern.format(clause)
    return text[0].upper() + text[1:]


def best_reply(topic: Topic, prompt_text: str) -> str:
    """A reply with every good part and no bad one, with reasons that were not given before."""
    plain = prompt_text.lower()
    left = [reason for reason in topic.reasons if reason not in plain] or list(topic.reasons)
    ground = max(topic.grounds, key=plain.rfind)
    phrases = world()
    said = [_sentence(phrases.acknowledgements[0], ground), _sentence(phrases.links[0], left[0]),
            _sentence(phrases.sources[0], topic.evidence[0])]
    said += [_sentence(phrases.links[3], reason) for reason in left[1:2]]
    return " ".join([*said, phrases.hedges[0], phrases.questions[0]])


def make_outcomes(*, n: int, seed: int) -> list[tuple[str, str, str]]:
    """`n` posts, each with the better and the worse of two replies, by their gold utility.

    No conversation of `make_conversations` is among them.
    """
    rng = random.Random(f"minds:{seed}")
    found: list[tuple[str, str, str]] = []
    while len(found) < n:
        topic = rng.choice(world().topics)
        post, ground, _ = make_post(topic, rng)
        replies = [make_reply(topic, ground, rng, care=rng.random()) for _ in range(2)]
        worse, better = sorted(
            (gold_utility([{"role": "user", "content": post}], text), text) for text in replies)
        if worse[0] < better[0]:
            found.append((post, better[1], worse[1]))
    return found


def make_conversations(*, n: int, seed: int) -> list[Conversation]:
    """`n` conversations; the first m of a longer corpus of the same seed are the same."""
    return [_conversation(number, seed) for number in range(n)]


def _conversation(number: int, seed: int) -> Conversation:
    rng = random.Random(f"{seed}:{number}")
    topic = rng.choice(world().topics)
    care = rng.random() ** 1.3
    post, ground, other_ground = make_post(topic, rng)
    turns = [Turn("user", post)]
    turns.append(_turn(turns, make_reply(topic, ground, rng, care=care), rng))
    if rng.random() < 0.25:
        turns.append(Turn("user", _sentence(rng.choice(world().answers), other_ground)))
        used = [r for r in topic.reasons if r in turns[1].text.lower()]
        reply = make_reply(topic, other_ground, rng, care=care, used=used)
        turns.append(_turn(turns, reply, rng))
    return Conversation(f"demo-{seed}-{number:05d}", "demo", tuple(turns))


def _turn(history: list[Turn], text: str, rng: random.Random) -> Turn:
    """The persuader's turn; it wins with probability 1/(1 + e^(1 - gold))."""
    gold = gold_utility([{"role": t.role, "content": t.text} for t in history], text)
    return Turn("assistant", text, won=rng.random() < 1 / (1 + math.exp(1.0 - gold)))
