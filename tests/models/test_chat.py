"""Eight families of models and one without a template: what a model reads is what was said."""

import json
from datetime import date

import pytest
from tokenizers import normalizers

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import LineageError
from persuasion_lib.models.chat import SHAPES, adapt, changed_rows, closing_ids, unfaithful
from persuasion_lib.models.loading import adapted_tokenizer, prompt_ids
from worlds.families import CHATML, FAMILIES, LLAMA3, MISTRAL, Shape, family_folder, tokenizer_of

FIT = [name for name in FAMILIES if name not in ("none", "thinks")]
ROLES = {"s": "system", "u": "user", "a": "assistant"}
TALK = [{"role": "system", "content": "Be kind."}, {"role": "assistant", "content": "Do give."},
        {"role": "user", "content": "Why?"}]
SO = {"role": "assistant", "content": "So."}
IN_TURN = "its template wants user and assistant in turn"
# What is said of each family; of the others nothing.
NOTES = {"qwen3": ["thinking is switched off"], "gemma3": [IN_TURN],
         "llama3": ["no token to pad with: it is <|eot_id|>", "today's date"],
         "gemma": ["no place for a system message"], "mistral": ["no token to pad with", IN_TURN],
         "open end": ["no token to pad with", "does not close a reply"]}


def fit(name):
    tokenizer = tokenizer_of(FAMILIES[name])
    adapt(tokenizer, name)
    return tokenizer


def rendered(tokenizer, messages, **options):
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


def dialogue(shape):
    return [{"role": ROLES[letter], "content": f"{letter}{at} it is."}
            for at, letter in enumerate(shape)]


