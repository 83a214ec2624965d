"""Stand-ins beside a real model: a rehearsal, with a folder of its own and a name above it."""

import pytest

from persuasion_lib import validate
from persuasion_lib.cli import before_it_begins
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError
from persuasion_lib.core.pipeline import FILES, STAGES, path_of
from persuasion_lib.core.records import LabeledPair, Pair, labeled_row, parse_labeled
from persuasion_lib.core.rehearsal import (
    asks_oracle,
    banner_of,
    is_stand_in,
    labelled_by,
    rehearsed,
    stand_ins,
)
from persuasion_lib.core.runner import chosen_stages
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.reporting.evaluation_file import Setup
from persuasion_lib.reporting.verdict import status_of
from worlds.synthetic_evaluation import analysed, make_evaluation

OFFLINE = ["evaluation.judge=offline", "safety.judge=offline", "similarity.embedder=offline",
           "oracle.generate=false"]
ALL = ["label_ai.judge=offline", "label_human.source=simulated", *OFFLINE]
PROMPT = [{"role": "user", "content": "I like tea."}]


def labels(by):
    return [LabeledPair(Pair(f"p{n}", PROMPT, f"yes {n}", f"no {n}"), "a", by) for n in range(4)]


def folder(name, *overrides):
    return path_of(load_config("full", overrides), name).parent


def test_the_full_experiment_is_no_rehearsal(project):
    assert stand_ins(load_config("full")) == [] and banner_of(load_config("full")) == ""


def test_the_demo_names_its_stand_ins_and_is_no_rehearsal(project):
    demo = load_config("demo")
    assert rehearsed(demo) == [] and banner_of(demo).startswith("STAND-INS")
    assert path_of(demo, "evaluation").parent.name == "demo"


@pytest.mark.parametrize(("stage", "roles"), [
    ("prepare", []), ("label_ai", ["judge of labels"]), ("label_human", ["annotator"]),
    ("train_dpo", ["judge of labels", "annotator"]),
    ("evaluate", ["judge of labels", "annotator", "judge", "judge of manipulation", "embedder"])])
def test_a_stage_is_rehearsed_by_those_whose_work_it_stands_on(project, stage, roles):
    assert rehearsed(load_config("full", ALL), stage) == roles


def test_no_file_of_a_rehearsal_is_where_a_real_run_looks(project):
    made = [name for stage in list(STAGES.values())[1:] for name in stage.writes]
    real = {path_of(load_config("full"), name) for name in FILES if name != "given_evaluation"
            and "{given}" not in FILES[name].place}
    for name in made:
        path = path_of(load_config("full", ALL), name)
        assert "rehearsal" in path.parts and path not in real, name


def test_a_rehearsed_judge_leaves_labels_and_models_where_they_are(project):
    for name in ("ai_pool_labeled", "human_pool_labeled", "rlhf_train", "rlhf"):
        assert folder(name, *OFFLINE) == folder(name)
    assert folder("evaluation", *OFFLINE).parts[-2:] == ("trial", "rehearsal")


def test_paid_labels_stay_apart_from_those_that_are_rehearsed_beside_them(project):
    simulated = "label_human.source=simulated"
    assert folder("ai_pool_labeled", simulated) == folder("ai_pool_labeled")
    assert folder("rlaif_train", simulated) != folder("rlaif_train")


def test_a_trial_and_a_trial_of_a_rehearsal_have_places_of_their_own(project):
    places = {folder("evaluation", *part, *settings) for settings in ([], OFFLINE)
              for part in ([], ["evaluation.max_examples=5"])}
    assert len(places) == 4


@pytest.mark.parametrize(("name", "is_one"), [
    ("simulated annotator (stand-in)", True), ("offline/stand-in", True),
    ("Simulated-Annotator", True), ("standin", True), ("mock judge", True),
    ("human", False), ("Ann", False), ("anthropic/claude-sonnet-5-5", False), ("Mockler", False),
    ("unknown", False), ("understanding", False)])
def test_stand_ins_are_known_by_name(name, is_one):
    assert is_stand_in(name) == is_one


@pytest.mark.parametrize("metadata", [
    {"labeled_by": "simulated-annotator"}, {"grader": "Bot", "stand_in": True}])
def test_a_row_may_say_in_other_words_who_labelled_it(metadata):
    row = labeled_row(labels("x")[0])
    row["metadata"] = {"preference": "1", "is_equal": False} | metadata
    assert is_stand_in(parse_labeled(row).labeled_by)


def test_a_file_is_known_by_the_names_in_it(project):
    write_jsonl(project / "mine.jsonl", map(labeled_row, [*labels("Ann")[:3],
                                                          labels("simulated")[3]]))
    config = load_config("full", ["label_human.source=file", "label_human.path=mine.jsonl"])
    assert rehearsed(config, "train_dpo") == ["annotator"]
    assert labelled_by(config, "human_pool") == "simulated"
    write_jsonl(project / "mine.jsonl", map(labeled_row, labels("Ann")))
    assert rehearsed(config) == [] and labelled_by(config, "human_pool") == "file"


def test_comparisons_of_a_file_are_known_by_the_names_in_it(project):
    write_jsonl(project / "compared.jsonl", map(labeled_row, labels("simulated")))
    config = load_config("full", ["human_eval.source=file", "human_eval.path=compared.jsonl"])
    assert rehearsed(config, "analysis") == ["people who compare"]


def test_labels_of_a_stand_in_that_got_into_a_real_place_are_not_trained_on(project):
    run = StageRun(STAGES["validate"], load_config("full", ["gates.max_opening_gap=1"]), {})
    given = {"rlaif": labels("anthropic/claude"), "rlhf": labels("offline/stand-in")}
    with pytest.raises(DataError, match="rlhf: 4 labels were made by a stand-in"):
        validate.write_splits(run, given, validate.label_facts(run, given))


def test_a_template_is_no_oracle_so_people_take_its_place_outside_the_demo_world(project):
    assert asks_oracle(load_config("demo"))
    corpus = load_config("demo", ["data.source=persuasionforgood"])
    assert not asks_oracle(corpus) and "oracle" not in stand_ins(corpus)


def test_a_rehearsal_has_no_verdict_whatever_its_figures_are():
    evaluation = make_evaluation(40)
    evaluation["config"]["base_model"] = "Qwen/Qwen2.5-0.5B-Instruct"
    result = analysed(evaluation)
    first, second, *_ = result["answer"]["sentences"]
    assert first.startswith("REHEARSAL") and result["banner"] == first
    assert second.startswith("No verdict: this is a rehearsal")
    assert status_of(Setup(base_model="x", judge="anthropic"), 40) == "ok"


def test_what_would_fail_for_want_of_a_key_is_refused_before_anything_starts(project):
    with pytest.raises(ConfigError) as refused:
        before_it_begins(load_config("full"), chosen_stages(None, None, None))
    message = str(refused.value)
    assert message.startswith("01_label_ai could not work, so nothing was started. API key not set")
    assert "--to prepare" in message and "--set label_ai.judge=offline" in message
    assert "--set similarity.embedder=offline" in message
    before_it_begins(load_config("full"), chosen_stages(None, "prepare", None))


def test_a_rehearsal_is_announced_before_00_and_the_demo_needs_no_announcement(project, capsys):
    before_it_begins(load_config("full", ALL), chosen_stages(None, None, None))
    assert capsys.readouterr().out.startswith("REHEARSAL: this is not a real experiment.")
    before_it_begins(load_config("demo"), chosen_stages(None, None, None))
    assert capsys.readouterr().out == ""
    assert banner_of(load_config("full", ALL), "prepare").startswith("REHEARSAL")
