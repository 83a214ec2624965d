"""What a stored reference log-probability depends on, so that no other run finds it."""

import pytest
import torch
from datasets import Dataset

from persuasion_lib.core.config import load_config
from persuasion_lib.training import reference_cache
from persuasion_lib.training.reference_cache import ReferenceCache


@pytest.mark.parametrize(("dtype", "computed"), [("bfloat16", 2), ("float32", 1)])
def test_in_bfloat16_another_number_of_threads_computes_anew(project, monkeypatch, dtype,
                                                             computed):
    monkeypatch.setattr(reference_cache, "weights_hash", lambda config, name: f"hash of {name}")
    config = load_config("smoke", [f"model.dtype={dtype}"])
    rows = Dataset.from_list([{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}])
    calls = []

    def compute(missing):
        calls.append(len(missing))
        return [(-1.0, -2.0)] * len(missing)

    for threads in (1, 2, 1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        ReferenceCache(config).add_to(rows, compute)
    assert len(calls) == computed
