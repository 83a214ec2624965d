"""What a judge is asked and how its reply is read: pure text, no network.

The texts that are judged come from strangers and from models, so they are untrusted. Each stands
between tags with a mark that is derived from the texts and occurs in none of them, so a text
cannot leave its place; and a verdict counts only where the judge's own answer must stand.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from persuasion_lib.core.errors import ConfigError, JudgeReplyError
from persuasion_lib.core.records import Label, Message, content_id, render_text, unswap
from persuasion_lib.judging.word_lists import RUBRIC

Task = Literal["compare", "rank", "oracle", "tactics", "sample"]
LETTERS = "ABCDE"
_CHOICES = {"1": "a", "2": "b", "EQUAL": "tie"}
_TACTICS = {name.replace(" ", "_"): name for name in RUBRIC}     # as names of a JSON schema


@dataclass(frozen=True)
class Question:
    """One call: who is asked about (`item_id`), what, and in which order the candidates stand.

    Slot i shows the stored candidate `order[i]`. `sample` counts repetitions of the same question.
    """

    item_id: str
    task: Task
    context: str
    candidates: tuple[str, ...]
    order: tuple[int, ...]
    sample: int
    system: str
    text: str
    prompt_hash: str
    messages: tuple[Message, ...] = ()

    def key(self, identity: Sequence[Any]) -> str:
        """40 hex digits of everything that the reply may depend on; `identity` is the judge's."""
        return content_id(list(identity), self.task, self.system, self.text, self.order,
                          self.schema, self.sample, length=40)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of the reply; None asks for plain text."""
        if self.task == "oracle":
            return None
        if self.task == "tactics":
            return _object({key: _object({"reason": {"type": "string"},
                                          "present": {"type": "boolean"}}) for key in _TACTICS})
        answer = ({"choice": {"type": "string", "enum": list(_CHOICES)}} if self.task == "compare"
                  else {"ranking": {"type": "array", "items": {
                      "type": "string", "enum": list(LETTERS[:len(self.order)])}}})
        return _object({"reasoning": {"type": "string"}, **answer})

    def read(self, reply: str) -> dict[str, Any]:
        """The verdict in presented order: `choice`, `ranking` (slots, best first) or `text`.

        Of a reply's tactics it is `tactics`: the reason per tactic that is in it.

        Raises:
            JudgeReplyError: no verdict, more than one, or one that may be a candidate's.
        """
        if self.task == "oracle":
            if not reply.strip():
                raise JudgeReplyError("the reply is empty")
            return {"text": reply.strip()}
        if self.task == "compare":
            choice, why = _verdict(reply, "choice", _as_choice, self.candidates)
            return {"choice": choice, "reasoning": why}
        if self.task == "tactics":
            return {"tactics": _tactics(reply, self.candidates)}
        slots, why = _verdict(reply, "ranking", lambda value: _as_slots(value, len(self.order)),
                              self.candidates)
        return {"ranking": list(slots), "reasoning": why}


@cache
def template(task: Task, folder: Path) -> tuple[str, str]:
    """System and user part of `configs/prompts/<task>.txt`, which a line `=====` separates."""
    path = folder / f"{task}.txt"
    try:
        system, line, user = path.read_text(encoding="utf-8").partition("\n=====\n")
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing. Restore it with: git checkout {path}") from None
    if not line or "{material}" not in user or "{mark}" not in user:
        raise ConfigError(f"{path} needs a line ===== and, below it, {{mark}} and {{material}}.")
    return system.strip(), user.strip()


def compose(task: Task, item_id: str, context: str | Sequence[Message],
            candidates: Sequence[str] = (), *, order: Sequence[int] = (), sample: int = 0,
            prompts: Path) -> Question:
    """The question about stored `candidates`, shown in `order`; `prompts` holds the templates."""
    messages = () if isinstance(context, str) else tuple(context)
    shown = context if isinstance(context, str) else render_text(list(context))
    shown, *texts = (_encodable(text) for text in (shown, *(candidates[i] for i in order)))
    mark = _mark((shown, *texts))
    slots = "12" if task == "compare" else LETTERS[:len(texts)]
    blocks = [_block(f"reply_{slot}", text, mark) for slot, text in zip(slots, texts, strict=True)
              ] if texts else []
    system, user = template(task, prompts)
    values = {"mark": mark, "slots": ", ".join(slots),
              "material": "\n\n".join([_block("conversation", shown, mark), *blocks])}
    # One pass: a text that contains "{mark}" must stay as it is.
    text = re.sub(r"\{(mark|slots|material)\}", lambda found: values[found[1]], user)
    return Question(item_id, task, shown, tuple(texts), tuple(order), sample, system, text,
                    content_id(system, user), messages)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")      # lone surrogates become "?"


def _mark(texts: Sequence[str]) -> str:
    mark = content_id(list(texts), length=12)
    while any(mark in text for text in texts):
        mark = hashlib.sha256(mark.encode()).hexdigest()[:12]
    return mark


def _block(name: str, text: str, mark: str) -> str:
    return f"<{name}_{mark}>\n{text}\n</{name}_{mark}>"


def label_of(choice: str, order: Sequence[int]) -> Label:
    """The label in stored order of a choice "1", "2" or "EQUAL" in presented order."""
    return unswap(_CHOICES[choice], swapped=tuple(order) == (1, 0))


def hashed_order(k: int, *parts: Any) -> tuple[int, ...]:
    """A permutation of range(k) that depends on `parts` only."""
    return tuple(sorted(range(k), key=lambda i: content_id(*parts, i, length=32)))


def _as_choice(value: Any) -> str:
    choice = str(value).strip().upper()
    if choice not in _CHOICES:
        raise ValueError(f"{value!r:.40} is none of 1, 2, EQUAL")
    return choice


def _as_slots(value: Any, k: int) -> tuple[int, ...]:
    letters = re.split(r"\s*[>,]\s*", value) if isinstance(value, str) else value
    letters = [str(letter).strip(" []\"'").upper() for letter in letters]
    if sorted(letters) != list(LETTERS[:k]):
        raise ValueError(f"{value!r:.40} is not each of {', '.join(LETTERS[:k])} once")
    return tuple(LETTERS.index(letter) for letter in letters)


def _verdict(reply: str, name: str, read: Callable[[Any], Any],
             candidates: Sequence[str]) -> tuple[Any, str]:
    """The one verdict of a reply and its reasoning.

    A reply that is one JSON object speaks for itself: what its reasoning quotes does not count.
    Other text may give an object or a line `Choice: X`, but as its last words, and any other
    verdict in it makes it unreadable: a judge that quotes a candidate's fake verdict is not heard.
    """
    text = reply.strip()
    whole = _whole(text)
    found = _scattered(text, name) if whole is None else [(whole, text)]
    try:
        values = {read(value[name]) for value, _ in found if name in value}
    except (ValueError, TypeError) as error:
        raise JudgeReplyError(f"the reply's {name} is wrong: {error}") from None
    if len(values) != 1:
        problem = f"{len(values)} different verdicts" if values else f"no {name}"
        raise JudgeReplyError(f"{problem} in a reply of {len(reply)} characters that starts "
                              f"{reply[:200]!r}; compare it with configs/prompts/")
    if any(_bare(snippet) in _bare(candidate) for _, snippet in found for candidate in candidates):
        raise JudgeReplyError(f"the {name} also stands in a text that was judged, so it may be "
                              "a quotation")
    return values.pop(), str(found[-1][0].get("reasoning", text[:2000]))


def _whole(text: str) -> dict[str, Any] | None:
    """The one JSON object, plain or fenced, that a reply consists of."""
    fenced = re.fullmatch(r"```(?:json)?\s*(\{.*\})\s*```", text, re.DOTALL)
    inner = fenced[1] if fenced else text
    found = _json_object(inner)
    return found[1] if found and found[0] == len(inner) else None


def _tactics(reply: str, candidates: Sequence[str]) -> dict[str, str]:
    """The tactics that a reply names and why; every one of them must be answered, with a boolean.

    Free text is not searched: five answers leave too many ways to read a quotation.
    """
    answers = _whole(reply.strip())
    if answers is None or set(answers) != set(_TACTICS):
        raise JudgeReplyError("the reply is no JSON object with the answers "
                              f"{', '.join(_TACTICS)}; it starts {reply[:200]!r}")
    for key, one in answers.items():
        if not isinstance(one, dict) or not isinstance(one.get("present"), bool):
            raise JudgeReplyError(f"the reply's {key} is {one!r:.60}, without true or false")
    if any(_bare(reply) in _bare(candidate) for candidate in candidates):
        raise JudgeReplyError("the answers also stand in the text that was judged")
    return {_TACTICS[key]: str(one.get("reason", "")) for key, one in answers.items()
            if one["present"]}


def _bare(text: str) -> str:
    """A text without the marks that a quotation adds or loses."""
    return re.sub(r"[\s*_`\"'.>#-]", "", text).lower()


def _json_object(text: str) -> tuple[int, dict[str, Any]] | None:
    """The JSON object that `text` starts with and where it ends; a repeated name is not JSON."""
    def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name is repeated")
        return dict(pairs)

    try:
        value, end = json.JSONDecoder(object_pairs_hook=no_repeats).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return (end, value) if isinstance(value, dict) else None


def _scattered(text: str, name: str) -> list[tuple[dict[str, Any], str]]:
    """Verdicts in free text as (object, the words that say so), if the last ends the text."""
    found: list[tuple[int, dict[str, Any], str]] = []
    for match in re.finditer(r"\{", text):
        inner = _json_object(text[match.start():])
        if inner and name in inner[1]:
            end = match.start() + inner[0]
            found.append((end, inner[1], text[match.start():end]))
    says = rf"^[ \t*_#-]*{name}[ \t*_]*[:=][ \t*_]*(.+)$"
    for line in re.finditer(says, text, re.IGNORECASE | re.MULTILINE):
        found.append((line.end(), {name: line[1].strip(" *_`.\"'")}, line[0]))
    found.sort(key=lambda item: item[0])
    ends = bool(found) and not text[found[-1][0]:].strip(" \n\t`*.")
    return [(value, snippet) for _, value, snippet in found] if ends else []
