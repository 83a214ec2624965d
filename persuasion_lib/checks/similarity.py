"""Do replies answer, and do similarities to an oracle measure anything? Rows of the registry."""

from collections import Counter
from collections.abc import Mapping, Sequence

from persuasion_lib.checks.check import Check
from persuasion_lib.checks.material import text_of
from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.checks.texts import said
from persuasion_lib.reporting.evaluated import Evaluated
from persuasion_lib.reporting.evaluation_file import ExampleRow
from persuasion_lib.stats.blocks import TOO_FEW

_A_GREETING = 5     # words up to which two people may say the same ("Hello! How are you?")


def repeats_prompts(data: Evaluated, columns: Mapping[str, Sequence[str | None]]) -> Measured:
    """The share of a column's texts that are a message of the prompt they answer, word for word.

    Of the column with most of them. Closeness to an oracle that repeats the prompt is closeness to
    the prompt.
    """
    said_before = list(map(_said_in, data.rows))
    shares: dict[str, Measured] = {}
    for name, texts in columns.items():
        known = [(row.example_id, text, before) for row, text, before in zip(
            data.rows, texts, said_before, strict=True) if text]
        again = [place for place, text, before in known if _is_of(said(text), before)]
        if known:
            shares[name] = Measured(len(again) / len(known), len(known),
                                    f"{name}, first: {again[0]}" if again else "")
    return _worst(shares, "there are no such texts")


def _said_in(row: ExampleRow) -> list[str]:
    """The messages of a prompt; one text where nobody knows them."""
    parts = next((part for part in (row.messages, row.prompt) if isinstance(part, list)), None)
    return [said(text_of([part])) for part in parts] if parts else [said(text_of(row.prompt))]


def _is_of(text: str, before: Sequence[str]) -> bool:
    if len(text.split()) <= _A_GREETING:
        return False
    return any(text == one for one in before) or (len(before) == 1 and before[0].endswith(text))


def _worst(shares: Mapping[str, Measured], none: str) -> Measured:
    need(shares, none)
    return max(shares.values(), key=lambda found: found.value)


def one_similarity(data: Evaluated) -> Measured:
    """The share of a model's similarities that are one number, of the model with most of them.

    Two different texts are hardly ever as close to a third one, to six digits.
    """
    shares: dict[str, Measured] = {}
    for model in data.models:
        known = [round(row.similarity_scores[model], 6) for row in data.rows
                 if row.similarity_scores.get(model) is not None]
        if len(known) >= TOO_FEW:
            value, count = Counter(known).most_common(1)[0]
            shares[model] = Measured(count / len(known), len(known), f"{model}: {value:g}")
    return _worst(shares, f"no model has {TOO_FEW} similarities")


def _oracle(data: Evaluated) -> dict[str, list[str | None]]:
    return {"oracle": [row.oracle for row in data.rows]}


def _models(data: Evaluated) -> dict[str, list[str | None]]:
    return {model: [row.responses.get(model) for row in data.rows] for model in data.models}


SIMILAR = (
    Check("the oracle repeats its prompt", "evaluation",
          lambda data: repeats_prompts(data, _oracle(data)), 0.05, "a yardstick is an answer",
          "{value:.0%} of {n} oracle replies are a message of the prompt that they answer "
          "({example}): the similarities measure closeness to the prompt.",
          "Look at oracle.source, or at which column of the file was taken."),
    Check("a model repeats its prompt", "evaluation",
          lambda data: repeats_prompts(data, _models(data)), 0.05, "a reply is an answer",
          "{value:.0%} of {n} replies of a model are a message of the prompt that they answer "
          "({example}).", "Look at which column of the file was taken, or at what it learned."),
    Check("one similarity for all", "evaluation", one_similarity, 0.5,
          "texts differ, and so does their closeness to a third one",
          "{value:.0%} of {n} similarities are the same number ({example}): nothing was measured.",
          "Look at similarity.embedder, and embed the replies again."))
