"""What a study file says, and the runs that it becomes."""

import pytest

from persuasion_lib import train_dpo
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.family import MODELS, PREFERENCE_TRAINED, wanted
from persuasion_lib.core.pipeline import STAGES, inputs_of, path_of
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_json, write_jsonl, write_text
from persuasion_lib.study.design import read_study
from persuasion_lib.study.file import profile_of, studies
from worlds.study_world import study_of, write_labels


def test_a_cell_is_a_named_run_of_one_level_and_one_training_seed(project):
    study = study_of(project, levels=[25, 50], seeds=[3, 7])
    assert [cell.name for cell in study.cells] == [
        "small.25.s3", "small.50.s3", "small.25.s7", "small.50.s7"]
    settings = study.cells[1].config()
    assert (settings.name, settings.training.human_labels, settings.training.seed) == (
        "small.50.s3", 50, 3)


def test_a_model_without_human_labels_stands_at_0_of_their_curve(project):
    study = study_of(project)
    assert study.unlabelled == ("rlaif",)
    assert [study.level_of(arm, study.cells[1]) for arm in study.arms] == [50, 50, 0]
    assert study_of(project, axis="dpo.beta", levels=[0.1], primary=0.1).unlabelled == ()


@pytest.mark.parametrize(("arms", "trained", "asked"), [
    (["rlhf"], ["rlhf"], ["base", "sft", "rlhf"]),
    # rlaif is trained for rlaif_rlhf, which goes on from it, and nobody asks for its replies.
    (["rlaif_rlhf"], ["rlaif", "rlaif_rlhf"], ["base", "sft", "rlaif_rlhf"]),
    (["rlaif_rlhf", "rlaif", "rlhf"], ["rlhf", "rlaif", "rlaif_rlhf"],
     ["base", "sft", "rlhf", "rlaif", "rlaif_rlhf"])])
def test_a_cell_trains_what_its_arms_need_and_asks_its_arms(project, arms, trained, asked):
    settings = study_of(project, arms=arms, axis="dpo.beta", levels=[0.1], primary=0.1
                        ).cells[0].config()
    for name in ("rlaif_train", "rlhf_train", *MODELS[1:]):
        write_text(path_of(settings, name), "")
    run = StageRun(STAGES["train_dpo"], settings, {})
    assert train_dpo.trainable(run) == trained and run.warnings == []
    assert run.without == {*PREFERENCE_TRAINED} - {*trained}
    assert wanted(settings.evaluation.models, settings.training.models) == asked
    assert {*PREFERENCE_TRAINED} & {*inputs_of(settings, STAGES["evaluate"])} == {*trained}


def test_levels_beyond_the_labels_are_cut_to_them_and_said(project):
    write_labels(40)
    study = study_of(project, levels=[25, 50, 100], primary=100)
    assert study.levels == (25, 40) and study.primary == 40
    assert study.cells[1].config().training.human_labels == 40
    assert "Only 40 human labels are decided" in study.notes[0]
    assert "level 50 and 100 is 40" in study.notes[0]


def test_a_level_that_counts_two_kinds_of_labels_is_cut_to_the_fewer(project):
    write_labels(40)
    for part, rows in (("train", 70), ("val", 10)):
        write_jsonl(path_of(load_config("demo"), f"rlaif_{part}"), [{}] * rows)
    study = study_of(project, axis=["training.human_labels", "training.ai_labels"], levels=[25, 60],
                     primary=25)
    assert study.levels == (25, 40) and "Only 40 human or AI labels" in study.notes[0]


def test_before_there_are_labels_nobody_knows_how_many(project):
    study = study_of(project)
    assert study.levels == (25, 50) and "is not known before 03" in study.notes[0]


def test_levels_may_be_factors_on_the_values_of_the_profile(project):
    study = study_of(project, axis=["rlhf.learning_rate", "rlaif.learning_rate"], times=True,
                     levels=[0.5, 1], primary=1)
    settings = study.cells[0].config()      # the demo's own are 5e-4 and 3e-4
    assert (settings.rlhf.learning_rate, settings.rlaif.learning_rate) == (2.5e-4, 1.5e-4)


def test_overrides_and_settings_of_the_file_hold_for_every_cell(project):
    study = study_of(project, "dpo.beta=0.3", settings={"evaluation.orders": 1}, name="other")
    assert {cell.config().dpo.beta for cell in study.cells} == {0.3}
    assert {cell.config().evaluation.orders for cell in study.cells} == {1}
    assert study.cells[0].name == "other.25.s1" and study.config.name is None


