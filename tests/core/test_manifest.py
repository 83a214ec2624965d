"""A stage is stale when anything that it read has changed, and only then."""

import json
from typing import Any

import pytest

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.manifest import changed_reads, manifest_path, read_manifest, state
from persuasion_lib.core.pipeline import STAGES


def with_another(key: str) -> Config:
    """The smoke settings with another value of one key, whatever its type."""
    config = load_config("smoke")
    section, _, name = key.partition(".")
    place = getattr(config, section).__dict__ if name else config.__dict__
    place[name or section] = another(place[name or section])
    return config


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}-other"
    return [*value, "other"] if isinstance(value, list) else "other"


@pytest.mark.parametrize("name", STAGES)
def test_each_key_that_a_stage_read_makes_it_stale_and_no_other_key_does(
        smoke_run, monkeypatch, name):
    monkeypatch.chdir(smoke_run[0])
    config = load_config("smoke")
    manifest = read_manifest(config, name)
    assert manifest["settings"], "a stage that reads no setting at all is a broken record"
    for key in config.flat():
        reasons = [str(r) for r in changed_reads(with_another(key), manifest)]
        named = any(reason.startswith(f"{key} was ") for reason in reasons)
        assert named == (key in manifest["settings"]), (key, reasons)


@pytest.mark.parametrize("name, keys", [
    ("prepare", {"gates.max_truncated_fraction", "pairs.temperature", "demo_model.steps"}),
    ("validate", {"data.ai_pairs", "gates.val_fraction"}),
    ("train_dpo", {"generation.max_new_tokens", "dpo.beta", "rlaif_to_rlhf.learning_rate"}),
    ("evaluate", {"data.max_shared_passages", "data.test_examples", "generation.temperature"})])
def test_keys_that_a_hand_written_list_forgot_are_recorded(smoke_run, monkeypatch, name, keys):
    monkeypatch.chdir(smoke_run[0])
    assert keys <= read_manifest(load_config("smoke"), name)["settings"].keys()


# A tracker, a time-out, a batch size of sampling, a break, a budget, a place: of no outcome.
ASIDE = {
    "name", "replace", "paths.data", "paths.models", "paths.results", "servers",
    "training.report_to", "training.gradient_checkpointing", "training.threads",
    "training.launch_config", "pairs.batch_size", "pairs.server_key_env", "generation.batch_size",
    "label_ai.mode", "label_human.break_every", "human_eval.break_every",
    "rate_limiting.requests_per_minute", "judging.budget_usd", "judging.calibrate",
    "judging.prices_date", "judging.prices", "anthropic.timeout", "anthropic.api_key_env",
    "openai.timeout", "openai.api_key_env"}


def test_what_changes_no_outcome_is_never_recorded_as_read(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    config = load_config("smoke")
    assert set(config.flat()) >= ASIDE - {"servers"}
    for name in STAGES:
        assert not ASIDE & read_manifest(config, name)["settings"].keys()


@pytest.mark.parametrize("key", ["training.report_to=tensorboard", "openai.timeout=7",
                                 "label_human.break_every=3", "human_eval.break_every=3",
                                 "rate_limiting.requests_per_minute=9", "pairs.batch_size=2",
                                 "judging.budget_usd=1", "generation.batch_size=1"])
def test_what_changes_no_outcome_makes_no_stage_stale(smoke_run, monkeypatch, key):
    monkeypatch.chdir(smoke_run[0])
    config = load_config("smoke", [key])
    for name in STAGES:
        assert changed_reads(config, read_manifest(config, name)) == []


def test_a_changed_prompt_makes_stale_who_was_asked_with_it(smoke_copy):
    path = smoke_copy / "configs" / "prompts" / "rank.txt"
    path.write_text(path.read_text() + "\nBe brief.\n")
    found = {name: [str(r) for r in changed_reads(load_config("smoke"), read_manifest(
        load_config("smoke"), name))] for name in STAGES}
    assert found["evaluate"] == ["configs/prompts/rank.txt changed"]
    assert found["label_ai"] == found["label_human"] == []


def test_a_changed_file_that_a_setting_names_is_noticed(smoke_copy):
    theirs = smoke_copy / "theirs.jsonl"
    theirs.write_text("1\n")
    config = load_config("smoke", ["label_human.path=theirs.jsonl"])
    assert config.named_file("label_human.path") == theirs
    from persuasion_lib.core.manifest import what_was_read
    manifest = what_was_read(config)
    assert changed_reads(config, manifest) == []
    theirs.write_text("2\n")
    assert [str(r) for r in changed_reads(config, manifest)] == [
        "content of label_human.path changed"]


def test_a_manifest_of_an_earlier_version_is_said_to_be_old_in_one_sentence(smoke_copy):
    config = load_config("smoke")
    path = manifest_path(config, STAGES["validate"])
    old = {key: value for key, value in json.loads(path.read_text()).items() if key != "format"}
    path.write_text(json.dumps(old))
    condition, reasons = state(config, "validate")
    assert condition == "stale" and len(reasons) == 1
    assert "earlier version" in reasons[0].text and reasons[0].kind == "format"
