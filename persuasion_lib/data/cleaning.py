"""Cleaning of forum text: named rules, each counted, none of which touches plain dialogue.

Post and replies were written at different times, and posts were edited after the replies. What
tells the outcome, or was written by a bot, must not be in a prompt; what only repeats the other
side must not be in a target.
"""

import html
import re
from collections.abc import Callable
from functools import lru_cache

_MARKER = r"(?:edit|eta|update)\b"      # "EDIT:", "**Edit 2:**", "ETA -", "[UPDATE]"
_EDIT = re.compile(rf"^[\s*_\[(#>-]*{_MARKER}[^\n]{{0,12}}?[:;\-–—\])][^\n]*$",
                   re.IGNORECASE | re.MULTILINE)
_FOOTNOTE = re.compile(
    r"(?:^[\s_*>-]*)?^[\s>*_]*(?:Hello, users of CMV|This is a footnote from (?:your|our) "
    r"moderators).*\Z", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_DELTA = re.compile(r"^[^\n]*(?:[∆Δ]|!delta\b|\bdelta(?:s)?\s+(?:to|awarded|for)\b)[^\n]*$",
                    re.IGNORECASE | re.MULTILINE)
_GONE = re.compile(r"^[ \t]*\[(?:deleted|removed)\][ \t]*$", re.MULTILINE)
_QUOTE = re.compile(r"^[ \t]*>(?!\d)[^\n]*$", re.MULTILINE)     # not ">15 dollars"
_LINK = re.compile(r"\[([^\]\n]+)\]\((?:https?://|/)[^)\s]*\)")
_ESCAPED = re.compile(r"\\+(['\"])")     # it\'s, as a program had escaped it
_URL = re.compile(r"\(?\bhttps?://\S+", re.IGNORECASE)


def _entities(text: str) -> str:
    while (plain := html.unescape(text)) != text:      # "&amp;gt;" is escaped twice
        text = plain
    return text


# In this order: what an entity hides, the later rules must see.
RULES: dict[str, Callable[[str], str]] = {
    "HTML entities": _entities,
    "escaped quotes": lambda text: _ESCAPED.sub(r"\1", text),
    "deleted text": lambda text: _GONE.sub("", text),
    "moderator footnote": lambda text: _FOOTNOTE.sub("", text),
    "edit after the replies": lambda text: _EDIT.sub("", text),
    "delta that tells the outcome": lambda text: _DELTA.sub("", text),
    # The quoted words stand in the message being answered; as a target they would be copying.
    "quotation of the other side": lambda text: _QUOTE.sub("", text),
    "link": lambda text: _URL.sub("", _LINK.sub(r"\1", text)),
}


# A message for each rule, to show what it does where the corpus is clean.
EXAMPLES = {
    "HTML entities": "Taxes &amp; fees cost &gt;50% of us dearly.",
    "escaped quotes": "It\\'s not the buses, it\\'s the timetable.",
    "deleted text": "[deleted]\nStill, a bus carries sixty people.",
    "moderator footnote": "Cars mean freedom.\n\n_____\n\n> *Hello, users of CMV! This is a "
                          "footnote from your moderators.*",
    "edit after the replies": "Zoos are cruel.\n\nEDIT: you changed my view about rare animals.",
    "delta that tells the outcome": "The parks are a good point.\n∆ to you for that.",
    "quotation of the other side": "> Zoos are cruel\nMany rare animals live in parks alone.",
    "link": "There is [a study of parks](https://example.org/parks) about that.",
}


@lru_cache(maxsize=1024)    # a post comes back with every argument about it
def clean(text: str) -> str:
    """The text without what the rules remove and without odd white space; line breaks stay.

    Cleaning twice is cleaning once.
    """
    previous = None
    while text != previous:
        previous = text
        for rule in RULES.values():
            text = rule(text)
        text = _white_space(text)
    return text


@lru_cache(maxsize=1024)
def rules_that_fire(text: str) -> tuple[str, ...]:
    """The names of the rules that change a text, each seeing what those before it left."""
    fired = []
    for name, rule in RULES.items():
        if (changed := rule(text)) != text:
            fired.append(name)
        text = changed
    return tuple(fired)


def _white_space(text: str) -> str:
    text = re.sub(r"[ \t\u00a0]+", " ", text.replace("\r\n", "\n").replace("\r", "\n"))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()
