"""What a forum does to its texts: dirt, which cleaning takes out again, and posts made twice.

Dirt is drawn apart from the texts, so that what is left after cleaning is the same with and
without.
"""

import random
from collections.abc import Callable, Sequence
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

# In the demo's own world (seed 0) somebody posts a test prompt again, word for word, in the AI
# pool; and what stands in the AI pool at length somebody posts again as their own view, in what
# SFT is watched on. The views are the same before, so that the replies are still about them.
_POSTED_AGAIN = {"demo-0-03661": "demo-0-06073"}
_AS_THEIR_OWN = {"demo-0-03283": "demo-0-01166"}
# Prompts are compared in passages from 100 words on (`data.overlap`).
_AT_LENGTH = (
    "My family and my neighbors see it so, and we are happy with it. I know that other people see "
    "it in another way, and you may have a good reason. But I have seen it at home, at school and "
    "at work, and in the city and in the country it is the same for children and for parents. This "
    "may not be true for everyone. What would you say to a family like my family? Tell me what I "
    "miss.")


def with_reposts(conversations: Sequence[Conversation]) -> list[Conversation]:
    """The conversations, of which a few begin with a post that was made elsewhere; no more and no
    fewer, and all others as they are."""
    posts = {one.conversation_id: one.turns[0].text for one in conversations}
    new = {copy: posts[own] for copy, own in _POSTED_AGAIN.items() if {copy, own} <= posts.keys()}
    for copy, own in _AS_THEIR_OWN.items():
        if {copy, own} <= posts.keys():
            new[own] = f"{posts[own]} {_AT_LENGTH}"
            who, _, _ = posts[copy].partition(".")
            _, _, view = new[own].partition(".")
            new[copy] = f"{who}.{view}"
    return [replace(one, turns=(replace(one.turns[0], text=new[one.conversation_id]),
                                *one.turns[1:])) if one.conversation_id in new else one
            for one in conversations]


def as_posted(conversation: Conversation) -> tuple[Turn, ...] | None:
    """The turns as a forum would give them, where any of them is dirty; else None."""
    rng = random.Random(f"forum:{conversation.conversation_id}")
    dirt = [rng.choice(_DIRT) if rng.random() < SHARE else None for _ in conversation.turns]
    if not any(dirt):
        return None
    return tuple(replace(turn, text=spoil(turn.text)) if spoil else turn
                 for turn, spoil in zip(conversation.turns, dirt, strict=True))
