"""In which language a text is, by its commonest words; no more than whether two texts differ in it.

Texts of a real corpus (10,600 of PersuasionForGood, 662 of ChangeMyView) gave no false alarm, and
one sentence that really is Spanish.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from persuasion_lib.core.plain_yaml import read_yaml

_LISTS = read_yaml(Path(__file__).with_name("languages.yaml"))
_COMMON = {name: frozenset(words.split()) for name, words in _LISTS["words"].items()}
_SCRIPTS = {name: re.compile(f"[{letters}]") for name, letters in _LISTS["scripts"].items()}
_HITS = 3           # common words of another language from which a text is in it


def another_language(text: str, usual: str) -> str:
    """The language of a text that is not in the `usual` one; "" where it is, or cannot be told."""
    script = _script(text)
    if script and script != _SCRIPT_OF.get(usual, usual):
        return script
    hits = _hits(text)
    found = max(hits, key=hits.get)
    other = hits[found] >= _HITS and hits[found] > 2 * hits.get(usual, hits[found])
    return found if other else ""


def usual_language(texts: Iterable[str]) -> str:
    """The language of most of the texts: a name of the list, else of their script."""
    scripts: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for text in texts:
        scripts[_script(text)] += 1
        hits.update(_hits(text))
    script = max(scripts, key=scripts.get, default="")
    if script not in ("", "Latin script"):
        return script
    return max(hits, key=hits.get, default="")


_SCRIPT_OF = dict.fromkeys(_COMMON, "Latin script")


def _hits(text: str) -> dict[str, int]:
    words = re.findall(r"[^\W\d_]+", text.lower())
    return {name: sum(word in common for word in words) for name, common in _COMMON.items()}


def _script(text: str) -> str:
    """The script of more than half of the letters; "" where there are none."""
    letters = "".join(re.findall(r"[^\W\d_]+", text.lower()))
    for name, pattern in _SCRIPTS.items():
        if letters and len(pattern.findall(letters)) > len(letters) / 2:
            return name
    return ""
