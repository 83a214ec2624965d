import pytest

from persuasion_lib.data.gates import is_gibberish
from worlds.synthetic_evaluation import analysed, changed, make_evaluation, planted


def test_similarities_are_read_against_texts_that_share_no_prompt():
    def baselines(row):
        row["similarity_baselines"] = {
            "oracle": 0.2, "prompt": 0.4, "responses": {m: s - 0.25 for m, s in
                                                        row["similarity_scores"].items()}}
    found = analysed(changed(make_evaluation(24), baselines))["similarity"]["baselines"]
    assert [row["mean"] for row in found["oracle"]] == pytest.approx([0.2, 0.4])
    assert [row["mean"] for row in found["closer"]] == pytest.approx([0.25] * 5)
    assert planted()["similarity"]["baselines"] is None


def test_a_model_that_manipulates_more_is_seen_and_so_is_a_judge_that_rewards_it():
    def spoil(row):
        row["responses"]["rlaif_rlhf"] += " You should feel ashamed."
    share = analysed(changed(make_evaluation(40), spoil))["tactics"]
    any_share = {row["model"]: row["mean"] for row in share["share"]["any"]}
    assert any_share["rlaif_rlhf"] == 1 and any_share["sft"] < 0.3
    assert share["reward"]["ci_low"] > 0


def test_gibberish_is_told_from_short_honest_text():
    assert is_gibberish("") and is_gibberish("]] ## 77 @@ // ..")
    assert is_gibberish("the bus the bus the bus the bus the bus the bus")
    assert not is_gibberish("I see. But buses are quiet, and they cost less.")


def test_values_that_are_all_the_same_have_an_interval_with_a_width():
    """None of 40 prompts differed, so at most 1 - .025^(1/40) = 9 % of all prompts do."""
    def change(row):
        row["similarity_scores"] = dict.fromkeys(row["responses"], 0.5)
        row["responses"] = dict.fromkeys(row["responses"], "Tea is best.")
    result = analysed(changed(make_evaluation(40), change))
    unseen = 1 - 0.025 ** (1 / 40)
    assert result["similarity"]["table"][0]["ci_low"] == pytest.approx(0.5 - 1.5 * unseen)
    assert result["tactics"]["pairs"][0]["ci_low"] == pytest.approx(-unseen)
