"""Which of somebody's files belong together: pools and labels, labels and logs, splits and labels.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from persuasion_lib.core.records import LabeledPair, Pair

Labels = Sequence[LabeledPair]


def labels_of_pools(pools: Mapping[str, list[Pair]],
                    labels: Mapping[str, list[LabeledPair]]) -> dict[str, Any]:
    """Labels of a pool that is here, with it."""
    return {f"{name} of {pool}": (rows, given) for pool, rows in pools.items()
            for name, given in labels.items() if known([label.pair for label in given], [rows])}


def labels_of_logs(labels: Mapping[str, list[LabeledPair]],
                   logs: Mapping[str, Any]) -> dict[str, Any]:
    """A judge's labels with the log that they name."""
    return {f"{name} and {log}": (rows, entries) for name, rows in labels.items()
            for log, entries in logs.items() if _names(rows, entries)}


def splits_of(labels: Mapping[str, list[LabeledPair]]) -> dict[str, Any]:
    """Both sides; a side alone, with None for the other, still shows what is trained on."""
    found = {}
    for name in labels:
        train, val = (re.sub(r"_(?:train|val)\.", f"_{side}.", name) for side in ("train", "val"))
        if train != val:
            both = train in labels and val in labels
            found[re.sub(r"_(?:train|val)\.", "_{train,val}.", name) if both else name] = (
                labels.get(train), labels.get(val))
    return found


def is_part(name: str, rows: Labels, labels: Mapping[str, list[LabeledPair]]) -> bool:
    """Whether labels are a side of a split of other labels that are here."""
    return _is_side(name) and known([label.pair for label in rows], [
        [label.pair for label in other] for whole, other in labels.items() if not _is_side(whole)])


def parts_of(labels: Mapping[str, list[LabeledPair]]) -> dict[str, Any]:
    """The sides of a split, each with the labels of the same labeller that it is of."""
    def is_of(part: Labels, whole: Labels) -> bool:
        same = {label.labeled_by for label in part} & {label.labeled_by for label in whole}
        return bool(same) and known([label.pair for label in part],
                                    [[label.pair for label in whole]])
    return {f"{name} of {whole}": (rows, others) for name, rows in labels.items()
            for whole, others in labels.items()
            if _is_side(name) and not _is_side(whole) and is_of(rows, others)}


def _is_side(name: str) -> bool:
    return "_train." in name or "_val." in name


def known(rows: Sequence[Pair], others: Iterable[Sequence[Pair]]) -> bool:
    """Whether most of the pairs stand in one of the others, by id or text."""
    own = {_key(pair) for pair in rows}
    return any(2 * len(own & {_key(pair) for pair in other}) > len(own) for other in others)


def _key(pair: Pair) -> str:
    return "\n".join([pair.prompt[-1]["content"], *sorted((pair.response_a, pair.response_b))])


def _names(labels: Sequence[LabeledPair], log: Sequence[Mapping[str, Any]]) -> bool:
    keys = {row.get("key") for row in log}
    return any(key in keys for label in labels[:20]
               for key in label.pair.metadata.get("judgments") or [])
