"""Studies without a model: scores with a known truth, seeds and prompts that differ by chance."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.study.analysis import analyse
from persuasion_lib.study.design import Cell, Study
from persuasion_lib.study.file import HUMAN_LABELS
from worlds.scratch import ROOT

ARMS = ("rlhf", "rlaif_rlhf", "rlaif")
LEVELS = (25, 50, 100, 200)


def make_study(levels: Sequence[Any] = LEVELS, *, seeds: int = 5, arms: Sequence[str] = ARMS,
               axis: str = HUMAN_LABELS, primary: Any = None, second_anchor: str | None = None,
               name: str = "human_labels") -> Study:
    """A study as its file would give it, on the demo's settings."""
    config = _settings()
    cells = tuple(Cell(f"{name}.{place}.s{seed}", level, seed, tuple(arms), ROOT, "demo", ())
                  for seed in range(1, seeds + 1) for place, level in enumerate(levels))
    return Study(
        config=config, file=ROOT / "configs" / "studies" / "human_labels.yaml", name=name,
        question="How many human labels are the AI labels worth?",
        axis=axis, levels=tuple(levels), arms=tuple(arms), seeds=tuple(range(1, seeds + 1)),
        primary=levels[min(1, len(levels) - 1)] if primary is None else primary, anchor="sft",
        second_anchor=second_anchor, anchor_cell=None, comparisons=120, notes=(), cells=cells)


@cache
def _settings() -> Config:
    """Those of the demo with folders of its own: what a developer ran here is no part of it."""
    folder = tempfile.mkdtemp()
    return load_config("demo", [f"paths.{kind}={folder}/{kind}" for kind in (
        "data", "models", "results")], root=ROOT)


def truth(arm: str, level: Any) -> float:
    """What people prefer to the anchor: rlhf rises by .06 with each doubling, from .5 at 12.5; the
    warm-up is worth 80 labels without any, so that both curves meet at many labels.
    """
    own = {"rlhf": float(level), "rlaif": 80.0, "rlaif_rlhf": 80.0 + 0.7 * float(level)}[arm]
    return 0.5 + 0.06 * np.log2(own / 12.5)


def make_scores(study: Study, *, prompts: int = 115, taste: float = 0.0, sd_seed: float = 0.02,
                sd_prompt: float = 0.08, people: int = 0, gold: bool = True, seed: int = 0,
                rate: Callable[[str, Any], float] = truth) -> pd.DataFrame:
    """The table of `read_scores`: judged in two orders by one who adds `taste` to people's rate.

    Args:
        people: comparisons of each seed at the primary level, of the same prompts in all arms.
    """
    rng = np.random.default_rng(seed)
    of_prompt = rng.normal(0, sd_prompt, prompts)
    seen = {cell.seed: rng.permutation(prompts)[:people] for cell in study.cells}
    frames = {}
    for cell in study.cells:
        for arm in cell.arms:
            level = study.level_of(arm, cell)
            if (arm, level, cell.seed) in frames:
                continue
            liked = np.clip(rate(arm, level) + rng.normal(0, sd_seed) + of_prompt, 0, 1)
            judged = np.clip(liked + taste, 0, 1)
            said = rng.binomial(1, liked).astype(float)
            compared = level in (study.primary, 0) and np.isin(np.arange(prompts), seen[cell.seed])
            frames[arm, level, cell.seed] = pd.DataFrame({
                "cell": cell.name, "arm": arm, "level": level, "seed": cell.seed,
                "example_id": [f"e{at:04d}" for at in range(prompts)],
                "judge": rng.binomial(2, judged, prompts) / 2,
                "human": np.where(compared, said, np.nan), "gold": liked if gold else np.nan})
    scores = pd.concat(frames.values(), ignore_index=True)
    scores["level"] = scores["level"].astype(object)
    return pd.concat([scores.assign(anchor=anchor) for anchor in study.anchors], ignore_index=True)


def states(study: Study, **state: str) -> pd.DataFrame:
    """All cells done, but those that `state` says something else of, by name."""
    return pd.DataFrame([{
        "cell": cell.name, "arms": cell.arms, "level": cell.level, "seed": cell.seed,
        "state": state.get(cell.name, "done"), "sentence": "",
        "folder": study.folder.parent.parent / "runs" / cell.name} for cell in study.cells])


def analysed(study: Study, scores: pd.DataFrame | None = None, **how: Any) -> dict[str, Any]:
    """The content of `study.json`, of scores that `make_scores` makes unless they are given."""
    return analyse(study, make_scores(study, **how) if scores is None else scores, states(study))
