"""Rows for other tools: what goes out comes back the same labels, with a card, and nothing else."""

from dataclasses import replace

import pytest
import yaml
from datasets import load_dataset

from persuasion_lib.cli import main
from persuasion_lib.core.answers import votes_of
from persuasion_lib.core.brought import brought_labels, read_brought
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import MissingInput, PersuasionError, StaleInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import (
    CODE_OF_LABEL,
    Example,
    LabeledPair,
    Pair,
    example_row,
    labeled_row,
    pair_row,
)
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.data.exported import FORMS, export_data
from worlds.hub import running_hub
from worlds.scratch import persuasion

TOKEN = "hf_only-for-the-hub"


def labels(by, n=6):
    return [LabeledPair(Pair(f"{by}{k}", [{"role": "system", "content": "Be honest."},
                                          {"role": "user", "content": f"View {by} {k}."}],
                             f"Reason {k}.", f"Doubt {k}.", {"conversation_id": f"c{k}"}),
                        ("a", "b", "tie")[k % 3], by, "" if k else "It is true.")
            for k in range(n)]


@pytest.fixture
def config(project):
    """The demo's files as 00 to 03 would leave them."""
    config = load_config("demo")
    for pool, side, by in (("ai", "rlaif", "a judge"), ("human", "rlhf", "human")):
        rows = labels(by)
        decided = [row for row in rows if row.label != "tie"]
        for name, part in ((f"{pool}_pool_labeled", rows), (f"{side}_train", decided[:3]),
                           (f"{side}_val", decided[3:])):
            write_jsonl(path_of(config, name), map(labeled_row, part))
    for name in ("sft_train", "sft_val"):
        write_jsonl(path_of(config, name), [example_row(Example(
            f"e{k}", [{"role": "user", "content": f"View {k}."}], "No.")) for k in range(2)])
    return config


def said(row):
    """What a label says, whichever side its replies stand on."""
    return (row.pair.pair_id, row.pair.prompt, row.pair.conversation_id, row.labeled_by,
            row.reasoning, row.label == "tie" or (row.chosen, row.rejected))


@pytest.mark.parametrize("form", ["argilla", "label-studio"])
def test_pools_come_back_from_tools_for_labelling_with_every_label(config, form):
    folder = export_data(config, config.root / "out", to=form)
    for pool, by in (("ai_pool", "a judge"), ("human_pool", "human")):
        back = read_brought(folder / f"{pool}_labeled.json", "labels")
        assert list(map(said, back)) == list(map(said, labels(by)))


@pytest.mark.parametrize("form", ["argilla", "label-studio"])
def test_the_votes_of_several_people_go_out_and_come_back_one_by_one(config, form):
    votes = [[("ann", "1"), ("ben", "2"), ("cleo", "2")], [("ben", "EQUAL")]]
    rows = [labeled_row(replace(row, labeled_by="human (majority of 3)", label=label),
                        given=[{"annotator": who, "preference": code} for who, code in given])
            for row, label, given in zip(labels("x", 2), ("b", "tie"), votes, strict=True)]
    write_jsonl(path_of(config, "human_pool_labeled"), rows)
    folder = export_data(config, config.root / "out", to=form)
    back = read_brought(folder / "human_pool_labeled.json", "labels")
    assert [(row.labeled_by, row.label) for row in back] == [("human", "b"), ("human", "tie")]
    assert [[(name, CODE_OF_LABEL[vote.label]) for name, vote in votes_of(row).items()]
            for row in back] == votes


@pytest.mark.parametrize("form", ["trl", "hf"])
def test_training_rows_come_back_from_parquet_with_every_winner(config, form):
    folder = export_data(config, config.root / "out", to=form)
    for name, by in (("rlaif", "a judge"), ("rlhf", "human")):
        back = [row for side in ("train", "val") for row in read_brought(
            folder / f"{name}_{side}.parquet", "labels")]
        decided = [row for row in labels(by) if row.label != "tie"]
        assert [(row.pair.pair_id, row.chosen, row.rejected, row.labeled_by) for row in back] == [
            (row.pair.pair_id, row.chosen, row.rejected, by) for row in decided]
    example = read_brought(folder / "sft_val.parquet", "examples")[1]
    assert (example.example_id, example.response) == ("e1", "No.")


