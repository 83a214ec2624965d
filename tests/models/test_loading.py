"""Lineage attacks: every way to put a checkpoint on something else than it was trained on."""

import json
import shutil

import pytest
import torch
from peft import PeftModel

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, LineageError, MissingInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import parse_example
from persuasion_lib.core.store import file_hash, read_jsonl
from persuasion_lib.models.compose import ModelFamily, load_sft
from persuasion_lib.models.export import export
from persuasion_lib.models.lineage import WEIGHTS, check_lineage, is_current
from persuasion_lib.models.loading import load_base, load_tokenizer, prompt_ids
from persuasion_lib.training.sft import train_sft

PROMPT = [{"role": "system", "content": "Persuade honestly."},
          {"role": "user", "content": "I am sure that tea is best."}]


@pytest.fixture
def config(smoke_copy):
    return load_config("smoke")


def edit_weights(folder):
    path = folder / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def test_a_checkpoint_of_a_finished_run_is_accepted(config):
    assert check_lineage(config, "rlaif_rlhf").reference == "sft"
    assert list(check_lineage(config, "rlaif_rlhf").parents) == ["base", "sft", "rlaif"]


def test_edited_weights_are_refused(config):
    edit_weights(path_of(config, "rlhf"))
    with pytest.raises(LineageError, match="weights or .* of rlhf .* were changed after"):
        check_lineage(config, "rlhf")


def test_a_checkpoint_stays_current_in_another_number_format(config):
    """SFT was trained again, for hours, when somebody followed the advice to set float32."""
    found = check_lineage(config, "sft")
    assert found.dtype == "float32"
    assert is_current(load_config("smoke", ["model.dtype=bfloat16"]), "sft", found.fingerprint)
    rows, val = (read_jsonl(path_of(config, f"sft_{part}"), parse_example, made_by="00")
                 for part in ("train", "val"))
    before = (path_of(config, "sft") / WEIGHTS).stat().st_mtime_ns
    train_sft(load_config("smoke", ["model.dtype=bfloat16"]), rows, val)
    assert (path_of(config, "sft") / WEIGHTS).stat().st_mtime_ns == before


def test_a_checkpoint_of_an_earlier_version_is_read_and_said_to_be_old(config, capsys):
    path = path_of(config, "rlhf") / "lineage.json"
    record = json.loads(path.read_text())
    del record["dtype"]
    path.write_text(json.dumps(record))
    ModelFamily(config, ["rlhf"])
    assert not is_current(config, "rlhf", "another fingerprint")
    assert "is of an earlier version, which merged SFT" in capsys.readouterr().out


def test_a_parent_that_was_trained_again_is_refused(config):
    edit_weights(path_of(config, "sft"))
    with pytest.raises(LineageError, match="rlhf was trained on another sft"):
        check_lineage(config, "rlhf")


