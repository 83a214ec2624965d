"""Packed SFT against stock trl: the same losses, gradients and weights, from fewer tokens."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import parse_example
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.training import row_attention, sft, shared_prefix
from persuasion_lib.training.packed import (
    TogetherSampler,
    conversations,
    lay_out_rows,
    pack_rows,
)
from worlds.tiny_model import in_one_call, tiny_model


def padded(rows):
    """Ids, attention mask and labels of (prompt, reply) rows, as trl's collator makes them."""
    length = max(len(prompt) + len(reply) for prompt, reply in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for at, (prompt, reply) in enumerate(rows):
        whole = len(prompt) + len(reply)
        ids[at, :whole] = torch.tensor([*prompt, *reply])
        labels[at, len(prompt):whole] = torch.tensor(reply)
        mask[at, :whole] = 1
    return ids, mask, labels


def layout_of(*rows):
    ids, _, labels = padded(rows)
    return lay_out_rows(ids, labels)


def read(layout):
    """The tokens at which the targets are predicted."""
    return layout.tokens[0, layout.predicting].tolist()


def test_a_row_that_begins_another_costs_only_its_targets():
    """Replies 11 12 and 15 16 of the dialogue 1…10, 11, 12, 13, 14, 15, 16."""
    first = [*range(1, 11)]
    second = [*range(1, 15)]
    layout = layout_of((second, [15, 16]), (first, [11, 12]))
    # 16 is predicted and need not be read.
    assert layout.tokens.tolist() == [[*range(1, 16)]]
    assert (layout.parts, layout.follows) == ([15], [None])
    assert read(layout) == [14, 15, 10, 11]


def test_two_replies_to_one_prompt_go_on_from_it_and_positions_go_back():
    prompt = [*range(1, 11)]
    layout = layout_of((prompt, [20, 21, 22]), (prompt, [30, 31]))
    assert layout.tokens.tolist() == [[*prompt, 20, 21, 30]]
    assert layout.positions.tolist() == [[*range(10), 10, 11, 10]]
    assert (layout.parts, layout.follows) == ([10, 2, 1], [None, 0, 0])
    assert read(layout) == [10, 20, 21, 10, 30]


def test_histories_part_at_the_first_token_that_differs():
    """A template that rewrites an old reply, or a cut prompt: nothing behind it is shared."""
    layout = layout_of(([*range(1, 11), 50, 51, 52], [60]), ([*range(1, 11), 70, 51, 52], [60]))
    assert layout.tokens.tolist() == [[*range(1, 11), 50, 51, 52, 70, 51, 52]]
    assert layout.follows == [None, 0, 0]


def test_a_few_tokens_in_common_are_no_stretch_of_their_own():
    layout = layout_of(([1, 2, 3, 4, 5], [6, 7]), ([1, 2, 3, 4, 9], [6, 7]))
    assert layout.follows == [None, None] and layout.parts == [6, 6]


def test_the_same_row_twice_counts_twice():
    row = ([*range(1, 11)], [20, 21])
    layout = layout_of(row, row)
    assert layout.parts == [11] and read(layout) == [10, 20, 10, 20]


def test_a_row_without_a_target_costs_nothing():
    layout = layout_of(([1, 2, 3], [4]), ([*range(1, 30)], []))
    assert layout.tokens.tolist() == [[1, 2, 3]] and read(layout) == [3]


def random_rows(seed=0):
    """Three turns of one dialogue, one with a cut history, two replies to one post, a stranger."""
    drawn = torch.Generator().manual_seed(seed)

    def ids(count):
        return torch.randint(1, 200, (count,), generator=drawn).tolist()

    system = ids(10)
    talk = ids(70)
    turns = [(system + talk[:start], talk[start:end])
             for start, end in ((9, 16), (30, 38), (50, 70))]
    return [*turns, (system + talk[20:50], ids(6)), (system + talk[:9], ids(3)), (ids(23), ids(1))]


def outputs(model, rows, dtype=torch.float32):
    """What trl reads, and the gradient of the mean loss over all targets."""
    ids, mask, labels = padded(rows)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False,
                      fused_lm_head=True)
        loss = -found.log_probs.sum() / found.label_mask.sum()
    loss.backward()
    return found, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention_of", ["a CPU", "a GPU"])
def test_every_field_and_every_gradient_equals_trl(checkpointing, attention_of, monkeypatch):
    monkeypatch.setattr(row_attention, "BLOCK_ROWS", 8)
    if attention_of == "a GPU":
        monkeypatch.setattr(row_attention, "_by_stretches", in_one_call)
    model = tiny_model("log_probs", "entropy", "is_top1")
    if checkpointing:
        model.enable_input_require_grads()
        model.get_base_model().activation_checkpointing_enable()
        model.train()
    stock, stock_gradient = outputs(model, random_rows())
    pack_rows(model.get_base_model(), 100)
    ours, gradient = outputs(model, random_rows())
    for name in ("log_probs", "entropy", "is_top1", "label_mask"):
        assert torch.allclose(getattr(stock, name).float(), getattr(ours, name).float(),
                              atol=1e-5), name
    assert torch.allclose(gradient, stock_gradient, rtol=1e-4, atol=1e-6)


