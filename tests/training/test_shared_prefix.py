"""The shared-prefix engine against stock trl: the same losses, gradients and weights."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import parse_labeled
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.training import row_attention
from persuasion_lib.training.dpo import preference_trainer
from persuasion_lib.training.shared_prefix import CompletionHead, lay_out, share_prefixes
from worlds.tiny_model import in_one_call, tiny_model

FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1")


def test_the_layout_writes_each_prompt_once_and_restarts_positions():
    """Two pairs: prompt 1 2 with replies 3 4 and 5; prompt 6 with replies 7 and 8 9."""
    ids = torch.tensor([[1, 2, 3, 4], [6, 7, 0, 0], [1, 2, 5, 0], [6, 8, 9, 0]])
    labels = torch.tensor([[-100, -100, 3, 4], [-100, 7, -100, -100],
                           [-100, -100, 5, -100], [-100, 8, 9, -100]])
    layout = lay_out(ids, labels)
    assert layout.tokens.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert layout.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1, 1, 2]]
    assert layout.parts == [2, 2, 1, 1, 1, 2]
    # 3 and 4 are predicted at 2 and 3; 7 at 6; 5 at 2; 8 and 9 at 6 and 8.
    assert layout.tokens[0, layout.predicting].tolist() == [2, 3, 6, 2, 6, 8]


def test_the_heads_prepared_gradient_is_that_of_a_plain_log_softmax():
    torch.manual_seed(0)
    hidden = torch.randn(300, 8, dtype=torch.float64, requires_grad=True)   # two parts
    weight, targets = torch.randn(50, 8, dtype=torch.float64), torch.randint(0, 50, (300,))
    scale = torch.randn(300, dtype=torch.float64)
    logits = hidden @ weight.T
    wanted = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    gradient, = torch.autograd.grad((wanted * scale).sum(), hidden)
    found, entropy, mean, top = CompletionHead.apply(hidden, weight, targets)
    assert torch.allclose(found.double(), wanted, atol=1e-5)
    p = logits.softmax(-1)
    assert torch.allclose(entropy.double(), -(p * p.log()).sum(-1), atol=1e-5)
    assert torch.allclose(mean.double(), logits.mean(-1), atol=1e-6)
    assert torch.equal(top, logits.argmax(-1) == targets)
    ours, = torch.autograd.grad((found * scale).sum(), hidden)
    assert torch.allclose(ours, gradient, atol=1e-5)


def random_batch(pairs):
    """Ids, attention mask and labels as trl's collator pads them; all lengths differ."""
    generator = torch.Generator().manual_seed(pairs)

    def ids(low, high):
        count = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(1, 200, (count,), generator=generator)

    prompts = [ids(1, 40) for _ in range(pairs)]
    rows = [(prompt, ids(1, 20)) for _ in range(2) for prompt in prompts]
    length = max(len(p) + len(c) for p, c in rows)
    batch, labels = torch.zeros(2 * pairs, length, dtype=torch.long), None
    labels = torch.full_like(batch, -100)
    for at, (prompt, reply) in enumerate(rows):
        batch[at, :len(prompt) + len(reply)] = torch.cat([prompt, reply])
        labels[at, len(prompt):len(prompt) + len(reply)] = reply
    return batch, (batch > 0).long(), labels


@pytest.mark.parametrize("pairs", [1, 2, 5])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention_of", ["a CPU", "a GPU"])
def test_every_field_and_every_adapter_gradient_equals_trl(pairs, checkpointing, attention_of,
                                                           monkeypatch):
    monkeypatch.setattr(row_attention, "BLOCK_ROWS", 8)     # prompts are up to five blocks long
    if attention_of == "a GPU":
        monkeypatch.setattr(row_attention, "_by_stretches", in_one_call)
    ids, attention, labels = random_batch(pairs)
    weights = torch.linspace(-1, 1, 2 * pairs)

    def outputs(model):
        model.zero_grad()
        found = model(input_ids=ids, attention_mask=attention, labels=labels, use_cache=False,
                      fused_lm_head=True)
        (found.log_probs.sum(1) * weights).sum().backward()
        return found, {n: p.grad.clone() for n, p in model.named_parameters()
                       if p.grad is not None}

    model = tiny_model(*FIELDS)
    if checkpointing:
        model.enable_input_require_grads()
        model.get_base_model().activation_checkpointing_enable()
        model.train()
    stock, stock_gradients = outputs(model)
    share_prefixes(model.get_base_model(), 1024)
    ours, gradients = outputs(model)
    for field in FIELDS:
        assert torch.allclose(getattr(stock, field).float(), getattr(ours, field).float(),
                              atol=1e-5), field
    assert gradients.keys() == stock_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, stock_gradients[name], rtol=1e-4, atol=1e-5), name