def test_another_base_is_refused(config):
    path = next(path_of(config, "base").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(LineageError, match="sft was trained on another base"):
        check_lineage(config, "sft")


def test_a_missing_parent_is_named(config):
    shutil.rmtree(path_of(config, "rlaif"))
    with pytest.raises(MissingInput, match=r"qwen-rlaif.*Run notebooks/04_train_dpo"):
        check_lineage(config, "rlaif_rlhf")


def test_a_checkpoint_in_the_wrong_folder_is_refused(config):
    shutil.rmtree(path_of(config, "rlaif"))
    shutil.copytree(path_of(config, "rlhf"), path_of(config, "rlaif"))
    with pytest.raises(LineageError, match="holds the model 'rlhf', not 'rlaif'"):
        check_lineage(config, "rlaif")


def test_an_adapter_without_a_record_is_refused(config):
    (path_of(config, "rlhf") / "lineage.json").unlink()
    with pytest.raises(LineageError, match="no lineage.json"):
        ModelFamily(config, ["rlhf"])


def test_a_record_with_other_parents_is_refused(config):
    path = path_of(config, "rlhf") / "lineage.json"
    record = json.loads(path.read_text())
    del record["parents"]["sft"]
    path.write_text(json.dumps(record))
    with pytest.raises(LineageError, match="records the parents"):
        check_lineage(config, "rlhf")


def test_the_third_model_without_sft_is_refused(config):
    shutil.rmtree(path_of(config, "sft"))
    with pytest.raises(MissingInput, match=r"qwen-sft.*Run notebooks/00_prepare"):
        ModelFamily(config, ["rlaif_rlhf"])


def test_a_swapped_parent_is_refused(config):
    """rlhf's weights under rlaif's name, with a record to match: rlaif_rlhf knows better."""
    shutil.copy(path_of(config, "rlhf") / "adapter_model.safetensors", path_of(config, "rlaif"))
    path = path_of(config, "rlaif") / "lineage.json"
    record = json.loads(path.read_text())
    record["weights"] = file_hash(path_of(config, "rlaif") / "adapter_model.safetensors")
    path.write_text(json.dumps(record))
    with pytest.raises(LineageError, match="rlaif_rlhf was trained on another rlaif"):
        ModelFamily(config, ["rlaif_rlhf"])


def test_an_adapter_on_the_plain_base_is_refused_and_would_be_another_model(config):
    """The first run's wrong stack: rlhf was trained on base + SFT, and evaluated on base."""
    path = path_of(config, "rlhf") / "lineage.json"
    record = json.loads(path.read_text())
    right = ModelFamily(config, ["rlhf"])
    record["parents"] = {"base": record["parents"]["base"]}
    path.write_text(json.dumps(record))
    with pytest.raises(LineageError, match=r"records the parents \['base'\], but is built on"):
        ModelFamily(config, ["rlhf"])
    wrong = PeftModel.from_pretrained(load_base(config), path_of(config, "rlhf"))
    with right.use("rlhf") as model:
        assert not torch.allclose(logits(model, right.tokenizer), logits(wrong, right.tokenizer),
                                  atol=0.05)


def test_a_merged_export_is_no_adapter_and_no_base(config):
    folder = path_of(config, "rlhf")
    shutil.rmtree(folder)
    export(config, "sft", folder)
    with pytest.raises(LineageError, match="holds a merged export, not an adapter"):
        ModelFamily(config, ["rlhf"])
    again = load_config("smoke", [f"model.base={folder}"])
    with pytest.raises(LineageError, match=r"a merged export of 'sft'.*Set model.base=demo"):
        load_base(again)


def test_four_bits_without_a_gpu_are_refused_with_the_way_out(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="Set model.load_in_4bit=false"):
        load_base(load_config("smoke", ["model.load_in_4bit=true"]))


def logits(model, tokenizer):
    with torch.no_grad():
        return model(torch.tensor([prompt_ids(tokenizer, PROMPT)])).logits


def test_sft_under_the_others_and_beside_them_is_one_model(config):
    family = ModelFamily(config, ["rlhf"])
    with family.use("sft") as composed:
        assert torch.allclose(logits(composed, family.tokenizer),
                              logits(load_sft(config), family.tokenizer), atol=1e-4)


def test_the_models_of_a_family_differ_and_the_base_is_the_plain_base(config):
    family = ModelFamily(config, ["rlhf", "rlaif", "rlaif_rlhf"])
    seen = {}
    for name in ("rlhf", "base", "rlaif", "sft", "rlaif_rlhf", "base"):
        with family.use(name) as model:
            seen[name] = logits(model, family.tokenizer)
    assert torch.equal(seen["base"], logits(load_base(config), family.tokenizer))
    names = list(seen)
    assert all(not torch.allclose(seen[a], seen[b], atol=1e-5)
               for at, a in enumerate(names) for b in names[at + 1:])


def test_the_prompt_ends_where_the_reply_begins(config):
    tokenizer = load_tokenizer(config)
    text = tokenizer.decode(prompt_ids(tokenizer, PROMPT))
    assert text.endswith("<|im_start|>assistant\n") and text.count("<|im_end|>") == 2


def test_a_loaded_model_uses_the_threads_that_are_set(smoke_copy, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    load_base(load_config("smoke"))
    assert asked == []
    load_base(load_config("smoke", ["training.threads=1"]))
    assert asked == [1]
