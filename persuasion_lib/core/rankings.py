"""A person's order of several models' replies to one prompt, and its row in a file."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import identity, is_absent
from persuasion_lib.core.records import (
    LabeledPair,
    Message,
    Pair,
    content_id,
    grader_of,
    labeled_row,
    parse_labeled,
    to_messages,
)


@dataclass(frozen=True)
class Ranking:
    """Replies by model, and the rank that a person gave each: 1 best, ties share a mean.

    `ranks` is empty before anybody ranked. `again` are the ranks that the same person gave when
    the prompt came a second time; None if it did not.
    """

    example_id: str
    prompt: list[Message]
    replies: Mapping[str, str]
    ranks: Mapping[str, float] = field(default_factory=dict)
    labeled_by: str = ""
    again: Mapping[str, float] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Changes when a text does, so that an order never moves to other replies."""
        return content_id("ranking", self.example_id, self.prompt, sorted(self.replies.items()))

    def among(self, models: Sequence[str]) -> "Ranking":
        """The same order without anybody else, such as the person ranked with the models."""
        return replace(self, replies={model: self.replies[model] for model in models},
                       ranks=_ranks_among(self.ranks, models),
                       again=self.again and _ranks_among(self.again, models))

    def pair(self, first: str, second: str) -> LabeledPair:
        """What this order says of two of the models."""
        pair = Pair(self.key, self.prompt, self.replies[first], self.replies[second],
                    {"example_id": self.example_id, "models": [first, second]})
        again = None if self.again is None else _label(self.again, first, second)
        return LabeledPair(pair, _label(self.ranks, first, second), self.labeled_by, again=again)


def _rank(own: float, ranks: Collection[float]) -> float:
    """One more than how many are better, ties in the middle of theirs."""
    return sum(rank < own for rank in ranks) + (sum(rank == own for rank in ranks) + 1) / 2


def _ranks_among(ranks: Mapping[str, float], models: Sequence[str]) -> dict[str, float]:
    kept = [ranks[model] for model in models]
    return {model: _rank(ranks[model], kept) for model in models}


def _label(ranks: Mapping[str, float], first: str, second: str) -> Any:
    if ranks[first] == ranks[second]:
        return "tie"
    return "a" if ranks[first] < ranks[second] else "b"


def mean_ranks(places: Sequence[Sequence[str]]) -> dict[str, float]:
    """The rank of each name, of groups that share a place, best first."""
    ranks: dict[str, float] = {}
    for group in places:
        ranks |= dict.fromkeys(group, len(ranks) + (len(group) + 1) / 2)
    return ranks


def parse_ranking(row: Mapping[str, Any]) -> Ranking:
    """A row `{prompt, responses{model}, ranks{model}, metadata}` of `human_comparisons.jsonl`.

    Raises:
        DataError: a field is missing, or the ranks are no order of these models.
    """
    metadata = row.get("metadata") or {}
    replies, ranks = row.get("responses"), row.get("ranks")
    if not isinstance(metadata, dict) or is_absent(row.get("prompt")):
        raise DataError("a ranking needs a prompt, and its metadata is an object")
    if not isinstance(replies, dict) or not all(isinstance(t, str) for t in replies.values()):
        raise DataError("responses must be the text of every model's reply, by model")
    again = metadata.get("relabelled")
    for name, given in (("ranks", ranks), ("metadata.relabelled", again)):
        if name == "ranks" or given is not None:
            _check(name, given, replies)
    example_id = identity(metadata.get("example_id"))
    if example_id is None:
        raise DataError("metadata.example_id, the test prompt, is missing")
    return Ranking(example_id, to_messages(row["prompt"]), replies, ranks,
                   grader_of(row, metadata), again, metadata)


def _check(name: str, ranks: Any, replies: Mapping[str, str]) -> None:
    is_sound = isinstance(ranks, dict) and set(ranks) == set(replies) and len(ranks) > 1 and all(
        isinstance(rank, int | float) and not isinstance(rank, bool) for rank in ranks.values())
    if not is_sound or any(rank != _rank(rank, ranks.values()) for rank in ranks.values()):
        raise DataError(f"{name} must be a rank of every model with a reply, 1 for the best, the "
                        f"mean of their places for ties, got {ranks!r:.80}")


def parse_comparison(row: Mapping[str, Any]) -> LabeledPair | Ranking:
    """A row of `human_comparisons.jsonl`: two replies compared, or all of them ranked."""
    return parse_ranking(row) if "ranks" in row else parse_labeled(row)


def comparison_row(made: LabeledPair | Ranking) -> dict[str, Any]:
    """The file form of either; `parse_comparison` reads it back."""
    if isinstance(made, LabeledPair):
        return labeled_row(made)
    return {"prompt": made.prompt, "responses": dict(made.replies), "ranks": dict(made.ranks),
            "metadata": {**made.metadata, "example_id": made.example_id,
                         "grader": made.labeled_by,
                         **({"relabelled": dict(made.again)} if made.again else {})}}
