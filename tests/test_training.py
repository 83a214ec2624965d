"""What the trainers really receive, and what stops a training that would go wrong."""

import math

import pytest
import torch

from persuasion_lib import training
from persuasion_lib.config import load_config
from persuasion_lib.errors import DataError, SelfTestError
from persuasion_lib.models import is_current, load_tokenizer, prompt_ids
from persuasion_lib.records import LabeledPair, parse_example, parse_labeled
from persuasion_lib.stage import path_of
from persuasion_lib.store import read_json, read_jsonl


@pytest.fixture
def config(smoke_copy):
    return load_config("smoke")


def pairs(config, name):
    return read_jsonl(path_of(config, name), parse_labeled, made_by="03")


@pytest.fixture
def trainer(config):
    return training._dpo_trainer(config, "rlhf", config.rlhf, pairs(config, "rlhf_train"),
                                 pairs(config, "rlhf_val"))


def test_step_zero_of_a_fresh_stage_is_ln_2_with_margin_0(config):
    for name in ("rlhf", "rlaif"):
        seen = read_json(path_of(config, name) / training.CURVE, made_by="04")["self_test"]
        assert seen["loss"] == pytest.approx(math.log(2), abs=1e-5)
        assert seen["margin"] == pytest.approx(0, abs=1e-5)


def test_step_zero_of_the_third_stage_is_rlaif_against_sft(config):
    seen = read_json(path_of(config, "rlaif_rlhf") / training.CURVE, made_by="04")["self_test"]
    assert seen["policy_logp"] == pytest.approx(seen["policy_expected"], rel=1e-4)
    assert seen["reference_logp"] == pytest.approx(seen["reference_expected"], rel=1e-4)
    assert abs(seen["policy_logp"] - seen["reference_logp"]) > 0.01


def test_the_earlier_runs_wrong_stack_is_stopped_before_training(config, monkeypatch):
    """base + RLAIF instead of base + SFT + RLAIF, as LESSONS of the first run describe."""
    monkeypatch.setattr(training, "load_merged_sft", training.load_base)
    train, val = pairs(config, "rlhf_train"), pairs(config, "rlhf_val")
    wrong = training._dpo_trainer(config, "rlaif_rlhf", config.rlaif_to_rlhf, train, val)
    with pytest.raises(SelfTestError, match="the reference is not sft"):
        training.check_step_zero(config, "rlaif_rlhf", wrong, train[:16])


def test_a_third_stage_that_forgot_its_warm_up_is_stopped(config, trainer):
    with pytest.raises(SelfTestError, match="the policy is not rlaif"):
        training.check_step_zero(config, "rlaif_rlhf", trainer, pairs(config, "rlhf_train")[:16])


def test_a_policy_that_already_moved_is_stopped(config, trainer):
    with torch.no_grad():
        for name, weights in trainer.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.05)
    with pytest.raises(SelfTestError, match=r"the loss is .*, not ln 2"):
        training.check_step_zero(config, "rlhf", trainer, pairs(config, "rlhf_train")[:16])


def test_a_dpo_batch_is_prompt_then_one_reply_with_one_end_token(config, trainer):
    tokenizer = load_tokenizer(config)
    batch = next(iter(trainer.get_train_dataloader()))
    known = {(tuple(prompt_ids(tokenizer, p.pair.prompt)), reply)
             for p in pairs(config, "rlhf_train") for reply in (p.chosen, p.rejected)}
    for ids, mask, seen in zip(batch["input_ids"], batch["completion_mask"],
                               batch["attention_mask"], strict=True):
        reply = ids[mask.bool()].tolist()
        prompt = ids[seen.bool() & ~mask.bool()].tolist()
        assert reply.count(tokenizer.eos_token_id) == 1
        text = tokenizer.decode(reply[:reply.index(tokenizer.eos_token_id)])
        assert (tuple(prompt), text) in known


