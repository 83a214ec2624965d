"""Training in two processes on this machine's CPU, and launchers that start fewer than asked."""

import subprocess
import sys

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, PersuasionError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import example_row, labeled_row, parse_example, parse_labeled
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.models.lineage import check_lineage, weights_hash
from persuasion_lib.training import dpo as preferences
from persuasion_lib.training import launch
from persuasion_lib.training.history import training_log
from persuasion_lib.training.sft import train_sft
from worlds.scratch import ROOT, clean_environment

TWO = ["training.processes=2", "dpo.per_device_train_batch_size=4"]     # 2 × 4 = the smoke run's 8


@pytest.fixture
def config(smoke_copy, monkeypatch):
    for key, value in clean_environment().items():
        monkeypatch.setenv(key, value)
    return load_config("smoke")


def split(config):
    """Whole batches: an uneven last one is filled up differently in two processes."""
    train, val = (read_jsonl(path_of(config, f"rlhf_{part}"), parse_labeled, made_by="03")
                  for part in ("train", "val"))
    return train[:16], val[:2]


def give_the_worker(config, train, val):
    """Another process reads its rows from the files of the stage before."""
    for part, rows in (("train", train), ("val", val)):
        write_jsonl(path_of(config, f"rlhf_{part}"), map(labeled_row, rows))


def losses(config):
    """What was logged while training and at the validation points, step by step."""
    return [(log["step"], key, log[key]) for log in training_log(config, "rlhf")["history"]
            for key in ("loss", "eval_loss", "eval_logps/chosen", "rewards/margins") if key in log]


@pytest.mark.parametrize("engine", ["shared_prefix", "trl"])
def test_two_processes_learn_what_one_learns(config, engine, capfd):
    """Losses, not weights: Adam divides by the gradient's size, so rounding moves those near 0."""
    preferences.train_preferences(load_config("smoke", [f"dpo.engine={engine}"]), "rlhf",
                                  *split(config))
    one = losses(config)
    give_the_worker(config, *split(config))
    path_of(config, "reference_logps").unlink()     # computed by the two together
    preferences.train_preferences(load_config("smoke", [f"dpo.engine={engine}", *TWO]), "rlhf",
                                  *split(config))
    two = losses(config)
    assert "world size 2" in capfd.readouterr().out
    assert len(one) > 10 and [entry[:2] for entry in one] == [entry[:2] for entry in two]
    assert [value for *_, value in two] == pytest.approx([value for *_, value in one], abs=2e-4)


@pytest.mark.parametrize("engine", ["packed", "trl"])
def test_two_processes_fine_tune_as_one_does(config, engine, capfd):
    """Batches of conversations: each process gets every other one of half the size."""
    options = [f"sft.engine={engine}", "sft.whole_conversations=true", "sft.learning_rate=2e-4"]
    train, val = (read_jsonl(path_of(config, f"sft_{part}"), parse_example, made_by="00")
                  for part in ("train", "val"))
    rows = train[:64], val[:4]
    for part, examples in zip(("train", "val"), rows, strict=True):
        write_jsonl(path_of(config, f"sft_{part}"), map(example_row, examples))
    found = []
    for number in (1, 2):
        train_sft(load_config("smoke", [
            *options, f"training.processes={number}",
            f"sft.per_device_train_batch_size={16 // number}"]), *rows)
        found.append([(log["step"], key, log[key])
                      for log in training_log(config, "sft")["history"]
                      for key in ("loss", "eval_loss") if key in log])
    one, two = found
    assert "world size 2" in capfd.readouterr().out
    assert len(one) > 5 and [entry[:2] for entry in one] == [entry[:2] for entry in two]
    assert [value for *_, value in two] == pytest.approx([value for *_, value in one], abs=2e-4)


def fsdp_file(config):
    """The project's own file, for processes without a GPU."""
    stock = (config.root / "configs/launch/fsdp.yaml").read_text()
    (config.root / "fsdp.yaml").write_text(stock.replace("use_cpu: false", "use_cpu: true"))
    return [*TWO, "training.launch_config=fsdp.yaml"]


@pytest.mark.parametrize("dtype", [
    "float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_a_model_sharded_over_two_processes_learns_what_one_learns(config, monkeypatch, dtype):
    options = [f"model.dtype={dtype}", "dpo.watched_prompts=0"]
    preferences.train_preferences(load_config("smoke", options), "rlhf", *split(config))
    one = losses(config)
    give_the_worker(config, *split(config))
    sharded = load_config("smoke", [*options, *fsdp_file(config)])
    command = [*launch.launcher(sharded), str(ROOT / "tests" / "worlds" / "shard_on_cpu.py")]
    monkeypatch.setattr(launch, "launcher", lambda _: command)
    preferences.train_preferences(sharded, "rlhf", *split(config))
    two = losses(config)
    assert len(one) > 10 and [entry[:2] for entry in one] == [entry[:2] for entry in two]
    near = {"abs": 2e-4} if dtype == "float32" else {"abs": 0.02, "rel": 0.01}
    assert [value for *_, value in two] == pytest.approx([value for *_, value in one], **near)
    assert check_lineage(sharded, "rlhf").weights == weights_hash(sharded, "rlhf")


def test_processes_that_were_to_shard_and_do_not_are_refused(config):
    give_the_worker(config, *split(config))
    with pytest.raises(PersuasionError, match="asks for FSDP, but accelerate shards on GPUs only"):
        preferences.train_preferences(load_config("smoke", fsdp_file(config)), "rlhf",
                                      *split(config))


def worker(project, *options):
    return subprocess.run([sys.executable, "-m", "persuasion_lib.training.worker", "rlhf",
                           "--profile", "smoke", *options], cwd=project, env=clean_environment(),
                          capture_output=True, text=True)


def test_a_launcher_that_starts_one_process_of_two_is_refused(config):
    """As `accelerate launch --cpu --num_processes 2` does, which says nothing."""
    before = (path_of(config, "rlhf") / "lineage.json").read_text()
    done = worker(config.root, *(part for text in TWO for part in ("--set", text)))
    assert done.returncode == 1
    assert "training.processes=2, but 1 started" in done.stderr
    assert (path_of(config, "rlhf") / "lineage.json").read_text() == before


def test_more_processes_than_asked_for_are_refused(config, monkeypatch):
    monkeypatch.setattr(launch, "processes", lambda: type("State", (), {"num_processes": 4}))
    with pytest.raises(ConfigError, match="training.processes=1, but 4 started"):
        launch.check_world_size(config)


def test_a_worker_that_fails_brings_its_message_to_the_notebook(config):
    short = load_config("smoke", [*TWO, "dpo.max_length=20"])
    with pytest.raises(PersuasionError, match=r"(?s)status 1.*dpo.max_length is 20"):
        preferences.train_preferences(short, "rlhf", *split(config))


def test_a_launch_file_is_handed_to_accelerate(config):
    asked = load_config("smoke", [*TWO, "training.launch_config=configs/launch/fsdp.yaml"])
    command = launch.launcher(asked)
    assert command[2] == "accelerate.commands.launch" and command[4] == "2"
    assert command[-1] == str(config.root / "configs/launch/fsdp.yaml")
    assert (config.root / "configs/launch/fsdp.yaml").exists()
