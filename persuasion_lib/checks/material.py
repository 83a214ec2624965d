"""What checks look at, made of rows and evaluations: kinds of `registry.KINDS` by subject."""

from collections.abc import Mapping, Sequence
from typing import Any

from persuasion_lib.checks.check import Slot
from persuasion_lib.core.answers import PERSON
from persuasion_lib.core.records import Example, LabeledPair, Message, Pair, render_text
from persuasion_lib.labeling.votes import by_person
from persuasion_lib.reporting.evaluated import Evaluated

Kinds = dict[str, dict[str, Any]]


def of_pool(name: str, pairs: Sequence[Pair]) -> Kinds:
    """A pool: its pairs, and the texts of either slot."""
    prompts = [render_text(pair.prompt) for pair in pairs]
    slots = {f"{name}, {slot}": Slot({pair.pair_id: text for pair, text in zip(
        pairs, replies, strict=True)}, prompts) for slot, replies in (
        ("response_1", [pair.response_a for pair in pairs]),
        ("response_2", [pair.response_b for pair in pairs]))}
    return {"pairs": {name: pairs}, "texts to learn from": slots}


def of_targets(name: str, rows: Sequence[Example]) -> Kinds:
    """Rows of SFT: their replies."""
    texts = {f"row {number}": row.response for number, row in enumerate(rows, start=1)}
    return {"texts to learn from": {name: Slot(texts, [render_text(r.prompt) for r in rows])}}


def of_outcomes(rows: Sequence[LabeledPair]) -> bool:
    """Whether these are a judge's labels of pairs of which one really won, and no pool."""
    return any("really" in label.pair.metadata for label in rows)


def of_labels(name: str, labels: Sequence[LabeledPair]) -> Kinds:
    """Labels, and whose they are: those of several people for each of them."""
    kind = "labels by a judge" if is_by_judge(labels) else "labels by a person"
    people = {f"{name}, {person}": own for person, own in by_person(labels).items()}
    return {"labels": {name: labels}, kind: people or {name: labels}}


def is_by_judge(rows: Sequence[LabeledPair]) -> bool:
    """Whether most labels are a model's: they hold its verdicts, its name, or its reasons."""
    def by_model(label: LabeledPair) -> bool:
        found = label.pair.metadata
        return bool(found.get("judge_model") or found.get("verdicts")
                    or (label.reasoning and "seconds" not in found
                        and label.labeled_by != PERSON))
    return 2 * sum(map(by_model, rows)) > len(rows)


def of_evaluation(name: str, data: Evaluated, primary: Sequence[str]) -> Kinds:
    """An evaluation: the whole, the replies of each model, and the two of the declared
    comparison."""
    prompts = [text_of(row.messages or row.prompt) for row in data.rows]
    slots = {f"{name}, {model}": Slot({row.example_id: row.responses.get(model)
                                       for row in data.rows}, prompts) for model in data.models}
    two = [[row.responses.get(model) for row in data.rows] for model in primary]
    declared = {name: tuple(two)} if set(primary) <= set(data.models) else {}
    return {"evaluation": {name: data}, "evaluated replies": slots,
            "declared comparison": declared}


def text_of(prompt: str | list[Message] | None) -> str:
    """A prompt as text, in either form."""
    if isinstance(prompt, list):
        return "\n".join(str(message.get("content", "")) for message in prompt
                         if isinstance(message, dict) and message.get("role") != "system")
    return str(prompt or "")


def together(*parts: Mapping[str, Mapping[str, Any]]) -> Kinds:
    """Several materials as one."""
    whole: Kinds = {}
    for part in parts:
        for kind, things in part.items():
            whole.setdefault(kind, {}).update(things)
    return whole
