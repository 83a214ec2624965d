"""What DPO really receives, and what stops a training that would go wrong."""

import contextlib
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError, SelfTestError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import LabeledPair, Pair, parse_labeled
from persuasion_lib.core.store import file_hash, read_json, read_jsonl
from persuasion_lib.models.lineage import is_current
from persuasion_lib.models.loading import base_folder, load_base, load_tokenizer, prompt_ids
from persuasion_lib.training import dpo as preferences
from persuasion_lib.training import history
from persuasion_lib.training import loop as training


@pytest.fixture
def config(smoke_copy):
    return load_config("smoke")


def pairs(config, name):
    return read_jsonl(path_of(config, name), parse_labeled, made_by="03")


@pytest.fixture
def trainer(config):
    return preferences.preference_trainer(config, "rlhf", pairs(config, "rlhf_train"),
                                          pairs(config, "rlhf_val"))


def test_step_zero_of_a_fresh_stage_is_ln_2_with_margin_0(config):
    for name in ("rlhf", "rlaif"):
        seen = read_json(path_of(config, name) / history.LOG, made_by="04")["self_test"]
        assert seen["loss"] == pytest.approx(math.log(2), abs=1e-5)
        assert seen["margin"] == pytest.approx(0, abs=1e-5)


def test_step_zero_of_the_third_stage_is_rlaif_against_sft(config):
    seen = read_json(path_of(config, "rlaif_rlhf") / history.LOG, made_by="04")["self_test"]
    assert seen["policy_logp"] == pytest.approx(seen["policy_expected"], rel=1e-4)
    assert seen["reference_logp"] == pytest.approx(seen["reference_expected"], rel=1e-4)
    assert abs(seen["policy_logp"] - seen["reference_logp"]) > 0.01


def test_the_earlier_runs_wrong_stack_is_stopped_before_training(config, monkeypatch):
    """base + RLAIF instead of base + SFT + RLAIF, as LESSONS of the first run describe."""
    monkeypatch.setattr(preferences, "load_sft", load_base)
    path_of(config, "reference_logps").unlink()     # or the right reference would be found there
    train, val = pairs(config, "rlhf_train"), pairs(config, "rlhf_val")
    wrong = preferences.preference_trainer(config, "rlaif_rlhf", train, val)
    with pytest.raises(SelfTestError, match="the reference is not sft"):
        preferences.check_step_zero(config, "rlaif_rlhf", wrong, train[:16])


def test_a_third_stage_that_forgot_its_warm_up_is_stopped(config, trainer):
    with pytest.raises(SelfTestError, match="the policy is not rlaif"):
        preferences.check_step_zero(config, "rlaif_rlhf", trainer, pairs(config, "rlhf_train")[:16])


def test_step_zero_against_the_base_is_sft_against_the_base(config):
    asked = load_config("smoke", ["dpo.reference=base"])
    train, val = pairs(asked, "rlhf_train"), pairs(asked, "rlhf_val")
    begun = preferences.preference_trainer(asked, "rlhf", train, val)
    seen = preferences.check_step_zero(asked, "rlhf", begun, train[:8])
    own = read_json(path_of(asked, "rlhf") / history.LOG, made_by="04")["self_test"]
    assert seen["reference_logp"] == pytest.approx(seen["reference_expected"], rel=1e-4)
    assert abs(seen["reference_logp"] - seen["policy_logp"]) > 0.01
    assert abs(seen["loss"] - math.log(2)) > 1e-4
    assert own["policy_logp"] == pytest.approx(own["reference_logp"], rel=1e-5)


def test_step_zero_against_its_start_is_ln_2_in_the_third_stage_too(config):
    asked = load_config("smoke", ["dpo.reference=start"])
    train, val = pairs(asked, "rlhf_train"), pairs(asked, "rlhf_val")
    begun = preferences.preference_trainer(asked, "rlaif_rlhf", train, val)
    seen = preferences.check_step_zero(asked, "rlaif_rlhf", begun, train[:8])
    assert (seen["loss"], seen["margin"]) == pytest.approx((math.log(2), 0), abs=1e-5)
    assert seen["reference_expected"] == seen["policy_expected"]


