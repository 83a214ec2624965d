"""The demo corpus: short view-challenging posts and replies of mixed quality, made from a seed.

The phrases were written for this project. What makes a reply good is defined once, in
`standins.gold_utility`; a reply changes the mind with a probability that rises with it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from persuasion_lib.demo.standins import gold_utility
from persuasion_lib.demo.topics import (
    ACKNOWLEDGEMENTS,
    ANSWERS,
    ASKS,
    FILLERS,
    HEDGES,
    LINKS,
    MANIPULATIONS,
    OPENERS,
    QUESTIONS,
    SOURCES,
    TOPICS,
    Topic,
)
from persuasion_lib.records import Conversation, Message, Turn
