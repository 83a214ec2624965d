"""What stands at `model.base` must be what was there when a stage read it."""

import json
import os
import shutil

import huggingface_hub.constants
import pytest

from persuasion_lib.core import weights
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, StaleInput
from persuasion_lib.core.manifest import changed_reads, conditions, what_was_read
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.replacing import refuse_to_replace
from persuasion_lib.core.stage import start
from persuasion_lib.core.store import write_text
from persuasion_lib.models import gguf, loading
from persuasion_lib.models.lineage import base_hash
from worlds.families import family_folder

CHANGED = ["content of model.base changed"]


@pytest.fixture
def folder(project):
    return family_folder("qwen2.5", project / "base")


def settings(base="base", *more):
    return load_config("smoke", [f"model.base={base}", *more])


def read_by(config):
    """The record that a stage leaves which reads the base model."""
    loading.load_tokenizer(config)
    return what_was_read(config)


def changes(config, manifest):
    return [str(reason) for reason in changed_reads(config, manifest)]


def other_weights(folder):
    """Another number in the last place, in a file of the same size and the same times."""
    file = folder / "model.safetensors"
    known = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))


def test_other_weights_in_the_same_folder_are_noticed(folder):
    manifest = read_by(settings())
    assert manifest["files"]["model.base"] == base_hash(settings())
    assert changes(settings(), manifest) == []
    (folder / "README.md").write_text("Notes.")
    assert changes(settings(), manifest) == []
    other_weights(folder)
    assert changes(settings(), manifest) == CHANGED


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_another_setting_or_template_in_the_folder_is_noticed(folder, name):
    manifest = read_by(settings())
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | {"more": 1}))
    assert changes(settings(), manifest) == CHANGED


def finished(name):
    """A stage that read the base model and has ended."""
    run = start(name, "smoke", ["model.base=base"])
    loading.load_tokenizer(run.config)
    for output in run.stage.writes:
        write_text(path_of(run.config, output), "{}")
    return run.finish(done=1, planned=1)


def test_a_folder_that_is_replaced_between_two_notebooks_sends_back_to_the_first(folder):
    finished("prepare")
    assert conditions(settings())["prepare"][0] == "done"
    other_weights(folder)
    condition, reasons = conditions(settings())["prepare"]
    assert (condition, [str(reason) for reason in reasons]) == ("stale", CHANGED)
    with pytest.raises(StaleInput, match=r"00_prepare.ipynb would make now: content of model.base"):
        start("label_ai", "smoke", ["model.base=base"])
    with pytest.raises(ConfigError, match="content of model.base changed.*--replace"):
        refuse_to_replace(settings(), STAGES["prepare"])


def test_results_can_be_looked_at_where_the_model_is_not(folder):
    """On another machine nobody can say that it changed; who needs it says that it is missing."""
    manifest = read_by(settings())
    shutil.rmtree(folder)
    assert changes(settings(), manifest) == []


def test_a_manifest_that_recorded_no_content_is_as_good_as_before(folder):
    manifest = read_by(settings())
    del manifest["files"]["model.base"], manifest["stamp"]
    other_weights(folder)
    assert changes(settings(), manifest) == []


def test_gigabytes_are_not_read_again_to_see_that_they_are_the_same(folder, monkeypatch):
    monkeypatch.setattr(weights, "SETTLED_S", -1)
    manifest = read_by(settings())
    with monkeypatch.context() as watched:
        watched.setattr(weights, "file_hash", lambda file: pytest.fail(f"{file} was read"))
        weights._hash_of.cache_clear()          # as in another process
        assert changes(settings(), manifest) == []
    other_weights(folder)
    assert changes(settings(), manifest) == CHANGED


def test_a_file_that_changed_just_now_is_read_as_often_as_asked(tmp_path):
    """It may change again within one tick of the disk's clock."""
    seen = set()
    for text in ("1", "2", "3"):
        (tmp_path / "file").write_text(text)
        seen.add(weights.hash_once(tmp_path / "file"))
    assert len(seen) == 3


def test_another_commit_of_a_branch_of_the_hub_is_noticed(folder, project, monkeypatch):
    """The hub is not asked for that: what counts is what a notebook would find here."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(project / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    kept = project / "hub" / "models--somebody--Tiny"
    for commit in ("aaa", "bbb"):
        shutil.copytree(folder, kept / "snapshots" / commit)
    other_weights(kept / "snapshots" / "bbb")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("aaa")
    monkeypatch.setattr(loading, "snapshot_download",
                        lambda *_, **__: str(kept / "snapshots" / "aaa"))
    manifest = read_by(settings("somebody/Tiny"))
    assert changes(settings("somebody/Tiny"), manifest) == []
    (kept / "refs" / "main").write_text("bbb")
    assert changes(settings("somebody/Tiny"), manifest) == CHANGED
    shutil.rmtree(kept)                         # it is fetched again
    assert changes(settings("somebody/Tiny"), manifest) == []


def converted_from(folder, name, project, text):
    """A folder as `model.gguf` leaves it, without the half minute of a conversion."""
    (project / name).write_text(text)
    place = path_of(settings("somebody/Tiny"), "unpacked")
    shutil.copytree(folder, place)
    gguf.write_json(place / weights.SOURCE, {
        "base": "somebody/Tiny", "named": name, "file": name,
        "sha256": weights.hash_once(project / name)})
    return settings("somebody/Tiny", f"model.gguf={name}")


def test_another_file_behind_the_same_name_is_noticed(folder, project):
    """As an update of the package that carries it brings one; one that is gone is as it was."""
    config = converted_from(folder, "Tiny.gguf", project, "1")
    manifest = read_by(config)
    (project / "Tiny.gguf").unlink()
    assert changes(config, manifest) == []
    (project / "Tiny.gguf").write_text("2")
    assert changes(config, manifest) == CHANGED


def test_another_model_gguf_is_a_setting_that_was_read(folder, project):
    manifest = read_by(converted_from(folder, "Tiny.gguf", project, "1"))
    assert changes(settings("somebody/Tiny"), manifest) == [
        "model.gguf was Tiny.gguf, is absent"]
    assert changes(settings("somebody/Tiny", "model.gguf=Tiny.gguf", "model.revision=v2"),
                   manifest) == ["model.revision was main, is v2"]
