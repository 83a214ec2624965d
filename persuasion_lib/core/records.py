"""Field names of every file, and the one place that translates them.

In the code the two responses of a pair are `a` and `b` and a label is "a", "b" or "tie".
In the files (data/README.md) they are `response_1`, `response_2` and "1", "2", "EQUAL".
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from persuasion_lib.core.errors import DataError

Label = Literal["a", "b", "tie"]
Message = dict[str, str]

_FLIPPED: dict[Label, Label] = {"a": "b", "b": "a", "tie": "tie"}
CODE_OF_LABEL: dict[Label, str] = {"a": "1", "b": "2", "tie": "EQUAL"}
LABEL_OF_CODE: dict[str, Label] = {code: label for label, code in CODE_OF_LABEL.items()}


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    `role` is "assistant" for the side that persuades and "user" for the side to be persuaded.
    `won` says whether this turn changed the other side's mind; None where the corpus does not know.
    `raw` is the text before cleaning, where cleaning changed it.
    """

    role: Literal["user", "assistant"]
    text: str
    won: bool | None = None
    raw: str | None = None


@dataclass(frozen=True)
class Conversation:
    """A persuasion dialogue in the order it was written."""

    conversation_id: str
    source: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Pair:
    """One prompt and two responses to it, not yet compared."""

    pair_id: str
    prompt: list[Message]
    response_a: str
    response_b: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LabeledPair:
    """A pair and which response won.

    `label` refers to the stored order of `response_a` and `response_b`, never to the order in
    which a judge or a person happened to see them. `again` is what the same person said when the
    pair came a second time, unannounced; None if it did not.
    """

    pair: Pair
    label: Label
    labeled_by: str
    reasoning: str = ""
    again: Label | None = None

    def swapped(self) -> Self:
        """The same judgment with the two responses exchanged."""
        pair = replace(self.pair, response_a=self.pair.response_b, response_b=self.pair.response_a)
        return replace(self, pair=pair, label=_FLIPPED[self.label],
                       again=_FLIPPED[self.again] if self.again else None)

    @property
    def chosen(self) -> str:
        """The winner; for a tie the first response, which no training stage may use."""
        return self.pair.response_b if self.label == "b" else self.pair.response_a

    @property
    def rejected(self) -> str:
        """The loser; for a tie the second response."""
        return self.pair.response_a if self.label == "b" else self.pair.response_b


@dataclass(frozen=True)
class Example:
    """A prompt with the reply that a person really wrote: an SFT row or a test prompt."""

    example_id: str
    prompt: list[Message]
    response: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def unswap(label: Label, *, swapped: bool) -> Label:
    """The label in stored order, given a label in the order that was presented."""
    return _FLIPPED[label] if swapped else label


