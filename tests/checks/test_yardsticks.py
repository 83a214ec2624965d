"""Oracles, prompts and blindness: a yardstick that is broken is found, a sound one is not."""

import random

import pytest

from persuasion_lib.checks import yardsticks
from persuasion_lib.checks.measured import NotMeasured
from persuasion_lib.core.records import Example
from worlds.synthetic_evaluation import evaluated, make_evaluation

N = 60
MODELS = ("base", "sft", "rlhf")


def about(topic, seed):
    """A text with three words of its topic among common ones."""
    rng = random.Random(f"{topic} {seed}")
    own = [f"topic{topic}word{n}" for n in range(5)]
    words = rng.choices(own, k=3) + rng.choices(["tea", "is", "the", "best", "and", "was"], k=8)
    rng.shuffle(words)
    return " ".join(words)


def columns():
    return {name: [about(topic, name) for topic in range(N)]
            for name in ("prompt", "oracle", *MODELS)}


def moved(texts, by=1):
    return texts[by:] + texts[:by]


def test_columns_that_belong_together_are_silent():
    assert yardsticks.misplaced(columns()).value == 0


@pytest.mark.parametrize("by", [1, -1, 2, 17])
@pytest.mark.parametrize("name", ["prompt", "oracle", "sft"])
def test_a_column_that_was_moved_is_named(name, by):
    found = yardsticks.misplaced({**columns(), name: moved(columns()[name], by)})
    assert found.value == 1 and found.example.startswith(f"{name} against ")


def test_all_replies_moved_together_are_named():
    own = columns()
    found = yardsticks.misplaced({**own, **{name: moved(own[name]) for name in MODELS}})
    assert found.example == "prompt, oracle against base, sft, rlhf"


def test_replies_that_follow_one_lost_row_are_found():
    own = columns()
    assert yardsticks.misplaced({**own, "sft": own["sft"][:30] + moved(own["sft"][30:])}).value == 1


def test_replies_that_have_nothing_to_do_with_any_prompt_say_nothing():
    alike = {name: [about(0, f"{name} {n}") for n in range(N)] for name in columns()}
    with pytest.raises(NotMeasured):
        yardsticks.misplaced(alike)
    few = {name: texts[:19] for name, texts in columns().items()}
    with pytest.raises(NotMeasured):
        yardsticks.misplaced(few)


def test_an_oracle_that_is_one_of_the_candidates_is_named():
    replies = {"sft": ["Tea.", "Milk.", None], "rlhf": ["Yes.", "No.", "Ah."]}
    found = yardsticks.oracle_is_reply(["tea", "Water.", "Oh."], replies)
    assert (found.value, found.example) == (1 / 2, "sft, prompt 1")
    assert yardsticks.oracle_is_reply(["Oh."] * 3, replies).value == 0
    with pytest.raises(NotMeasured):
        yardsticks.oracle_is_reply([None] * 3, replies)


def test_a_similarity_of_one_says_the_same_without_the_texts():
    near = {"sft": [0.3, 0.4], "rlhf": [0.9999999, 0.99]}
    found = yardsticks.oracle_is_reply([None, None], {"sft": ["a", "b"], "rlhf": ["c", "d"]}, near)
    assert (found.value, found.example) == (1 / 2, "rlhf, prompt 1")


def test_a_prompt_that_stands_twice_under_other_ids_is_found():
    found = yardsticks.asked_twice({"e1": "Tea is best.", "e2": "No.", "e3": "tea  is best"})
    assert found.value == 1 / 3 and found.example == "100% of row 3 (e3) stands in row 1 (e1)"
    assert yardsticks.asked_twice({"e1": "Tea.", "e2": "Milk."}).value == 0


def example(name, text):
    return Example(name, [{"role": "user", "content": text}], "-", {"conversation_id": name})


def long_text(seed, n=40):
    return " ".join(random.Random(seed).choices([f"word{i}" for i in range(900)], k=n))


def test_a_short_test_prompt_in_training_with_every_tenth_word_changed_is_found():
    tests = [example(f"t{n}", long_text(n)) for n in range(50)]
    learned = [example(f"l{n}", long_text(1000 + n)) for n in range(600)]
    assert yardsticks.nearly_learned(tests, learned).value == 0
    words = tests[7].prompt[0]["content"].split()
    words[9::10] = ["other"] * 4
    learned[300] = example("l300", " ".join(words))
    found = yardsticks.nearly_learned(tests, learned)
    assert found.value == 1 / 50 and "row 8 (t7) stands in row 301 (l300)" in found.example


def test_prompts_of_one_template_are_no_copies_of_each_other():
    def made(name, n):
        return example(name, f"I am a person {n % 7} from a town {n % 11} and it is clear to me "
                             f"that thing {n % 13} should be closed because of reason {n % 5} now")
    tests = [made(f"t{n}", n) for n in range(50)]
    assert yardsticks.nearly_learned(tests, [made(f"l{n}", n) for n in range(50, 1000)]).value == 0


def test_a_models_name_inside_its_reply_is_found_and_a_word_is_not():
    replies = {"base": ["The base of it is small.", "Yes."], "sft": ["As sft I agree.", "No."]}
    found = yardsticks.names_in_replies(replies)
    assert (found.value, found.example) == (1 / 2, "sft, prompt 1: “sft”")
    assert yardsticks.names_in_replies({"base": replies["base"], "sft": ["Yes.", None]}).value == 0
    for text in ("[base] Yes.", "base: Yes.", "I am Qwen."):
        assert yardsticks.names_in_replies({"base": [text], "sft": ["No."]}, ["Qwen"]).value == 1


def test_scores_that_are_no_numbers_are_named_with_their_example():
    evaluation = make_evaluation(4)
    evaluation["per_example"][1]["grader_scores"]["sft"] = "3"
    evaluation["per_example"][2]["grader_scores"]["sft"] = None
    read = {row.example_id: row.no_numbers() for row in evaluated(evaluation).rows}
    found = yardsticks.not_numbers(read)
    assert (found.value, found.example) == (1 / 4, "e00001: grader_scores of sft is '3'")


def test_the_set_of_test_prompts_is_known_by_its_name():
    sets = {"final_eval_reserved.jsonl": [example("t", long_text(1))],
            "sft_train.jsonl": [example(f"l{n}", long_text(n)) for n in range(600)]}
    assert yardsticks.learned_in_sets(sets).value == 1
    with pytest.raises(NotMeasured):
        yardsticks.learned_in_sets({"sft_train": []})


def test_a_person_who_hardly_uses_the_words_of_the_prompt_is_not_taken_for_moved():
    def now_and_then(name, every):
        return [about(n if n % every == 0 else f"{n}{name}", name) for n in range(N)]

    own = columns() | {name: now_and_then(name, 4) for name in MODELS}
    rare = now_and_then("oracle", 12)
    with pytest.raises(NotMeasured, match="too few to tell where 1 columns belong"):
        yardsticks.misplaced({**own, "oracle": rare})
    own.pop("oracle")
    assert yardsticks.moved(rare, own).value == 0
    silent = [about(f"{n}oracle", "oracle") for n in range(N)]
    with pytest.raises(NotMeasured, match="no more alike to those beside them"):
        yardsticks.moved(silent, own)


@pytest.mark.parametrize("by", [0, 1, -1, 17])
def test_replies_that_belong_to_other_rows_are_told_by_how_many(by):
    own = columns()
    oracle = own.pop("oracle")
    found = yardsticks.moved(moved(oracle, by), own)
    assert (found.value, found.example) == (abs(by), f"{by:+d} rows" if by else "")
