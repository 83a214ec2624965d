"""The path that the real model takes through 00, with a folder of its exact shape (1 GB)."""

import json
import shutil

import pytest

from benchmarks.hub_folder import DEFAULT_SYSTEM, QWEN, SPECIAL, build, special_ids
from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.models.lineage import check_lineage
from persuasion_lib.models.loading import base_folder, load_tokenizer, prompt_ids
from worlds.scratch import persuasion

SETTINGS = ["model.base=models/qwen-shape", "data.source=demo", "data.path=null",
            "data.conversations=200", "data.sft_examples=16", "data.ai_pairs=4",
            "data.human_pairs=4", "data.test_examples=4", "data.system_prompt=Persuade.",
            "sft.per_device_train_batch_size=4", "training.evals_per_run=1",
            "pairs.max_new_tokens=8", "gates.max_truncated_fraction=1",
            "gates.max_poor_fraction=1", "gates.max_opening_gap=1", "paths.data=data",
            "paths.models=models", "paths.results=results"]


@pytest.fixture
def folder(project):
    yield build(project / "models" / "qwen-shape", ["I am sure that tea is best."])
    shutil.rmtree(project / "models")


@pytest.mark.slow
def test_a_folder_of_the_real_shape_passes_through_00_with_the_full_profile(project, folder):
    done = persuasion(project, "run", "--profile", "full", "--only", "prepare",
                      *(part for s in SETTINGS for part in ("--set", s)))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    config = load_config("full", SETTINGS)
    assert base_folder(config) == folder
    assert check_lineage(config, "sft").base == "models/qwen-shape"
    pairs = [json.loads(row) for row in path_of(
        config, "ai_pool_responses").read_text().splitlines()]
    assert len(pairs) == 4
    assert {t for p in pairs for t in p["metadata"]["tokens"]} == {8}      # it never learned to end
    assert pairs[0]["response_1"] != pairs[0]["response_2"]

    tokenizer = load_tokenizer(config)
    ids = tokenizer.convert_tokens_to_ids(list(SPECIAL))
    assert ids == special_ids(QWEN) == [151_643, 151_644, 151_645]
    rendered = tokenizer.decode(prompt_ids(tokenizer, pairs[0]["prompt"]))
    assert rendered.startswith("<|im_start|>system\nPersuade.") and DEFAULT_SYSTEM not in rendered
