"""What people name as model.base: each mistake is one sentence, before anything is loaded."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from persuasion_lib.cli import main
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError, LineageError, MissingInput
from persuasion_lib.models.check import check_length, check_model
from persuasion_lib.models.lineage import base_hash
from persuasion_lib.models.loading import load_base, load_tokenizer
from worlds.families import family_folder


@pytest.fixture
def folder(project):
    return family_folder("qwen2.5", project / "base")


def config(base="base"):
    return load_config("smoke", [f"model.base={base}"])


def edit(folder, name="config.json", **changes):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refused(match, error=LineageError):
    """Both doors say the same, in one line."""
    for load in (load_tokenizer, load_base):
        with pytest.raises(error, match=match) as caught:
            load(config())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("changes", "match"), [
    ({"model_type": "their_own", "auto_map": {"AutoModelForCausalLM": "modeling.Theirs"}},
     "type 'their_own', which transformers does not know. It brings code of its own .auto_map., "
     "which is never run here"),
    ({"model_type": None}, "the type None, which transformers does not know. Choose"),
    ({"quantization_config": {"quant_method": "gptq", "bits": 4}},
     r"quantized already \(gptq\).*model.load_in_4bit=true"),
    ({"is_encoder_decoder": True}, "does not write text from left to right"),
    ({"architectures": ["Qwen2ForSequenceClassification"]},
     "holds a Qwen2ForSequenceClassification, which does not write text"),
    ({"model_type": ["qwen2"], "architectures": []}, "which transformers does not know"),
    ({"architectures": ["Qwen2Model"]}, "holds a Qwen2Model, which does not write text")])
def test_settings_that_are_no_base_are_refused(folder, changes, match):
    edit(folder, **changes)
    refused(match)


def test_code_in_a_folder_is_never_run(folder, project, capsys):
    """Nor where transformers knows the type and would not need it."""
    (folder / "modeling.py").write_text(f"open({str(project / 'was_run')!r}, 'w')\n")
    there = {"AutoModelForCausalLM": "modeling.Theirs", "AutoConfig": "modeling.Config"}
    edit(folder, auto_map=there)
    edit(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling.T", None]})
    load_tokenizer(config())
    load_base(config())
    assert not (project / "was_run").exists()


@pytest.mark.parametrize("make", [
    lambda: BertModel(BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1,
                                 num_attention_heads=2, intermediate_size=16)),
    lambda: T5ForConditionalGeneration(T5Config(vocab_size=50, d_model=16, d_ff=16, d_kv=8,
                                                num_layers=1, num_heads=2))])
def test_an_embedding_model_and_an_encoder_decoder_are_refused(project, make):
    make().save_pretrained(project / "base")
    refused("does not write text from left to right")


def test_a_missing_shard_is_named(folder):
    model = load_base(config())
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    load_base(config())
    shards[1].unlink()
    refused(rf"lacks 1 of {len(shards)} files with weights \({shards[1].name}\)")
    assert shards[1].name in check_model(config())[0]       # `persuasion check`, too


def test_a_link_to_weights_that_are_gone_is_named(folder):
    """A hub's cache is such links, and its files may have been removed to save space."""
    (folder / "model.safetensors").rename(folder / "blob")
    (folder / "model.safetensors").symlink_to(folder / "blob")
    load_base(config())
    (folder / "blob").unlink()
    refused("lacks what model.safetensors leads to. Download it")


@pytest.mark.parametrize("length", [0, 5, 400, -1])
def test_a_truncated_file_is_named(folder, length):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    refused(r"model.safetensors was cut off, or is no safetensors file .*Download it again")


