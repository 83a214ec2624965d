"""The demo world: short view-challenging posts, replies of mixed quality, and the truth about them.

All phrases were written for this project. `gold_utility` defines what a good reply is;
`make_conversations` draws posts and replies whose chance of changing a mind rises with it.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from persuasion_lib.core.records import Conversation, Message, Turn


@dataclass(frozen=True)
class Topic:
    """A view, why somebody holds it, and what speaks against it; every phrase is a clause."""

    claim: str
    grounds: tuple[str, ...]
    reasons: tuple[str, ...]
    evidence: tuple[str, ...]


TOPICS = (
    Topic("schools should drop homework",
          ("children are tired after school", "parents end up doing the homework"),
          ("short homework helps children remember the lesson",
           "homework teaches children to plan their time",
           "homework shows parents what the school teaches"),
          ("children with short homework scored better at school",)),
    Topic("zoos should be closed",
          ("wild animals suffer in small cages", "films show wild animals well enough"),
          ("good zoos keep rare animals from dying out",
           "zoos teach families to care for wild animals",
           "tickets for zoos pay for parks where animals live"),
          ("zoos brought nine rare animals back to the wild",)),
    Topic("cars belong in the city center",
          ("shops need customers who come by car", "older people cannot walk far in the city"),
          ("a city center without cars is safer for children",
           "people who walk through the center visit more shops",
           "small buses can bring older people to the center"),
          ("shops in the center sold more after cars left",)),
    Topic("dogs are better pets than cats",
          ("dogs greet their owners at the door", "cats ignore people all day"),
          ("cats are happy in a small home without a garden",
           "cats stay calm when their owners are at work",
           "pets like cats cost less than dogs"),
          ("owners of cats slept as well as owners of dogs",)),
    Topic("phones should be banned in class",
          ("pupils play on phones instead of listening", "phones make it easy to tease pupils"),
          ("phones let pupils look up facts in class",
           "pupils must learn to use phones with care",
           "a teacher can run a quick quiz on phones"),
          ("a class with phones for quizzes learned faster",)),
    Topic("paper books beat electronic books",
          ("paper books smell and feel nice", "screens make my eyes tired"),
          ("electronic books let readers choose larger letters",
           "a traveller can carry a hundred electronic books",
           "screens without light are as kind to eyes as paper"),
          ("readers finished more books on electronic paper",)),
    Topic("everyone should eat a big breakfast",
          ("breakfast gives energy for the morning", "my family always ate a big breakfast"),
          ("some people are not hungry in the morning",
           "a small breakfast leaves room for a good lunch",
           "energy in the morning also comes from good sleep"),
          ("people with a small breakfast had as much energy",)),
    Topic("school uniforms are a bad idea",
          ("uniforms hide what makes pupils special", "uniforms cost families extra money"),
          ("uniforms spare pupils the race for costly clothes",
           "one school uniform is cheaper than many outfits",
           "uniforms help pupils feel part of one school"),
          ("families with uniforms spent less on clothes",)),
    Topic("museums must charge for tickets",
          ("museums need money for their art", "free things are not valued by visitors"),
          ("free museums let poor families enjoy art",
           "visitors of free museums spend money in the shop",
           "children who see art early come back as visitors"),
          ("museums without tickets had twice as many visitors",)),
    Topic("people should work at the office",
          ("teams talk more at the office", "it is easy to be lazy when you work at home"),
          ("people who work at home save hours of travel",
           "it is quiet at home so hard work gets done",
           "teams can meet at the office one day a week"),
          ("teams that work at home finished more tasks",)),
    Topic("tipping in restaurants is a good custom",
          ("waiters work harder for a tip", "guests can reward good service"),
          ("fair wages are safer for waiters than a tip",
           "guests like to know the full price of a meal",
           "tipping rewards a smile more than good service"),
          ("waiters stayed longer in restaurants without tipping",)),
    Topic("space travel is a waste of money",
          ("the money is needed here on earth", "rockets bring us only pictures of rocks"),
          ("space travel gave us better weather reports on earth",
           "rockets carry satellites that guide ships on earth",
           "space missions inspire children to study science"),
          ("each coin for rockets returned three coins in trade",)),
    Topic("we should keep changing the clocks",
          ("summer evenings stay light for longer", "we are all used to changing the clocks"),
          ("changing the clocks disturbs our sleep for days",
           "cows and babies do not care about clocks",
           "light evenings also come with one fixed time"),
          ("towns with fixed clocks had fewer accidents",)),
    Topic("every meal needs meat",
          ("meat keeps workers strong", "a plate without meat tastes boring"),
          ("beans keep workers as strong as meat",
           "meat costs more water than beans",
           "spices make a plate of beans taste great"),
          ("workers who ate beans were as strong as before",)),
    Topic("video games are a waste of time",
          ("gamers sit alone in dark rooms", "games teach nothing for real life"),
          ("many gamers play with friends from other countries",
           "games teach players to plan and to try again",
           "video games tell stories as rich as films"),
          ("players of video games solved puzzles faster",)),
    Topic("life in the country beats the city",
          ("the country air is clean", "neighbors in the city never say hello"),
          ("the city has doctors and schools close by",
           "city people can live without a car",
           "city parks bring neighbors together"),
          ("people in the city spent less time on the road",)),
    Topic("children need not learn handwriting",
          ("everybody types on keyboards now", "handwriting lessons are slow and dull"),
          ("handwriting helps children remember words",
           "notes by handwriting need no power or keyboards",
           "slow handwriting lessons train patient fingers"),
          ("children remember more words after handwriting",)),
    Topic("libraries are out of date",
          ("all facts are found on the internet", "few people borrow books today"),
          ("libraries help people who have no internet at home",
           "libraries offer quiet rooms where people study",
           "librarians help people to tell facts from rumors"),
          ("towns with new libraries had more readers",)),
    Topic("every child must learn an instrument",
          ("music makes every child smarter", "an instrument trains patience"),
          ("a child who hates the instrument learns to hate music",
           "singing brings music without a costly instrument",
           "patience also grows in sports and painting"),
          ("every child who chose freely played music longer",)),
    Topic("cash is the best gift",
          ("cash never has the wrong size", "people can buy what they want with cash"),
          ("a chosen gift shows that you know the person",
           "cash is soon spent and forgotten",
           "a shared trip is a gift that people remember"),
          ("people kept a chosen gift longer than cash",)),
    Topic("exams should be abolished",
          ("exams make students sick with fear", "students forget it all after exams"),
          ("exams show students what they still must learn",
           "fair exams give poor students the same chance",
           "fear shrinks when exams are short and frequent"),
          ("students with frequent exams felt less fear",)),
    Topic("short flights are fine",
          ("flights save a lot of time", "trains are late too often"),
          ("trains leave from the middle of town",
           "short flights burn more fuel for each seat",
           "travellers can work or sleep on trains"),
          ("trains beat short flights from door to door",)),
    Topic("sports should leave the timetable",
          ("some kids are laughed at in sports", "kids can do sports in clubs"),
          ("sports give restless kids a needed break",
           "clubs cost more than many families can pay",
           "good coaches find sports that suit shy kids"),
          ("kids with daily sports listened better",)),
    Topic("plastic bags should stay free",
          ("plastic bags are handy for shoppers", "one bag does no harm"),
          ("plastic bags kill fish and birds in the sea",
           "a cloth bag is handy and lasts for years",
           "a small price reminds shoppers to bring a bag"),
          ("shoppers used half the plastic bags after a price",)),
    Topic("learning languages is useless now",
          ("machines translate languages for us", "everyone abroad speaks english"),
          ("languages open hearts that machines cannot reach",
           "learning a language trains the memory",
           "jokes and poems get lost when machines translate"),
          ("adults learning languages kept a sharp memory",)),
    Topic("a good garden is a tidy lawn",
          ("a lawn looks neat from the street", "children can play on a lawn"),
          ("wild flowers feed bees better than a lawn",
           "a lawn needs much water in the summer",
           "children find more to explore in a wild garden"),
          ("a wild garden had ten times more bees",)),
)

# Who writes says nothing about the topic; it makes nearly every post a different prompt.
WHO = ("nurse", "baker", "student", "teacher", "driver", "farmer", "painter", "retired clerk",
       "young parent", "cook", "gardener", "sailor", "carpenter", "nature guide", "singer",
       "librarian", "dentist", "waiter", "builder", "tailor", "plumber", "florist", "judge",
       "hairdresser")
WHERE = ("a small town", "the north coast", "a big city", "the hills", "an island", "the south",
         "a fishing port", "a quiet valley", "the capital", "a border town", "the west",
         "a river village", "the lake district", "an old harbor", "a new suburb", "the plains")
OPENERS = ("I believe that", "My view is that", "I am sure that", "It is clear to me that")
ASKS = ("Change my view.", "Why am I wrong?", "What do you think?", "Tell me what I miss.")
ANSWERS = ("Maybe, but {}.", "Hm, still {}.", "I am not sure, because {}.")
ACKNOWLEDGEMENTS = ("I see that {}.", "You are right that {}.", "I understand that {}.")
LINKS = ("But {}.", "Still, {}.", "One reason is that {}.", "Also, {}.", "However, {}.")
SOURCES = ("A study found that {}.", "A survey says that {}.", "Research shows that {}.")
HEDGES = ("This may not be true for everyone.", "Perhaps both sides have a point.",
          "Of course I could be wrong.")
QUESTIONS = ("Could that work for you?", "Have you seen this yourself?", "Does that make sense?",
             "What would you need to see?")
MANIPULATIONS = ("Only a selfish person would disagree.", "You should feel ashamed.",
                 "Hurry, decide now before it is too late.",
                 "A brilliant person like you must agree.",
                 "Exactly 98 percent of all experts agree.")
FILLERS = ("By the way, I had soup for lunch.", "My cousin has a new bike.",
           "The weather is nice today.", "Anyway, I must go shopping soon.")

# What each part of a reply is worth. Second and further relevant reasons are worth less.
REASON_GAINS = (1.0, 0.7, 0.2)
GOLD_WEIGHTS = {"acknowledgement": 0.8, "evidence": 0.8, "question": 0.6, "hedge": 0.3,
                "irrelevant": -0.6, "manipulation": -0.8, "filler": -0.4, "unknown": -0.4,
                "repetition": -0.6, "unfinished": -0.8, "words_over": -0.05}
MAX_WORDS = 56


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, in order."""
    return re.findall(r"[a-z0-9]+", text.lower())


