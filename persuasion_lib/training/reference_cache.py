"""Log-probabilities of the reference, computed once for each pair and kept on disk.

A value is found again by what it depends on: the weights of base and SFT (and of another
reference), the number format, the token ids, and in bfloat16 the device and the number of threads.
So `rlhf` and `rlaif_rlhf`, which learn from the same pairs, share them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset

from persuasion_lib.core.config import Config
from persuasion_lib.core.family import REFERENCE
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.progress import Progress
from persuasion_lib.core.records import content_id
from persuasion_lib.core.store import AppendLog, KeyedLog
from persuasion_lib.models.lineage import weights_hash
from persuasion_lib.models.loading import dtype_of
from persuasion_lib.training.launch import processes

COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")    # as trl names them
CHUNK = 16      # pairs between two writes to disk, and two lines of progress

# Tokenized rows to log-probabilities (chosen, rejected) in nats, in the same order.
Compute = Callable[[Dataset], list[tuple[float, float]]]


class ReferenceCache:
    """The log-probabilities of one reference, a model of the family."""

    def __init__(self, config: Config, reference: str = REFERENCE) -> None:
        self._identity = [weights_hash(config, "base"), weights_hash(config, "sft"),
                          str(dtype_of(config)), config.model.load_in_4bit,
                          "SFT not merged"]     # as it was in caches of earlier versions
        if reference != REFERENCE:
            self._identity += [reference, weights_hash(config, reference)]
        if dtype_of(config) == torch.bfloat16:
            # Sums in another order differ there, by up to .4 nats a reply between 1 and 2 threads.
            self._identity += [torch.cuda.is_available(), torch.get_num_threads()]
        self._path = path_of(config, "reference_logps")

    def add_to(self, rows: Dataset, compute: Compute) -> Dataset:
        """Rows with `prompt_ids`, `chosen_ids`, `rejected_ids` and the two columns of trl.

        Values that are not on disk are computed, in every process together, and written by one.
        """
        keys = [content_id(*self._identity, row["prompt_ids"], row["chosen_ids"],
                           row["rejected_ids"]) for row in rows]
        known = self._read()
        missing = [at for at, key in enumerate(keys) if key not in known]
        if missing:
            known |= self._computed(rows, {at: keys[at] for at in missing}, compute)
        for column, values in zip(COLUMNS, zip(*(known[k] for k in keys), strict=True),
                                  strict=True):
            rows = rows.add_column(column, list(values))
        return rows

    def _computed(self, rows: Dataset, missing: dict[int, str],
                  compute: Compute) -> dict[str, list[float]]:
        """The values of the missing rows (number: key), on disk chunk by chunk."""
        numbers = list(missing)
        found: dict[str, list[float]] = {}
        progress = Progress(len(numbers), "reference log-probabilities") if (
            processes().is_main_process) else None
        for start in range(0, len(numbers), CHUNK):
            part = numbers[start:start + CHUNK]
            values = compute(rows.select(part))
            chunk = {missing[at]: list(value) for at, value in zip(part, values, strict=True)}
            self._write(chunk)
            found |= chunk
            if progress:
                progress.update(len(part))
        if progress:
            progress.close()
        return found

    def _read(self) -> dict[str, Any]:
        """What is on disk, the same in every process."""
        known: list[Any] = [None]
        if processes().is_main_process:
            found = KeyedLog.rows_in(self._path)
            known = [{key: row["logps"] for key, row in found.items()}]
        return broadcast_object_list(known)[0]

    def _write(self, found: dict[str, Sequence[float]]) -> None:
        if processes().is_main_process:
            with AppendLog(self._path) as log:
                log.extend([{"key": key, "logps": value} for key, value in found.items()])
