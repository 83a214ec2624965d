"""One pair by hand is what the trainer computes; plain trl of notebook 04 trains the same."""

import math
import re

import nbformat
import pytest

from persuasion_lib import train_dpo
from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import STAGES, path_of
from persuasion_lib.core.records import LabeledPair, Pair, parse_labeled
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.models.loading import load_tokenizer
from persuasion_lib.training import dpo
from persuasion_lib.training.worked import Tokens, WorkedPair, row_ids, work_out
from worlds.scratch import ROOT

NAN_FREE = 1e-6


def test_margin_and_loss_are_the_formula_of_the_paper():
    """Rewards .1 × (−9 + 10) and .1 × (−17 + 15): margin .1 + .2, loss ln(1 + e^−.3)."""
    pair = WorkedPair(("rlhf", "sft"), (-9, -17), (-10, -15), beta=0.1)
    assert pair.rewards == pytest.approx((0.1, -0.2))
    assert pair.margin == pytest.approx(0.3)
    assert pair.loss == pytest.approx(math.log(1 + math.exp(-0.3)))


def test_a_policy_that_is_its_reference_loses_ln_2_whatever_the_noise():
    for noise in (0.0, 0.1):
        pair = WorkedPair(("sft", "sft"), (-9, -17), (-9, -17), beta=0.1, label_smoothing=noise)
        assert pair.loss == pytest.approx(math.log(2))
        assert "**0.6931**" in pair._repr_markdown_()


def test_with_label_smoothing_a_wrong_label_is_expected_so_often():
    pair = WorkedPair(("rlhf", "sft"), (-9, -17), (-10, -15), beta=0.1, label_smoothing=0.1)
    wanted = 0.9 * math.log(1 + math.exp(-0.3)) + 0.1 * math.log(1 + math.exp(0.3))
    assert pair.loss == pytest.approx(wanted)


def test_a_margin_of_thousands_has_a_loss_and_another_loss_is_not_made_up():
    assert WorkedPair(("a", "b"), (0, -9e4), (0, 0), beta=1.0).loss == 0
    assert WorkedPair(("a", "b"), (-9e4, 0), (0, 0), beta=1.0).loss == 9e4
    ipo = WorkedPair(("a", "b"), (-1, -2), (0, 0), beta=1.0, loss_type="ipo")
    assert ipo.loss is None and "loss_type=ipo" in ipo._repr_markdown_()


@pytest.fixture
def config(smoke_copy):
    return load_config("smoke")


def pairs_of(config, name):
    return read_jsonl(path_of(config, name), parse_labeled, made_by="03")


@pytest.mark.parametrize(("name", "policy"), [("rlhf", "sft"), ("rlaif_rlhf", "rlaif")])
def test_the_numbers_are_the_trainers_before_and_after_a_training(config, name, policy):
    """rlhf starts as sft, rlaif_rlhf as the trained rlaif; one pair is the whole validation set."""
    pair, *others = pairs_of(config, "rlhf_train")
    trainer = dpo.preference_trainer(config, name, others, [pair])
    seen = trainer.evaluate()
    found = work_out(config, pair, name, trained=False)
    assert found.names == (policy, "sft")
    assert seen["eval_logps/chosen"] == pytest.approx(found.policy[0], abs=5e-4)
    assert seen["eval_logps/rejected"] == pytest.approx(found.policy[1], abs=5e-4)
    assert seen["eval_rewards/margins"] == pytest.approx(found.margin, abs=5e-5)
    assert seen["eval_loss"] == pytest.approx(found.loss, abs=5e-5)
    assert (policy == "sft") == (abs(found.margin) < NAN_FREE)


def test_the_tokens_shown_are_the_trainers_and_grey_ones_are_masked(config):
    pair, *others = pairs_of(config, "rlhf_train")
    row = dpo.preference_trainer(config, "rlhf", [pair], others[:1]).train_dataset[0]
    tokenizer = load_tokenizer(config)
    for part, reply in (("chosen_ids", pair.chosen), ("rejected_ids", pair.rejected)):
        start, ids = row_ids(tokenizer, pair.pair.prompt, reply)
        assert ids[:start] == row["prompt_ids"] and ids[start:] == row[part]
    html = Tokens(config, pair)._repr_html_()
    assert html.count("color:") == len(row["prompt_ids"]) * 2
    assert html.count("border-bottom") == len(row["chosen_ids"]) + len(row["rejected_ids"])


def test_a_reply_cannot_become_markup_and_an_emoji_stays_whole(config):
    prompt = [{"role": "user", "content": "<img src=x onerror=y>"}]
    hostile = LabeledPair(Pair("p", prompt, "<script>1</script> 🙂", "No.", {}), "a", "me")
    html = Tokens(config, hostile)._repr_html_()
    assert "<script" not in html and "<img" not in html and "🙂" in html and "\ufffd" not in html


def lines_of_plain_trl():
    cells = nbformat.read(ROOT / "notebooks" / "04_train_dpo.ipynb", 4).cells
    blocks = [re.search(r"```python\n(.*?)```", cell.source, re.S) for cell in cells]
    code, = [block.group(1) for block in blocks if block]
    return code


@pytest.mark.filterwarnings("ignore")        # plain trl's own, of memory that is not pinned
def test_plain_trl_has_the_losses_of_the_library_in_the_first_steps(config, tmp_path, monkeypatch):
    run = StageRun(STAGES["train_dpo"], config, {})
    pairs = pairs_of(config, "rlhf_train")
    monkeypatch.chdir(tmp_path)      # where it leaves its checkpoints
    plain = {"run": run, "pairs": pairs}
    exec(lines_of_plain_trl(), plain)
    ours = dpo.preference_trainer(config, "rlhf", pairs, pairs_of(config, "rlhf_val"))
    ours.args.logging_steps = 1
    ours.train()
    losses = [[log["loss"] for log in trainer.state.log_history if "loss" in log][:4]
              for trainer in (plain["trainer"], ours)]
    assert losses[0][0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and len(set(losses[0])) >= 3


def test_sft_and_every_new_model_answer_a_prompt_that_none_was_trained_on(config):
    run = StageRun(STAGES["train_dpo"], config, {})
    shown = train_dpo.answers(run, ["rlhf", "rlaif"]).table["text"]
    assert list(shown.index) == ["message answered", "sft", "rlhf", "rlaif"]
    trained = {p.pair.prompt[-1]["content"] for p in pairs_of(config, "rlhf_train")}
    assert shown["message answered"] not in trained
