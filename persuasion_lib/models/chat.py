"""Chat templates: what a model reads for a prompt and a reply, decided once for every model.

Templates differ: some refuse a system message, or a dialogue that the assistant opens; some write
today's date or a thinking block. `adapt` puts a preamble before the template that brings our
messages into a form it takes, so that training, sampling and an exported model agree; then it
renders every shape of dialogue that a corpus may have. What cannot be made right is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase as Tokenizer

from persuasion_lib.core.errors import LineageError
from persuasion_lib.core.records import Message

# Llama's own date for when nobody tells it the time; with today's no prompt would come twice.
_DATE = {"%A": "Friday", "%a": "Fri", "%d": "26", "%-d": "26", "%B": "July", "%b": "Jul",
         "%m": "07", "%Y": "2024", "%y": "24", "%H": "12", "%I": "12", "%p": "PM", "%M": "00",
         "%S": "00"}
_DATE_STRING = "26 Jul 2024"
_PINNED = ("{%- macro strftime_now(form) -%}{{ form"
           + "".join(f" | replace('{code}', '{value}')" for code, value in _DATE.items())
           + " }}{%- endmacro -%}{%- set date_string = '" + _DATE_STRING + "' -%}")
_NO_THINKING = "{%- set enable_thinking = false -%}"
_CLOSED = ("{%- if messages[-1]['role'] == 'assistant' and not add_generation_prompt -%}"
           "{{- eos_token -}}{%- endif -%}")
# FOLD: when the system message becomes (part of) the first turn of the user.
_TURNS = "".join(line.strip() for line in Path(__file__).with_name("turns.j2").read_text(
    encoding="utf-8").splitlines())
# What may be done to the messages, least first, each with the note that says so.
_TURNS_OF = {
    "": "",
    _TURNS.replace("FOLD", "messages[1]['role'] == 'assistant'"):
        "its template wants user and assistant in turn: neighbouring messages of one side are "
        "joined, and where the assistant opens, the system message is the user's first turn",
    _TURNS.replace("FOLD", "true"):
        "its template has no place for a system message: it stands at the head of the user's "
        "first turn",
}

# Every shape of dialogue before a reply, by the first letters of the roles.
SHAPES = ("u", "su", "sau", "au", "suau", "uau", "sauau", "suu", "suaau")
_ROLES = {"s": "system", "u": "user", "a": "assistant"}
_REPLY = "Reply one. It's 2 × 3,\n\nor  more , isn't it?!"


def adapt(tokenizer: Tokenizer, name: str) -> list[str]:
    """Make the template of a tokenizer fit for every dialogue; returns notes on what was done.

    Raises:
        LineageError: it has no template, or one that would teach or read something else than the
            messages; the message says what, and what to do.
    """
    tokenizer.clean_up_tokenization_spaces = False      # it would change sampled replies
    template, notes = _one_template(tokenizer, name)
    notes += _losses(tokenizer, name)
    preamble = ""
    if "enable_thinking" in template:
        preamble += _NO_THINKING
        notes.append("thinking is switched off in its template (enable_thinking)")
    if "strftime_now" in template or "date_string" in template:
        preamble += _PINNED
        notes.append("its template writes today's date, with which no prompt would come twice: "
                     f"it is {_DATE_STRING} here")
    faults = []
    for before, after, own_notes in _forms():
        before = preamble + before
        # Its line ends with a block, which swallows the line break: the template begins as ever.
        tokenizer.chat_template = (before and before + "\n") + template + after
        found = next(filter(None, (_fault(tokenizer, shape) for shape in SHAPES)), None)
        if not found:
            return [*notes, *own_notes]
        faults.append(found)
    raise LineageError(f"{name} cannot be used: {faults[0]}. Choose an instruct model whose "
                       "template writes messages and reply as they are, for example "
                       "Qwen/Qwen2.5-0.5B-Instruct.")


def _losses(tokenizer: Tokenizer, name: str) -> list[str]:
    """What a text loses on its way through the tokens and back.

    Raises:
        LineageError: all of its words, as where transformers made do without the vocabulary.
    """
    back = tokenizer.decode(_ids(tokenizer, _REPLY)).strip()
    if "reply one" not in back.lower():
        raise LineageError(f"the tokenizer of {name} does not know the words of a text: {_REPLY!r} "
                           f"comes back as {back!r:.60}. Its folder needs tokenizer.json.")
    return [] if back == _REPLY else [
        f"its tokenizer changes texts: {_REPLY!r} comes back as {back!r}"]


def _forms() -> Iterator[tuple[str, str, list[str]]]:
    """What may stand before and after a template, least first, with notes."""
    for before, note in _TURNS_OF.items():
        yield before, "", [note] if note else []
    closed = "its template does not close a reply: the tokenizer's end token does"
    for before, note in _TURNS_OF.items():
        yield before, _CLOSED, [note, closed] if note else [closed]


def _one_template(tokenizer: Tokenizer, name: str) -> tuple[str, list[str]]:
    found = tokenizer.chat_template
    if not found:
        raise LineageError(f"{name} has no chat template, so it is no instruct model. "
                           "Choose one that has, for example Qwen/Qwen2.5-0.5B-Instruct.")
    if isinstance(found, str):
        return found, []
    if "default" not in found:
        raise LineageError(f"{name} has the chat templates {', '.join(sorted(found))} and none "
                           "that is called default. Save the one that you mean as "
                           "chat_template.jinja in its folder.")
    return found["default"], [f"of its {len(found)} chat templates the default one is used"]


def _fault(tokenizer: Tokenizer, shape: str) -> str | None:
    """What is wrong with how a dialogue of this shape is written; None where nothing is."""
    prompt = [{"role": _ROLES[letter], "content": f"Word{at}{letter} said."}
              for at, letter in enumerate(shape)]
    roles = ", ".join(message["role"] for message in prompt)
    try:
        fault = unfaithful(tokenizer, prompt, _REPLY) or _disorder(tokenizer, prompt)
    except (TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
        return f"its chat template refuses a dialogue of {roles} ({str(error):.120})"
    return f"in a dialogue of {roles}, {fault}" if fault else None


def _disorder(tokenizer: Tokenizer, prompt: Sequence[Message]) -> str | None:
    """Whether a message comes twice, or those of the two sides are not in their order."""
    text = _text(tokenizer, prompt, add_generation_prompt=True)
    places = [text.index(m["content"]) for m in prompt if m["role"] != "system"]
    once = all(text.count(m["content"]) == 1 for m in prompt)
    return None if once and places == sorted(places) else "its chat template reorders messages"


def unfaithful(tokenizer: Tokenizer, prompt: Sequence[Message], reply: str) -> str | None:
    """How prompt and reply, as the model gets them, differ from what they say; None if not at all.

    Every message must be there, the prompt alone must be how prompt and reply begin, also in
    tokens, and what follows must be the reply and a token that ends it.
    """
    start = _text(tokenizer, prompt, add_generation_prompt=True)
    whole = _text(tokenizer, [*prompt, {"role": "assistant", "content": reply}])
    lost = [m for m in prompt if m["content"].strip() not in start]
    if lost:
        return (f"its chat template leaves out or changes a message of the {lost[0]['role']} "
                f"({lost[0]['content']!r:.60})")
    if not whole.startswith(start):
        return (f"its chat template writes {_difference(start, whole)!r} before a reply that is "
                "sampled, and not before one that is given"
                + (" (it is a model that thinks first)" if "think" in start else ""))
    after = whole[len(start):].lstrip()
    closing = after[len(reply.strip()):]
    if not after.startswith(reply.strip()):
        return f"the reply {reply!r:.40} would be {after!r:.60} in its chat template"
    ids = _ids(tokenizer, whole)
    first = _ids(tokenizer, start)
    if ids[:len(first)] != first:
        return "the first token of the reply merges with the prompt (blank space before it?)"
    if ids[:2] == [tokenizer.bos_token_id] * 2:
        return "its chat template begins with two tokens for the beginning of a text"
    if not _closing(tokenizer, closing):
        return (f"its chat template closes a reply with {closing!r:.40}, which is no token of its "
                "own, so that a sampled reply would never end")
    return None


def changed_rows(tokenizer: Tokenizer,
                 rows: Iterable[tuple[Sequence[Message], Sequence[str]]]) -> dict[int, str]:
    """Of prompts with their replies, which the model would get otherwise, by number from 1."""
    faults = {number: next(filter(None, (unfaithful(tokenizer, prompt, reply)
                                         for reply in replies)), None)
              for number, (prompt, replies) in enumerate(rows, start=1)}
    return {number: fault for number, fault in faults.items() if fault}


def _text(tokenizer: Tokenizer, messages: Sequence[Message], **options: Any) -> str:
    return tokenizer.apply_chat_template(list(messages), tokenize=False, **options)


def _difference(start: str, whole: str) -> str:
    same = next(at for at, sign in enumerate(start) if whole[at:at + 1] != sign)
    return start[same:same + 60]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _closing(tokenizer: Tokenizer, tail: str) -> list[int]:
    """The token ids of a text that begins with a control token; none where it does not."""
    ids = _ids(tokenizer, tail.lstrip())
    added = tokenizer.added_tokens_decoder.items()
    control = {*tokenizer.all_special_ids, *(number for number, token in added if token.special)}
    return ids if ids and ids[0] in control else []


def closing_ids(tokenizer: Tokenizer) -> list[int]:
    """What the template writes behind a reply, beginning with the token that ends it."""
    whole = _text(tokenizer, [{"role": "user", "content": "?"},
                              {"role": "assistant", "content": _REPLY}])
    return _closing(tokenizer, whole.rpartition(_REPLY)[2])