def sft_batch(config, rows):
    from trl import SFTConfig, SFTTrainer
    tokenizer = load_tokenizer(config)
    trainer = SFTTrainer(
        model=training.load_base(config), train_dataset=training._sft_rows(rows),
        processing_class=tokenizer, peft_config=training._lora(config),
        args=SFTConfig(output_dir=str(config.root / "scratch"), use_cpu=True, report_to="none",
                       activation_checkpointing=False, bf16=False, max_length=None))
    return next(iter(trainer.get_train_dataloader())), tokenizer


def test_an_sft_batch_teaches_the_reply_and_one_end_token_and_no_prompt(config):
    rows = read_jsonl(path_of(config, "sft_train"), parse_example, made_by="00")[:8]
    batch, tokenizer = sft_batch(config, rows)
    training.check_sft_batch(batch, tokenizer)
    taught = {tokenizer.decode(labels[labels != -100]) for labels in batch["labels"]}
    assert taught == {f"{row.response}<|im_end|>\n" for row in rows}


def test_an_unmasked_prompt_and_a_missing_end_token_are_refused(config):
    rows = read_jsonl(path_of(config, "sft_train"), parse_example, made_by="00")[:2]
    batch, tokenizer = sft_batch(config, rows)
    unmasked = {**batch, "labels": batch["input_ids"].clone()}
    with pytest.raises(SelfTestError, match="an SFT row would teach"):
        training.check_sft_batch(unmasked, tokenizer)
    endless = batch["labels"].masked_fill(batch["labels"] == tokenizer.eos_token_id, -100)
    with pytest.raises(SelfTestError, match="with 0 end tokens"):
        training.check_sft_batch({**batch, "labels": endless}, tokenizer)


def test_a_tie_never_reaches_the_trainer(config):
    tie = LabeledPair(pairs(config, "rlhf_train")[0].pair, "tie", "me")
    with pytest.raises(DataError, match="1 tied pairs"):
        training.preference_rows([tie])


def test_a_pair_longer_than_the_limit_is_refused_not_cut(config):
    short = load_config("smoke", ["dpo.max_length=20"])
    with pytest.raises(DataError, match=r"dpo.max_length is 20"):
        training._dpo_trainer(short, "rlhf", short.rlhf, pairs(config, "rlhf_train"),
                              pairs(config, "rlhf_val"))


def test_no_pairs_is_an_error_that_says_so(config):
    with pytest.raises(DataError, match="rlhf has 0 training"):
        training.train_preferences(config, "rlhf", [], pairs(config, "rlhf_val"))


def test_every_stage_has_validation_points_from_before_to_after_training(config):
    for name in ("rlhf", "rlaif", "rlaif_rlhf"):
        curve = training.training_curve(config, name)
        steps = curve.loc[curve["eval_loss"].notna(), "step"].tolist()
        assert steps[0] == 0 and len(steps) >= 2


def test_a_finished_training_is_not_repeated_and_a_changed_one_is(config):
    before = (path_of(config, "rlhf") / "adapter_model.safetensors").stat().st_mtime_ns
    arguments = (pairs(config, "rlhf_train"), pairs(config, "rlhf_val"))
    training.train_preferences(config, "rlhf", *arguments)
    assert (path_of(config, "rlhf") / "adapter_model.safetensors").stat().st_mtime_ns == before
    training.train_preferences(load_config("smoke", ["dpo.beta=0.5"]), "rlhf", *arguments)
    assert (path_of(config, "rlhf") / "adapter_model.safetensors").stat().st_mtime_ns != before


def test_half_a_checkpoint_is_no_checkpoint(config):
    (path_of(config, "rlhf") / "adapter_model.safetensors").unlink()
    assert not is_current(config, "rlhf", "any")


def test_a_loss_that_becomes_nan_is_not_saved_and_says_what_to_change(config):
    wild = load_config("smoke", ["rlhf.learning_rate=1e30"])
    before = (path_of(config, "rlhf") / "lineage.json").read_text()
    with pytest.raises(SelfTestError, match="Lower its learning_rate"):
        training.train_preferences(wild, "rlhf", pairs(config, "rlhf_train"),
                                   pairs(config, "rlhf_val"))
    assert (path_of(config, "rlhf") / "lineage.json").read_text() == before