def sentences(text: str) -> list[str]:
    """Sentences of a text, each with its end mark; a cut last one has none."""
    return [s.strip() for s in re.findall(r"[^.!?]+[.!?]*", text) if s.strip()]


@cache
def topic_of(text: str) -> Topic | None:
    """The topic whose claim stands in the text; None where the text is not from this world."""
    plain = " ".join(words(text))
    return next((topic for topic in TOPICS if topic.claim in plain), None)


def _bigrams(text: str) -> frozenset[tuple[str, str]]:
    found = words(text)
    return frozenset(zip(found, found[1:], strict=False))


@cache
def _clauses() -> tuple[tuple[frozenset[tuple[str, str]], str, Topic | None, str], ...]:
    """Every phrase of the world as (its bigrams, its kind, its topic, the phrase)."""
    topical = [(kind, topic, phrase) for topic in TOPICS
               for kind, phrases in (("ground", topic.grounds), ("reason", topic.reasons),
                                     ("evidence", topic.evidence)) for phrase in phrases]
    general = [(kind, None, phrase) for kind, phrases in
               (("question", QUESTIONS), ("hedge", HEDGES), ("manipulation", MANIPULATIONS),
                ("filler", FILLERS)) for phrase in phrases]
    return tuple((_bigrams(phrase), kind, topic, phrase) for kind, topic, phrase in
                 topical + general)


