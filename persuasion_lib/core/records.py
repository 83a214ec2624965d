"""Field names of every file, and the one place that translates them.

In code the responses of a pair are `a` and `b` and a label is "a", "b" or "tie"; in the files
(data/README.md) they are `response_1`, `response_2` and "1", "2", "EQUAL".
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import (
    check_votes,
    form_of,
    identity,
    is_absent,
    role_of,
    yes_or_no,
)

Label = Literal["a", "b", "tie"]
Slot = Literal["first", "second", "tie"]        # of one showing; a label is of the stored pair
Message = dict[str, str]

FLIPPED: dict[Label, Label] = {"a": "b", "b": "a", "tie": "tie"}
CODE_OF_LABEL: dict[Label, str] = {"a": "1", "b": "2", "tie": "EQUAL"}
LABEL_OF_CODE: dict[str, Label] = {code: label for label, code in CODE_OF_LABEL.items()}
SLOT_OF_CODE: dict[str, Slot] = {"1": "first", "2": "second", "EQUAL": "tie"}
_SLOT_OF_LABEL: dict[Label, Slot] = {"a": "first", "b": "second", "tie": "tie"}
_LABEL_OF_SLOT: dict[Slot, Label] = {slot: label for label, slot in _SLOT_OF_LABEL.items()}
_IDS = ("pair_id", "example_id", "conversation_id")


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


class _OfConversation:
    """A row whose metadata may say which conversation it is of."""

    @property
    def conversation_id(self) -> str | None:
        """What no two sets may share; None where nobody knows it."""
        return identity(self.metadata.get("conversation_id"))


@dataclass(frozen=True)
class Pair(_OfConversation):
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
        return replace(self, pair=pair, label=FLIPPED[self.label],
                       again=FLIPPED[self.again] if self.again else None)

    @property
    def chosen(self) -> str:
        """The winner; for a tie the first response, which no training stage may use."""
        return self.pair.response_b if self.label == "b" else self.pair.response_a

    @property
    def rejected(self) -> str:
        """The loser; for a tie the second response."""
        return self.pair.response_a if self.label == "b" else self.pair.response_b


@dataclass(frozen=True)
class Example(_OfConversation):
    """A prompt with the reply that a person really wrote: an SFT row or a test prompt."""

    example_id: str
    prompt: list[Message]
    response: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judge_only(self) -> bool:
        """Whether no person is ever shown a model's reply to this prompt."""
        return bool(yes_or_no("metadata.judge_only", self.metadata.get("judge_only")))


def unswap(slot: Slot, *, swapped: bool) -> Label:
    """What the choice of a slot says of the pair; `swapped` if its response `b` was shown first."""
    label = _LABEL_OF_SLOT[slot]
    return FLIPPED[label] if swapped else label


def slot_of(label: Label, *, swapped: bool) -> Slot:
    """The slot that means a label: `unswap` the other way."""
    return _SLOT_OF_LABEL[FLIPPED[label] if swapped else label]


def content_id(*parts: Any, length: int = 16) -> str:
    """A stable id of `length` hex digits from the JSON form of `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:length]


_SPEAKER = {"user": "THEM", "assistant": "PERSUADER"}
_MARKERS = ("[SYSTEM]", "[CONTEXT]", "[TASK]", "[RESPONSE]")


def to_messages(prompt: str | list[Message]) -> list[Message]:
    """Chat messages of a prompt in either file form.

    A string is the four-block form `[SYSTEM] … [CONTEXT] … [TASK] … [RESPONSE]`; its context and
    task become one user message. A list must hold `{"role", "content"}`; a system message stands
    first, as people and judges do not see it. Roles may have other projects' names.

    Raises:
        DataError: the string lacks a block, a message lacks its content, or its role is unknown.
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
    messages = [{"role": role_of(m["role"]), "content": m["content"]} for m in prompt]
    roles = [message["role"] for message in messages]
    if "system" in roles[1:] or "user" not in roles:
        raise DataError(f"a prompt has a message of the user, and a system message only as its "
                        f"first; its roles are {', '.join(roles)}")
    return messages


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
    asked = {"role": "user", "content": f"{context}\n\n{task}"}
    return [{"role": "system", "content": system}, asked]