@pytest.mark.parametrize("reference, name", [("base", "rlhf"), ("start", "rlaif_rlhf")])
def test_another_reference_that_is_sft_after_all_is_stopped(config, monkeypatch, reference, name):
    asked = load_config("smoke", [f"dpo.reference={reference}"])
    monkeypatch.setattr(preferences.PreferenceTrainer, "_as_reference",
                        lambda self: contextlib.nullcontext())
    train, val = pairs(asked, "rlhf_train"), pairs(asked, "rlhf_val")
    begun = preferences.preference_trainer(asked, name, train, val)
    with pytest.raises(SelfTestError, match="the reference is not (base|rlaif)"):
        preferences.check_step_zero(asked, name, begun, train[:8])


def test_trls_own_engine_has_no_other_reference_than_sft(config):
    asked = load_config("smoke", ["dpo.reference=base", "dpo.engine=trl"])
    with pytest.raises(ConfigError, match="dpo.reference=base makes base the reference of rlhf"):
        preferences.preference_trainer(asked, "rlhf", pairs(asked, "rlhf_train"),
                                       pairs(asked, "rlhf_val"))


def test_of_few_labels_the_last_step_is_kept_and_not_the_best(config):
    few = load_config("smoke", ["training.best_from=1000", "rlhf.learning_rate=0.01",
                                "rlhf.num_epochs=4"])
    preferences.train_preferences(few, "rlhf", pairs(few, "rlhf_train"), pairs(few, "rlhf_val"))
    log = history.training_log(few, "rlhf")
    points = {row["step"]: row["eval_loss"] for row in log["history"] if "eval_loss" in row}
    assert log["best_step"] == max(points) and points[max(points)] > min(points.values())


def test_a_policy_that_already_moved_is_stopped(config, trainer):
    with torch.no_grad():
        for name, weights in trainer.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.05)
    with pytest.raises(SelfTestError, match=r"the loss is .*, not ln 2"):
        preferences.check_step_zero(config, "rlhf", trainer, pairs(config, "rlhf_train")[:16])


def test_validation_metrics_are_means_over_pairs_not_over_batches(monkeypatch):
    """3 of 4 pairs are right in the first batch, 1 of 2 in the second: 4 of 6, not .625."""
    trainer = preferences.PreferenceTrainer.__new__(preferences.PreferenceTrainer)
    trainer._metrics = {"eval": {"rewards/accuracies": []}}
    shares = iter([3 / 4, 1 / 2])

    def as_trl_does(self, model, inputs):
        self._metrics["eval"]["rewards/accuracies"].append(next(shares))

    monkeypatch.setattr(preferences.DPOTrainer, "prediction_step", as_trl_does)
    for pairs_in_batch in (4, 2):
        trainer.prediction_step(None, {"input_ids": [[1]] * 2 * pairs_in_batch})
    seen = trainer._metrics["eval"]["rewards/accuracies"]
    assert sum(seen) / len(seen) == pytest.approx(4 / 6)


def test_validation_is_the_same_in_even_and_in_uneven_batches(config, trainer):
    val = preferences.preference_rows(pairs(config, "rlhf_train")[:5])
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in trainer.model.named_parameters():
            if "lora_B" in name:        # or every loss would be ln 2
                weights.normal_(std=0.05)
    found = []
    for size in (5, 2):
        trainer.args.per_device_eval_batch_size = size
        trainer.state.log_history.clear()
        trainer.evaluate(val)
        found.append(next(log for log in trainer.state.log_history if "eval_loss" in log))
    assert abs(found[0]["eval_loss"] - math.log(2)) > 1e-3
    for metric in ("eval_loss", "eval_logps/chosen", "eval_rewards/margins"):
        assert found[0][metric] == pytest.approx(found[1][metric], rel=1e-5)


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


def test_ties_are_dropped_or_refused_as_the_setting_says(config):
    known = pairs(config, "rlhf_train")[:2]
    tie = LabeledPair(known[0].pair, "tie", "me")
    assert preferences.without_ties(config, [*known, tie]) == known
    strict = load_config("smoke", ["dpo.ties=refuse"])
    with pytest.raises(DataError, match=f"1 tied pairs .first: {tie.pair.pair_id}"):
        preferences.without_ties(strict, [*known, tie])


def test_a_pair_longer_than_the_limit_is_refused_not_cut(config):
    short = load_config("smoke", ["dpo.max_length=20"])
    with pytest.raises(DataError, match=r"dpo.max_length is 20"):
        preferences.preference_trainer(short, "rlhf", pairs(config, "rlhf_train"),
                                       pairs(config, "rlhf_val"))


