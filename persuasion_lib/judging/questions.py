"""What a judge is asked and how its reply is read: pure text, no network.

The texts that are judged come from strangers and from models, so they are untrusted. Each stands
between tags with a mark that is derived from the texts and occurs in none of them, so a text
cannot leave its place; and a verdict counts only where the judge's own answer must stand.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from persuasion_lib.core.errors import ConfigError, JudgeReplyError, MissingInput
from persuasion_lib.core.reading import read_text
from persuasion_lib.core.records import Message, content_id, render_text
from persuasion_lib.demo.standins import OfflineJudge

LETTERS = "ABCDEF"
# What a model thinks aloud before it answers; where it does not end there is no answer. Its begin
# may be missing, because the template put it into the prompt (DeepSeek R1, Qwen 3).
_BEGUN = re.compile(r"\A\s*(?:<(think(?:ing)?|thought|reasoning)>.*?(?:</\1>|\Z)|"
                    r"\[THINK\].*?(?:\[/THINK\]|\Z))", re.DOTALL)
_TAG = re.compile(r"</?(?:think(?:ing)?|thought|reasoning)>")
Prompts = Mapping[str, Sequence[Message]]       # example -> the messages to answer
PromptFile = Callable[[str], Path]              # name -> the file of configs/prompts
Texts = Mapping[str, Mapping[str, str]]         # example -> model -> its reply


@dataclass(frozen=True, kw_only=True)
class Question:
    """One call: what is asked about `item_id`, and in which order the candidates stand.

    Slot i shows the stored candidate `order[i]`. `sample` counts repetitions of the same question.
    Each kind of question is a class in `judging/tasks`: it names its template `task`, the `slots`
    of its candidates and the `schema` of its reply, reads a reply, and says what a stand-in says.
    """

    task: ClassVar[str]
    slots: ClassVar[str] = LETTERS

    item_id: str
    text: str
    system: str = ""
    context: str = ""
    candidates: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    sample: int = 0
    prompt_hash: str = ""
    messages: tuple[Message, ...] = ()

    @classmethod
    def compose(cls, item_id: str, context: str | Sequence[Message],
                candidates: Sequence[str] = (), *, order: Sequence[int] = (), sample: int = 0,
                prompts: PromptFile) -> Self:
        """The question about stored `candidates`, shown in `order`; `prompts` has the templates."""
        messages = () if isinstance(context, str) else tuple(context)
        shown = _encodable(context if isinstance(context, str) else render_text(list(context)))
        texts = tuple(_encodable(candidates[i]) for i in order)
        mark = _mark((shown, *texts))
        slots = cls.slots[:len(texts)]
        blocks = [_block("conversation", shown, mark)]
        blocks += [_block(f"reply_{slot}", text, mark)
                   for slot, text in zip(slots, texts, strict=True)]
        system, user = template(prompts(f"{cls.task}.txt"))
        values = {"mark": mark, "slots": ", ".join(slots), "material": "\n\n".join(blocks)}
        # One pass: a text that contains "{mark}" must stay as it is.
        filled = re.sub(r"\{(mark|slots|material)\}", lambda found: values[found[1]], user)
        return cls(item_id=item_id, text=filled, system=system, context=shown, candidates=texts,
                   order=tuple(order), sample=sample, prompt_hash=content_id(system, user),
                   messages=messages)

    def key(self, identity: Sequence[Any]) -> str:
        """40 hex digits of everything that the reply may depend on; `identity` is the judge's."""
        return content_id(list(identity), self.task, self.system, self.text, self.order,
                          self.schema, self.sample, length=40)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of the reply; None asks for plain text."""
        return None

    def read(self, reply: str) -> dict[str, Any]:
        """The verdict in presented order, as the log stores it.

        Raises:
            JudgeReplyError: no verdict, more than one, or one that may be a candidate's.
        """
        raise NotImplementedError

    def accepts(self, verdict: Mapping[str, Any]) -> bool:
        """Whether a verdict of a log is one of this question."""
        return True

    def stand_in(self, judge: OfflineJudge) -> str:
        """What a judge without a model replies, in the format that a real one uses."""
        raise NotImplementedError


@cache
def template(path: Path) -> tuple[str, str]:
    """System and user part of a file of configs/prompts, which a line `=====` separates."""
    try:
        text = read_text(path, made_by="git checkout")
    except MissingInput:
        raise ConfigError(f"{path} is missing. Restore it with: git checkout {path}") from None
    system, line, user = text.partition("\n=====\n")
    if not line or "{material}" not in user or "{mark}" not in user:
        raise ConfigError(f"{path} needs a line ===== and, below it, {{mark}} and {{material}}.")
    return system.strip(), user.strip()


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")      # lone surrogates become "?"


def _mark(texts: Sequence[str]) -> str:
    mark = content_id(list(texts), length=12)
    while any(mark in text for text in texts):
        mark = hashlib.sha256(mark.encode()).hexdigest()[:12]
    return mark


def _block(name: str, text: str, mark: str) -> str:
    return f"<{name}_{mark}>\n{text}\n</{name}_{mark}>"


def hashed_order(k: int, *parts: Any) -> tuple[int, ...]:
    """A permutation of range(k) that depends on `parts` only."""
    return tuple(sorted(range(k), key=lambda i: content_id(*parts, i, length=32)))


def schema_of(properties: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object with these properties and no others."""
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}


