"""Nats a token: of a model that knows nothing, and of replies that only one of two models fits."""

import math

import pytest
import torch

from persuasion_lib import prepare
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import Example, Pair
from persuasion_lib.core.stage import StageRun
from persuasion_lib.data.splits import Corpus
from persuasion_lib.models import fluency

PROMPT = [{"role": "user", "content": "Why?"}]


class Letters:
    """A token is a letter of a to z, a message its text."""

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) - 97 for letter in text]}

    def apply_chat_template(self, messages, **_):
        return [0]


class Model:
    """Says the letter after the last one with probability 1/2, each other one with 1/50."""

    device = "cpu"

    def __call__(self, input_ids, logits_to_keep):
        chances = torch.full((1, input_ids.shape[1], 26), 0.5 / 25)
        chances.scatter_(2, ((input_ids + 1) % 26)[..., None], 0.5)
        return type("Output", (), {"logits": chances.log()[:, -logits_to_keep:]})


def test_nats_are_the_mean_over_all_tokens_of_all_replies():
    """b after the prompt's a, then c: ln 2 each. An x: ln 50. Three tokens in all."""
    found = fluency.nats_per_token(Model(), Letters(), [(PROMPT, "bc"), (PROMPT, "x"),
                                                        (PROMPT, "")])
    assert found == pytest.approx((2 * math.log(2) + math.log(50)) / 3)
    assert math.isnan(fluency.nats_per_token(Model(), Letters(), [(PROMPT, "")]))


def run_with(replies, project, monkeypatch, *overrides):
    """Human replies of ln 2 a token beside sampled ones."""
    monkeypatch.setattr(prepare, "load_base", lambda config: Model())
    monkeypatch.setattr(prepare, "load_tokenizer", lambda config: Letters())
    examples = {"sft_val": [Example("e1", PROMPT, "bcd", {})]}
    corpus = Corpus({}, examples=examples)
    pairs = [Pair("p1", PROMPT, reply, "b", {}) for reply in replies]
    prepare.check_fluency(StageRun(STAGES["prepare"], load_config("full", overrides), {}), corpus,
                          pairs)


def test_replies_like_those_of_people_pass_and_word_salad_stops(project, monkeypatch):
    """b and x have (ln 2 + ln 50) / 2 nats, 3.3 times ln 2."""
    run_with(["bc"], project, monkeypatch)
    with pytest.raises(DataError, match="word salad: 2.30 nats .*3.32 times.*max_nats_ratio"):
        run_with(["b", "x"], project, monkeypatch)
    run_with(["b", "x"], project, monkeypatch, "gates.max_nats_ratio=4")