def test_a_pair_of_one_reply_twice_is_refused(config):
    good = pairs(config, "rlhf_train")[0].pair
    same = LabeledPair(Pair("x1", good.prompt, "Yes.", "Yes. ", {}), "a", "me")
    with pytest.raises(DataError, match="pair x1 has the same reply as chosen and rejected"):
        preferences.check_pairs(load_tokenizer(config), [same], 1000)


def test_no_pairs_is_an_error_that_says_so(config):
    with pytest.raises(DataError, match="rlhf has 0 training"):
        preferences.train_preferences(config, "rlhf", [], pairs(config, "rlhf_val"))


def test_every_stage_has_validation_points_from_before_to_after_training(config):
    for name in ("rlhf", "rlaif", "rlaif_rlhf"):
        curve = history.training_curve(config, name)
        steps = curve.loc[curve["eval_loss"].notna(), "step"].tolist()
        assert steps[0] == 0 and len(steps) >= 2


def test_a_finished_training_is_not_repeated_and_a_changed_one_is(config):
    before = (path_of(config, "rlhf") / "adapter_model.safetensors").stat().st_mtime_ns
    arguments = (pairs(config, "rlhf_train"), pairs(config, "rlhf_val"))
    preferences.train_preferences(config, "rlhf", *arguments)
    assert (path_of(config, "rlhf") / "adapter_model.safetensors").stat().st_mtime_ns == before
    preferences.train_preferences(load_config("smoke", ["dpo.beta=0.5"]), "rlhf", *arguments)
    assert (path_of(config, "rlhf") / "adapter_model.safetensors").stat().st_mtime_ns != before


def test_half_a_checkpoint_is_no_checkpoint(config):
    (path_of(config, "rlhf") / "adapter_model.safetensors").unlink()
    assert not is_current(config, "rlhf", "any")


def test_a_loss_that_becomes_nan_is_not_saved_and_says_what_to_change(config):
    wild = load_config("smoke", ["rlhf.learning_rate=1e30"])
    before = (path_of(config, "rlhf") / "lineage.json").read_text()
    with pytest.raises(SelfTestError, match="Lower its learning_rate"):
        preferences.train_preferences(wild, "rlhf", pairs(config, "rlhf_train"),
                                   pairs(config, "rlhf_val"))
    assert (path_of(config, "rlhf") / "lineage.json").read_text() == before


def test_the_two_human_stages_share_one_reference_pass(config, monkeypatch):
    """Everything is on disk already from rlhf, so that nothing is computed for rlaif_rlhf."""
    def never(*_):
        raise AssertionError("the reference was computed again")
    monkeypatch.setattr(preferences.PreferenceTrainer, "_reference_logps", never)
    again = preferences.preference_trainer(config, "rlaif_rlhf", pairs(config, "rlhf_train"),
                                           pairs(config, "rlhf_val"))
    assert {"ref_chosen_logps", "ref_rejected_logps"} <= set(again.train_dataset.column_names)


def test_another_sft_never_finds_the_reference_of_the_old_one(config):
    from persuasion_lib.core.store import AppendLog
    from persuasion_lib.training.reference_cache import ReferenceCache
    asked = []

    def compute(rows):
        asked.append(len(rows))
        return [(-1.0, -2.0)] * len(rows)

    rows = preferences.preference_trainer(
        config, "rlhf", pairs(config, "rlhf_train"), pairs(config, "rlhf_val")).train_dataset
    plain = rows.remove_columns(["ref_chosen_logps", "ref_rejected_logps"])
    assert ReferenceCache(config).add_to(plain, compute)["ref_chosen_logps"] == rows[
        "ref_chosen_logps"] and asked == []
    with (path_of(config, "sft") / "adapter_model.safetensors").open("ab") as file:
        file.write(b"other weights")
    assert set(ReferenceCache(config).add_to(plain, compute)["ref_chosen_logps"]) == {-1.0}
    assert sum(asked) == len(plain)
    with AppendLog(path_of(config, "reference_logps")) as log:
        assert len({row["key"] for row in log.rows}) == len(log.rows)