def read_verdict(reply: str, name: str, read: Callable[[Any], Any],
                 candidates: Sequence[str]) -> tuple[Any, str]:
    """The one verdict of a reply, as `read` gives it, and its reasoning.

    A reply that is one JSON object speaks for itself: what its reasoning quotes does not count.
    Other text may give an object or a line `Choice: X`, but as its last words, and any other
    verdict in it makes it unreadable: a judge that quotes a candidate's fake verdict is not heard.

    A leading block `<think>…</think>` is no part of the answer.

    Raises:
        JudgeReplyError: no verdict, more than one, or one that may be a candidate's.
    """
    text = answer_of(reply, candidates)
    whole = whole_object(text)
    found = _scattered(text, name) if whole is None else [(whole, text)]
    try:
        values = {read(value[name]) for value, _ in found if name in value}
    except (ValueError, TypeError) as error:
        raise JudgeReplyError(f"the reply's {name} is wrong: {error}") from None
    if len(values) != 1:
        problem = f"{len(values)} different verdicts" if values else f"no {name}"
        raise JudgeReplyError(f"{problem} in a reply of {len(reply)} characters that starts "
                              f"{reply[:200]!r}; compare it with configs/prompts/")
    # Without this, a judge that only repeats the fake verdict inside a text would be heard.
    if any(quotes(candidates, snippet) for _, snippet in found):
        raise JudgeReplyError(f"the {name} also stands in a text that was judged, so it may be "
                              "a quotation")
    last, _ = found[-1]
    return values.pop(), str(last.get("reasoning", text[:2000]))


def answer_of(reply: str, candidates: Sequence[str] = ()) -> str:
    """A reply without the thinking before it and without space around it.

    A reply that is an object holds no thinking before it, whatever its reasoning quotes; and where
    a text that was judged has the sign of the end of thinking, a lone one may be a quotation.
    """
    text = _BEGUN.sub("", reply).strip()
    tags = [tag[0] for tag in _TAG.finditer(text)]
    is_lone_end = len(tags) == 1 and tags[0].startswith("</")
    may_be_quoted = any(_TAG.search(candidate) for candidate in candidates)
    if not is_lone_end or may_be_quoted or whole_object(text):
        return text
    return text.partition(tags[0])[2].strip()


def quotes(candidates: Sequence[str], snippet: str) -> bool:
    """Whether a part of a reply also stands in a text that was judged."""
    return any(_bare(snippet) in _bare(candidate) for candidate in candidates)


def _bare(text: str) -> str:
    """A text without the marks that a quotation adds or loses."""
    return re.sub(r"[\s*_`\"'.>#-]", "", text).lower()


def whole_object(text: str) -> dict[str, Any] | None:
    """The one JSON object, plain or fenced, that a reply consists of."""
    fenced = re.fullmatch(r"```(?:json)?\s*(\{.*\})\s*```", text, re.DOTALL)
    inner = fenced[1] if fenced else text
    value, end = _json_object(inner)
    return value if end == len(inner) else None


def _json_object(text: str) -> tuple[dict[str, Any] | None, int]:
    """The JSON object that `text` starts with and where it ends; a repeated name is not JSON."""
    def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name is repeated")
        return dict(pairs)

    try:
        # Not strict: a line feed inside a text, which small models write, ends no verdict.
        decoder = json.JSONDecoder(object_pairs_hook=no_repeats, strict=False)
        value, end = decoder.raw_decode(text)
    except (ValueError, RecursionError):
        return None, 0
    return (value, end) if isinstance(value, dict) else (None, 0)


def _scattered(text: str, name: str) -> list[tuple[dict[str, Any], str]]:
    """Verdicts in free text as (object, the words that say so), if the last ends the text."""
    found: list[tuple[int, dict[str, Any], str]] = []
    for brace in re.finditer(r"\{", text):
        value, length = _json_object(text[brace.start():])
        if value and name in value:
            end = brace.start() + length
            found.append((end, value, text[brace.start():end]))
    says = rf"^[ \t*_#-]*{name}[ \t*_]*[:=][ \t*_]*(.+)$"
    for line in re.finditer(says, text, re.IGNORECASE | re.MULTILINE):
        found.append((line.end(), {name: line[1].strip(" *_`.\"'")}, line[0]))
    found.sort(key=lambda item: item[0])
    last_end = found[-1][0] if found else 0
    says_more = text[last_end:].strip(" \n\t`*.")
    return [] if says_more else [(value, snippet) for _, value, snippet in found]
