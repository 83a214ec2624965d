"""Planted faults that the gates must catch, real pools that have them, and clean ones that pass."""

import pytest

from persuasion_lib.checks.check import look, texts
from persuasion_lib.checks.registry import checks_of
from persuasion_lib.core.config import load_config
from persuasion_lib.core.records import Pair, parse_labeled, parse_pair
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.data.gates import (
    GATES,
    control_faults,
    control_tokens,
    ends_with_mark,
    is_empty,
    is_gibberish,
    is_poor,
    mostly_repeats,
    opening_gap,
    pair_figures,
    repeats_itself,
    truncated_share,
)
from worlds.scratch import SHARED_DATA

VIEW = [{"role": "user", "content": "I am sure that tea is best."}]


def pair(a="Coffee keeps you awake.", b="Water costs nothing.", prompt=VIEW, **metadata):
    return Pair(f"{a}{b}", prompt, a, b, metadata)


def many(n=20, **changes):
    """Clean pairs: in both slots every reply opens with a word of its own."""
    fields = [{"a": f"Word{i} is one reason.", "b": f"Term{i} is another reason."} | {
        k: v(i) if callable(v) else v for k, v in changes.items()} for i in range(n)]
    return [pair(**f) for f in fields]


def broken(pairs, name="pool"):
    """What stops among the checks of a pool."""
    return texts(look(checks_of("pairs"), {"pairs": {name: pairs}}, load_config("demo")), "stop")


def test_clean_pairs_break_no_gate():
    assert set(pair_figures(many())) == set(GATES) - {"tie share"}
    assert broken(many()) == []


@pytest.mark.parametrize(("planted", "setting"), [
    ({"finish": ["stop", "length"]}, "max_truncated_fraction"),
    ({"b": "and then it stops in the"}, "max_truncated_fraction"),
    ({"b": lambda i: f"Word{i} is one reason"}, "max_poor_fraction"),          # but for the stop
    ({"b": ""}, "max_poor_fraction"),
    ({"b": "it is so it is so it is so it is so."}, "max_poor_fraction"),
    ({"b": lambda i: f"> Word{i}? No."}, "max_opening_gap"),
    ({"prompt": [{"role": "user", "content": "I &lt; you. Am I wrong?"}]}, "max_unclean_fraction"),
    ({"prompt": [{"role": "user", "content": "Tea.\n> *Hello, users of CMV! Rules.*"}]},
     "max_unclean_fraction"),
    ({"prompt": [{"role": "user", "content": "Tea is\n[...context truncated...]"}]},
     "max_unclean_fraction"),
    ({"prompt": [*VIEW, {"role": "assistant", "content": "No."}]}, "max_unclean_fraction"),
])
def test_each_planted_fault_breaks_its_gate_and_says_what_to_do(planted, setting):
    faults = broken(many(**planted), "human_pool")
    assert any(f"gates.{setting}" in fault and fault.startswith("human_pool: ")
               for fault in faults), faults


def test_the_opening_gap_is_a_difference_of_shares():
    """Three of four second replies open with ">", none of the first: 0.75."""
    pairs = [pair(a=f"A{i}.", b=b) for i, b in enumerate(("> x", "> y", "> z", "No."))]
    assert opening_gap(pairs) == 0.75
    assert opening_gap([pair(a="Yes.", b="Yes, so.")] * 5) == 0


def test_a_recorded_finish_goes_before_the_look_of_the_text():
    assert truncated_share([pair(b="no full stop", finish=["stop", "stop"])]) == 0
    assert truncated_share([pair(b="no full stop")]) == 0.5


@pytest.mark.parametrize(("text", "ends"), [
    ("Yes.", True), ('He said "no."', True), ("*Is it?*  ", True), ("(So it is!)", True),
    ("It is so…", True), ("and then it", False), ('as the article states, "', False),
    ("For example:", False), ("Not yet (", False), ("", False)])
def test_a_text_ends_with_a_stop_that_only_quotes_brackets_and_emphasis_follow(text, ends):
    assert ends_with_mark(text) == ends


def test_a_reply_is_poor_when_it_has_no_word_or_loops():
    assert is_empty("...") and is_poor("...") and is_poor("so do it now " * 3)
    assert not is_poor("so do it now " * 2) and not is_poor("Yes.")


def test_one_loop_in_a_long_text_is_no_gibberish_and_nothing_but_a_loop_is():
    """Three of about 100 runs of words come back; of the second text, all but one."""
    long = " ".join(f"word{n} {'so do it now' if n % 30 == 0 else ''}" for n in range(90))
    assert repeats_itself(long) and not mostly_repeats(long) and not is_gibberish(long)
    assert repeats_itself("the bus " * 6) and is_gibberish("the bus " * 6)


def test_gibberish_is_told_from_short_honest_text():
    assert is_gibberish("") and is_gibberish("]] ## 77 @@ // ..")
    assert not is_gibberish("I see. But buses are quiet, and they cost less.")


def test_demo_pools_are_not_flagged(smoke_run):
    folder = smoke_run[0] / "data" / "smoke" / "preferences"
    for pool in ("ai_pool", "human_pool"):
        pairs = read_jsonl(folder / f"{pool}_responses.jsonl", parse_pair, made_by="00")
        assert broken(pairs, pool) == []


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the real data are not here")
@pytest.mark.parametrize(("file", "rows"), [("human_pool_responses", 200), ("rlaif_val", 131)])
def test_the_earlier_runs_pools_are_flagged_for_every_defect_they_have(file, rows):
    path = SHARED_DATA / "cmv_pairs" / f"{file}.jsonl"
    pairs = ([label.pair for label in read_jsonl(path, parse_labeled, made_by="them")]
             if file == "rlaif_val" else read_jsonl(path, parse_pair, made_by="them"))
    figures = pair_figures(pairs)
    assert len(pairs) == rows
    assert figures["truncated replies"] > 0.9
    assert figures["opening gap between slots"] > 0.2
    assert figures["prompts with entities"] > 0.3
    assert figures["prompts with a moderator's footnote"] > 0.2
    assert figures["prompts without their message"] > 0.6
    assert len(broken(pairs, file)) >= 5


@pytest.mark.parametrize("text, tokens", [
    ("Yes.<|im_end|>", ["<|im_end|>"]), ("<|eot_id|> <|eot_id|>", ["<|eot_id|>"]),
    ("Yes.</s>[INST]", ["</s>"]), ("a <b> | c > d <| e |> <||>", [])])
def test_control_tokens_are_those_of_most_templates_and_of_the_tokenizer(text, tokens):
    assert control_tokens(text, ["</s>"]) == tokens


def test_a_control_token_anywhere_in_a_pair_is_named_with_its_row():
    system = [{"role": "system", "content": "<|endoftext|>"}, *VIEW]
    for planted in (pair(a="A<|endoftext|>"), pair(b="<|endoftext|>B"), pair(prompt=system)):
        fault, = control_faults("ai_pool", [pair(), planted])
        assert f"first: row 2 ({planted.pair_id}), <|endoftext|>" in fault
    assert control_faults("ai_pool", many()) == []