def render_text(prompt: list[Message]) -> str:
    """The prompt as plain text for people and judges: one block a message, no system message.

    Raises:
        DataError: a role has no name here, so that its message would be lost.
    """
    return "\n\n".join(f"{_SPEAKER[role_of(m['role'])]}: {m['content']}"
                       for m in prompt if m["role"] != "system")


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is known about a row; an absent id is not in it, and an id is text."""
    metadata = row.get("metadata")
    if is_absent(metadata):
        return {}
    if not isinstance(metadata, dict):
        raise DataError("metadata must be an object")
    ids = {name: identity(metadata.get(name)) for name in _IDS}
    return {name: ids.get(name, value) for name, value in metadata.items()
            if ids.get(name, value) is not None or name not in _IDS}


def _prompt(row: Mapping[str, Any], name: str) -> list[Message]:
    if is_absent(row.get(name)):
        raise DataError(f"the row has no {name}{form_of(row)}")
    return to_messages(row[name])


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"field {name!r} must be text, got {value!r:.60}{form_of(row)}")
    return value


def parse_pair(row: Mapping[str, Any]) -> Pair:
    """A row of `*_pool_responses.jsonl`: `{prompt, response_1, response_2, metadata}`."""
    prompt = _prompt(row, "prompt")
    first, second = _text(row, "response_1"), _text(row, "response_2")
    return _pair(prompt, first, second, _metadata(row))


def _pair(prompt: list[Message], first: str, second: str, metadata: dict[str, Any]) -> Pair:
    pair_id = metadata.get("pair_id", content_id(prompt, first, second))
    return Pair(pair_id, prompt, first, second, metadata)


def pair_row(pair: Pair) -> dict[str, Any]:
    """The file form of a pair; `parse_pair` reads it back."""
    return {"prompt": pair.prompt, "response_1": pair.response_a, "response_2": pair.response_b,
            "metadata": {**pair.metadata, "pair_id": pair.pair_id}}


def parse_labeled(row: Mapping[str, Any]) -> LabeledPair:
    """A row of `*_labeled.jsonl`, also of older files that store a tie as a random "1" or "2".

    Raises:
        DataError: a field is missing, `preference` is none of "1", "2", "EQUAL", or `is_equal` is
            neither true nor false.
    """
    metadata = _metadata(row)
    check_votes(metadata.get("given"), LABEL_OF_CODE)
    code, again = (identity(metadata.get(name)) for name in ("preference", "relabelled"))
    for name, given in (("preference", code), ("relabelled", again or "EQUAL")):
        if given not in LABEL_OF_CODE:
            raise DataError(f'metadata.{name} must be "1", "2" or "EQUAL", got {given!r}')
    prompt = _prompt(row, "prompt")
    chosen = _text(row, "chosen")
    rejected = _text(row, "rejected")
    first, second = (rejected, chosen) if code == "2" else (chosen, rejected)
    is_equal = yes_or_no("metadata.is_equal", metadata.get("is_equal"))
    label: Label = "tie" if is_equal else LABEL_OF_CODE[code]
    reasoning = metadata.get("reasoning")
    return LabeledPair(_pair(prompt, first, second, metadata), label, grader_of(row, metadata),
                       "" if is_absent(reasoning) else str(reasoning),
                       LABEL_OF_CODE[again] if again else None)


def grader_of(row: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Who labelled a row, under the names that projects have for it; a stand-in is called one."""
    names = (metadata.get("grader"), metadata.get("labeled_by"), row.get("labeled_by"))
    name = next((str(name) for name in names if not is_absent(name)), "unknown")
    flagged = yes_or_no("metadata.stand_in", metadata.get("stand_in"))
    return f"{name} (stand-in)" if flagged and "stand-in" not in name else name


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
    prompt = _prompt(row, "input_text")
    response = _text(row, "response")
    metadata = _metadata(row)
    yes_or_no("metadata.judge_only", metadata.get("judge_only"))
    return Example(metadata.get("example_id", content_id(prompt, response)), prompt, response,
                   metadata)


def example_row(example: Example) -> dict[str, Any]:
    """The file form of an example; `parse_example` reads it back."""
    return {"input_text": example.prompt, "response": example.response,
            "metadata": {**example.metadata, "example_id": example.example_id}}
