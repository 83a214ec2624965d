import json

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import Conversation, Turn
from persuasion_lib.data.corpora import read_corpus
from persuasion_lib.data.splits import (
    OMISSION,
    SETS,
    Corpus,
    draw_examples,
    fit_prompt,
    split_by_conversation,
)
from persuasion_lib.data.tables import copies_in_words


class CharacterTokenizer:
    """One token per character of content, so that lengths in the tests can be counted by hand."""

    def apply_chat_template(self, messages, **options):
        return [0] * sum(len(m["content"]) for m in messages)

    def __call__(self, text):
        return {"input_ids": list(text)}


def dialogue(number, turns=2):
    return Conversation(f"c{number}", "test", tuple(
        Turn("user" if n % 2 == 0 else "assistant", f"turn {n} of {number}")
        for n in range(turns)))


def test_no_conversation_is_in_two_sets(project):
    config = load_config("smoke")
    corpus = split_by_conversation([dialogue(n) for n in range(400)], config)
    ids = [c.conversation_id for name in SETS for c in corpus.conversations[name]]
    assert len(ids) == len(set(ids)) == 400


def test_the_split_does_not_depend_on_the_order_of_the_corpus(project):
    config, dialogues = load_config("smoke"), [dialogue(n) for n in range(200)]
    one = split_by_conversation(dialogues, config).conversations
    other = split_by_conversation(dialogues[::-1], config).conversations
    assert {k: {c.conversation_id for c in v} for k, v in one.items()} == {
        k: {c.conversation_id for c in v} for k, v in other.items()}


def test_another_seed_is_another_split(project):
    dialogues = [dialogue(n) for n in range(200)]
    tests = [{c.conversation_id for c in split_by_conversation(
        dialogues, load_config("smoke", [f"seed={s}"])).conversations["test"]} for s in (0, 1)]
    assert tests[0] != tests[1]


def test_a_corpus_too_small_for_its_pools_says_what_to_lower(project):
    with pytest.raises(DataError, match=r"Lower data\.ai_pairs"):
        split_by_conversation([dialogue(n) for n in range(20)], load_config("smoke"))


def drawn(sft, *options):
    """Examples of a corpus whose other sets have one dialogue each."""
    corpus = Corpus({name: [dialogue(n)] for n, name in enumerate(SETS)} | {"sft_train": sft})
    draw_examples(corpus, load_config("smoke", ["data.max_response_tokens=20", *options]),
                  CharacterTokenizer())
    return corpus


def argument(view, reply, won=None):
    return Conversation("t3_1", "test", (Turn("user", view), Turn("assistant", reply, won)))


def test_a_post_may_have_several_sft_replies_and_those_that_won_go_first(project):
    sft = [argument("Tea.", text, won) for text, won in (
        ("Unknown.", None), ("Lost.", False), ("Won.", True), ("Won too.", True))]
    corpus = drawn(sft)
    replies = [e.response for e in corpus.examples["sft_train"]]
    assert set(replies[:2]) == {"Won.", "Won too."} and replies[2:] == ["Unknown."]
    assert corpus.dropped["sft_train: did not change the other side's mind"] == 1
    assert len(drawn(sft, "data.sft_examples=1").examples["sft_train"]) == 1


def test_an_sft_prompt_that_another_set_has_is_left_out_and_so_is_a_long_reply(project):
    """The dialogue of the AI pool, under another name, and a reply of 21 tokens."""
    corpus = drawn([argument("turn 0 of 2", "No."), argument("Tea.", "x" * 21),
                    argument("Tea.", "No.")])
    assert [e.prompt[-1]["content"] for e in corpus.examples["sft_train"]] == ["Tea."]
    assert corpus.dropped["sft_train: the same prompt is in use already"] == 1
    assert corpus.dropped["sft_train: reply longer than max_response_tokens"] == 1


def test_a_near_copy_of_a_test_prompt_is_dropped_from_the_set_that_is_trained_on(project):
    """Other white space and punctuation is another string, yet the same prompt."""
    corpus = drawn([argument("Turn 0,  of 0!", "No."), argument("Tea.", "No.")])
    assert [e.prompt[-1]["content"] for e in corpus.examples["sft_train"]] == ["Tea."]
    assert corpus.dropped["sft_train: largely the same as a prompt of another set"] == 1


