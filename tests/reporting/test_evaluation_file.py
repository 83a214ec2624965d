import json

import pytest

from persuasion_lib.core.errors import DataError
from persuasion_lib.reporting import evaluation_file
from persuasion_lib.reporting.evaluation_file import Setup
from worlds.synthetic_evaluation import changed, evaluated, from_elsewhere, make_evaluation


@pytest.mark.parametrize("make", [make_evaluation, lambda n: from_elsewhere(make_evaluation(n))],
                         ids=["ours", "from elsewhere"])
def test_what_was_read_is_written_back_with_every_key_that_it_had(make, tmp_path):
    content = changed(make(3), lambda row: row.update(their_note="kept", oracle=None))
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(content))
    evaluation_file.write(path, evaluation_file.read(path, made_by="05"))
    written = json.loads(path.read_text())
    assert written["per_example"][0].keys() == content["per_example"][0].keys()
    assert written["summary"] == content["summary"]
    assert written["per_example"][2]["responses"] == content["per_example"][2]["responses"]


def test_what_was_not_set_is_not_written(tmp_path):
    file = evaluation_file.parse({"per_example": [{"responses": {"a": "x", "b": "y"}}]})
    written = json.loads(evaluation_file.write(tmp_path / "e.json", file).read_text())
    assert written == {"per_example": [{"example_id": "0", "responses": {"a": "x", "b": "y"}}]}


@pytest.mark.parametrize(("row", "place"), [
    ({"responses": {"a": "x", "b": 3}}, "per_example[1].responses.b is 3, not text"),
    ({"responses": ["x", "y"]}, "per_example[1].responses is ['x', 'y'], not an object"),
    ({}, "the evaluation has no per_example[1].responses"),
    ({"responses": {}, "judgments": ["A"]}, "per_example[1].judgments[0] is 'A', not an object"),
    ({"responses": {}, "judgments": [{"ranking": "A"}]}, "judgments[0].ranking is 'A', not a list"),
    ({"responses": {}, "position_map": [1]}, "per_example[1].position_map is [1], not an object"),
    ("text", "per_example[1] is 'text', not an object")])
def test_a_value_that_is_not_what_it_is_called_is_named_with_its_place(row, place):
    content = {"per_example": [{"responses": {"a": "x", "b": "y"}}, row]}
    with pytest.raises(DataError) as error:
        evaluation_file.parse(content)
    assert place in str(error.value) and "data/README.md" in str(error.value)


@pytest.mark.parametrize(("content", "words"), [
    ([], "the evaluation is [], not an object"), ({}, "no per_example"),
    ({"per_example": []}, "per_example is [], not a list of examples"),
    ({"per_example": [{"responses": {"a": "x"}}]}, "two models"),
    ({"per_example": [{"example_id": "1", "responses": {}}] * 2}, "twice")])
def test_a_document_that_is_no_evaluation_is_refused(content, words):
    with pytest.raises(DataError) as error:
        evaluation_file.parse(content)
    assert words in str(error.value)


def test_a_missing_number_is_missing_whatever_stands_in_its_place():
    data = evaluated(changed(make_evaluation(1), lambda row: row["similarity_scores"].update(
        base=None, sft="0.5", rlhf=float("nan"), rlaif=1)))
    row = data.table("similarity_scores").iloc[0]
    assert row[["base", "sft", "rlhf"]].isna().all() and row["rlaif"] == 1.0


def test_what_only_describes_a_run_may_have_any_shape():
    content = make_evaluation(2) | {
        "config": {"judge": {"model": "x"}, "orders": "two", "trial": None},
        "training": {"rlhf": "elsewhere"}, "judge_agreement": 0.7, "summary": None}
    file = evaluation_file.parse(content)
    assert file.config.judge is file.config.orders is file.agreement() is None
    assert file.training == {"rlhf": None} and len(file.models()) == 5


def test_a_stand_in_is_named_by_its_role():
    setup = Setup(judge="offline", oracle="anthropic", annotator="simulated", source="cmv")
    assert setup.stand_ins() == {"judge": "the judge", "annotator": "the annotator"}
