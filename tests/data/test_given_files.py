"""Files that somebody already has go through notebook 00 unchanged, or are refused with reasons."""

import json
import re
import shutil

import pytest

from persuasion_lib import prepare
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.records import pair_row, parse_labeled, parse_pair
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.data.tables import (
    cleaning_table,
    rendered_prompt,
    sampled_replies,
    set_sizes,
    token_lengths,
)
from worlds.families import family_folder
from worlds.scratch import SHARED_DATA, persuasion

SETTINGS = ["data.source=files", "data.path=mine"]


def new_run(*settings):
    return StageRun(STAGES["prepare"], load_config("demo", [*SETTINGS, *settings]), {})


def edited(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def row(n, **changes):
    return {"prompt": [{"role": "user", "content": f"View number {n}, am I wrong?"}],
            "response_1": f"Reason{n} speaks against it.", "response_2": f"Doubt{n} is in order.",
            "metadata": {"conversation_id": f"t{n}"}} | changes


@pytest.fixture
def mine(project):
    """Two clean pools of 30 pairs each."""
    for at, pool in enumerate(("ai", "human")):
        write_jsonl(project / "mine" / f"{pool}_pool_responses.jsonl",
                    [row(n) for n in range(100 * at, 100 * at + 30)])
    return project / "mine"


def checked(run):
    corpus = prepare.load_corpus(run)
    prepare.make_examples(run, corpus)
    prepare.overlaps(run, corpus)
    return corpus


def test_clean_pools_pass_and_are_written_as_they_are(mine):
    run = new_run()
    corpus = checked(run)
    pools = prepare.generate_pairs(run, corpus)
    assert sampled_replies(corpus, pools) == {
        "ai_pool": {"given pairs": 30}, "human_pool": {"given pairs": 30}}
    written = read_jsonl(run.path("ai_pool_responses"), parse_pair, made_by="00")
    assert [p.response_a for p in written] == [row(n)["response_1"] for n in range(30)]
    assert [p.response_a for p in pools["ai_pool"]] == [p.response_a for p in written]
    assert set_sizes(run, corpus)["done"].to_dict() == {
        "test": 0, "human_pool": 30, "ai_pool": 30, "sft_val": 0, "sft_train": 0}


def test_what_is_not_there_is_said(mine):
    run = new_run()
    prepare.fine_tune(run, checked(run))
    assert any("final_eval_reserved.jsonl" in w for w in run.warnings), run.warnings
    assert any("neither sft_train.jsonl nor an SFT checkpoint" in w for w in run.warnings)
    assert {"test", "sft_train", "sft"} <= run.without


def test_pairs_alone_are_told_of_without_a_model(mine):
    run = new_run()
    corpus = checked(run)
    assert token_lengths(run, corpus).empty
    assert "am I wrong?" in rendered_prompt(run, corpus)


@pytest.mark.parametrize(("line", "message"), [
    ({"prompt": "Tea?"}, r"human_pool_responses\.jsonl:31: a prompt string needs the blocks"),
    ({"response_2": None}, r"human_pool_responses\.jsonl:31: field 'response_2' must be text"),
])
def test_a_row_in_another_format_is_named_by_file_and_line(mine, line, message):
    with (mine / "human_pool_responses.jsonl").open("a") as file:
        file.write(json.dumps(row(7, **line)) + "\n")
    with pytest.raises(DataError, match=message):
        prepare.load_corpus(new_run())


def test_a_pair_that_stands_there_twice_would_be_labelled_twice(mine):
    write_jsonl(mine / "ai_pool_responses.jsonl", [row(1), row(2), row(1)])
    with pytest.raises(DataError, match="rows 1 and 3 are the same pair"):
        prepare.load_corpus(new_run())


def test_a_test_prompt_in_a_pool_is_named_with_both_rows(mine):
    write_jsonl(mine / "final_eval_reserved.jsonl", [
        {"input_text": row(3)["prompt"], "response": "No.", "metadata": {"conversation_id": "x"}}])
    with pytest.raises(DataError, match=r"1 prompts of test are copied in ai_pool: 100% of row 1 "
                                        r"\(x\) stands in row 4 \(t3\)"):
        checked(new_run())


def test_cleaning_is_counted_and_not_done(mine):
    dirty = "I &lt;3 tea.\n> *Hello, users of CMV! This is a footnote from our moderators.*"
    write_jsonl(mine / "processed" / "final_eval_reserved.jsonl", [
        {"input_text": [{"role": "user", "content": dirty}], "response": "No.", "metadata": {}}])
    corpus = prepare.load_corpus(new_run())
    assert corpus.examples["test"][0].prompt[0]["content"] == dirty
    assert cleaning_table(corpus).loc[["HTML entities", "moderator footnote"], "test"].sum() == 2


def test_validation_rows_are_held_out_of_sft_rows_by_conversation(mine):
    write_jsonl(mine / "sft_train.jsonl", [
        {"input_text": row(200 + n)["prompt"], "response": "No.",
         "metadata": {"conversation_id": f"s{n // 2}"}} for n in range(80)])
    corpus = prepare.load_corpus(new_run())
    parts = [{e.metadata["conversation_id"] for e in corpus.examples[name]}
             for name in ("sft_train", "sft_val")]
    assert [len(p) for p in parts] == [38, 2] and not parts[0] & parts[1]


def test_sft_rows_of_one_conversation_cannot_be_held_out(mine):
    write_jsonl(mine / "sft_train.jsonl", [
        {"input_text": row(200 + n)["prompt"], "response": "No.",
         "metadata": {"conversation_id": "one"}} for n in range(3)])
    with pytest.raises(DataError, match="sft_train.jsonl holds one conversation only"):
        prepare.load_corpus(new_run())


def sft(n, response="No."):
    return {"input_text": [{"role": "user", "content": f"Is view {n} wrong?"}],
            "response": response, "metadata": {"conversation_id": f"s{n}"}}


@pytest.mark.parametrize("place", ["sft_train", "final_eval_reserved", "ai_pool_responses"])
def test_a_control_token_in_any_text_is_named_by_row(mine, place):
    fake = "So.<|im_end|>\n<|im_start|>user"
    rows = [row(1), row(2, response_2=fake)] if "pool" in place else [sft(1), sft(2, fake)]
    write_jsonl(mine / f"{place}.jsonl", rows)
    with pytest.raises(DataError, match=r"1 rows spell out control tokens .*\(first: row [12] "
                                        r"\(\w+\), <\|im_end\|>, <\|im_start\|>\)"):
        checked(new_run())


def test_blank_replies_are_counted_and_too_many_of_them_stop(mine):
    write_jsonl(mine / "sft_val.jsonl", [sft(n) for n in range(20, 24)])
    write_jsonl(mine / "sft_train.jsonl", [sft(n, " \n" if n < 1 else "No.") for n in range(10)])
    run = new_run()
    checked(run)
    assert "1 replies of sft_train are empty or blank." in run.warnings
    write_jsonl(mine / "sft_train.jsonl", [sft(n, "" if n < 2 else "No.") for n in range(10)])
    with pytest.raises(DataError, match=r"2 of 10 replies to learn from .* limit is 10%"):
        checked(new_run())


def test_rows_longer_than_what_the_model_was_made_for_are_named(mine, project):
    """GPT-2 would end in an IndexError, a Llama would learn from rows that it cannot read."""
    base = family_folder("qwen2.5", project / "base")
    edited(base / "config.json", max_position_embeddings=300)
    long = [sft(1), sft(2, "No. " * 300)]
    write_jsonl(mine / "sft_val.jsonl", [sft(3)])
    write_jsonl(mine / "sft_train.jsonl", long)
    with pytest.raises(DataError, match=r"sft_train: 1 rows have more tokens with their reply than "
                                        r"the 300 that base was made for \(first: row 2 \(\w+\), "):
        checked(new_run("model.base=base"))
    write_jsonl(mine / "sft_train.jsonl", long[:1])
    checked(new_run("model.base=base"))
    # A test prompt is answered: what is sampled counts, not the reply that is there.
    write_jsonl(mine / "final_eval_reserved.jsonl", [sft(4)])
    with pytest.raises(DataError, match=r"test: 1 rows have more tokens"):
        checked(new_run("model.base=base", "generation.max_new_tokens=300"))


def test_roles_of_other_projects_are_mapped_and_said(mine):
    prompts = [[{"role": "human", "content": f"View {n}?"}] for n in range(3)]
    write_jsonl(mine / "ai_pool_responses.jsonl",
                [row(n, prompt=prompt) for n, prompt in enumerate(prompts)])
    run = new_run()
    assert prepare.load_corpus(run).pairs["ai_pool"][0].prompt[0]["role"] == "user"
    assert "ai_pool_responses.jsonl: the role 'human' of 3 prompts was read as 'user'." in (
        run.warnings)


@pytest.mark.parametrize("role", ["tool", "observation"])
def test_a_role_that_judges_would_not_see_is_named_by_line(mine, role):
    prompt = [{"role": "user", "content": "Hm?"}, {"role": role, "content": "Because."}]
    write_jsonl(mine / "ai_pool_responses.jsonl", [row(1), row(2, prompt=prompt)])
    with pytest.raises(DataError, match=rf"ai_pool_responses\.jsonl:2: the role '{role}' of"):
        prepare.load_corpus(new_run())


def test_null_conversations_are_said_to_be_unknown(mine):
    write_jsonl(mine / "ai_pool_responses.jsonl",
                [row(n, metadata={"conversation_id": None}) for n in range(3)])
    run = new_run()
    prepare.load_corpus(run)
    assert any("3 of 3 rows of ai_pool have no conversation_id" in w for w in run.warnings)


def test_a_folder_without_such_files_or_with_our_own_is_refused(project):
    with pytest.raises(MissingInput, match="mine is no folder. Set data.path"):
        prepare.load_corpus(new_run())
    (project / "mine").mkdir()
    with pytest.raises(MissingInput, match="holds none of final_eval_reserved"):
        prepare.load_corpus(new_run())
    run = StageRun(STAGES["prepare"], load_config("demo", [
        "data.source=files", "data.path=data", "paths.data=data/out"]), {})
    with pytest.raises(ConfigError, match="writes its own data"):
        prepare.load_corpus(run)


def test_files_of_a_finished_run_go_through_the_whole_notebook(smoke_copy):
    """SFT rows, test prompts, one pool with replies and one with prompts only."""
    for name in ("sft_train", "sft_val", "test", "ai_pool_responses", "human_pool_prompts"):
        path = path_of(load_config("smoke"), name)
        (smoke_copy / "mine" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, smoke_copy / "mine" / path.parent.name)
    result = persuasion(smoke_copy, "run", "--profile", "smoke", "--only", "prepare",
                        *(part for s in SETTINGS for part in ("--set", s)))
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("test", "ai_pool_responses", "human_pool_responses"):
        ours, theirs = (path_of(c, name) for c in (
            load_config("smoke"), load_config("smoke", SETTINGS)))
        if name == "human_pool_responses":
            assert len(theirs.read_text().splitlines()) == len(ours.read_text().splitlines())
        else:
            assert theirs.read_bytes() == ours.read_bytes()


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real data are not here")
def test_the_earlier_runs_pools_are_flagged_with_every_figure(project):
    folder = SHARED_DATA / "cmv_pairs"
    (project / "mine").mkdir()
    shutil.copy(folder / "human_pool_responses.jsonl", project / "mine")
    labels = read_jsonl(folder / "rlaif_val.jsonl", parse_labeled, made_by="them")
    write_jsonl(project / "mine" / "ai_pool_responses.jsonl", [pair_row(p.pair) for p in labels])
    with pytest.raises(DataError) as caught:
        checked(new_run())
    message = str(caught.value)
    assert "11 rows of human_pool share a conversation with ai_pool" in message
    for pool in ("ai_pool", "human_pool"):
        faults = [line for line in message.splitlines() if line.startswith(f"{pool}: ")]
        broken = [re.search(r"gates\.(\w+)", fault).group(1) for fault in faults]
        assert set(broken) == {"max_truncated_fraction", "max_poor_fraction", "max_opening_gap",
                               "max_unclean_fraction"}
        assert broken.count("max_unclean_fraction") == 4
