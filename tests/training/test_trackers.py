"""One run per model in a tracker, with losses and held-out replies, which changes no weight."""

import shutil
import sys
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import path_of, read_file
from persuasion_lib.core.store import file_hash
from persuasion_lib.training import loop
from persuasion_lib.training.dpo import train_preferences
from persuasion_lib.training.history import training_log
from persuasion_lib.training.sft import train_sft

SEEN = ["training.report_to=tensorboard"]


def trained_again(config, name):
    """Train a model of the smoke run once more; the hashes of its weights before and after."""
    weights = path_of(config, name) / "adapter_model.safetensors"
    before = file_hash(weights)
    shutil.rmtree(path_of(config, name))
    rows = [read_file(config, f"{name}_{side}") for side in ("train", "val")]
    if name == "sft":
        train_sft(config, *rows)
    else:
        train_preferences(config, name, *rows)
    return before, file_hash(weights)


@pytest.fixture
def logs(smoke_copy, monkeypatch):
    """What TensorBoard holds of a model after it was trained once more with the tracker on."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    config = load_config("smoke", SEEN)

    def of(name):
        before, after = trained_again(config, name)
        assert before == after, "a tracker changes no weight"
        found = EventAccumulator(str(config.folder("results") / "tensorboard" / name))
        return found.Reload()

    return of


def test_each_model_has_a_run_of_its_own_with_its_losses_and_replies(logs):
    config = load_config("smoke")
    for name in ("sft", "rlhf"):
        run = logs(name)
        losses = {point.step: point.value for point in run.Scalars("eval/loss")}
        kept = {point["step"]: point["eval_loss"] for point in training_log(config, name)["history"]
                if "eval_loss" in point}
        assert losses == pytest.approx(kept), "and nothing of our self-test before step 0"
        assert {"train/loss", "eval/loss"} <= set(run.Tags()["scalars"])
        texts = run.Tensors("eval/replies/text_summary")
        shown = texts[-1].tensor_proto.string_val[0].decode()
        assert len(texts) == len(kept)
        assert 3 <= shown.count("REPLY: ") <= 4 and "THEM: " in shown
        assert "REPLY" not in str(training_log(config, name))


def test_runs_are_called_after_run_and_model(project):
    called = {name: loop.common_arguments(load_config("smoke", ["name=beta02"]), name, *rest)
              for config in [load_config("smoke")] for name, rest in (
                  ("rlhf", (config.dpo, config.rlhf, 10, project / "x")),
                  ("sft", (config.sft, config.sft, 10, project / "x")))}
    assert {name: found["run_name"] for name, found in called.items()} == {
        "rlhf": "beta02-rlhf", "sft": "beta02-sft"}
    assert {found["project"] for found in called.values()} == {"persuasion"}
    assert {found["report_to"] for found in called.values()} == {"none"}


def test_a_run_of_wandb_ends_with_its_training(monkeypatch):
    """transformers begins one only where none is open, so that all models would share the first."""
    ended = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(finish=lambda: ended.append(1)))
    loop.close_tracker(SimpleNamespace(args=SimpleNamespace(report_to=["wandb"])))
    loop.close_tracker(SimpleNamespace(args=SimpleNamespace(report_to=[])))
    assert ended == [1]
