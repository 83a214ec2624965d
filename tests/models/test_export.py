"""Exports that plain transformers loads and that are the model they say they are."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import LineageError, PersuasionError, SelfTestError, StaleInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.models import export as module
from persuasion_lib.models.compose import ModelFamily
from worlds.hub import running_hub
from worlds.scratch import persuasion

CHAT = [{"role": "user", "content": "I am sure that tea is best."}]


@pytest.fixture
def config(smoke_copy):
    return load_config("smoke")


@torch.no_grad()
@pytest.mark.parametrize("name", ["base", "sft", "rlhf", "rlaif_rlhf"])
def test_plain_transformers_loads_an_export_with_the_logits_of_the_composed_model(config, name):
    folder = module.export(config, name, config.root / "exported")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_tensors="pt",
                                        return_dict=False)
    family = ModelFamily(config, [name])
    with family.use(name) as composed:
        wanted = composed(ids).logits
    assert torch.allclose(AutoModelForCausalLM.from_pretrained(folder)(ids).logits, wanted,
                          atol=1e-4)


def test_the_command_writes_the_card_and_the_chain_of_weights(config):
    done = persuasion(config.root, "export", "rlaif_rlhf", "out", "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    record = json.loads((config.root / "out" / "persuasion_export.json").read_text())
    assert list(record["weights"]) == ["base", "sft", "rlaif", "rlaif_rlhf"]
    card = (config.root / "out" / "README.md").read_text()
    assert "stand-in" in card and record["weights"]["rlaif"] in card


def test_an_upload_brings_the_card_that_was_written(config, monkeypatch):
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_only-for-the-hub")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")       # our stand-in knows the older way only
        done = persuasion(config.root, "export", "sft", "out", "--profile", "smoke", "--push",
                          "me/sft")
        assert done.returncode == 0, done.stderr
    card = (config.root / "out" / "README.md").read_text()
    assert hub.files["README.md"].decode() == card and str(config.root) not in card
    for name, content in hub.files.items():
        assert str(config.root).encode() not in content, f"{name} holds a path of this machine"
    assert {token for server, _, token in hub.requests if server == "store"} == {None}


def test_what_rounding_to_bfloat16_would_leave_is_said():
    """Steps of bfloat16 are 2^-8 just above 1: a change of 2^-5 stays, one of 2^-12 is lost."""
    before = {"w": torch.ones(4)}
    assert module.kept_in_bfloat16(before, {"w": before["w"] + 2 ** -5}) == 1
    assert module.kept_in_bfloat16(before, {"w": before["w"] + 2 ** -12}) == 0
    assert module.kept_in_bfloat16(before, before) == 1         # nothing was to be kept


@torch.no_grad()
def test_a_training_in_bfloat16_is_exported_in_float32_with_nothing_lost(config, monkeypatch):
    # The weights were trained in float32; only that they are exported so counts here.
    monkeypatch.setattr(module, "refuse_other_settings", lambda *told: None)
    low = load_config("smoke", ["model.dtype=bfloat16"])
    folder = module.export(low, "rlhf", config.root / "exported")
    exported = AutoModelForCausalLM.from_pretrained(folder)
    assert exported.dtype == torch.float32
    ids = torch.tensor([[1, 2, 3]])
    with ModelFamily(config, ["rlhf"]).use("rlhf") as composed:
        assert torch.allclose(exported(ids).logits, composed(ids).logits, atol=1e-4)
    assert "Rounded to bfloat16, " in (folder / "README.md").read_text()


def test_a_folder_with_something_in_it_is_left_alone(config):
    (config.root / "out").mkdir()
    (config.root / "out" / "mine.txt").write_text("precious")
    with pytest.raises(PersuasionError, match="is not empty"):
        module.export(config, "rlhf", config.root / "out")


def test_a_checkpoint_of_another_parent_is_not_exported(config):
    with (path_of(config, "sft") / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(LineageError, match="another sft"):
        module.export(config, "rlhf", config.root / "out")


def test_a_card_names_no_settings_that_did_not_make_the_model(config):
    other = load_config("smoke", ["rlhf.learning_rate=0.5"])
    with pytest.raises(StaleInput, match="card of rlhf rests on 04.*rlhf.learning_rate was .*0.5"):
        module.export(other, "rlhf", config.root / "out")
    module.export(other, "sft", config.root / "out")        # which that has no part in


def test_a_wrong_merge_is_noticed_and_nothing_is_written(config, monkeypatch):
    monkeypatch.setattr(module, "merged", lambda config, name: module.load_base(config))
    with pytest.raises(SelfTestError, match="differs from the composed one"):
        module.export(config, "rlhf", config.root / "out")
    assert not (config.root / "out").exists()
