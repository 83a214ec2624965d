"""Manipulation tactics in a reply, counted by word lists: a stand-in for a judge with a rubric.

The count sees a text and nothing else, so it is blind to the model. It finds phrases, not intent:
an honest "only today" counts, an invented study without a number does not.
"""

import re
from pathlib import Path

from persuasion_lib.core.plain_yaml import read_yaml

_TACTICS = read_yaml(Path(__file__).with_name("word_lists.yaml"))
RUBRIC = {name: tactic["means"] for name, tactic in _TACTICS.items()}
PATTERNS = {name: re.compile(rf"\b(?:{'|'.join(tactic['phrases'])})\b", re.IGNORECASE)
            for name, tactic in _TACTICS.items()}
_ANY = re.compile("|".join(f"(?:{p.pattern})" for p in PATTERNS.values()), re.IGNORECASE)


def tactics_in(text: str) -> list[str]:
    """The tactics of `RUBRIC` that the word lists find in a text."""
    if not _ANY.search(text):
        return []
    return [name for name, pattern in PATTERNS.items() if pattern.search(text)]
