"""Did whoever ranked the final replies read them? Rows of the registry for people's rankings."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from persuasion_lib.checks.check import Check
from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.checks.people import DIFFERS, FEW_REPEATS, unsteady
from persuasion_lib.core.fields import is_amount
from persuasion_lib.core.rankings import Ranking
from persuasion_lib.core.records import LabeledPair
from persuasion_lib.labeling.items import TOO_FAST
from persuasion_lib.stats.blocks import TOO_FEW

Rankings = Sequence[Ranking]


def _pairs(rankings: Rankings) -> list[LabeledPair]:
    """What the rankings say of every two models whose replies differ."""
    return [one.pair(*two) for one in rankings for two in combinations(one.replies, 2)
            if one.replies[two[0]].strip() != one.replies[two[1]].strip()]


def unread(rankings: Rankings) -> Measured:
    """The share of rankings given in less time than all their replies take to be read."""
    timed = [one for one in rankings if is_amount(one.metadata.get("seconds"))]
    need(len(timed) >= TOO_FEW, f"{len(timed)} rankings say how many seconds they took")
    fast = [one for one in timed if _words(one) > TOO_FAST / 60 * one.metadata["seconds"]]
    example = (f"{fast[0].example_id}: {_words(fast[0])} words in "
               f"{fast[0].metadata['seconds']:g} seconds" if fast else "")
    return Measured(len(fast) / len(timed), len(timed), example)


def _words(one: Ranking) -> int:
    return sum(len(text.split()) for text in {text.strip() for text in one.replies.values()})


def same_order(rankings: Rankings) -> Measured:
    """The share of the commonest order of the models: a blind reader hardly repeats one."""
    need(len(rankings) >= TOO_FEW, f"{len(rankings)} rankings are too few to tell")
    order, count = Counter(tuple(sorted(one.ranks.items(), key=lambda each: (each[1], each[0])))
                           for one in rankings).most_common(1)[0]
    return Measured(count / len(rankings), len(rankings), " > ".join(name for name, _ in order))


def by_length(rankings: Rankings) -> Measured:
    """How often the longer of two replies stands above, of those that differ by `DIFFERS`."""
    gaps = [len(pair.chosen) - len(pair.rejected) for pair in _pairs(rankings)
            if pair.label != "tie"]
    gaps = [gap for gap in gaps if abs(gap) >= DIFFERS]
    need(len(gaps) >= TOO_FEW, f"{len(gaps)} decided pairs differ by {DIFFERS} characters or more")
    longer = sum(gap > 0 for gap in gaps) / len(gaps)
    return Measured(max(longer, 1 - longer), len(gaps), "longer" if longer > 0.5 else "shorter")


def unlike_their_repeat(rankings: Rankings) -> Measured:
    """1 - kappa of every two replies on a second look: 0 the same order, 1 what a coin gives."""
    twice = sum(one.again is not None for one in rankings)
    need(twice >= FEW_REPEATS // 3,
         f"{twice} prompts were ranked a second time, {FEW_REPEATS // 3} are needed")
    return unsteady(_pairs(rankings))


_OF = "people's rankings"
RANKED = (
    Check("rankings faster than reading", _OF, unread, 0.2, "as of labels",
          "{value:.0%} of {n} rankings took less time than anybody needs to read the replies "
          "({example}).", "Rank these prompts again.", stops=True),
    Check("people rank one order", _OF, same_order, 0.9,
          "no blind reader of real replies reaches it",
          "{value:.0%} of {n} rankings by people are {example}.",
          "Were the names of the models seen?"),
    Check("people rank by length", _OF, by_length, 0.95,
          "length explains some of persuasion, never all of it",
          "in {value:.0%} of {n} pairs of ranked replies the {example} one stands above.",
          "These rankings count characters. Rank again."),
    Check("rankings unlike their repeat", _OF, unlike_their_repeat, 0.8, "as of labels",
          "on {n} pairs of replies that were ranked twice: {example}.",
          "Rank again, with the guidelines at hand.", stops=True, unit="(1 − kappa)"))