@pytest.mark.parametrize("changes, said", [
    ({"question": None}, "the field question is missing"),
    ({"sedes": 3}, "unknown field sedes. Did you mean seeds?"),
    ({"axis": "dpo.betta"}, "there is no setting dpo.betta. Did you mean dpo.beta?"),
    ({"settings": {"dpo.betta": 1}}, "Did you mean dpo.beta?"),
    ({"axis": "training.seed"}, "training.seed is the study's own"),
    ({"primary": 60}, r"primary is 60, which is none of the levels \[25, 50\]"),
    ({"levels": [25, 25, 50]}, "levels names one of them twice"),
    ({"levels": []}, "levels: List should have at least 1 item"),
    ({"levels": [0, 50]}, "whole numbers from 2"),
    ({"levels": ["few", 50]}, "whole numbers from 2"),
    ({"axis": "training.ai_labels", "levels": [True, 50]}, "whole numbers from 2"),
    ({"axis": "dpo.beta", "settings": {"dpo.beta": 1}}, "dpo.beta differs between the cells"),
    ({"arms": ["rlaif"]}, "no arm learns from human labels"),
    ({"arms": ["sft"]}, "arms.0: Input should be 'rlhf', 'rlaif' or 'rlaif_rlhf'"),
    ({"seeds": 0}, "seeds must be a number from 1"),
    ({"seeds": [1, 1]}, "seeds must be a number from 1"),
    ({"anchor": "gpt"}, "anchor: Input should be"),
    ({"second_anchor": "sft"}, "second_anchor must be another"),
    ({"axis": "dpo.beta", "times": True, "levels": [0, 50]}, "a factor above 0"),
    ({"axis": "lora.r"}, "lora.r is no axis. Corpus, SFT, pools, labels, the anchor's replies"),
    ({"axis": "generation.temperature"}, "is no axis"),
    ({"axis": ["dpo.beta", "pairs.temperature"]}, "pairs.temperature is no axis"),
    ({"axis": ["dpo.beta", "dpo.beta"]}, "axis names one of them twice"),
    ({"times": True}, "factor on numbers of the profile, and training.human_labels is none"),
    ({"axis": "dpo.reference", "times": True}, "and dpo.reference is none"),
    ({"axis": "dpo.beta", "levels": [0.1, "0.1"], "primary": 0.1}, "levels names one of them"),
    ({"axis": "dpo.beta", "levels": [1, True], "primary": 1}, "levels names one of them"),
    ({"axis": "dpo.beta", "levels": [0.1, "0.10"], "primary": 0.1},
     "levels 0.1 and '0.10' are the same setting"),
    ({"axis": "dpo.beta", "levels": [0.1, -1], "primary": 0.1}, "level -1: .*dpo.beta"),
    ({"axis": "dpo.beta", "levels": [0.1, float("nan")], "primary": 0.1},
     "levels.1: a level is a number, a text, true, false or null"),
    ({"levels": [25, [50]], "primary": 25}, "levels.1: a level is a number, a text"),
    ({"levels": [25, 10**400], "primary": 25}, "levels.1: a level is a number, a text"),
    ({"seeds": True}, "seeds: .*number, or a list of them"),
    ({"seeds": 10**12}, "seeds must be a number from 1 to 1,000"),
    ({"seeds": [1, 2**32]}, "seeds must be"),
    ({"comparisons": True}, "comparisons: Input should be a valid integer")])
def test_a_mistake_in_a_study_file_is_named_with_its_file(project, changes, said):
    with pytest.raises(ConfigError, match=rf"own.yaml: .*{said}"):
        study_of(project, **changes)


def test_what_differs_between_cells_is_not_set_for_all_of_them(project):
    with pytest.raises(ConfigError, match="training.human_labels differs between the cells"):
        study_of(project, "training.human_labels=7")
    assert study_of(project, *study_of(project, arms=["rlhf"]).config.overrides, arms=["rlhf"])
    with pytest.raises(ConfigError, match="training.models differs .* or is its own"):
        study_of(project, "training.models=[rlhf]")
    with pytest.raises(ConfigError, match="training.seed differs between the cells"):
        study_of(project, "training.seed=7")


def test_a_value_that_fits_no_type_is_one_fault(project):
    with pytest.raises(ConfigError) as said:
        study_of(project, levels=[25, [50]], seeds=["two"], axis=["dpo.beta", 3], primary=25)
    assert len(str(said.value).splitlines()) == 3


def test_no_level_is_a_level_where_the_setting_may_be_null(project):
    study = study_of(project, axis="training.threads", levels=[None, 2], primary=2)
    assert [cell.config().training.threads for cell in study.cells[:2]] == [None, 2]
    assert study.cells[0].name == "small.null.s1"


