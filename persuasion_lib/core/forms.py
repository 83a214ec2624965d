"""Pairs, labels and examples in the forms of other projects, read as our rows.

Argilla and Label Studio keep several answers of a pair, trl and the hub's preference sets only the
winner. A form that is read is recognised by its fields, so that nobody has to name it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from persuasion_lib.core.answers import PERSON, Answer, answers_of, counted
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import is_absent, role_of
from persuasion_lib.core.records import Message, content_id, to_messages

Row = dict[str, Any]
_SIDES = (("1", "2"), ("a", "b"), ("A", "B"), ("left", "right"))
_PROMPTS = ("messages", "prompt", "question", "instruction", "context", "input")
# What is kept of a row beside texts and answers; who a person was is nobody's business.
_KEPT = ("pair_id", "example_id", "conversation_id", "source", "turn", "stand_in")
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")     # Anthropic's, in one text


@dataclass(frozen=True)
class Form:
    """A form of rows: how it is recognised, and what a row of it is in ours."""

    name: str
    is_of: Callable[[Row], bool]
    read: Callable[[Row], Row]


def as_ours(row: Row) -> Row:
    """A row of another project as one of ours, any other row as it is.

    A pair that nobody answered has the form of the responses files, an answered one that of the
    labelled files. Of several people's answers the majority counts; without one it is a tie. The
    row's `given` then lists them, and its `reasoning` begins with how many they were.

    Raises:
        DataError: the form is known, and the row lacks something or says two things.
    """
    form = next((form for form in FORMS if form.is_of(row)), None)
    if form is None:
        return row
    try:
        return form.read(row)
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}. This looks like {form.name} form; "
                        "data/README.md says what of it is read") from None
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise DataError(f"its fields are not those of {form.name} form ({error!r:.60})") from None


def is_unanswered(row: Row) -> bool:
    """Whether a row of `as_ours` holds a pair that nobody has compared."""
    return "response_1" in row


def without_answer(row: Row) -> Row:
    """A row of `as_ours` as one of the responses files."""
    if "chosen" not in row:
        return row
    kept = _known(row["metadata"])
    replies = (row["chosen"], row["rejected"])
    first, second = replies[::-1] if row["metadata"].get("preference") == "2" else replies
    return {"prompt": row["prompt"], "response_1": first, "response_2": second, "metadata": kept}


def _ours(prompt: list[Message], replies: Sequence[str], metadata: Row,
          answers: Sequence[Answer], reasoning: str = "") -> Row:
    first, second = replies
    if not answers:
        return {"prompt": prompt, "response_1": first, "response_2": second, "metadata": metadata}
    code, votes = counted([answer.code for answer in answers])
    # Of one person too: the next pair may have two, and who is who must be seen.
    given = [{"annotator": answer.name, "preference": answer.code} for answer in answers
             if answer.name and (len(answers) > 1 or answer.grader == PERSON)]
    chosen, rejected = (second, first) if code == "2" else (first, second)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "metadata": {
        **metadata, "preference": code, "is_equal": code == "EQUAL", "grader": answers[0].grader,
        "reasoning": ": ".join(filter(None, (votes, reasoning))),
        **({"given": given} if given else {})}}


def _known(fields: Mapping[str, Any]) -> Row:
    return {name: fields[name] for name in _KEPT if not is_absent(fields.get(name))}


def _couple(texts: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the two replies: alike, but for 1 and 2, a and b, or left and right."""
    found = [(name, name[:-len(one)] + two) for name in texts for one, two in _SIDES
             if name.endswith(one) and name[:-len(one)] + two in texts]
    if len(found) != 1:
        raise DataError("its two replies must be fields such as response_1 and response_2; the "
                        f"fields are {', '.join(texts)}")
    return found[0]


def _prompt_of(fields: Mapping[str, Any]) -> list[Message]:
    name = next((name for name in _PROMPTS if not is_absent(fields.get(name))), None)
    if name is None:
        raise DataError(f"it has no prompt: none of {', '.join(_PROMPTS)} among "
                        f"{', '.join(fields)}")
    return _messages(fields[name])


def _messages(prompt: Any) -> list[Message]:
    """Chat messages of a prompt; a text is one message of the user, unless it has our blocks."""
    if isinstance(prompt, str) and "[TASK]" not in prompt:
        return [{"role": "user", "content": prompt}]
    return to_messages(prompt)


def _from_argilla(row: Row) -> Row:
    """A record as `dataset.records.to_json` writes it, or of a feedback dataset of 1.x."""
    fields = row["fields"]
    first, second = _couple(fields)
    people = _argilla_people(row.get("responses") or {})
    given = row.get("suggestions") or {}
    if isinstance(given, list):
        given = {entry.get("question_name"): entry for entry in given}
    agent = next((entry["agent"] for entry in given.values() if entry.get("agent")), "suggestion")
    by_model = {name: entry.get("value") for name, entry in given.items()}
    answers, words = answers_of(people or [(agent, by_model)], first, second)
    return _ours(_prompt_of(fields), (fields[first], fields[second]),
                 _known(row.get("metadata") or {}), answers, words)