def test_pairs_that_nobody_labelled_go_out_to_be_labelled(config):
    path_of(config, "human_pool_labeled").unlink()
    pairs = [row.pair for row in labels("x")]
    write_jsonl(path_of(config, "human_pool_responses"), map(pair_row, pairs))
    folder = export_data(config, config.root / "out", to="label-studio")
    back = read_brought(folder / "human_pool_responses.json", "pairs")
    assert [(pair.pair_id, pair.response_a) for pair in back] == [
        (pair.pair_id, pair.response_a) for pair in pairs]


def test_an_export_is_a_folder_of_files_that_the_pipeline_takes(config):
    folder = export_data(config, config.root / "out", to="argilla")
    mine = load_config("demo", ["data.source=files", f"data.path={folder}"])
    assert [path.name for path in brought_labels(mine, "ai_pool")] == ["ai_pool_labeled.json"]
    (folder / "ai_pool_labeled.jsonl").write_text("{}")
    with pytest.raises(PersuasionError, match="are the same set. Keep the one"):
        brought_labels(mine, "ai_pool")


@pytest.mark.parametrize("form", FORMS)
def test_the_card_says_what_it_is_and_names_no_path(config, form):
    folder = export_data(config, config.root / "out", to=form)
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "mit" and "The profile demo" in card
    assert "STAND-INS: this is not a real experiment" in card and "annotator" in card
    assert "a judge (" in card and "human (" in card
    assert str(config.root) not in card and "test prompts are not in here" in card
    assert ("4 pairs were ties" in card) == (form in ("trl", "hf"))
    assert {path.name for path in folder.iterdir()} >= {
        part["path"] for each in head.get("configs", []) for part in each["data_files"]}


def test_the_hubs_own_reader_finds_the_sets_that_the_card_names(config, tmp_path):
    folder = export_data(config, config.root / "out")
    rows = load_dataset(str(folder), "rlhf", cache_dir=str(tmp_path / "cache"))
    assert {side: len(part) for side, part in rows.items()} == {"train": 3, "validation": 1}


def test_an_export_never_replaces_anything_and_needs_the_stages_before(config):
    folder = export_data(config, config.root / "out")
    with pytest.raises(PersuasionError, match="is not empty. Name a new folder"):
        export_data(config, folder)
    path_of(config, "rlhf_val").unlink()
    with pytest.raises(MissingInput, match="03_validate"):
        export_data(config, config.root / "other")
    assert not (config.root / "other").exists()


def test_a_card_names_no_settings_that_did_not_make_the_rows(smoke_copy):
    other = load_config("smoke", ["label_human.repeat_fraction=0.45"])
    with pytest.raises(StaleInput, match="A data card rests on 02.*repeat_fraction was"):
        export_data(other, smoke_copy / "out")
    assert not (smoke_copy / "out").exists()


def test_an_upload_brings_our_card_and_the_token_goes_to_the_hub_alone(config, monkeypatch):
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")   # our stand-in knows the older way only
        done = persuasion(config.root, "export-data", "out", "--push", "me/pairs")
        assert done.returncode == 0, done.stderr
    assert hub.created[0]["type"] == "dataset" and hub.created[0]["visibility"] == "private"
    assert hub.files["README.md"] == (config.root / "out" / "README.md").read_bytes()
    assert {name: data for name, data in hub.files.items() if name.endswith(".parquet")} == {
        path.name: path.read_bytes() for path in (config.root / "out").glob("*.parquet")}
    assert ("hub", "/api/repos/create", f"Bearer {TOKEN}") in hub.requests
    assert {token for server, _, token in hub.requests if server == "store"} == {None}


def test_a_hub_that_refuses_is_one_sentence_and_the_folder_stays(config, monkeypatch):
    with running_hub() as hub:
        hub.refuses = True
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        done = persuasion(config.root, "export-data", "out", "--push", "me/pairs")
    assert done.returncode == 1 and "Traceback" not in done.stderr and TOKEN not in done.stderr
    assert "was not uploaded to me/pairs" in done.stderr and "hf auth login" in done.stderr
    assert (config.root / "out" / "README.md").exists()


def test_the_command_says_where_it_wrote(config, capsys):
    assert main(["export-data", "out", "--to", "argilla"]) == 0
    assert capsys.readouterr().out.strip() == str(config.root / "out")
