"""Alarms of a training, on histories whose arithmetic a reader can redo."""

import pytest

from persuasion_lib.training.drift import Drift, alarms
from persuasion_lib.training.history import validation_points


def history(*, last=40, loss=(0.69, 0.60), chosen=(-100.0, -98.0), kl=(0.0, 2.0),
            tokens=(20.0, 21.0)):
    """Two validation points: step 0 before training, step `last` after it."""
    logs = []
    for at, step in enumerate((0, last)):
        logs += [{"eval_loss": loss[at], "eval_logps/chosen": chosen[at], "step": step},
                 {"eval_kl": kl[at], "eval_reply_tokens": tokens[at], "step": step}]
    return [*logs[:2], {"loss": 0.65, "step": 5}, *logs[2:]]


def test_a_healthy_training_raises_no_alarm():
    assert alarms(history()) == []


def test_what_was_logged_at_one_step_is_one_point():
    points = validation_points(history())
    assert [(p["step"], p["eval_loss"], p["eval_kl"]) for p in points] == [
        (0, 0.69, 0.0), (40, 0.60, 2.0)]


@pytest.mark.parametrize(("planted", "said"), [
    ({"loss": (0.69, 0.70)}, "nothing was learned"),
    ({"loss": (0.69, float("nan"))}, "nothing was learned"),
    ({"chosen": (-100.0, -130.0)}, "lost 30 of 100 nats"),
    ({"last": 19}, "only 19 updates"),
    ({"kl": (0.0, 21.0)}, "1.00 nats per token"),           # 21 nats over 21 tokens
    ({"tokens": (20.0, 31.0)}, "1.55 times as long"),
    ({"tokens": (20.0, 10.0)}, "0.50 times as long"),
])
def test_each_fault_raises_its_alarm_and_no_other(planted, said):
    found = alarms(history(**planted))
    assert len(found) == 1 and said in found[0]


@pytest.mark.parametrize(("error", "kl", "is_said"), [
    (5.0, 2.0, True),           # 11 tokens longer are 2.2 standard errors
    (6.0, 2.0, False),          # and here 1.8
    (5.0, 0.07, False),         # a hundredth of a nat a token: some replies changed their course
    (None, 2.0, False)])        # one prompt was watched: nobody knows
def test_replies_are_called_longer_only_beyond_chance_and_beyond_a_trace_of_kl(error, kl, is_said):
    logs = [{**log, "eval_reply_tokens_error": error} if "eval_kl" in log else log
            for log in history(tokens=(20.0, 31.0), kl=(0.0, kl))]
    assert any("1.55 times as long" in text for text in alarms(logs)) == is_said


def test_lengths_are_compared_prompt_by_prompt():
    """Changes of 1, 2 and 3 tokens: their standard error is 1 / sqrt(3), whatever the lengths."""
    before, after = Drift(0.0, (10, 100, 1000)), Drift(1.0, (11, 102, 1003))
    assert after.length_error(before) == pytest.approx(3 ** -0.5)
    assert after.reply_tokens == pytest.approx(372)
    assert Drift(0.0, (10,)).length_error(Drift(0.0, (20,))) == float("inf")


def test_the_best_point_is_judged_not_the_last():
    logs = [*history(), {"eval_loss": 0.9, "eval_logps/chosen": -180.0, "step": 50}]
    assert alarms(logs) == []


def test_before_any_training_there_is_nothing_to_warn_of():
    assert alarms(history()[:2]) == [] and alarms([]) == []
