"""Notebook 02 without a screen: the stand-in, a file, the log of a person, and what is written."""

from __future__ import annotations

import json

import nbformat
import pytest

from persuasion_lib import label_human
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.records import LabeledPair, labeled_row, pair_row, parse_labeled
from persuasion_lib.core.stage import start
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling.app import app_notebook
from persuasion_lib.labeling.events import EventLog
from persuasion_lib.labeling.summary import session_figures
from persuasion_lib.labeling.votes import by_person
from worlds.labeling_pool import make_demo, make_pairs


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(make_demo(tmp_path))
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    return tmp_path


def opened(*overrides, profile="demo"):
    run = start("label_human", profile, [*overrides])
    return run, label_human.open_session(run, label_human.read_pool(run))


def written(run):
    return read_jsonl(run.path("human_pool_labeled"), parse_labeled, made_by="02")


def by_id(labels):
    return {label.pair.pair_id: label.label for label in labels}


def labeled(label="a", by="human"):
    return [LabeledPair(pair, label, by) for pair in make_pairs(40)]


def write_file(project, labels):
    write_jsonl(project / "labels.jsonl", map(labeled_row, labels))
    return "label_human.source=file", "label_human.path=labels.jsonl"


def label_all(session, choice="first"):
    while session.current:
        session.choose(session.token(session.current), choice, 9.0)


def test_the_stand_in_labels_every_pair_and_is_named_in_every_row(project):
    run, session = opened()
    assert len(label_human.write_labels(run, session)) == 40
    assert {pair.labeled_by for pair in written(run)} == {
        "simulated annotator (stand-in) (majority of 2)"}
    assert run.finish(planned=40, done=40)["counts"] == {"planned": 40, "done": 40}


def test_the_first_of_two_stand_ins_labels_as_it_does_alone_and_the_second_the_overlap(project):
    """30 % of 40 pairs are 12; where the two differ there is no majority of 2, so a tie."""
    run, panel = opened("label_human.repeat_fraction=0")
    votes = by_person(label_human.write_labels(run, panel))
    assert {name: len(own) for name, own in votes.items()} == {
        "simulated": 40, "second stand-in": 12}
    assert {vote.labeled_by for own in votes.values() for vote in own} == {ANNOTATOR_NAME}
    alone = by_id(label_human.labeled_pairs(*opened("label_human.second_stand_in=false")))
    assert by_id(votes["simulated"]) == alone
    disputed = {pair.pair_id for pair in panel.disputed}
    assert disputed and by_id(written(run)) == alone | dict.fromkeys(disputed, "tie")
    own = label_human.labeled_pairs(*opened("label_human.labels_from=annotator"))
    assert by_id(own) == alone
    assert "2 simulated annotators (stand-ins)" in label_human.view(run, panel).data


def test_pairs_on_which_people_differ_are_shown_with_what_each_said(project):
    run, panel = opened()
    table = label_human.differences(run, panel).table
    assert list(table.columns) == ["message answered", "reply 1", "reply 2", "simulated",
                                   "second stand-in", "counts"]
    assert set(table["counts"]) == {"tie"} and (
        table["simulated"] != table["second stand-in"]).all()
    run, alone = opened("label_human.second_stand_in=false")
    assert label_human.differences(run, alone).startswith("Pairs on which people differ are shown")


def test_the_stand_in_gives_the_same_file_twice_and_leaves_no_log(project):
    run, session = opened()
    label_human.write_labels(run, session)
    first = run.path("human_pool_labeled").read_bytes()
    label_human.write_labels(*opened())
    assert run.path("human_pool_labeled").read_bytes() == first
    assert not run.path("human_events").exists()


# A real model and a real corpus, in the folders that the fixture has filled.
REAL = ("model.base=Qwen/Qwen2.5-0.5B-Instruct", "data.source=jsonl", "paths.data=data/demo")


def test_the_stand_in_may_label_for_a_real_model_apart_from_what_a_person_says(project):
    run, session = opened(*REAL)
    label_human.write_labels(run, session)
    assert run.path("human_pool_labeled").parent.parts[-2:] == ("trial", "rehearsal")
    real, _ = opened(*REAL, "label_human.source=widget")
    assert not real.path("human_pool_labeled").exists()
    assert run.banner.startswith("REHEARSAL") and "annotator" in run.banner


def test_a_pair_that_is_in_the_pool_twice_is_an_error_with_its_line(project):
    rows = [pair_row(pair) for pair in make_pairs(3)]
    write_jsonl(project / "data/demo/preferences/human_pool_responses.jsonl", [*rows, rows[1]])
    with pytest.raises(DataError, match=r"responses.jsonl:4: pair p001 is here for the second"):
        opened()


