"""The profile `small`: real weights and dialogues; what is no real judge makes it a rehearsal."""

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.rehearsal import stand_ins
from persuasion_lib.data.corpora import GOALS, system_prompt
from persuasion_lib.judging import check, local_embedder


def test_model_corpus_oracle_and_embedder_are_real_and_the_rest_is_named(project):
    config = load_config("small")
    assert stand_ins(config) == ["judge of labels", "annotator", "people who compare", "judge",
                                 "judge of manipulation"]
    assert not config.oracle.generate       # what the person really said is the yardstick


@pytest.mark.parametrize("base", ["HuggingFaceTB/SmolLM2-360M-Instruct",
                                  "Qwen/Qwen2.5-0.5B-Instruct"])
def test_a_larger_model_is_one_setting(project, base):
    assert load_config("small", [f"model.base={base}"]).model.base == base


def test_every_stage_has_updates_enough_to_learn_from(project):
    """300 AI pairs, a tenth of them held out, in batches of 4: 67 updates. 60 human: 3 × 13."""
    config = load_config("small")
    batch = config.dpo.per_device_train_batch_size * config.dpo.gradient_accumulation_steps
    assert 0.9 * config.data.ai_pairs // batch * config.rlaif.num_epochs >= 60
    assert 0.9 * config.data.human_pairs // batch * config.rlhf.num_epochs >= 30


def test_without_an_oracle_no_key_for_one_is_asked(project, monkeypatch):
    monkeypatch.setattr(local_embedder, "model_folder", lambda config: None)
    monkeypatch.setattr(check, "check_here", local_embedder.model_folder)
    assert set(check.check(load_config("small")).values()) == {""}
    assert check.check(load_config("small", ["oracle.generate=true"]))["oracle"] != ""


@pytest.mark.parametrize(("overrides", "goal"), [
    ([], GOALS["persuasionforgood"]), (["data.goal=Sell tea."], "Sell tea."),
    (["data.source=cmv"], GOALS["cmv"])])
def test_the_system_prompt_says_what_to_persuade_of(project, overrides, goal):
    """A dialogue cut to its last turns may never name the charity."""
    config = load_config("small", overrides)
    assert system_prompt(config) == f"{config.data.system_prompt} {goal}"


@pytest.mark.parametrize(("profile", "overrides"), [
    ("demo", []), ("small", ["data.goal=none"]), ("small", ["data.source=jsonl"])])
def test_where_no_goal_is_known_the_system_prompt_stands_alone(project, profile, overrides):
    config = load_config(profile, overrides)
    assert system_prompt(config) == config.data.system_prompt
