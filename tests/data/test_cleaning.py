"""What cleaning removes, what it leaves alone, and that it counts both."""

import json
import random

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.data.cleaning import EXAMPLES, RULES, clean, rules_that_fire
from persuasion_lib.data.corpora import read_corpus
from persuasion_lib.demo.corpus import make_conversations
from worlds.scratch import SHARED_DATA

FOOTNOTE = """I think so.

_____

> *Hello, users of CMV! This is a footnote from your moderators. We'd just like to remind you*

> *of a couple of things. Happy CMVing!*"""


@pytest.mark.parametrize(("rule", "text", "cleaned"), [
    ("HTML entities", "a &lt; b &amp;amp; c", "a < b & c"),
    ("escaped quotes", r"It\'s \"fine\", \\'really\\'.", "It's \"fine\", 'really'."),
    ("deleted text", "CMV: tea is best\n\n[deleted]", "CMV: tea is best"),
    ("deleted text", "[removed]", ""),
    ("moderator footnote", FOOTNOTE, "I think so."),
    ("edit after the replies", "My view.\n\nEDIT: you convinced me, thanks!", "My view."),
    ("edit after the replies", "My view.\n**Edit 2:** wow\nMore.", "My view.\n\nMore."),
    ("delta that tells the outcome", "Good point. ∆\n\nStill, no.", "Still, no."),
    ("delta that tells the outcome", "!delta you win", ""),
    ("quotation of the other side", "> Cats are best.\n\nThey are not.", "They are not."),
    ("link", "See [this study](https://x.org/a?b=c), or https://y.org/z for more.",
     "See this study, or for more."),
])
def test_each_rule_removes_its_kind_and_is_counted(rule, text, cleaned):
    assert clean(text) == cleaned
    assert rule in rules_that_fire(text)


@pytest.mark.parametrize("text", [
    "I would edit the essay first: then print it.", "An update of the law is due.",
    "5 > 3 and 2 < 4.", ">15 cents, sorry.", "The river delta floods every spring.",
    "Yes (maybe) [really].", r"C:\temp and 1\2 are no quotes: \n.", "It's \"fine\".",
    "He wrote [deleted] twice.",
    "First line.\n\nSecond line."])
def test_plain_text_stays_as_it_is(text):
    assert clean(text) == text and rules_that_fire(text) == ()


def test_what_an_entity_hides_is_seen_by_the_later_rules():
    assert clean("&gt; Your words.\n\nMine.") == "Mine."
    assert rules_that_fire("&gt; Your words.\n\nMine.") == (
        "HTML entities", "quotation of the other side")


def test_cleaning_twice_is_cleaning_once():
    pieces = ["&amp;gt; ", "> q", "EDIT: x", "\n", "∆", "[a](https://b.c)", "&lt;", "word ", "(",
              "https://d.e/f", "_____\n> *Hello, users of CMV!", " ", "&#8710;", "!delta"]
    rng = random.Random(0)
    for _ in range(2000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 12)))
        assert clean(clean(text)) == clean(text)


def test_no_rule_fires_on_the_demo_corpus():
    for conversation in make_conversations(n=300, seed=3):
        for turn in conversation.turns:
            assert rules_that_fire(turn.text) == () and clean(turn.text) == turn.text


def test_every_rule_has_an_example_on_which_it_fires():
    assert list(EXAMPLES) == list(RULES)
    assert all(rule in rules_that_fire(message) for rule, message in EXAMPLES.items())


def test_cleaning_takes_the_dirt_of_the_demos_forum_out_again_and_nothing_else():
    config = load_config("demo", ["data.conversations=300"])
    cleaned, made = read_corpus(config), make_conversations(n=300, seed=config.seed)
    assert [[turn.text for turn in c.turns] for c in cleaned] == [
        [turn.text for turn in c.turns] for c in made]
    dirty = [turn.raw for c in cleaned for turn in c.turns if turn.raw]
    assert 5 < len(dirty) < 50 and all(map(rules_that_fire, dirty))


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real data are not here")
def test_real_posts_lose_footnotes_entities_edits_and_quotes():
    lines = (SHARED_DATA / "cmv_pairs" / "human_pool_responses.jsonl").read_text().splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    counts = {rule: sum(rule in rules_that_fire(p) for p in prompts) for rule in RULES}
    assert counts["HTML entities"] >= 70 and counts["moderator footnote"] >= 40
    after = [clean(p) for p in prompts]
    assert not any("&gt;" in p or "footnote from your moderators" in p for p in after)