def test_in_bfloat16_it_is_as_near_to_float32_as_trl_is():
    errors = {"trl": 0.0, "packed": 0.0}
    for seed in range(3):
        _, exact = outputs(tiny_model("log_probs", "entropy", "is_top1"), random_rows(seed))
        for engine in errors:
            model = tiny_model("log_probs", "entropy", "is_top1")
            for name, weight in model.named_parameters():   # as trainers hold it
                if "lora" not in name:
                    weight.data = weight.data.to(torch.bfloat16)
            if engine == "packed":
                pack_rows(model.get_base_model(), 100)
            _, found = outputs(model, random_rows(seed), torch.bfloat16)
            errors[engine] += float((found - exact).norm() / exact.norm())
    assert 0 < errors["packed"] < 2 * errors["trl"] < 1


def test_rows_of_a_conversation_are_found_by_their_tokens_shortest_first():
    system = [1, 2, 3]
    talk = [*range(10, 40)]
    post = [*range(50, 70)]
    rows = [system + talk[:20], system + post + [80, 81], system + [90, 91, 92, 93],
            system + talk, system + post + [85], system + talk[:10]]
    groups = conversations(rows)
    assert sorted(map(tuple, groups)) == [(1, 4), (2,), (5, 0, 3)]


def test_an_epoch_has_every_row_once_and_keeps_groups_whole():
    sampler = TogetherSampler([[0, 1, 2], [3], [4, 5], [6]], seed=0)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert [*sampler] == [*sampler]         # what a resumed epoch goes on in
        epochs.append([*sampler])
    assert all(sorted(order) == [*range(7)] for order in epochs)
    assert all(order.index(2) == order.index(0) + 2 for order in epochs)
    assert len({tuple(order) for order in epochs}) > 1


def test_a_row_longer_than_attention_sees_is_refused_with_the_way_out():
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, use_sliding_window=True,
        max_window_layers=1, sliding_window=8))
    with pytest.raises(ConfigError, match=r"sees 8 tokens.* 9;.* Set sft.engine=trl\."):
        pack_rows(model, 9)


def rows_of(config, part):
    return read_jsonl(path_of(config, f"sft_{part}"), parse_example, made_by="00")


def trained(config, folder, **settings):
    """Losses of each logged step, held-out losses and adapter weights after one epoch of SGD."""
    trainer = sft.reply_trainer(config, rows_of(config, "train")[:43],
                                rows_of(config, "val")[:5], folder)
    for name, value in settings.items():
        setattr(trainer.args, name, value)
    torch.manual_seed(1)
    adapters = [p for p in trainer.model.parameters() if p.requires_grad]
    with torch.no_grad():
        for weights in adapters:
            weights.normal_(std=0.03)
    # Not Adam, which divides by the size of a gradient and makes rounding as large as a step.
    trainer.optimizer = torch.optim.SGD(adapters, lr=0.1)
    trainer.train()
    losses = [log[key] for log in trainer.state.log_history for key in ("loss", "eval_loss")
              if key in log]
    return torch.tensor(losses), torch.cat([w.detach().flatten() for w in adapters])


@pytest.mark.parametrize("whole", ["true", "false"])
def test_an_epoch_ends_with_the_weights_of_stock_trl(smoke_copy, tmp_path, whole):
    """43 rows in micro-batches of 4, two to an update: the last update has 3 rows of 8."""
    found = {}
    for engine in ("trl", "packed"):
        config = load_config("smoke", [
            f"sft.engine={engine}", f"sft.whole_conversations={whole}",
            "sft.per_device_train_batch_size=4", "sft.gradient_accumulation_steps=2"])
        found[engine] = trained(config, tmp_path / engine, logging_steps=1, save_strategy="no",
                                load_best_model_at_end=False)
    (stock_losses, stock), (losses, ours) = found.values()
    assert len(losses) >= 6 and len(set(losses.tolist())) == len(losses)
    assert torch.allclose(losses, stock_losses, rtol=2e-5, atol=2e-6)
    assert torch.allclose(ours, stock, rtol=1e-4, atol=2e-5)


def test_a_model_that_does_not_fit_is_trained_by_trl_and_says_so(smoke_copy, tmp_path, capfd,
                                                                 monkeypatch):
    config = load_config("smoke", ["sft.engine=packed"])
    monkeypatch.setattr(shared_prefix, "_misfits", lambda *_: ["its head has a bias"])
    trainer = sft.reply_trainer(config, rows_of(config, "train")[:8], rows_of(config, "val")[:4],
                                tmp_path)
    said = capfd.readouterr().out
    assert "does not fit Qwen2ForCausalLM: its head has a bias" in said
    assert "SFT goes on with trl's own engine" in said
    assert trainer.model.config._attn_implementation != shared_prefix.NAME


def test_the_held_out_loss_is_the_mean_over_targets_whatever_the_batches(smoke_copy, tmp_path):
    """5 rows in batches of 1, 2 and 5; computed once more from plain logits."""
    found = []
    for size in (1, 2, 5):
        config = load_config("smoke", [f"sft.per_device_train_batch_size={size}"])
        trainer = sft.reply_trainer(config, rows_of(config, "train")[:8],
                                    rows_of(config, "val")[:5], tmp_path)
        found.append(trainer.evaluate()["eval_loss"])
    losses = []
    for row in trainer.eval_dataset:
        ids, labels = (torch.tensor([row[key]]) for key in ("input_ids", "labels"))
        with torch.no_grad():
            logits = trainer.model(input_ids=ids).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(
            logits, labels[0, 1:], reduction="none")[labels[0, 1:] != -100].tolist()
    assert found == pytest.approx([sum(losses) / len(losses)] * 3, rel=1e-4)