def _argilla_people(responses: Any) -> list[tuple[str, Row]]:
    """The submitted answers by person and question."""
    if isinstance(responses, dict):
        entries = [(entry, {name: entry}) for name, given in responses.items() for entry in given]
    else:
        entries = [(entry, entry.get("values") or {}) for entry in responses]
    found: dict[str, Row] = {}
    for entry, values in entries:
        if entry.get("status", "submitted") == "submitted":
            mine = found.setdefault(str(entry.get("user_id")), {})
            mine |= {name: value.get("value") for name, value in values.items()}
    return list(found.items())


def _from_label_studio(row: Row) -> Row:
    """A task as the JSON export has it, or as it is imported; a skipped one has no answer."""
    data = row["data"]
    first, second = _couple({name: text for name, text in data.items() if isinstance(text, str)})
    people = [(_completed_by(entry, place), _controls(entry))
              for place, entry in enumerate(row.get("annotations") or ())
              if not entry.get("was_cancelled")]
    models = [(str(entry.get("model_version") or "prediction"), _controls(entry))
              for entry in row.get("predictions") or ()]
    is_answered = any(values for _, values in people)
    answers, words = answers_of(people if is_answered else models, first, second)
    return _ours(_prompt_of(data), (data[first], data[second]), _known(data), answers, words)


def _completed_by(annotation: Row, place: int) -> str:
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    return f"annotation {place + 1}" if who is None else str(who)


def _controls(annotation: Row) -> Row:
    """Answers by control; the pairwise tag says left or right, the other ones give lists."""
    found = {}
    for result in annotation.get("result") or ():
        value = result.get("value") or {}
        given = value.get("selected") or value.get("choices") or value.get("text")
        is_list = isinstance(given, list) and given
        found[str(result.get("from_name"))] = given[0] if is_list else given
    return {name: value for name, value in found.items() if value is not None}


def _from_preference(row: Row) -> Row:
    """`chosen` and `rejected`, texts or messages, with a `prompt` or with it in front of both.

    Which of the two stood first nobody knows, so a hash draws it: checks of sides need both.
    """
    has_prompt = not is_absent(row.get("prompt"))
    before, chosen = _reply(row["chosen"], has_prompt)
    other, rejected = _reply(row["rejected"], has_prompt)
    if before != other:
        raise DataError("chosen and rejected do not answer the same messages")
    if not before and not has_prompt:
        raise DataError("it has no prompt, and none in front of both replies")
    prompt = before or _messages(row["prompt"])
    is_second = int(content_id(prompt, *sorted((chosen, rejected))), 16) % 2 == 1
    replies = (rejected, chosen) if is_second else (chosen, rejected)
    grader = str(row.get("grader") or "unknown")
    return _ours(prompt, replies, _known(row), [Answer(grader, "2" if is_second else "1")])


def _reply(said: Any, has_prompt: bool) -> tuple[list[Message], str]:
    """The messages before a reply, none where the row has a prompt apart, and the reply."""
    if isinstance(said, str) and has_prompt:
        return [], said
    if isinstance(said, str):
        parts = _TURN.split(said)[1:]
        said = [{"role": role.lower(), "content": text.strip()}
                for role, text in zip(parts[::2], parts[1::2], strict=True)]
    if not isinstance(said, list) or not said or not isinstance(said[-1], dict) or (
            role_of(said[-1].get("role")) != "assistant"):
        raise DataError("a reply is text beside a prompt, a text of turns (Human: … Assistant: …), "
                        f"or messages that end with the assistant's; got {said!r:.60}")
    text = said[-1].get("content")
    if not isinstance(text, str):
        raise DataError(f"the content of a reply is text, got {text!r:.60}")
    return (to_messages(said[:-1]) if said[:-1] else []), text


def _from_completion(row: Row) -> Row:
    """`prompt` and `completion`, or `messages` that end with the reply."""
    is_apart = "completion" in row
    before, reply = _reply(row["completion" if is_apart else "messages"], is_apart)
    if not before and not is_apart:
        raise DataError("its messages hold no prompt before the reply")
    return {"input_text": before or _messages(row.get("prompt")), "response": reply,
            "metadata": _known(row)}


def _is_preference(row: Row) -> bool:
    is_ours = isinstance(row.get("metadata"), dict) and isinstance(row.get("chosen"), str)
    return {"chosen", "rejected"} <= set(row) and not is_ours


FORMS = (
    Form("Argilla's", lambda row: isinstance(row.get("fields"), dict), _from_argilla),
    Form("Label Studio's", lambda row: isinstance(row.get("data"), dict), _from_label_studio),
    Form("a preference set's", _is_preference, _from_preference),
    Form("trl's", lambda row: ("completion" in row or "messages" in row)
         and not {"fields", "response_1", "input_text", "chosen"} & set(row), _from_completion))
