import json

import pytest

from persuasion_lib import analysis
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError, MissingInput
from persuasion_lib.core.manifest import state
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.stage import StageRun, start
from persuasion_lib.core.store import write_json
from persuasion_lib.reporting import figures
from worlds.scratch import persuasion
from worlds.synthetic_evaluation import (
    MODELS,
    analysed,
    criterion,
    from_elsewhere,
    make_evaluation,
)


def test_the_json_has_no_nan_and_the_same_input_gives_the_same_bytes(tmp_path):
    evaluation = make_evaluation(6, unscored=1)
    once, again = analysed(evaluation), analysed(json.loads(json.dumps(evaluation)))
    assert json.dumps(once, allow_nan=False) == json.dumps(again, allow_nan=False)


def test_the_order_of_examples_in_the_file_does_not_matter():
    evaluation = make_evaluation(24)
    backwards = evaluation | {"per_example": evaluation["per_example"][::-1]}
    assert analysed(evaluation) == analysed(backwards)


@pytest.fixture
def theirs(project):
    """A checkout without models, manifests or evaluation of its own; a file from elsewhere."""
    return write_json(project / "theirs.json", from_elsewhere(make_evaluation(25, MODELS[:4])))


GIVEN = ["analysis.input_file=theirs.json", "analysis.resamples=99"]


def analyse_given(*overrides):
    run = start("analysis", "demo", [*GIVEN, *overrides])
    evaluation = analysis.read_evaluation(run)
    result = analysis.analyse(run, evaluation)
    analysis.write_outputs(run, result, evaluation)
    run.finish(**analysis.manifest_counts(result))
    return run, result


def test_the_notebook_needs_nothing_but_a_file_from_elsewhere(theirs, project):
    done = persuasion(project, "run", "--only", "analysis", *(
        word for setting in GIVEN for word in ("--set", setting)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This is about theirs.json, a file made elsewhere" in done.stdout
    folder = path_of(load_config("demo", GIVEN), "report").parent
    assert folder.parent == project / "results" / "demo" / "given"
    assert {path.name for path in folder.parent.parent.iterdir()} == {"given", "manifests"}
    assert len(list((folder / "figures").iterdir())) == len(figures.FIGURES) * len(figures.KINDS)


def test_a_given_file_has_every_table_that_it_allows_and_its_name_comes_first(theirs):
    run, result = analyse_given()
    text = path_of(run.config, "report").read_text()
    assert text.index("theirs.json") < text.index("scored") and result["counts"]["planned"] == 0
    for table in ("scores", "pairs", "wins", "friedman", "strengths", "position", "similarity",
                  "length", "tactics", "quality", "trend"):
        assert result[table]
    assert result["consistency"] is result["gold"] is None
    assert criterion(result, "planned") == "cannot be decided"


def test_a_given_file_that_changes_or_whose_training_data_change_is_stale(theirs, project):
    learned = project / "learned.jsonl"
    learned.write_text('{"prompt": "something else"}\n')
    settings = ["analysis.training_files=[learned.jsonl]"]
    run, _ = analyse_given(*settings)
    assert state(run.config, "analysis") == ("done", [])
    learned.write_text('{"prompt": "another"}\n')
    theirs.write_text(theirs.read_text() + " ")
    reasons = " ".join(map(str, state(run.config, "analysis")[1]))
    assert "input given_evaluation changed" in reasons
    assert "content of analysis.training_files changed" in reasons


def test_two_given_files_of_one_name_and_our_own_results_stay_apart(project):
    own, one, two = (path_of(load_config("demo", overrides), "report").parent for overrides in (
        [], ["analysis.input_file=a/final_evaluation.json"],
        ["analysis.input_file=b/final_evaluation.json"]))
    assert len({own, one, two}) == 3 and one.parent == two.parent == own / "given"


def test_test_prompts_that_were_trained_on_are_counted_by_file(theirs, project):
    (project / "learned.jsonl").write_text(
        '{"prompt": [{"role": "user", "content": "THEM: I hold  view\\ne00003."}]}\n'
        '{"input_text": "Them: I hold view e00004!", "metadata": {"conversation_id": "c1"}}\n')
    _, result = analyse_given("analysis.training_files=[learned.jsonl]")
    seen = " ".join(result["warnings"])
    assert "2 prompts of the test set are copied in learned.jsonl: 100% of row 4" in seen
    assert "conversation" not in seen      # their file does not say


@pytest.mark.parametrize(("content", "words"), [
    ("{", r"theirs.json:1 is not JSON"), ("[]", "not an object"),
    ('{"config": [], "per_example": [{"responses": {}}]}', "config is"),
    ('{"per_example": [{"responses": {"a": "x", "b": "y"}, "grader_scores": [1, 0]}]}',
     r"per_example\[0\].grader_scores")])
def test_a_bad_file_gives_one_error_that_names_it(theirs, content, words):
    theirs.write_text(content)
    with pytest.raises(DataError, match=words) as error:
        analyse_given()
    assert "theirs.json" in str(error.value)


def test_a_given_or_training_file_that_is_missing_is_named(theirs):
    with pytest.raises(MissingInput, match=r"absent.json is missing. Correct analysis.input_file"):
        start("analysis", "demo", ["analysis.input_file=absent.json"])
    with pytest.raises(MissingInput, match=r"absent.jsonl is missing"):
        analyse_given("analysis.training_files=[absent.jsonl]")


def test_our_own_evaluation_is_analysed_with_the_number_of_prompts_that_was_planned(project):
    config = load_config("demo", ["analysis.resamples=99"])
    write_json(path_of(config, "evaluation"), make_evaluation(8))
    run = StageRun(STAGES["analysis"], config, {})
    evaluation = analysis.read_evaluation(run)
    result = analysis.analyse(run, evaluation)
    analysis.write_outputs(run, result, evaluation)
    assert all(path_of(config, name).exists() for name in STAGES["analysis"].writes)
    assert result["counts"]["examples"] == 8 and run.warnings == result["warnings"]
    assert list(analysis.scores_table(result)["score"]) == [
        round(row["mean"], 3) for row in result["scores"]]


def test_115_wins_of_115_have_an_interval_with_a_width():
    best = {model: 500.0 * place for place, model in enumerate(MODELS)}
    test = analysed(make_evaluation(115, effect=best))["primary_test"]
    assert test["win"] == test["n"] == 115
    assert test["ci_low"] < test["mean_diff"] < test["ci_high"]


def test_a_missing_reply_that_was_ranked_is_left_out_and_counted():
    evaluation = make_evaluation(30)
    evaluation["per_example"][3]["responses"]["rlhf"] = None
    result = analysed(evaluation)
    assert (result["counts"]["scored"], result["counts"]["unscored"]) == (29, 1)
    assert any("no reply of rlhf" in warning for warning in result["warnings"])
