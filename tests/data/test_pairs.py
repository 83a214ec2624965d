"""Which two replies make a pair, and on which side each stands."""

import pytest
from test_gates import broken

from persuasion_lib.core.config import load_config
from persuasion_lib.core.records import Example, pair_row, parse_pair
from persuasion_lib.data.gates import pair_figures
from persuasion_lib.data.pairs import sample_pairs
from persuasion_lib.models.sampling import Generation

EXAMPLES = [Example(f"e{n}", [{"role": "user", "content": f"View {n}."}], "-", {"turn": 1})
            for n in range(60)]


def pairs(answer, *overrides, examples=EXAMPLES):
    """Pairs of replies `answer(example id, number of the reply, temperature)`."""
    asked = []

    def source(requests, settings, desc):
        asked.extend(requests)
        return {r.key: answer(*r.key.split(":"), settings.temperature) for r in requests}

    config = load_config("smoke", overrides)
    return sample_pairs(config, examples, source, desc=""), asked


def by_number(example_id, number, temperature):
    return Generation(f"{number} at {temperature} for {example_id}.", "stop", 5)


def test_without_a_contrast_the_first_two_replies_are_the_pair_in_their_order():
    made, asked = pairs(by_number)
    assert [r.key for r in asked[:2]] == ["e0:1", "e0:2"] and len(asked) == 120
    assert all(p.response_a.startswith("1 at 0.9") and p.response_b.startswith("2 at 0.9")
               for p in made)
    assert made[0].metadata == {"turn": 1, "finish": ["stop", "stop"], "tokens": [5, 5]}


def test_two_temperatures_stand_on_either_side_and_the_metadata_say_which():
    made, _ = pairs(by_number, "pairs.contrast=temperatures", "pairs.contrast_temperature=1.4")
    hot_first = [p.metadata["contrast"]["temperatures"] == [1.4, 0.9] for p in made]
    assert 0.3 < sum(hot_first) / 60 < 0.7
    assert [" 1.4 " in p.response_a for p in made] == hot_first
    assert [" 0.9 " in p.response_b for p in made] == hot_first
    again = parse_pair(pair_row(made[0]))
    assert again.metadata["contrast"]["kind"] == "temperatures"


def test_a_reply_that_gives_its_temperature_away_does_not_give_its_slot_away():
    def shouting(example_id, number, temperature):
        text = f"{example_id} says no." if temperature < 1 else f"> {example_id} shouts."
        return Generation(text, "stop", 5)

    made, _ = pairs(shouting, "pairs.contrast=temperatures")
    assert pair_figures(made)["opening gap between slots"] < 0.2
    assert broken(made) == []


TEXTS = {"1": "tea is good", "2": "tea is fine", "3": "coffee was bad", "4": "tea is good too"}


def test_best_of_n_keeps_the_two_replies_with_the_least_common_words():
    """3 shares no word with the others; 1 is the first of those."""
    made, asked = pairs(lambda e, n, t: Generation(TEXTS[n], "stop", 3), "pairs.contrast=best_of_n")
    assert len(asked) == 240
    assert {frozenset((p.response_a, p.response_b)) for p in made} == {
        frozenset(("tea is good", "coffee was bad"))}
    contrast = made[0].metadata["contrast"]
    assert sorted(contrast["replies"]) == [1, 3] and contrast["of"] == 4
    assert contrast["similarity"] == 0


@pytest.mark.parametrize("defect", [
    Generation("coffee was", "length", 3), Generation("", "stop", 0),
    Generation("go and do it " * 3, "stop", 12)])
def test_a_defect_is_no_difference(defect):
    made, _ = pairs(lambda e, n, t: defect if n == "3" else Generation(TEXTS[n], "stop", 3),
                    "pairs.contrast=best_of_n")
    assert defect.text not in (made[0].response_a, made[0].response_b)
    assert made[0].metadata["finish"] == ["stop", "stop"]


def test_the_contrast_asks_for_the_replies_that_are_there_already():
    _, plain = pairs(by_number)
    _, four = pairs(by_number, "pairs.contrast=best_of_n")
    assert {r.key for r in plain} < {r.key for r in four}