def test_labels_missing_in_a_batch_run_say_how_many_and_how_to_go_on(project):
    run, session = opened("label_human.source=widget")
    with pytest.raises(MissingInput, match="40 of 40 pairs.*make lab"):
        label_human.write_labels(run, session)
    assert not run.path("human_pool_labeled").exists()


def test_missing_labels_show_in_a_notebook_without_a_traceback(project):
    run, session = opened("label_human.source=widget")
    with pytest.raises(label_human.LabelsMissing) as caught:
        label_human.write_labels(run, session)
    lines = caught.value._render_traceback_()
    assert lines[0].startswith("LABELS MISSING: 40 of 40 pairs") and len(lines) < 8


def test_a_batch_run_derives_the_file_from_the_log_of_a_person(project, monkeypatch):
    monkeypatch.delenv("PERSUASION_BATCH")
    label_all(opened("label_human.source=widget")[1])
    monkeypatch.setenv("PERSUASION_BATCH", "1")
    run, session = opened("label_human.source=widget")
    assert len(label_human.write_labels(run, session)) == 40
    rows = written(run)
    assert {pair.labeled_by for pair in rows} == {"human"}
    assert all(pair.label == ("b" if pair.pair.metadata["shown_swapped"] else "a")
               for pair in rows)


def test_the_second_label_of_a_repeat_is_stored_with_its_pair_in_stored_order(project):
    run, session = opened("label_human.repeat_fraction=0.5",
                          "label_human.second_stand_in=false")
    label_human.write_labels(run, session)
    again = [pair for pair in written(run) if pair.again]
    annotator = SimulatedAnnotator(run.config.seed)
    texts = [(one.pair.prompt, one.pair.response_a, one.pair.response_b) for one in again]
    assert [one.label for one in again] == [annotator.label(*text) for text in texts]
    assert [one.again for one in again] == [annotator.label(*text, sample=1) for text in texts]
    assert len(again) == 20 and any(one.again != one.label for one in again)


def test_a_batch_run_does_not_shut_out_a_person_at_work(project):
    run, _ = opened("label_human.source=widget")
    person = EventLog(run.path("human_events"))
    opened("label_human.source=widget")
    person.append({"event": "flag", "key": "p000", "text": ""})


def test_ties_are_written_as_equal_and_skips_are_absent_and_named(project, monkeypatch):
    monkeypatch.delenv("PERSUASION_BATCH")
    run, session = opened("label_human.source=widget")
    session.choose(session.token(session.current), "skip")
    label_all(session, "tie")
    session.undo()
    session.choose(session.token(session.current), "skip")
    assert len(label_human.write_labels(run, session)) == 39
    assert {pair.label for pair in written(run)} == {"tie"}
    assert any("1 pairs were skipped twice" in text for text in run.warnings)


def test_fewer_labels_will_do_only_where_the_setting_says_so(project):
    overrides = write_file(project, labeled()[:30])
    with pytest.raises(MissingInput, match="10 of 40 pairs have no label yet in labels.jsonl"):
        label_human.write_labels(*opened(*overrides))
    run, session = opened(*overrides, "label_human.max_missing=10")
    assert len(label_human.write_labels(run, session)) == 30
    assert any("10 pairs are not labelled" in text for text in run.warnings)


def test_a_file_of_labels_comes_through_unchanged(project):
    run, session = opened(*write_file(project, labeled("b", by="Ann")))
    label_human.write_labels(run, session)
    assert {(pair.label, pair.labeled_by) for pair in written(run)} == {("b", "Ann")}
    assert session_figures(session).loc["first slot preferred", "n"] == 0


def test_a_file_without_pair_ids_is_matched_by_its_texts(project):
    rows = [labeled_row(pair) for pair in labeled("b")]
    for row in rows:
        del row["metadata"]["pair_id"]
    write_jsonl(project / "labels.jsonl", rows)
    _, session = opened("label_human.source=file", "label_human.path=labels.jsonl")
    assert session.missing == []


@pytest.mark.parametrize("other", ["row{}", "p{:03}"])
def test_rows_in_another_order_under_other_ids_find_their_pair_by_its_texts(project, other):
    rows = [labeled_row(pair) for pair in reversed(labeled("b"))]
    for number, row in enumerate(rows):
        row["metadata"]["pair_id"] = other.format(number)     # "p000" is the id of another pair
    write_jsonl(project / "labels.jsonl", rows)
    run, session = opened("label_human.source=file", "label_human.path=labels.jsonl")
    assert session.missing == []
    assert {(pair.pair.pair_id[1:], pair.pair.response_b[6:9]) for pair in
            label_human.write_labels(run, session)} >= {("003", "b3:"), ("007", "b7:")}


def test_a_label_moves_with_its_response_when_a_file_has_the_sides_exchanged(project):
    _, session = opened(*write_file(project, [pair.swapped() for pair in labeled("a")]))
    assert {event["preferred"] for _, event in session.chosen()} == {"a"}


