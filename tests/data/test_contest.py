"""Who is ranked on which prompts: a person's reply, and prompts for the judge alone."""

from types import SimpleNamespace

import pytest

from persuasion_lib import evaluate
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, DataError
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import Example, example_row, parse_example
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_jsonl
from persuasion_lib.data import contest
from persuasion_lib.data.splits import JUDGE_ONLY, SETS, draw_examples, split_by_conversation
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.rank import rank_questions
from test_prepare import CharacterTokenizer, dialogue


def example(number, response="A dog.", **metadata):
    prompt = [{"role": "user", "content": f"Question {number} about cats?"}]
    return Example(f"e{number}", prompt, response, {"conversation_id": f"c{number}", **metadata})


@pytest.fixture
def run(project, monkeypatch):
    monkeypatch.setattr(contest, "load_tokenizer", lambda config: CharacterTokenizer())

    def of(*overrides):
        return StageRun(STAGES["evaluate"], load_config("smoke", overrides), {})
    return of


def responses(examples):
    reply = SimpleNamespace(text="A reply.", finish="end", tokens=3)
    return {e.example_id: {"base": reply, "sft": reply} for e in examples}


# ---- a person's reply

def test_by_default_no_person_takes_part(run):
    _, replies, _ = contest.contest(run(), [example(1)], responses([example(1)]))
    assert replies == {"e1": {"base": "A reply.", "sft": "A reply."}}
    assert contest.who_took_part([example(1)], run().config) == {}


def test_a_person_is_ranked_who_wrote_no_more_than_a_model_may(run):
    wanted = run("evaluation.human_reply=true", "generation.max_new_tokens=10")
    examples = [example(1, "x" * 10), example(2, "x" * 11), example(3, " \n"), example(4, "x […]"),
                example(5, "?!")]
    _, replies, _ = contest.contest(wanted, examples, responses(examples))
    assert [key for key, texts in replies.items() if "human" in texts] == ["e1"]
    assert contest.who_took_part(examples, wanted.config) == {"human_reply": {
        "ranked": 1, "left_out": {"longer than a model may write (10 tokens)": 1,
                                  "no person replied": 2, "cut off in the corpus": 1}}}
    contest.contest(wanted, examples, responses(examples))
    assert len(wanted.warnings) == 3            # each said once, however often it is counted


def test_the_question_that_is_shown_is_the_one_that_is_asked(run):
    wanted = run("evaluation.human_reply=true", "evaluation.orders=1")
    examples = [example(1, "What a person wrote."), example(2, "What another wrote.")]
    replies = responses(examples)
    replies["e1"]["sft"] = SimpleNamespace(text="Another reply.", finish="end", tokens=3)
    shown = str(contest.first_question(wanted, examples, replies))
    judge = make_judge(wanted.config, "evaluate")
    asked = rank_questions(*contest.contest(wanted, examples, replies)[:2], judge,
                           seed=wanted.config.seed)
    assert "What a person wrote." in shown and shown.endswith(asked["e1", 0].text)
    assert "nobody is asked" in str(contest.first_question(run(), examples[1:], replies))


# ---- prompts for the judge alone

def split(count, *overrides):
    config = load_config("smoke", overrides)
    corpus = split_by_conversation([dialogue(n) for n in range(count)], config)
    draw_examples(corpus, config, CharacterTokenizer())
    return corpus


def ids(rows):
    return [row.example_id for row in rows]


def test_further_prompts_come_from_conversations_that_no_other_set_has(project):
    plain, more = split(400), split(400, "evaluation.judge_only_examples=30")
    for name in ("human_pool", "ai_pool", "sft_val"):
        assert ids(plain.examples[name]) == ids(more.examples[name]), name
    test = more.examples["test"]
    assert ids(contest.ordinary(test)) == ids(plain.examples["test"])
    assert [row.judge_only for row in test] == [False] * (len(test) - 30) + [True] * 30
    threads = {row.conversation_id for row in test if row.judge_only}
    others = {row.conversation_id for name in SETS for row in more.examples[name]
              if not row.judge_only}
    assert len(threads) == 30 and not threads & others
    assert JUDGE_ONLY not in plain.conversations


def test_sft_keeps_half_of_its_conversations_whatever_the_judge_wants(project):
    corpus = split(400, "evaluation.judge_only_examples=100000")
    there = sum(row.judge_only for row in corpus.examples["test"])
    kept = len(corpus.conversations["sft_train"]) + len(corpus.conversations["sft_val"])
    assert 0 < there <= kept


def test_too_few_are_said_with_the_number_there_is(run):
    wanted = run("evaluation.judge_only_examples=5")
    examples = [example(1), example(2, judge_only=True), example(3, judge_only=True)]
    write_jsonl(wanted.path("test"), map(example_row, examples))
    assert ids(evaluate.read_test_set(wanted)) == ["e1", "e2", "e3"]
    assert any("asks for 5 prompts for the judge alone; there are 2" in text
               for text in wanted.warnings)


def test_marked_prompts_of_a_file_are_left_alone_unless_they_are_asked_for(run):
    plain = run()
    write_jsonl(plain.path("test"), map(example_row, [example(1), example(2, judge_only=1)]))
    assert ids(evaluate.read_test_set(plain)) == ["e1"]


def test_a_trial_takes_as_many_of_either_kind(run):
    trial = run("evaluation.judge_only_examples=5", "evaluation.max_examples=1")
    rows = [example(n, judge_only=n > 2) for n in range(6)]
    write_jsonl(trial.path("test"), map(example_row, rows))
    assert ids(evaluate.read_test_set(trial)) == ["e0", "e3"]


def test_nothing_but_ranking_is_asked_about_them(run):
    rows = [example(1), example(2, judge_only=True)]
    prompts, replies, _ = contest.contest(run(), rows, responses(rows))
    assert list(prompts) == list(replies) == ["e1", "e2"]
    assert list(contest.prompts_of(rows)) == list(contest.of_ordinary(rows, replies)) == ["e1"]


@pytest.mark.parametrize("mark", ["yes", "true", 2, []])
def test_a_mark_that_is_neither_true_nor_false_is_refused(mark):
    with pytest.raises(DataError, match="judge_only"):
        parse_example(example_row(example(1, judge_only=mark)))


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "true", "null"])
def test_a_number_of_prompts_that_is_none_is_refused(project, value):
    with pytest.raises(ConfigError, match="evaluation.judge_only_examples"):
        load_config("smoke", [f"evaluation.judge_only_examples={value}"])
