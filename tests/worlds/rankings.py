"""Tables of ranks and slots for tests of the statistics; published cases where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

MODELS = ["base", "sft", "rlhf", "rlaif_rlhf"]
PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "agreement"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="published cases not here")


def table(rows, columns=None):
    """Prompts p00, p01, … as rows."""
    columns = columns or MODELS[: len(rows[0])]
    index = pd.Index([f"p{i:02d}" for i in range(len(rows))], name="prompt_id")
    return pd.DataFrame(rows, index, columns, dtype=float)


def random_ranks(n=60, k=4, seed=3, slope=0.4):
    noise = np.random.default_rng(seed).gumbel(size=(n, k)) + slope * np.arange(k)
    return table((-noise).argsort(axis=1).argsort(axis=1) + 1, [f"m{i}" for i in range(k)])


def published(name):
    return json.loads((PUBLISHED / name).read_text())


def latin(n, k=4, seed=0):
    """Slots by a cyclic Latin square, its row drawn at random."""
    shift = np.random.default_rng(seed).integers(k, size=(n, 1))
    return table((np.arange(k) + shift) % k + 1, [f"m{i}" for i in range(k)])