def content_id(*parts: Any, length: int = 16) -> str:
    """A stable id of `length` hex digits from the JSON form of `parts`."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


_MARKERS = ("[SYSTEM]", "[CONTEXT]", "[TASK]", "[RESPONSE]")


def to_messages(prompt: str | list[Message]) -> list[Message]:
    """Chat messages of a prompt in either file form.

    A string is the four-block form `[SYSTEM] … [CONTEXT] … [TASK] … [RESPONSE]`; its context and
    task become one user message. A list must hold `{"role", "content"}` and end with the user.

    Raises:
        DataError: the string lacks a block, or a message lacks a role or content.
    """
    if isinstance(prompt, str):
        return _four_blocks(prompt)
    if not isinstance(prompt, list) or not prompt:
        raise DataError("a prompt is a string in the four-block form or a list of chat messages")
    for message in prompt:
        if not isinstance(message, dict) or not {"role", "content"} <= set(message):
            raise DataError(f"a chat message needs role and content, got {message!r:.80}")
        if not isinstance(message["content"], str):
            raise DataError(f"the content of a chat message is text, got {message!r:.80}")
    return [{"role": m["role"], "content": m["content"]} for m in prompt]


def _four_blocks(prompt: str) -> list[Message]:
    # The last [TASK] and [RESPONSE] count: the context is somebody's text and may quote a marker.
    system_at = prompt.find("[SYSTEM]")
    context_at = prompt.find("[CONTEXT]")
    task_at = prompt.rfind("[TASK]")
    response_at = prompt.rfind("[RESPONSE]")
    if not 0 <= system_at < context_at < task_at < response_at:
        raise DataError(
            f"a prompt string needs the blocks {', '.join(_MARKERS)} in this order; "
            f"it starts {prompt[:60]!r}. Use that form, or a list of chat messages.")
    system = prompt[system_at + len("[SYSTEM]"):context_at].strip()
    context = prompt[context_at + len("[CONTEXT]"):task_at].strip()
    task = prompt[task_at + len("[TASK]"):response_at].strip()
    return [{"role": "system", "content": system},
            {"role": "user", "content": f"{context}\n\n{task}"}]


def render_text(prompt: list[Message]) -> str:
    """The prompt as plain text for people and judges: one block a message, no system message."""
    speaker = {"user": "THEM", "assistant": "PERSUADER"}
    return "\n\n".join(f"{speaker[m['role']]}: {m['content']}"
                       for m in prompt if m["role"] in speaker)


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    metadata = row.get("metadata", {})
    if not isinstance(metadata, dict):
        raise DataError("metadata must be an object")
    return metadata


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"field {name!r} must be text, got {value!r:.60}")
    return value


def parse_pair(row: Mapping[str, Any]) -> Pair:
    """A row of `*_pool_responses.jsonl`: `{prompt, response_1, response_2, metadata}`."""
    prompt = to_messages(row.get("prompt"))
    first = _text(row, "response_1")
    second = _text(row, "response_2")
    metadata = _metadata(row)
    pair_id = metadata.get("pair_id") or content_id(prompt, first, second)
    return Pair(str(pair_id), prompt, first, second, metadata)


def pair_row(pair: Pair) -> dict[str, Any]:
    """The file form of a pair; `parse_pair` reads it back."""
    return {"prompt": pair.prompt, "response_1": pair.response_a, "response_2": pair.response_b,
            "metadata": {**pair.metadata, "pair_id": pair.pair_id}}


def parse_labeled(row: Mapping[str, Any]) -> LabeledPair:
    """A row of `*_labeled.jsonl`, also of older files that store a tie as a random "1" or "2".

    Raises:
        DataError: a field is missing, or `preference` is none of "1", "2", "EQUAL".
    """
    metadata = _metadata(row)
    code = str(metadata.get("preference"))
    again = metadata.get("relabelled")
    for name, given in (("preference", code), ("relabelled", again)):
        if given not in LABEL_OF_CODE and given is not None:
            raise DataError(f'metadata.{name} must be "1", "2" or "EQUAL", got {given!r}')
    prompt = to_messages(row.get("prompt"))
    chosen = _text(row, "chosen")
    rejected = _text(row, "rejected")
    first, second = (rejected, chosen) if code == "2" else (chosen, rejected)
    label: Label = "tie" if metadata.get("is_equal") else LABEL_OF_CODE[code]
    pair_id = metadata.get("pair_id") or content_id(prompt, first, second)
    pair = Pair(str(pair_id), prompt, first, second, metadata)
    return LabeledPair(pair, label, str(metadata.get("grader", "unknown")),
                       str(metadata.get("reasoning", "")), LABEL_OF_CODE[again] if again else None)


def labeled_row(labeled: LabeledPair, **extra: Any) -> dict[str, Any]:
    """The file form of a labelled pair; `parse_labeled` reads it back."""
    metadata = {**labeled.pair.metadata, "pair_id": labeled.pair.pair_id,
                "grader": labeled.labeled_by, "preference": CODE_OF_LABEL[labeled.label],
                "is_equal": labeled.label == "tie", "reasoning": labeled.reasoning,
                **({"relabelled": CODE_OF_LABEL[labeled.again]} if labeled.again else {}), **extra}
    return {"prompt": labeled.pair.prompt, "chosen": labeled.chosen,
            "rejected": labeled.rejected, "metadata": metadata}


def parse_example(row: Mapping[str, Any]) -> Example:
    """A row of an SFT or evaluation file: `{input_text, response, metadata}`."""
    prompt = to_messages(row.get("input_text"))
    response = _text(row, "response")
    metadata = _metadata(row)
    example_id = metadata.get("example_id") or content_id(prompt, response)
    return Example(str(example_id), prompt, response, metadata)


def example_row(example: Example) -> dict[str, Any]:
    """The file form of an example; `parse_example` reads it back."""
    return {"input_text": example.prompt, "response": example.response,
            "metadata": {**example.metadata, "example_id": example.example_id}}
