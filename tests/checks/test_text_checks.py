"""Texts that are no replies are found, and replies of people are not."""

import pytest

from persuasion_lib.checks import texts
from persuasion_lib.checks.languages import another_language, usual_language
from persuasion_lib.checks.measured import NotMeasured
from persuasion_lib.data.corpora import read_persuasionforgood
from worlds.scratch import SHARED_DATA

CLEAN = [f"I see that tea number {n} is cheap. Still, I think that you would like it." for n in
         range(40)]
PLANTED = {
    texts.entities: ["People say &gt; that", "AT&amp;T is large.", "It&#39;s true."],
    texts.markers: [
        "Yes.<|im_end|>", "[INST] Go on [/INST]", "<start_of_turn>model", "Fine.</s>",
        "### Response: yes", "[TASK] Write the next message", "[...context truncated...]",
        "Dear [Your Name], I agree.", "Hello {{ user }}", "<p>Tea is best.</p>"],
    texts.role_names: [
        "I agree.\nHuman: no you do not", "Assistant: tea is best.", "Yes. THEM: But why?",
        "**User:** hello", "Sure.\n\nComment 2: no.", "PERSUADER: I think so."],
    texts.refusals: [
        "I'm sorry, but I can't help with that.", "I’m sorry, but I can’t assist.",
        "Sorry, I cannot do that.", "I cannot fulfill your request.", "Well, as an AI language "
        "model, I have no views.", "I am an AI and have no taste.", "I'm unable to assist with it.",
        "Unfortunately, I am not able to provide that."],
}
HARMLESS = [
    "I'm sorry, but I can't agree with you.", "I can't help but think that you are wrong.",
    "Is it human? It is: I checked.", "At 10:30 R&D and Q&A begin.", "An assistant helped me.",
    "The system: two pumps.", "Unfortunately, I cannot see why.", "a < b and b > c",
    "You asked for 3 reasons: here they are."]


def measured(texts_):
    return {f"row {n}": text for n, text in enumerate(texts_, start=1)}


@pytest.mark.parametrize(("find", "text"), [
    (find, text) for find, planted in PLANTED.items() for text in planted])
def test_a_sign_of_no_reply_is_found_and_shown_with_its_place(find, text):
    found = find(measured([*CLEAN, text]))
    assert found.value == 1 / 41 and found.example.startswith("row 41: “")


@pytest.mark.parametrize("find", PLANTED)
def test_replies_that_only_sound_alike_are_left_alone(find):
    assert find(measured([*CLEAN, *HARMLESS])).value == 0


def test_the_control_tokens_of_a_tokenizer_are_markers_too():
    assert texts.markers(measured(["Yes. <eos>"])).value == 0
    assert texts.markers(measured(["Yes. <eos>"]), ["<eos>"]).value == 1


@pytest.mark.parametrize(("text", "language"), [
    ("Ich verstehe das, aber in der Schule lernen die Kinder auch, was es heißt.", "German"),
    ("Je comprends que vous avez une autre opinion, mais il faut penser à la ville.", "French"),
    ("Entiendo que no estás de acuerdo, pero creo que la gente aprende mucho.", "Spanish"),
    ("我明白你的意思,但是我不同意。", "Chinese, Japanese or Korean"),
    ("Я понимаю вас, но не согласен.", "Cyrillic")])
def test_a_reply_in_another_language_than_the_prompts_is_found(text, language):
    found = texts.other_language(measured([*CLEAN, text]), CLEAN)
    assert found.value == 1 / 41 and language in found.example


def test_another_language_is_another_than_that_of_the_prompts_not_than_english():
    german = ["Ich denke, dass die Schule zu früh beginnt und das ist nicht gut."] * 3
    assert texts.other_language(measured(german), german).value == 0
    assert texts.other_language(measured(CLEAN), german).value == 1
    chinese = usual_language(["我明白你的意思", "但是我不同意"])
    assert another_language("我不同意", chinese) == ""
    assert another_language(CLEAN[0], chinese) == "Latin script"


def test_one_opening_or_one_text_for_nearly_all_is_found():
    different = [f"reply number {n}" for n in "abcdefghijklmnopqrstu"]
    assert texts.one_text(measured(different)).value == 0
    same = measured([*["Tea  is best!", "tea is best."] * 10, "No."])
    assert texts.one_text(same).value == 19 / 20
    quoted = measured([f"&gt; {n} is so, they say" for n in different] + ["No."])
    assert texts.one_opening(quoted).value == 20 / 21
    assert texts.one_opening(measured([f"{n} is so" for n in range(20)])).value == 0


def test_too_few_texts_and_missing_ones_are_said_not_counted():
    with pytest.raises(NotMeasured):
        texts.one_text(measured(["a"] * 19))
    with pytest.raises(NotMeasured):
        texts.markers({})
    assert texts.refusals({"1": None, "2": "As an AI, no.", "3": ""}).n == 2


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real data are not here")
def test_replies_of_people_are_silent():
    """10,600 of them, and the one that is found is Spanish."""
    turns = [turn for talk in read_persuasionforgood(SHARED_DATA / "persuasionforgood")
             for turn in talk.turns]
    said = measured([turn.text for turn in turns if turn.role == "assistant"])
    asked = [turn.text for turn in turns if turn.role == "user"]
    for find in PLANTED:
        assert find(said).value < 2 / len(said), find.__name__
    assert texts.other_language(said, asked).value == 1 / len(said)
    assert texts.one_opening(said).value < 0.05 and texts.one_text(said).value < 0.02
