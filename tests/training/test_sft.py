"""What SFT really teaches: the reply, one end of turn, and nothing of the prompt."""

import pytest
import trl

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError, SelfTestError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import parse_example
from persuasion_lib.core.store import file_hash, read_jsonl
from persuasion_lib.models.loading import load_base, load_tokenizer
from persuasion_lib.training import history, sft
from persuasion_lib.training import loop as training


@pytest.fixture
def config(smoke_copy):
    return load_config("smoke")


def sft_batch(config, rows):
    from trl import SFTConfig, SFTTrainer
    tokenizer = load_tokenizer(config)
    trainer = SFTTrainer(
        model=load_base(config), train_dataset=sft.sft_rows(rows),
        processing_class=tokenizer, peft_config=training.lora(config),
        args=SFTConfig(output_dir=str(config.root / "scratch"), use_cpu=True, report_to="none",
                       activation_checkpointing=False, bf16=False, max_length=None))
    return next(iter(trainer.get_train_dataloader())), tokenizer


def test_an_sft_batch_teaches_the_reply_and_one_end_token_and_no_prompt(config):
    rows = read_jsonl(path_of(config, "sft_train"), parse_example, made_by="00")[:8]
    batch, tokenizer = sft_batch(config, rows)
    sft.check_sft_batch(batch, tokenizer, [tokenizer.eos_token_id])
    taught = {tokenizer.decode(labels[labels != -100]) for labels in batch["labels"]}
    assert taught == {f"{row.response}<|im_end|>\n" for row in rows}


def test_an_unmasked_prompt_and_a_missing_end_token_are_refused(config):
    rows = read_jsonl(path_of(config, "sft_train"), parse_example, made_by="00")[:2]
    batch, tokenizer = sft_batch(config, rows)
    unmasked = {**batch, "labels": batch["input_ids"].clone()}
    with pytest.raises(SelfTestError, match="an SFT row would teach"):
        sft.check_sft_batch(unmasked, tokenizer, [tokenizer.eos_token_id])
    endless = batch["labels"].masked_fill(batch["labels"] == tokenizer.eos_token_id, -100)
    with pytest.raises(SelfTestError, match="with 0 end tokens"):
        sft.check_sft_batch({**batch, "labels": endless}, tokenizer, [tokenizer.eos_token_id])


def rows(config, part):
    return read_jsonl(path_of(config, f"sft_{part}"), parse_example, made_by="00")


def test_validation_happens_and_the_best_checkpoint_is_kept(config):
    log = history.training_log(config, "sft")
    points = {p["step"]: p["eval_loss"] for p in log["history"] if "eval_loss" in p}
    assert len(points) >= 2
    assert points[log["best_step"]] == min(points.values())


@pytest.mark.parametrize("overrides", [
    [], ["sft.engine=packed", "sft.whole_conversations=true", "sft.num_epochs=2"]])
def test_a_killed_sft_goes_on_and_ends_with_the_same_weights(config, monkeypatch, overrides):
    config = load_config("smoke", overrides)
    final = path_of(config, "sft") / "adapter_model.safetensors"
    final.unlink()      # the smoke run's was computed with another number of threads
    sft.train_sft(config, rows(config, "train"), rows(config, "val"))
    undisturbed = file_hash(final)
    final.unlink()
    stock = trl.SFTTrainer.training_step

    def killed(self, *arguments, **options):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return stock(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(trl.SFTTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            sft.train_sft(config, rows(config, "train"), rows(config, "val"))
    scratch, = final.parent.parent.glob("training-*")
    assert training.last_checkpoint(scratch) is not None
    sft.train_sft(config, rows(config, "train"), rows(config, "val"))
    assert file_hash(final) == undisturbed


@pytest.mark.parametrize("train, val", [(0, 2), (2, 0)])
def test_sft_without_rows_of_one_kind_is_refused_in_a_sentence(config, train, val):
    with pytest.raises(DataError, match=rf"SFT has {train} training and {val} validation rows"):
        sft.train_sft(config, rows(config, "train")[:train], rows(config, "val")[:val])