def adapter_gradient(model, pairs):
    """Of the summed log-probabilities of a random batch, computed as trl's trainer would."""
    ids, attention, labels = random_batch(pairs)
    low = model.get_base_model().dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=low):        # as bf16=True does
        found = model(input_ids=ids, attention_mask=attention, labels=labels, use_cache=False,
                      fused_lm_head=True)
    found.log_probs.sum().backward()
    return torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])


def in_bfloat16(model):
    """The base as trainers hold it; the adapters stay in float32."""
    for name, weight in model.named_parameters():
        weight.data = weight.data.to(torch.float32 if "lora" in name else torch.bfloat16)
    return model


def test_in_bfloat16_it_is_as_near_to_float32_as_trl_is():
    errors = {"trl": 0.0, "ours": 0.0}
    for pairs in (1, 2, 5):
        exact = adapter_gradient(tiny_model(*FIELDS), pairs)
        for engine in errors:
            model = in_bfloat16(tiny_model(*FIELDS))
            if engine == "ours":
                share_prefixes(model.get_base_model(), 1024)
            errors[engine] += float((adapter_gradient(model, pairs) - exact).norm() / exact.norm())
    assert 0 < errors["ours"] < 2 * errors["trl"] < 1


def test_the_other_reply_is_invisible():
    """Another rejected reply leaves the chosen one's log-probabilities as they were."""
    model = tiny_model(*FIELDS)
    share_prefixes(model.get_base_model(), 1024)
    ids, attention, labels = random_batch(2)
    other = torch.where(labels[2:] != -100, (ids[2:] + 7) % 199 + 1, ids[2:])
    changed, changed_labels = ids.clone(), labels.clone()
    changed[2:] = other
    changed_labels[2:] = torch.where(labels[2:] != -100, other, -100)
    with torch.no_grad():
        before, after = (model(input_ids=i, attention_mask=attention, labels=x,
                               fused_lm_head=True).log_probs
                         for i, x in ((ids, labels), (changed, changed_labels)))
    assert torch.allclose(before[:2], after[:2], atol=1e-6)
    assert not torch.allclose(before[2:], after[2:], atol=1e-2)


def test_generation_is_as_before():
    model = tiny_model(*FIELDS).eval()
    prompt = torch.tensor([[5, 9, 3], [1, 7, 2]])
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    before = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    share_prefixes(model.get_base_model(), 1024)
    after = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    assert torch.equal(before, after)


def test_an_architecture_that_does_not_fit_is_refused_with_the_way_out():
    config = Qwen2Config(vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, use_sliding_window=True,
                         max_window_layers=1, sliding_window=8)
    with pytest.raises(ConfigError, match="dpo.engine=trl"):
        share_prefixes(Qwen2ForCausalLM(config), 1024)


def trained(engine, rate, *overrides):
    """Adapter weights and losses after ten steps on real pairs, from adapters that are not 0."""
    config = load_config("smoke", [f"dpo.engine={engine}", "dpo.per_device_train_batch_size=3",
                                   "dpo.watched_prompts=0", *overrides])
    train, val = (read_jsonl(path_of(config, f"rlhf_{part}"), parse_labeled, made_by="03")
                  for part in ("train", "val"))
    trainer = preference_trainer(config, "rlhf", train, val)
    torch.manual_seed(1)
    adapters = [p for p in trainer.model.parameters() if p.requires_grad]
    with torch.no_grad():
        for weights in adapters:
            weights.normal_(std=0.03)
    trainer.current_gradient_accumulation_steps = 1
    optimizer, losses = torch.optim.SGD(adapters, lr=rate), []
    loader = iter([*trainer.get_train_dataloader(), *trainer.get_train_dataloader()])
    for _ in range(10):
        losses.append(float(trainer.training_step(trainer.model, dict(next(loader)))))
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat([w.detach().flatten() for w in adapters]), torch.tensor(losses)


@pytest.mark.parametrize(("rate", "overrides"), [
    (0.1, []), (0.1, ["dpo.label_smoothing=0.2"]),
    (0.001, ["dpo.loss_type=ipo"]),     # squared: at the rate of the others it diverges
    (0.1, ["dpo.loss_type=apo_zero", "dpo.beta=0.3"])])
def test_ten_steps_end_with_the_weights_of_stock_trl(smoke_copy, rate, overrides):
    stock, stock_losses = trained("trl", rate, *overrides)
    ours, losses = trained("shared_prefix", rate, *overrides)
    assert len(set(losses.tolist())) == 10
    assert torch.allclose(losses, stock_losses, rtol=2e-5, atol=2e-6)
    assert torch.allclose(ours, stock, rtol=1e-4, atol=2e-5)
