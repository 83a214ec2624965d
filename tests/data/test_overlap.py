"""Copies that must be found between sets, and likeness that is no copy."""

import random

import pytest

from persuasion_lib.core.records import Example, parse_labeled, parse_pair
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.data.overlap import near_copies, overlap_faults, overlap_table, shared_passages
from worlds.scratch import SHARED_DATA

LIMIT = 0.4


def text(seed, n=200):
    """A text of `n` words that no other seed gives."""
    return " ".join(random.Random(seed).choices([f"word{i}" for i in range(500)], k=n))


def row(content, conversation=None):
    metadata = {"conversation_id": conversation} if conversation else {}
    prompt = [{"role": "system", "content": "Be honest."}, {"role": "user", "content": content}]
    return Example(f"id of {content[:12]}", prompt, "Yes.", metadata)


def largest(test, train):
    sets = {"test": [row(test, "a")], "train": [row(text(99), "c"), row(train, "b")]}
    shared = shared_passages(sets)
    return max(shared["share"], default=0), overlap_faults(sets, shared, LIMIT)


def test_texts_of_their_own_share_nothing():
    assert largest(text(1), text(2)) == (0, [])


def test_the_same_prompt_with_other_white_space_and_punctuation_is_whole():
    share, faults = largest(text(1), text(1).replace(" ", " \n", 50).upper() + "!")
    assert share == 1 and "100% of row 1 (a) stands in row 2 (b)" in faults[0]


def test_the_same_short_prompt_is_found_too():
    assert largest("Tea is best.", "tea is  best")[0] == 1


def test_a_changed_sentence_leaves_the_rest_a_copy():
    """200 words of which 20 were exchanged: 180 stand in the other."""
    words = text(1).split()
    share, faults = largest(text(1), " ".join(words[:90] + text(5, 20).split() + words[110:]))
    assert share == 0.9 and len(faults) == 1


def test_half_a_prompt_is_over_the_limit():
    share, faults = largest(text(1), text(3) + " " + " ".join(text(1).split()[:100]))
    assert share == 0.5 and len(faults) == 1


def test_seven_common_words_are_no_passage_and_eight_are():
    words = text(1).split()
    assert largest(text(1), " ".join(words[:7] + text(2).split()))[0] == 0
    assert largest(text(1), " ".join(words[:8] + text(2).split()))[0] == pytest.approx(8 / 200)


def spoiled(content, step=10):
    """Every tenth word exchanged."""
    return " ".join("other" if at % step == step - 1 else word
                    for at, word in enumerate(content.split()))


def test_a_copy_with_every_tenth_word_changed_is_found():
    """Of 200 words 20 were exchanged; the 9 between them are passages."""
    share, faults = largest(text(1), spoiled(text(1)))
    assert share == pytest.approx(0.9) and len(faults) == 1


def test_a_short_copy_with_every_tenth_word_changed_is_a_near_copy():
    tests = [row(text(1, 40), "a"), row(text(2, 40), "b")]
    found = near_copies(tests, [row(text(3, 40), "c"), row(spoiled(text(1, 40)), "d")])
    assert found[["row", "other row", "share"]].values.tolist() == [[0, 1, 0.9]]


def test_a_phrase_of_more_than_ten_conversations_is_stock():
    def found(others):
        sets = {"test": [row(text(0, 80) + text(1, 120), "a")], "train": [
            row(text(0, 80) + text(10 + n, 120), f"b{n}") for n in range(others)]}
        return len(shared_passages(sets))
    assert (found(9), found(10)) == (9, 0)


def test_without_conversation_ids_rows_that_begin_alike_are_one_document():
    """Else twenty pairs about one post would make their own post a stock phrase."""
    sets = {"test": [row(text(0, 150) + text(1, 50))],
            "train": [row(text(0, 150) + text(10 + n, 50)) for n in range(20)]}
    assert len(shared_passages(sets)) == 20


def test_a_shared_conversation_is_named_with_its_rows():
    sets = {"test": [row(text(1), "x"), row(text(2), "t3_1")], "train": [row(text(3), "t3_1")]}
    faults = overlap_faults(sets, shared_passages(sets), LIMIT)
    assert faults == ["1 rows of test share a conversation with train: row 2 and row 1 both have "
                      "t3_1."]
    assert overlap_table(sets, shared_passages(sets)).iloc[0].tolist() == [
        "test", "train", 1, 0, 2, 0]


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real data are not here")
def test_real_posts_are_told_from_copies_of_them():
    """Different threads share at most an eighth; those that two files share are found."""
    folder = SHARED_DATA / "cmv_pairs"
    human = read_jsonl(folder / "human_pool_responses.jsonl", parse_pair, made_by="them")
    ai = [label.pair for label in read_jsonl(folder / "rlaif_val.jsonl", parse_labeled,
                                             made_by="them")]
    sets = {"human": human, "ai": ai}
    shared = shared_passages(sets)
    same = [human[a].metadata["conversation_id"] == ai[b].metadata["conversation_id"]
            for a, b in zip(shared["row"], shared["other row"], strict=True)]
    assert sum(same) == 11 and shared["share"][same].min() > 0.38
    assert shared["share"][[not s for s in same]].max() < 0.125
    assert [f.split(":")[0] for f in overlap_faults(sets, shared, LIMIT)] == [
        "11 rows of human share a conversation with ai", "10 prompts of human are copied in ai"]