@pytest.mark.parametrize("name", FIT)
def test_what_is_adapted_is_said_and_nothing_else_is(project, name):
    family_folder(name, project / "base")
    notes = adapted_tokenizer(load_config("smoke", ["model.base=base"]))[1]
    wanted = NOTES.get(name, [])
    assert len(notes) == len(wanted)
    assert all(part in note for part, note in zip(wanted, notes, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FIT)
def test_prompt_and_reply_are_what_was_said_in_every_shape_of_dialogue(name, shape):
    tokenizer = fit(name)
    prompt = dialogue(shape)
    start = rendered(tokenizer, prompt, add_generation_prompt=True)
    whole = rendered(tokenizer, [*prompt, SO])
    assert all(start.count(message["content"]) == 1 for message in prompt)
    assert whole.startswith(start)
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    first = prompt_ids(tokenizer, prompt)
    assert ids[:len(first)] == first
    reply = ids[len(first):]
    closing = closing_ids(tokenizer)
    assert reply[-len(closing):] == closing
    assert tokenizer.decode(reply[:-len(closing)]).strip() == "So."
    assert ids.count(tokenizer.bos_token_id) <= 1 or name == "smollm2"      # <|im_start|> is both


@pytest.mark.parametrize("name", ["llama3", "gemma", "mistral"])
def test_a_tokenizer_that_begins_every_text_begins_a_prompt_once(name):
    tokenizer = fit(name)
    assert tokenizer("Tea.")["input_ids"][0] == tokenizer.bos_token_id
    assert prompt_ids(tokenizer, TALK).count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(("name", "wanted"), [
    ("gemma", "<bos><start_of_turn>user\nBe kind.<end_of_turn>\n<start_of_turn>model\nDo give."
              "<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"),
    ("mistral", "<s>[INST] Be kind.[/INST] Do give.</s>[INST] Why?[/INST]"),
    ("qwen3", "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>assistant\nDo give.<|im_end|>\n"
              "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")])
def test_a_dialogue_that_the_assistant_opens_begins_with_the_system_message(name, wanted):
    """As in PersuasionForGood, where the persuader speaks first; nothing is lost or invented."""
    assert rendered(fit(name), TALK, add_generation_prompt=True) == wanted


def test_neighbouring_messages_of_one_side_are_joined_where_sides_must_alternate():
    prompt = [{"role": "user", "content": text} for text in ("Tea.", "Or not?")]
    assert rendered(fit("gemma3"), prompt) == (
        "<bos><start_of_turn>user\nTea.\n\nOr not?<end_of_turn>\n")
    assert rendered(fit("qwen3"), prompt).count("<|im_start|>user") == 2


@pytest.mark.parametrize("name", ["gemma", "gemma3", "mistral"])
def test_without_a_system_message_the_opening_assistant_answers_three_dots(name):
    assert "…" in rendered(fit(name), TALK[1:], add_generation_prompt=True)


@pytest.mark.parametrize("name", ["qwen2.5", "phi", "smollm2"])
def test_a_template_that_takes_everything_is_left_as_it_is(name):
    assert fit(name).chat_template == FAMILIES[name].template


@pytest.mark.parametrize("shape", ["u", "su", "suau"])
@pytest.mark.parametrize("name", ["gemma3", "mistral"])
def test_dialogues_that_a_template_takes_are_written_as_it_writes_them(name, shape):
    stock = tokenizer_of(FAMILIES[name])
    assert rendered(fit(name), dialogue(shape)) == rendered(stock, dialogue(shape))


@pytest.mark.parametrize("template", [
    LLAMA3, "{{ strftime_now('%A, %B %-d %Y') }}" + CHATML,
    "{%- macro day() -%}{{ strftime_now('%Y-%m-%d') }}{%- endmacro -%}" + LLAMA3.replace(
        "date_string + ", "day() + ")])
def test_the_day_is_always_the_same(template):
    """Else the same prompt would have another hash tomorrow."""
    tokenizer = tokenizer_of(Shape(template, "llama", "<|eot_id|>", control=("<|im_end|>",)))
    today = date.today()
    assert str(today.year) in rendered(tokenizer, TALK)
    adapt(tokenizer, "it")
    text = rendered(tokenizer, TALK)
    assert "2024" in text and str(today.year) not in text
    assert any(day in text for day in ("26 Jul 2024", "2024-07-26", "Friday, July 26 2024"))


@pytest.mark.parametrize(("template", "reason"), [
    (FAMILIES["thinks"].template, r"writes '<think>.* model that thinks first"),
    (None, "has no chat template, so it is no instruct model"),
    ({"rag": CHATML, "tool_use": CHATML}, "the chat templates rag, tool_use and none .* default"),
    (CHATML.replace("{{ m.content }}", "{{ m.content | upper }}"), "leaves out or changes"),
    (CHATML.replace("<|im_start|>assistant\n", "<|im_start|>assistant\nOf course! "),
     "writes 'Of course! ' before a reply"),
    (CHATML.replace("{{ m.content }}", "{{ m.content }}{{ m.content }}"), "closes a reply with"),
    ("{{ bos_token }}{{ bos_token }}" + CHATML, "two tokens for the beginning"),
    (CHATML.replace("<|im_end|>", "</turn>"), r"with '</turn>\\n', which is no token of its own"),
    (CHATML.replace("assistant\n", "assistant: {{ '' }}"), "would be|before a reply"),
    ("{{ messages[0].parts }}{{ undefined.thing }}", "refuses a dialogue of user"),
    (CHATML + "{% if %}", "refuses a dialogue of user")])
def test_what_cannot_be_made_right_is_refused_in_one_sentence(template, reason):
    tokenizer = tokenizer_of(Shape(template, "llama", "<|im_end|>", bos="<|b|>",
                                   control=("<|im_start|>",)))
    with pytest.raises(LineageError, match=f"(?s){reason}") as caught:
        adapt(tokenizer, "theirs")
    assert "theirs" in str(caught.value) and "\n" not in str(caught.value)


def test_a_tokenizer_that_changes_texts_says_so():
    tokenizer = tokenizer_of(FAMILIES["qwen2.5"])
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    note, = adapt(tokenizer, "it")
    assert note.startswith("its tokenizer changes texts: \"Reply one.") and "reply one." in note


def test_of_several_templates_the_default_one_is_used():
    tokenizer = tokenizer_of(FAMILIES["qwen2.5"])
    tokenizer.chat_template = {"default": CHATML, "tool_use": MISTRAL}
    assert adapt(tokenizer, "it") == ["of its 2 chat templates the default one is used"]
    assert tokenizer.chat_template == CHATML


def test_a_template_in_a_file_of_its_own_is_found_and_its_adapted_form_is_saved(project):
    """Who serves an exported model renders the same prompts."""
    folder = family_folder("gemma", project / "base")
    assert (folder / "chat_template.jinja").exists()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert "chat_template" not in settings
    tokenizer = adapted_tokenizer(load_config("smoke", ["model.base=base"]))[0]
    tokenizer.save_pretrained(project / "exported")
    again = type(tokenizer).from_pretrained(project / "exported")
    assert rendered(again, TALK) == rendered(tokenizer, TALK)


def test_a_template_inside_the_tokenizers_settings_is_found(project):
    folder = family_folder("qwen2.5", project / "base")
    file = folder / "tokenizer_config.json"
    (folder / "chat_template.jinja").unlink()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": CHATML}))
    assert adapted_tokenizer(load_config("smoke", ["model.base=base"]))[0].chat_template == CHATML


@pytest.mark.parametrize(("name", "text", "fault"), [
    ("qwen3", "I think </think> so.", "would be 'so."), ("qwen3", "<think>Hm.", None),
    ("llama3", " So. ", None), ("qwen2.5", "So.\n", None), ("qwen2.5", "", None),
    ("gemma", "So. 🙂 \u2028 ½", None)])
def test_a_reply_that_a_template_would_change_is_found(name, text, fault):
    found = unfaithful(fit(name), TALK, text)
    assert fault in found if fault else found is None


def test_rows_that_a_template_would_change_are_counted_from_one():
    spoilt = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "a</think>b"},
              {"role": "user", "content": "Oh?"}]
    rows = [(TALK, ["So."]), (spoilt, ["So."]), (TALK, ["So.", "a</think>"])]
    found = changed_rows(fit("qwen3"), rows)
    assert list(found) == [2, 3]
    assert "a message of the assistant ('a</think>b')" in found[2]