def test_an_axis_that_the_project_s_sft_was_made_with_is_refused_before_a_cell_makes_its_own(
        project):
    """What 00 read of the settings stands in its manifest: 4 evaluations a run."""
    config = load_config("demo")
    write_json(path_of(config, "manifests") / "00_prepare.json",
               {"settings": {"training.evals_per_run": 4}})
    with pytest.raises(ConfigError, match="at level 2 of training.evals_per_run a cell would have "
                                          "another SFT"):
        study_of(project, axis="training.evals_per_run", levels=[2, 4], primary=4)
    assert study_of(project, axis="training.evals_per_run", levels=[4], primary=4)


@pytest.mark.parametrize("asked, silent", [
    ("base, rlhf, rlaif, rlaif_rlhf", "sft"), ("base, sft, rlhf, rlaif", "rlaif_rlhf")])
def test_an_arm_or_anchor_that_nobody_would_ask_is_refused_before_it_is_trained(project, asked,
                                                                                silent):
    with pytest.raises(ConfigError, match=f"{silent} is none of evaluation.models"):
        study_of(project, f"evaluation.models=[{asked}]")
    assert study_of(project, "evaluation.models=[base, rlhf]", arms=["rlhf"], anchor="oracle")


def finished(project, **about):
    """The study.json that a finished SMALL leaves, with changed fields."""
    about = {"axis": "human_labels", "levels": ["25", "50"],
             "arms": ["rlhf", "rlaif_rlhf", "rlaif"], **about}
    write_json(study_of(project).folder / "study.json", {"study": about})


@pytest.mark.parametrize("about", [
    {"axis": "dpo.beta"}, {"levels": ["25", "50", "100"]}, {"arms": ["rlhf", "rlaif"]}])
def test_a_finished_study_of_another_thing_is_not_written_over(project, about):
    finished(project, **about)
    other = {"arms": ["rlhf"]} if "arms" in about else {}
    with pytest.raises(ConfigError, match="another study that is called small is finished"):
        study_of(project, **other)
    assert study_of(project, "replace=true", **other) and study_of(project, name="x", **other)


def test_a_finished_study_may_grow_and_its_highest_level_may_have_been_cut(project):
    finished(project, levels=["25", "40"])
    assert study_of(project, levels=[25, 50, 100]) and study_of(project, seeds=5)
    finished(project, levels=["25", "50"], arms=["rlhf"])
    assert study_of(project, levels=[25, 50, 100])


@pytest.mark.parametrize("said", [None, [], {"study": 3}])
def test_what_is_no_finished_study_stops_none(project, said):
    write_json(study_of(project).folder / "study.json", said)
    assert study_of(project)


def test_comparisons_that_correct_nothing_are_said_before_anybody_makes_them(project):
    """16 over 2 seeds and 2 arms are 4 for each; 8 x 2 x 2 = 32."""
    assert study_of(project).notes[-1] == (
        "16 comparisons by people are 4 for each of 2 seeds and 2 arms, which corrects nothing: "
        "it takes 8 for each, 32 in all.")
    assert not any("comparisons" in note for note in study_of(project, comparisons=32).notes)
    assert "and a second seed" in study_of(project, comparisons=32, seeds=1).notes[-1]


def test_a_name_that_would_lead_elsewhere_is_refused(project):
    with pytest.raises(ConfigError, match="a study cannot be called '../x'"):
        study_of(project, name="../x")


def test_levels_of_any_form_give_runs_of_different_names(project):
    study = study_of(project, axis="rlhf.learning_rate", levels=[1e30, 1e-30, 0.5, 1],
                     primary=1, seeds=1)
    names = [cell.name for cell in study.cells]
    assert len(set(names)) == 4 and all(cell.config().name == cell.name for cell in study.cells)


def test_a_trial_of_a_study_is_kept_apart(project):
    assert study_of(project, "evaluation.max_examples=5").folder == (
        study_of(project).folder / "trial")


def test_an_unknown_study_is_answered_with_those_that_there_are(project):
    with pytest.raises(ConfigError, match=r"no study 'betta'. Did you mean beta\?"):
        read_study(load_config("demo"), "betta")
    with pytest.raises(ConfigError, match="there is no study file nowhere/x.yaml"):
        read_study(load_config("demo"), "nowhere/x.yaml")


def test_every_study_that_ships_can_be_read_and_its_settings_be_loaded(project):
    names = studies(project)
    assert {"human_labels", "beta", "learning_rate", "warmup_size", "reference",
            "label_noise"} <= set(names)
    for name in names:
        study = read_study(load_config(profile_of(project, name)), name)
        assert all(cell.config().name == cell.name for cell in study.cells)
