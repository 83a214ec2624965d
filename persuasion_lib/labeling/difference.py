"""Where two replies that are nearly the same differ, word by word."""

import re
from difflib import SequenceMatcher

_MOST = 800             # words a reply: the comparison takes their product
_NEARLY = 0.5           # share of words in common; below it every second word would be marked

Parts = list[tuple[bool, str]]      # (whether it stands in this reply only, text), in order


def difference(first: str, second: str) -> tuple[Parts, Parts] | None:
    """Each reply in parts, or None where they are not nearly the same, or too long to compare.

    The parts of a reply together are its text, blanks included.
    """
    one, two = (re.findall(r"\s*\S+|\s+$", text) for text in (first, second))
    words = [[word.strip() for word in reply] for reply in (one, two)]
    if not one or not two or max(len(one), len(two)) > _MOST:
        return None
    # Words that stand everywhere are no anchors to other matchers; here they are words like others.
    matcher = SequenceMatcher(None, *words, autojunk=False)
    if matcher.quick_ratio() < _NEARLY or matcher.ratio() < _NEARLY:
        return None
    first_parts: Parts = []
    second_parts: Parts = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        for parts, reply, begin, end in ((first_parts, one, i1, i2), (second_parts, two, j1, j2)):
            if begin < end:
                parts.append((kind != "equal", "".join(reply[begin:end])))
    return first_parts, second_parts