def test_the_log_has_drift_from_sft_at_every_validation_point(config):
    from persuasion_lib.training.history import validation_points
    for name in ("rlhf", "rlaif", "rlaif_rlhf"):
        points = validation_points(history.training_log(config, name)["history"])
        assert all(point["eval_kl"] >= -1e-4 for point in points)
        assert all(point["eval_reply_tokens"] > 0 for point in points)
    first = validation_points(history.training_log(config, "rlhf")["history"])[0]
    assert first["eval_kl"] == pytest.approx(0, abs=1e-4)      # policy = sft before training


class Killed(Exception):
    """Stands for a kill in the middle of a training."""


def killed_at(step, monkeypatch, trainer_class):
    stock = trainer_class.training_step

    def training_step(self, *arguments, **options):
        if self.state.global_step == step:
            raise Killed
        return stock(self, *arguments, **options)

    monkeypatch.setattr(trainer_class, "training_step", training_step)


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(config, monkeypatch):
    final = path_of(config, "rlhf") / "adapter_model.safetensors"
    arguments = (config, "rlhf", pairs(config, "rlhf_train"), pairs(config, "rlhf_val"))
    final.unlink()      # the smoke run's was computed with another number of threads
    preferences.train_preferences(*arguments)
    undisturbed, curve = file_hash(final), history.training_log(config, "rlhf")
    final.unlink()
    with monkeypatch.context() as patch:
        killed_at(5, patch, preferences.PreferenceTrainer)
        with pytest.raises(Killed):
            preferences.train_preferences(*arguments)
    scratch, = final.parent.parent.glob("training-*")
    left = training.last_checkpoint(scratch)
    assert left is not None and 0 < int(left.name.split("-")[1]) <= 5
    steps = []
    with monkeypatch.context() as patch:
        stock = preferences.PreferenceTrainer.training_step
        patch.setattr(preferences.PreferenceTrainer, "training_step", lambda self, *a, **k: (
            steps.append(self.state.global_step), stock(self, *a, **k))[1])
        preferences.train_preferences(*arguments)
    assert steps[0] == int(left.name.split("-")[1])     # earlier steps were not trained again
    assert file_hash(final) == undisturbed
    again = history.training_log(config, "rlhf")
    assert [p.get("eval_loss") for p in again["history"]] == [
        p.get("eval_loss") for p in curve["history"]]
    assert not scratch.exists()


@pytest.mark.parametrize("name, parent", [("sft", "base"), ("rlhf", "sft"), ("rlhf", "base"),
                                          ("rlaif_rlhf", "rlaif")])
def test_a_checkpoint_on_another_parent_is_no_beginning(config, name, parent):
    begun = training.scratch_folder(config, name, "its settings")
    begun.mkdir()
    assert training.scratch_folder(config, name, "its settings") == begun
    folder = base_folder(config) if parent == "base" else path_of(config, parent)
    weights, = folder.glob("*model.safetensors")
    save_file({key: 2 * value for key, value in load_file(weights).items()}, weights)
    assert training.scratch_folder(config, name, "its settings") != begun
    assert not begun.exists()


def test_a_checkpoint_torn_by_a_kill_is_passed_over(tmp_path):
    for number, state in ((4, '{"global_step": 4}'), (8, '{"global_st'), (12, None)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert training.last_checkpoint(tmp_path).name == "checkpoint-4"
    assert training.last_checkpoint(tmp_path / "nothing") is None


def test_the_best_checkpoint_is_the_one_that_is_kept(config):
    for name in ("rlhf", "rlaif", "rlaif_rlhf"):
        log = history.training_log(config, name)
        points = {p["step"]: p["eval_loss"] for p in log["history"]
                  if "eval_loss" in p and p["step"] > 0}
        assert points[log["best_step"]] == min(points.values())


def test_a_tracker_without_its_package_is_an_error_that_says_what_to_install(config, monkeypatch):
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)
    asked = load_config("smoke", ["training.report_to=wandb"])
    with pytest.raises(ConfigError, match="pip install wandb"):
        training.common_arguments(asked, "rlhf", asked.dpo, asked.rlhf, 10, asked.root / "scratch")


def test_validation_points_come_from_the_number_of_steps(config):
    """100 rows in batches of 8 for 3 epochs are 39 steps; 4 points are one every 9 steps."""
    found = training.common_arguments(config, "rlhf", config.dpo, config.rlhf, 100,
                                      config.root / "scratch")
    assert found["eval_steps"] == found["save_steps"] == 9
    few = training.common_arguments(config, "rlaif", config.dpo, config.rlaif, 3,
                                    config.root / "scratch")
    assert few["eval_steps"] == 1