def broken(name):
    labels = labeled()
    if name == "foreign":
        labels[2] = LabeledPair(make_pairs(50)[49], "a", "human")
    elif name == "twice":
        labels[2] = labels[1]
    elif name == "text":
        pair = make_pairs(3)[2]
        labels[2] = LabeledPair(type(pair)(pair.pair_id, pair.prompt, "other", "texts"), "a", "me")
    return labels


@pytest.mark.parametrize(("name", "message"), [
    ("foreign", r"labels.jsonl:3: pair p049 is not in the pool"),
    ("twice", r"labels.jsonl:3: pair p001 is labelled a second time"),
    ("text", r"labels.jsonl:3: pair p002 has other texts"),
])
def test_a_file_that_does_not_fit_the_pool_is_refused_with_its_line(project, name, message):
    with pytest.raises(DataError, match=message):
        opened(*write_file(project, broken(name)))


@pytest.mark.parametrize("name", [ANNOTATOR_NAME, "simulated-annotator", "offline/stand-in"])
def test_a_file_that_names_a_stand_in_is_used_as_a_rehearsal(project, name):
    overrides = write_file(project, labeled(by=name))
    run, session = opened(*overrides, *REAL)
    label_human.write_labels(run, session)
    assert run.path("human_pool_labeled").parent.parts[-2:] == ("trial", "rehearsal")
    assert {pair.labeled_by for pair in written(run)} == {name}
    assert any("file says that they were given 40 by" in text for text in run.warnings)


def test_a_file_of_a_person_is_no_rehearsal(project):
    run, _ = opened(*write_file(project, labeled(by="Ann")), *REAL)
    assert "trial" not in run.path("human_pool_labeled").parts


def test_source_file_needs_another_file_than_the_one_it_writes(project):
    with pytest.raises(ConfigError, match="label_human.path"):
        opened("label_human.source=file")
    own = "data/demo/preferences/human_pool_labeled.jsonl"
    with pytest.raises(ConfigError, match="the file that this notebook writes"):
        opened("label_human.source=file", f"label_human.path={own}")


def test_agreement_reads_the_logs_of_all_annotators(project, monkeypatch):
    monkeypatch.delenv("PERSUASION_BATCH")
    for name in ("ann", "bob"):
        _, session = opened("label_human.source=widget", f"label_human.annotator={name}")
        while session.current:
            first = session.current.swapped == (session.current.key < "p020")
            session.choose(session.token(session.current), "first" if first else "second")
    run = start("label_human", "demo", ["label_human.annotator=ann"])
    table = label_human.other_annotators(run, label_human.read_pool(run))
    assert table["annotators"].tolist() == ["ann, bob"] * 2
    assert table["n"].tolist() == [40, 40] and table["kappa"].tolist() == [1.0, 1.0]


def judged(run):
    """What 01 leaves of its judge: a label and a reason for every pair of the pool."""
    rows = [labeled_row(LabeledPair(pair, "b", "judge", "because b")) for pair in make_pairs(40)]
    write_jsonl(run.path("human_pool_judged"), rows)


def test_what_the_judge_said_is_not_shown_before_the_last_answer_repeats_included(
        project, monkeypatch):
    monkeypatch.delenv("PERSUASION_BATCH")
    run, session = opened("label_human.source=widget")
    judged(run)
    while session.current:
        assert label_human.judge_labels(run, session) == []
        session.choose(session.token(session.current), "first")
    assert [one.reasoning for one in label_human.judge_labels(run, session)] == ["because b"] * 40
    session.undo()
    assert label_human.judge_labels(run, session) == []


def test_what_the_judge_said_of_a_file_is_shown_when_the_file_has_a_label_for_every_pair(project):
    run, session = opened(*write_file(project, labeled()))
    assert label_human.judge_labels(run, session) == []     # 01 has not run
    judged(run)
    assert len(label_human.judge_labels(run, session)) == 40
    run, session = opened(*write_file(project, labeled()[:39]), "label_human.max_missing=1")
    assert label_human.judge_labels(run, session) == []


def test_a_batch_run_shows_no_widget(project):
    run, session = opened("label_human.source=widget")
    assert "40 are missing" in label_human.view(run, session)


def test_the_app_is_the_labelling_cells_with_the_settings_of_the_command(project):
    config = load_config("demo", ["label_human.annotator=ann", "data.human_pairs=40"])
    notebook = nbformat.read(app_notebook(config), as_version=4)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert 'label_human.annotator=ann' in source and "data.human_pairs=40" in source
    assert "label_human.source=widget" in source
    assert "label_human.view(run, session)" in source and "write_labels" not in source


def test_the_notebook_is_in_house_style(project):
    notebook = json.loads((project / "notebooks/02_label_human.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert 8 <= len(code) <= len(notebook["cells"]) / 2
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1
    assert not any(cell["outputs"] for cell in code)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
