"""Somebody's adapter takes the place of SFT only where it adds up: else base would not be base."""

import json

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import LineageError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.lineage import ADAPTER_SETTINGS, WEIGHTS, check_lineage
from persuasion_lib.models.loading import load_base
from persuasion_lib.training.adopt import adopt_sft
from worlds.families import family_folder

LINEAR = ["q_proj", "v_proj", "down_proj"]
IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


@pytest.fixture
def config(project):
    family_folder("smollm2", project / "base")      # its embeddings are tied to its head
    return load_config("smoke", ["model.base=base", "data.source=files", "data.path=mine"])


def adapter(config, settings, folder="mine"):
    """An adapter with random weights on our base, as peft saves it."""
    torch.manual_seed(1)
    model = get_peft_model(load_base(config), settings)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.3)
        assert "lora" not in name or weight.isfinite().all()
    path = config.root / folder
    model.save_pretrained(path)
    edit(path, base_model_name_or_path="base")
    return path


def edit(path, **changes):
    file = path / ADAPTER_SETTINGS
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@torch.no_grad()
def plain_logits(config, path):
    """By peft alone, with the adapter as its only one."""
    return PeftModel.from_pretrained(load_base(config), path).eval()(IDS).logits


@pytest.mark.parametrize("settings", [
    {}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 64}},
    {"layers_to_transform": [1]}, {"init_lora_weights": "gaussian"}, {"lora_dropout": 0.5}])
def test_what_is_two_matrices_a_layer_is_taken_and_gives_pefts_logits(config, settings):
    path = adapter(config, LoraConfig(r=4, target_modules=LINEAR, **settings))
    adopt_sft(config, path)
    assert check_lineage(config, "sft").fingerprint.startswith("adopted from")
    family = ModelFamily(config, ["sft"])
    with family.use("sft") as model, torch.no_grad():
        assert torch.allclose(model(IDS).logits, plain_logits(config, path), atol=1e-4)
    with family.use("base") as model, torch.no_grad():
        assert torch.equal(model(IDS).logits, load_base(config)(IDS).logits)


@pytest.mark.parametrize(("settings", "named"), [
    (LoraConfig(target_modules=LINEAR, use_dora=True), "use_dora=True"),
    (LoraConfig(target_modules=LINEAR, modules_to_save=["norm"]), r"modules_to_save=\['norm'\]"),
    (LoraConfig(target_modules=LINEAR, trainable_token_indices=[1]), "trainable_token_indices"),
    (LoraConfig(target_modules=LINEAR, init_lora_weights="pissa"), "init_lora_weights=pissa"),
    (IA3Config(target_modules=LINEAR, feedforward_modules=["down_proj"]), "peft_type=IA3")])
def test_what_is_more_is_refused_by_its_name(config, settings, named):
    path = adapter(config, settings)
    with pytest.raises(LineageError, match=f"is no plain LoRA .*{named}.*sft_train.jsonl"):
        adopt_sft(config, path)
    assert not path_of(config, "sft").exists()


@pytest.mark.parametrize(("setting", "value"), [
    ("bias", "all"), ("bias", "lora_only"), ("lora_bias", True), ("a_variant_to_come", {"k": 1})])
def test_trained_biases_and_what_nobody_knows_yet_are_refused(config, setting, value):
    path = adapter(config, LoraConfig(target_modules=LINEAR))
    edit(path, **{setting: value})
    with pytest.raises(LineageError, match=rf"no plain LoRA \({setting}="):
        adopt_sft(config, path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
def test_an_adapter_on_the_head_or_the_embeddings_is_refused(config, module):
    """Tied to each other, one would move with the other."""
    path = adapter(config, LoraConfig(target_modules=[*LINEAR, module]))
    with pytest.raises(LineageError, match="belongs to no linear layer below its head"):
        adopt_sft(config, path)


@pytest.mark.parametrize(("change", "named"), [
    (lambda w: w[:, :-1], "is for 31 numbers, the layer has 32"),
    (lambda w: w.fill_(torch.nan), "holds NaN")])
def test_damaged_weights_and_another_bases_are_refused(config, change, named):
    path = adapter(config, LoraConfig(target_modules=["q_proj"]))
    weights = load_file(path / WEIGHTS)
    name = next(name for name in weights if "lora_A" in name)
    save_file(weights | {name: change(weights[name]).contiguous()}, path / WEIGHTS)
    with pytest.raises(LineageError, match=f"does not fit base: .*{named}"):
        adopt_sft(config, path)


def test_cut_off_weights_are_refused(config):
    path = adapter(config, LoraConfig(target_modules=LINEAR))
    data = (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(data[:-100])
    with pytest.raises(LineageError, match=r"cannot be read .*Copy it again"):
        adopt_sft(config, path)


def test_another_scale_is_another_adapter(config):
    """alpha 32 to 3,200 changes every reply, and no weight."""
    path = adapter(config, LoraConfig(r=4, lora_alpha=32, target_modules=LINEAR))
    adopt_sft(config, path)
    edit(path_of(config, "sft"), base_model_name_or_path="/elsewhere/base", peft_version="0")
    check_lineage(config, "sft")        # only says where it came from
    edit(path_of(config, "sft"), lora_alpha=3200)
    with pytest.raises(LineageError, match=r"adapter_config.json of sft .* were changed"):
        check_lineage(config, "sft")
    adopt_sft(config, path)             # and it is not taken for the same one
    check_lineage(config, "sft")
