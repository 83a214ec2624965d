"""Which labels a DPO training learns from: all that are decided, or a part drawn by a hash."""

from collections.abc import Sequence
from dataclasses import replace

from datasets import Dataset

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.family import FAMILY
from persuasion_lib.core.records import FLIPPED, LabeledPair, content_id
from persuasion_lib.training.loop import seed_of

Rows = list[LabeledPair]


def used_labels(config: Config, name: str, train: Sequence[LabeledPair],
                val: Sequence[LabeledPair]) -> tuple[Rows, Rows]:
    """The rows of training and validation that `training.human_labels` or `ai_labels` leave.

    The number counts both, in the shares that they have in the whole. Rows are drawn in the order
    of a hash of the training seed, so that fewer are always among more, and two models that learn
    from the same labels get the same ones. Of the training rows `training.label_noise` is turned
    round, drawn in the same way; held-out labels stay.

    Raises:
        DataError: there are not so many.
    """
    is_human = FAMILY[name].labels == "rlhf"
    key, wanted = (("human_labels", config.training.human_labels) if is_human
                   else ("ai_labels", config.training.ai_labels))
    kept = list(train), list(val)
    if wanted is not None:
        kept = _drawn(config, f"training.{key}", wanted, *kept)
    return _with_noise(config, kept[0]), kept[1]


def _drawn(config: Config, key: str, wanted: int, train: Rows, val: Rows) -> tuple[Rows, Rows]:
    there = len(train) + len(val)
    if not 2 <= wanted <= there:
        raise DataError(f"{key}={wanted}, but {there} labels are decided ({len(train)} to train "
                        f"on, {len(val)} held out), and one of each is needed at least. Set a "
                        f"number from 2 to {there}, or null for all.")
    held_out = min(max(1, round(wanted * len(val) / there)), wanted - 1)
    return _first(config, train, wanted - held_out), _first(config, val, held_out)


def _first(config: Config, rows: Rows, count: int) -> Rows:
    """So many rows by their hash, in the order of the file."""
    chosen = set(sorted((row.pair.pair_id for row in rows),
                        key=lambda key: _draw(config, "labels", key))[:count])
    return [row for row in rows if row.pair.pair_id in chosen]


def _with_noise(config: Config, rows: Rows) -> Rows:
    share = config.training.label_noise

    def is_turned(row: LabeledPair) -> bool:
        return bool(share) and _draw(config, "noise", row.pair.pair_id) < share

    # The label says the opposite; the texts stay where they are.
    return [replace(row, label=FLIPPED[row.label]) if is_turned(row) else row for row in rows]


def _draw(config: Config, what: str, pair_id: str) -> float:
    """A number in [0, 1) that depends on the training seed and the pair alone."""
    seed = seed_of(config, "dpo")
    return int(content_id(seed, what, pair_id, length=8), 16) / 16**8


def preference_rows(pairs: Sequence[LabeledPair]) -> Dataset:
    """The rows that DPOTrainer gets: chat messages, so that it renders the model's template."""
    return Dataset.from_list([
        {"prompt": p.pair.prompt, "chosen": [{"role": "assistant", "content": p.chosen}],
         "rejected": [{"role": "assistant", "content": p.rejected}]} for p in pairs])
