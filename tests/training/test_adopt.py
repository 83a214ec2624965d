"""Somebody's own SFT adapter takes the place of one that is trained here."""

import json
import shutil

import pytest

from persuasion_lib import prepare
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import LineageError
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_json
from persuasion_lib.models.lineage import check_lineage
from persuasion_lib.training.history import LOG


def test_an_own_sft_checkpoint_is_adopted_with_a_lineage(smoke_copy):
    """Without lineage.json, as peft writes it; on the base that its configuration names."""
    config = load_config("smoke", ["data.source=files", "data.path=mine"])
    ours = path_of(load_config("smoke"), "sft")
    theirs = smoke_copy / "mine" / "qwen-sft" / "final"
    shutil.copytree(ours, theirs)
    for name in ("lineage.json", LOG):
        (theirs / name).unlink()
    shutil.copytree(path_of(load_config("smoke"), "base"), path_of(config, "base"))
    write_json(theirs / "adapter_config.json", json.loads((
        theirs / "adapter_config.json").read_text()) | {"base_model_name_or_path": "Qwen/other"})
    run = StageRun(STAGES["prepare"], config, {})
    with pytest.raises(LineageError, match="was trained on Qwen/other, and model.base is demo"):
        prepare.fine_tune(run, None)
    write_json(theirs / "adapter_config.json", json.loads((
        theirs / "adapter_config.json").read_text()) | {"base_model_name_or_path": "demo"})
    assert prepare.fine_tune(run, None).empty
    assert check_lineage(config, "sft").parents.keys() == {"base"}
