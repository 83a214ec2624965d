"""A scratch project with a small pool, for the tests of labelling and exploring."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from persuasion_lib.core.records import Pair, pair_row
from persuasion_lib.core.store import write_jsonl

ROOT = Path(__file__).parents[2]


def make_pairs(count: int) -> list[Pair]:
    """Pairs whose texts name their number and side."""
    return [Pair(f"p{i:03d}", [{"role": "user", "content": f"View {i}: cats beat dogs."}],
                 f"Reply a{i}: dogs guard the house, and they like to walk with you every day.",
                 f"Reply b{i}: you are simply wrong about the cats, and everybody knows it well.",
                 {"source": "test", "conversation_id": f"c{i}"}) for i in range(count)]


def make_project(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Our configs and notebooks in `folder`, with `rows` as the human pool of the demo profile."""
    for name in ("configs", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    (folder / "configs" / "api_config.yaml").unlink(missing_ok=True)
    write_jsonl(folder / "data/demo/preferences/human_pool_responses.jsonl", rows)
    return folder


def make_demo(folder: Path, count: int = 40) -> Path:
    """A project with `count` literal pairs."""
    return make_project(folder, [pair_row(pair) for pair in make_pairs(count)])
