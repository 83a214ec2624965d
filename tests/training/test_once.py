"""What another run of the project has trained is copied, if it is just this."""

import threading

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.store import read_json, write_json, write_text
from persuasion_lib.models.lineage import ADAPTER_SETTINGS, WEIGHTS, adapter_hash
from persuasion_lib.training import once


@pytest.fixture
def mine(project, monkeypatch):
    monkeypatch.setattr(once, "weights_hash", lambda config, name: f"weights of {name}")
    return load_config("demo", ["name=mine"])


@pytest.fixture
def theirs(mine):
    """The folder of rlaif in another run, trained on the same parents."""
    folder = path_of(load_config("demo", ["name=theirs"]), "rlaif")
    write_text(folder / WEIGHTS, "weights")
    write_json(folder / ADAPTER_SETTINGS, {"r": 16})
    write_json(folder / "lineage.json", {
        "name": "rlaif", "fingerprint": "f", "dtype": "float32", "weights": adapter_hash(folder),
        "parents": {"base": "weights of base", "sft": "weights of sft"}})
    return folder


def test_the_same_training_is_copied_with_a_card_of_its_own(mine, theirs):
    assert once.copied(mine, "rlaif", "f")
    assert (path_of(mine, "rlaif") / WEIGHTS).read_text() == "weights"
    assert "rlaif" in (path_of(mine, "rlaif") / "README.md").read_text()


@pytest.mark.parametrize("field, value", [
    ("fingerprint", "g"), ("dtype", "bfloat16"), ("name", "rlhf"),
    ("parents", {"base": "weights of base", "sft": "others"})])
def test_another_training_is_not(mine, theirs, field, value):
    record = theirs / "lineage.json"
    write_json(record, read_json(record, made_by="04") | {field: value})
    assert not once.copied(mine, "rlaif", "f")
    assert not path_of(mine, "rlaif").exists()


@pytest.mark.parametrize("spoil", [
    lambda folder: write_text(folder / WEIGHTS, "edited"),
    lambda folder: (folder / WEIGHTS).unlink(),
    lambda folder: write_text(folder / ADAPTER_SETTINGS, "no JSON"),
    lambda folder: write_text(folder / "lineage.json", "[]"),
    lambda folder: write_text(folder / "lineage.json", "{")])
def test_a_checkpoint_that_is_no_longer_what_it_was_is_not_copied(mine, theirs, spoil):
    spoil(theirs)
    assert not once.copied(mine, "rlaif", "f")


def test_two_that_would_train_the_same_go_one_after_the_other(mine, monkeypatch, capsys):
    monkeypatch.setattr(once, "POLL_S", 0.01)
    inside, most = [], []

    def train():
        with once.alone(mine, "rlaif", "f"):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.05)
            inside.pop()

    both = [threading.Thread(target=train) for _ in range(3)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert most == [1, 1, 1] and "waiting for it" in capsys.readouterr().out