def test_weights_that_would_be_random_are_refused(folder):
    """transformers starts what it does not find with random numbers."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file)
    with pytest.raises(LineageError, match=r"lack 1 that the model has \(model.layers.1.mlp.up"):
        load_base(config())


def test_weights_of_another_size_are_refused(folder):
    edit(folder, hidden_size=64)
    with pytest.raises(LineageError, match="cannot be loaded|lack"):
        load_base(config())


def test_a_folder_without_weights_settings_or_tokenizer_says_what_is_missing(folder, project):
    shutil.copytree(folder, project / "whole")
    (folder / "model.safetensors").unlink()
    refused("holds no weights")
    (folder / "config.json").unlink()
    refused("config.json is missing. Name the folder that holds it")
    (folder / "model.gguf").touch()
    refused("model.gguf is in the format of llama.cpp. Download the same model as")
    shutil.rmtree(folder)
    shutil.copytree(project / "whole", folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(LineageError, match=r"the tokenizer of base does not know .*tokenizer.json"):
        load_tokenizer(config())        # transformers takes one without words


def test_settings_that_are_no_json_are_named(folder):
    (folder / "config.json").write_text("{")
    refused("config.json:1 is not JSON", DataError)


def test_an_adapter_is_no_base(folder):
    """transformers would load the base that it names, and merge it."""
    (folder / "adapter_config.json").write_text("{}")
    refused("holds an adapter, not a whole model")


@pytest.mark.parametrize(("base", "match", "error"), [
    ("no/such/folder", "is neither a folder nor reachable", MissingInput),
    ("~/no-such-model", "is neither a folder nor reachable", MissingInput),
    ("notes.txt", "is a file and no model folder", LineageError)])
def test_what_is_no_folder_is_said_to_be_none(project, base, match, error):
    (project / "notes.txt").write_text("Tea.")
    with pytest.raises(error, match=match):
        load_base(config(base))


def test_a_folder_below_the_home_is_found(folder, project, monkeypatch):
    monkeypatch.setenv("HOME", str(project))
    assert load_tokenizer(config("~/base")).chat_template


def test_weights_of_pytorch_are_read_and_hashed(folder):
    """Without this every such base had the hash of nothing, and none was another one."""
    model = load_base(config())
    (folder / "model.safetensors").unlink()
    seen = set()
    for scale in (1.0, 2.0):
        torch.save({k: scale * v for k, v in model.state_dict().items()},
                   folder / "pytorch_model.bin")
        seen.add(base_hash(config()))
        weight = load_base(config()).model.norm.weight
        assert torch.allclose(weight, scale * model.model.norm.weight)
    assert len(seen) == 2


@pytest.mark.parametrize(("name", "changes"), [
    ("config.json", {"rope_theta": 7.0}), ("generation_config.json", {"eos_token_id": 3}),
    ("tokenizer_config.json", {"eos_token": "<|im_start|>"})])
def test_what_decides_replies_beside_the_weights_is_hashed(folder, name, changes):
    before = base_hash(config())
    edit(folder, name, **changes)
    assert base_hash(config()) != before


def test_a_tokenizer_of_another_model_is_refused(folder):
    """The model would be asked for numbers that it does not have, in the middle of a training."""
    weights = load_base(config()).resize_token_embeddings(300)
    del weights
    edit(folder, vocab_size=300)
    with pytest.raises(LineageError, match=r"has 6 tokens .*beyond the 300 that the model knows"):
        load_tokenizer(config())


def test_padding_that_the_model_does_not_know_becomes_the_end_token(folder):
    tokenizer = load_tokenizer(config())
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(folder)
    edit(folder, vocab_size=len(tokenizer) - 1)
    assert load_tokenizer(config()).pad_token == "<|im_end|>"


def test_a_tokenizer_without_any_end_is_refused(folder):
    edit(folder, "tokenizer_config.json", eos_token=None, pad_token=None)
    with pytest.raises(LineageError, match="names no token that ends a text"):
        load_tokenizer(config())


def test_check_says_what_is_wrong_with_the_model_and_what_is_adapted(folder, project, capsys):
    family_folder("gemma3", project / "gemma")
    assert main(["check", "--profile", "smoke", "--set", "model.base=gemma"]) == 0
    said = capsys.readouterr().out
    assert "model      ok" in said and "note: its template wants user and assistant in turn" in said
    edit(folder, quantization_config={"quant_method": "awq"})
    assert main(["check", "--profile", "smoke", "--set", "model.base=base"]) == 1
    assert "quantized already (awq)" in capsys.readouterr().out


def test_a_model_made_for_fewer_tokens_than_the_settings_give_is_refused(folder):
    """GPT-2's places end at 1,024; where they turn, replies get silently worse beyond."""
    lengths = ["data.max_prompt_tokens=600", "pairs.max_new_tokens=256",
               "generation.max_new_tokens=100", "dpo.max_length=800"]
    edit(folder, max_position_embeddings=856)
    check_length(load_config("smoke", ["model.base=base", *lengths]))
    edit(folder, max_position_embeddings=855)
    with pytest.raises(LineageError, match=r"base was made for 855 tokens, .* give it up to 856"):
        check_length(load_config("smoke", ["model.base=base", *lengths]))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_settings_that_are_no_object_are_named(folder, name):
    if "index" in name:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / name).write_text("[1]")
    refused(rf"{name} is \[1\] and no JSON object")


@pytest.mark.parametrize("key", ["model.base", "similarity.local_model"])
def test_an_empty_path_is_refused_and_is_not_the_whole_project(project, key):
    with pytest.raises(ConfigError, match=f"setting {key} is empty"):
        load_config("smoke", [f"{key}= "]).named_file(key)