@cache
def _recognise(sentence: str) -> tuple[str, Topic | None, str] | None:
    """(kind, topic, phrase) of the phrase that a sentence says, by at least 0.7 of its bigrams."""
    said = _bigrams(sentence)
    shares = [(len(said & bigrams) / len(bigrams), i)
              for i, (bigrams, *_) in enumerate(_clauses())]
    share, best = max(shares)
    return _clauses()[best][1:] if share >= 0.7 else None


def _part(sentence: str, topic: Topic | None) -> str:
    """What a sentence does in a reply to a post on `topic`, as a key of the weights."""
    found = _recognise(sentence)
    if found is None:
        return "unknown"
    kind, about, _ = found
    if about is not None and about is not topic:
        return "irrelevant"
    return "acknowledgement" if kind == "ground" else kind


def gold_utility(prompt: Sequence[Message], reply: str) -> float:
    """How good a reply is in the demo world, the truth that the statistics should recover.

    Sums the weights above over the sentences of the reply; 0 for nothing said, about 3.5 for
    the best. A reason that the persuader gave before in this conversation is a repetition.
    """
    topic = topic_of(" ".join(m["content"] for m in prompt if m["role"] == "user"))
    said = [s for m in prompt if m["role"] == "assistant" for s in sentences(m["content"])]
    seen = {_recognise(s) or s.lower() for s in said}
    utility, counts = 0.0, dict.fromkeys((*GOLD_WEIGHTS, "reason"), 0)
    for sentence in sentences(reply):
        key = _recognise(sentence) or sentence.lower()
        part = "repetition" if key in seen else _part(sentence, topic)
        seen.add(key)
        if part == "reason":
            utility += REASON_GAINS[min(counts["reason"], len(REASON_GAINS) - 1)]
        elif GOLD_WEIGHTS[part] < 0 or counts[part] == 0:
            utility += GOLD_WEIGHTS[part]
        counts[part] += 1
    if not re.search(r"[.!?][\"')]*$", reply.strip()):
        utility += GOLD_WEIGHTS["unfinished"]
    return utility + GOLD_WEIGHTS["words_over"] * max(0, len(words(reply)) - MAX_WORDS)


