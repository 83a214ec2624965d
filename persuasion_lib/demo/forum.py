"""What a forum leaves in its texts: dirt for the demo corpus, which cleaning takes out again.

It is drawn apart from the texts, so that what is left after cleaning is the same with and without.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from persuasion_lib.core.records import Conversation, Turn

SHARE = 0.03            # of messages
_SITE = "https://forum.example"
_FOOTNOTE = ("\n\n_____\n\n> *Hello, users of CMV! This is a footnote from your moderators. Please "
             "remember to read through our rules.*")

_DIRT: tuple[Callable[[str], str], ...] = (
    lambda text: text.replace(" ", "&nbsp;", 1),
    lambda text: f"[deleted]\n{text}",
    lambda text: f"{text}{_FOOTNOTE}",
    lambda text: f"{text}\n\nEDIT: thank you all, I have to sleep now.",
    lambda text: f"{text}\n\n∆ to the comment below.",
    lambda text: f"> Why am I wrong?\n\n{text}",
    lambda text: f"[{text}]({_SITE}/thread)",
)


def as_posted(conversation: Conversation) -> tuple[Turn, ...] | None:
    """The turns as a forum would give them, where any of them is dirty; else None."""
    rng = random.Random(f"forum:{conversation.conversation_id}")
    dirt = [rng.choice(_DIRT) if rng.random() < SHARE else None for _ in conversation.turns]
    if not any(dirt):
        return None
    return tuple(replace(turn, text=spoil(turn.text)) if spoil else turn
                 for turn, spoil in zip(conversation.turns, dirt, strict=True))