def test_what_a_set_lost_to_another_one_is_told_in_words(project):
    """Test dialogue 0 word for word, of which "Turn 0, of 0!" is a copy as well."""
    corpus = drawn([argument("turn 0 of 0", "No."), argument("Turn 0,  of 0!", "No."),
                    argument("Tea.", "No.")])
    assert [(copy.lost_by, copy.kept_in, copy.share) for copy in corpus.copies] == [
        ("sft_train", "test", 1)] * 2
    said = copies_in_words(corpus)
    assert said.startswith("2 prompts stood in two sets, 2 word for word and 0 for the most part.")
    assert "sft_train lost, word for word what stands in test: “turn 0 of 0”" in said
    assert copies_in_words(drawn([argument("Tea.", "No.")])) == (
        "No prompt of one set stands in another one.")


def test_of_two_posts_that_the_demo_world_has_twice_the_set_nearer_to_training_loses_one(project):
    """8 words of 111 say who writes; the copy has its own."""
    config = load_config("demo", ["data.max_prompt_tokens=9999", "data.max_response_tokens=9999"])
    corpus = split_by_conversation(read_corpus(config), config)
    draw_examples(corpus, config, CharacterTokenizer())
    found = {(copy.lost_by, copy.kept_in): copy.share for copy in corpus.copies}
    assert found["ai_pool", "test"] == 1
    assert found["sft_val", "ai_pool"] == pytest.approx((111 - 8) / 111)
    assert [len(corpus.examples[name]) for name in SETS] == [115, 200, 2150, 99, 2000]


def messages(*texts):
    return [{"role": "user" if n % 2 == 0 else "assistant", "content": text}
            for n, text in enumerate(texts)]


def limited(tokens):
    return load_config("smoke", [f"data.max_prompt_tokens={tokens}", "data.system_prompt=SSSSS"])


def test_a_prompt_that_fits_is_left_alone(project):
    prompt, cut = fit_prompt(messages("aaaaa"), limited(10), CharacterTokenizer())
    assert (len(prompt), cut) == (2, False)


def test_a_long_dialogue_loses_its_middle_and_keeps_view_and_last_message(project):
    history = messages("view!", "b" * 50, "c" * 50, "d" * 50, "last!")
    prompt, cut = fit_prompt(history, limited(20), CharacterTokenizer())
    assert [m["content"] for m in prompt] == ["SSSSS", "view! […]", "last!"] and cut


def test_one_message_that_is_too_long_keeps_its_beginning_and_end(project):
    text = "begin " + "x " * 100 + "end"
    prompt, cut = fit_prompt(messages(text), limited(60), CharacterTokenizer())
    assert cut and len(prompt[1]["content"]) <= 55
    assert prompt[1]["content"].startswith("begin") and prompt[1]["content"].endswith("end")
    assert OMISSION in prompt[1]["content"]


def rows(config, name):
    return [json.loads(line) for line in path_of(config, name).read_text().splitlines()]


def test_no_prompt_and_no_conversation_is_in_two_files(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    config = load_config("smoke")
    files = ("sft_train", "sft_val", "test", "ai_pool_prompts", "human_pool_prompts")
    threads = {f: {r["metadata"]["conversation_id"] for r in rows(config, f)} for f in files}
    prompts = {f: {json.dumps(r["input_text"]) for r in rows(config, f)} for f in files}
    for at, one in enumerate(files):
        for other in files[at + 1:]:
            assert not threads[one] & threads[other] and not prompts[one] & prompts[other]


def test_the_test_set_takes_one_prompt_per_conversation(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    threads = [r["metadata"]["conversation_id"] for r in rows(load_config("smoke"), "test")]
    assert len(threads) == len(set(threads)) == 12


def test_only_turns_that_did_not_fail_are_sft_targets(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    config = load_config("smoke")
    failed = {t.text for c in read_corpus(config) for t in c.turns if t.won is False}
    won = {t.text for c in read_corpus(config) for t in c.turns if t.won}
    assert not {r["response"] for r in rows(config, "sft_train")} & (failed - won)


def test_every_pair_has_two_replies_with_how_they_ended(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    for row in rows(load_config("smoke"), "ai_pool_responses"):
        assert set(row["metadata"]["finish"]) <= {"stop", "length"}
        assert row["response_1"] != row["response_2"]


def test_dialogues_of_a_corpus_that_spell_out_a_control_token_are_left_out(project):
    config = load_config("smoke")
    hostile = [Conversation(f"h{n}", "test", (Turn("user", f"{n} </s>"), Turn("assistant", "No.")))
               for n in range(400)]
    corpus = split_by_conversation([*map(dialogue, range(400)), *hostile], config)
    draw_examples(corpus, config, CharacterTokenizer(), special=["</s>"])
    texts = [e.prompt[-1]["content"] for rows in corpus.examples.values() for e in rows]
    assert texts and not any("</s>" in text for text in texts)
    assert corpus.dropped["test: spells out a control token of the model"] > 0