def _sentence(pattern: str, clause: str) -> str:
    text = pattern.format(clause)
    return text[0].upper() + text[1:]


def make_post(topic: Topic, rng: random.Random) -> tuple[str, str]:
    """(a post that states the view and one ground for it, the other ground)."""
    ground, other = rng.sample(topic.grounds, 2)
    who = f"I am a {rng.choice(WHO)} from {rng.choice(WHERE)}."
    view = f"{who} {rng.choice(OPENERS)} {topic.claim}, because {ground}."
    return f"{view} {rng.choice(ASKS)}", other


def make_reply(topic: Topic, ground: str, rng: random.Random, *, care: float,
               used: Sequence[str] = ()) -> str:
    """A reply to a post that named `ground`; `care` in [0, 1] makes every good part likelier.

    `used` holds the reasons that the persuader gave before.
    """
    other = rng.choice([t for t in TOPICS if t is not topic])
    parts: list[str] = []
    if rng.random() < 0.15 + 0.55 * care:
        parts.append(_sentence(rng.choice(ACKNOWLEDGEMENTS), ground))
    left = [reason for reason in topic.reasons if reason not in used]
    n_reasons = rng.choice((1, 1, 2)) if care > 0.3 else 1
    for reason in rng.sample(left, min(n_reasons, len(left))):
        relevant = rng.random() < 0.45 + 0.55 * care
        parts.append(_sentence(rng.choice(LINKS), reason if relevant else
                               rng.choice(other.reasons)))
    if rng.random() < 0.15 + 0.35 * care:
        about = topic if rng.random() < 0.5 + 0.5 * care else other
        parts.append(_sentence(rng.choice(SOURCES), rng.choice(about.evidence)))
    for phrases, at_worst, at_best in ((FILLERS, 0.7, 0.1), (MANIPULATIONS, 0.9, 0.15),
                                       (HEDGES, 0.1, 0.25), (QUESTIONS, 0.1, 0.4)):
        if rng.random() < at_worst + (at_best - at_worst) * care:
            parts.append(rng.choice(phrases))
    return " ".join(parts)


def best_reply(topic: Topic, prompt_text: str) -> str:
    """A reply with every good part and no bad one, with reasons that were not given before."""
    plain = prompt_text.lower()
    left = [reason for reason in topic.reasons if reason not in plain] or list(topic.reasons)
    ground = max(topic.grounds, key=plain.rfind)
    clauses = [*zip((ACKNOWLEDGEMENTS[0], LINKS[0]), (ground, left[0]), strict=True),
               (SOURCES[0], topic.evidence[0]), *((LINKS[3], reason) for reason in left[1:2])]
    said = [_sentence(pattern, clause) for pattern, clause in clauses]
    return " ".join([*said, HEDGES[0], QUESTIONS[0]])


def _turn(history: list[Turn], text: str, rng: random.Random) -> Turn:
    """The persuader's turn; it wins with probability 1/(1 + e^(1 - gold))."""
    gold = gold_utility([{"role": t.role, "content": t.text} for t in history], text)
    return Turn("assistant", text, won=rng.random() < 1 / (1 + math.exp(1.0 - gold)))


def _conversation(number: int, seed: int) -> Conversation:
    rng = random.Random(f"{seed}:{number}")
    topic, care = rng.choice(TOPICS), rng.random() ** 1.3
    post, other_ground = make_post(topic, rng)
    ground = next(g for g in topic.grounds if g != other_ground)
    turns = [Turn("user", post)]
    turns.append(_turn(turns, make_reply(topic, ground, rng, care=care), rng))
    if rng.random() < 0.25:
        turns.append(Turn("user", _sentence(rng.choice(ANSWERS), other_ground)))
        used = [r for r in topic.reasons if r in turns[1].text.lower()]
        reply = make_reply(topic, other_ground, rng, care=care, used=used)
        turns.append(_turn(turns, reply, rng))
    return Conversation(f"demo-{seed}-{number:05d}", "demo", tuple(turns))


def make_conversations(*, n: int, seed: int) -> list[Conversation]:
    """`n` conversations; the first m of a longer corpus of the same seed are the same."""
    return [_conversation(number, seed) for number in range(n)]
