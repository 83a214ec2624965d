"""What people and models chose of two replies: in words, in other tools, and one by one of several.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import annotator_name
from persuasion_lib.core.records import (
    LABEL_OF_CODE,
    SLOT_OF_CODE,
    Label,
    LabeledPair,
    Pair,
    content_id,
    unswap,
)

IN_WORDS: dict[Label, str] = {"a": "reply 1", "b": "reply 2", "tie": "tie"}

SWAPPED = {"12": False, "21": True}     # order shown: does the second reply stand first?

PERSON = "human"
NAME = "annotator"      # the question whose answer says who labelled, as our exports ask it
# How a label came about, which belongs to one person's label and not to the pair; and what only a
# label of several people has.
OF_ONE = ("seconds", "flagged", "note", "shown_swapped", "guidelines", "both_bad", "strength",
          "reasons")
_OF_ALL = ("given", "labels_from", "undecided", "adjudicated", "relabelled", "reasoning")
_RULE = re.compile(r" \([^()]* of \d+\)$")      # behind the grader of a label of several
_FIRST = {"1", "a", "left", "first"}
_SECOND = {"2", "b", "right", "second"}
_TIE = {"tie", "equal", "equally good", "same", "both", "neither", "draw", "no preference"}
_SHOWN = re.compile(r"(?:^| \| )\[shown (12|21)\] ")     # before what a judge said in that order
_USER = re.compile(r"[0-9a-f-]{36}|\d+|None|\S+@\S+|annotation \d+")     # ids, or none


class Answer(NamedTuple):
    """What somebody chose ("1", "2" or "EQUAL"); `name` tells several people apart."""

    grader: str
    code: str
    name: str = ""


def verdicts_of(label: LabeledPair) -> dict[str, str]:
    """The codes "1", "2" or "EQUAL" by order shown, as the judge gave them; those that are one."""
    given = label.pair.metadata.get("verdicts")
    found = given.items() if isinstance(given, Mapping) else ()
    return {shown: code for shown, code in found
            if shown in SWAPPED and isinstance(code, str) and code in SLOT_OF_CODE}


def as_said(words_by_shown: Mapping[str, str]) -> str:
    """What a judge said in each order as the reasoning of one label; `said_in_each_order` reads it.

    A judge's words can imitate the mark of an order, and then lose its bracket.
    """
    return " | ".join(f"[shown {shown}] {words.replace('[shown ', '(shown ')}"
                      for shown, words in words_by_shown.items())


def said_in_each_order(label: LabeledPair, verdicts: Mapping[str, str], *,
                       swapped: bool = False) -> dict[str, str]:
    """What a judge chose and said, by what it was shown first; words of no order stand under "".

    Args:
        verdicts: codes by order shown, in that order; the choice is named by reply.
        swapped: name the two replies the other way round.
    """
    before, *parts = _SHOWN.split(label.reasoning)
    found = {"": before} if before else {}
    for order, why in zip(parts[::2], parts[1::2], strict=True):
        shown = order[::-1] if swapped else order
        choice = SLOT_OF_CODE.get(verdicts.get(order, ""))
        name = IN_WORDS[unswap(choice, swapped=SWAPPED[shown])] if choice else "not known which"
        chose = "called it a tie" if name == "tie" else f"chose {name}"
        found[f"reply {shown[0]} first"] = f"{chose}: “{why}”"
    return found


def reasons_in_words(label: LabeledPair, pair: Pair) -> str:
    """The same as lines, of a label whose verdicts stand in its metadata; named as in `pair`."""
    said = said_in_each_order(label, verdicts_of(label),
                              swapped=label.pair.response_a != pair.response_a)
    return "\n".join(f"{order} → {words}" if order else words for order, words in said.items())


def counted(codes: Sequence[str]) -> tuple[str, str]:
    """What most said, and of how many; "" for one."""
    counts = Counter(codes).most_common()
    if len(codes) == 1:
        return codes[0], ""
    if 2 * counts[0][1] <= len(codes):
        return "EQUAL", f"no majority of {len(codes)} people"
    return counts[0][0], f"{counts[0][1]} of {len(codes)} people"


def _code(value: Any, first: str, second: str) -> str | None:
    """What an answer chooses; None where it names no side, as a note or a rating."""
    if isinstance(value, list):
        return _code_of_ranking(value, first, second)
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if text in _FIRST | {first.lower()}:
        return "1"
    if text in _SECOND | {second.lower()}:
        return "2"
    return "EQUAL" if text in _TIE else None


def _code_of_ranking(value: list[Any], first: str, second: str) -> str | None:
    """Of names, the best first, or of names with ranks, 1 the best."""
    ranks = {entry["value"]: entry.get("rank") for entry in value if isinstance(entry, dict)
             and "value" in entry} or {name: place for place, name in enumerate(value)
                                       if isinstance(name, str)}
    if not all(isinstance(ranks.get(name), int | float) for name in (first, second)):
        return None
    if ranks[first] == ranks[second]:
        return "EQUAL"
    return "1" if ranks[first] < ranks[second] else "2"


def answers_of(people: Iterable[tuple[str, Mapping[str, Any]]], first: str,
             second: str) -> tuple[list[Answer], str]:
    """Who chose what, and their words on it; of one person the last answer.

    An id or address is nobody's business, but tells people apart: by its hash.
    """
    found = {}
    for who, given in people:
        values = dict(given)
        named = str(values.pop(NAME, "")).strip()
        if values:
            code, words = _chosen_in(values, first, second)
            is_person = bool(named or _USER.fullmatch(who))
            name = named or (f"person {content_id(who, length=6)}" if is_person else who)
            found[name] = Answer(PERSON if is_person else who, code, name), words
    return ([answer for answer, _ in found.values()],
            " / ".join(words for _, words in found.values() if words))


def _chosen_in(values: Mapping[str, Any], first: str, second: str) -> tuple[str, str]:
    """The choice among the answers of one person by question, and the words of the others."""
    codes = {name: code for name, value in values.items() if (code := _code(value, first, second))}
    if len(codes) > 1 and "preference" in codes:
        codes = {"preference": codes["preference"]}
    if len(codes) > 1:
        raise DataError(f"several questions choose a side: {', '.join(codes)}. Call the one that "
                        "counts preference")
    if not codes:
        raise DataError(f"no answer to {', '.join(values)} names {first}, {second} or a tie")
    words = [value for name, value in values.items() if name not in codes
             and isinstance(value, str)]
    return next(iter(codes.values())), " ".join(words)


def votes_of(label: LabeledPair) -> dict[str, LabeledPair]:
    """What each of several people said of a pair, by name; nothing where their votes are unknown.
    """
    return {str(annotator_name(vote["annotator"])): _vote(label, vote)
            for vote in label.pair.metadata.get("given") or ()}


def _vote(label: LabeledPair, vote: Mapping[str, Any]) -> LabeledPair:
    kept = {key: value for key, value in label.pair.metadata.items()
            if key not in (*OF_ONE, *_OF_ALL)}
    pair = replace(label.pair, metadata={**kept, **vote})
    grader = str(vote.get("grader") or _RULE.sub("", label.labeled_by))
    return LabeledPair(pair, LABEL_OF_CODE[str(vote["preference"])], grader,
                       str(vote.get("reasoning") or ""),
                       LABEL_OF_CODE.get(str(vote.get("relabelled"))))
