"""An adapter frozen under another: the sum that peft computes of the two, and no gradient."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from persuasion_lib.core.errors import LineageError
from persuasion_lib.models.frozen_adapter import freeze_under
from persuasion_lib.models.fused_lora import fuse_adapters

pytestmark = pytest.mark.filterwarnings("ignore")        # peft warns of every adapter made here
IDS = torch.randint(1, 50, (2, 9), generator=torch.Generator().manual_seed(0))


def qwen():
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1)).eval()


def gpt2():
    """Its weights stand the other way round, and some of them are square."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2)).eval()


def adapter(make, folder, **options):
    """Save a random adapter of a model in a folder."""
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "task_type": "CAUSAL_LM",
                "init_lora_weights": False} | options
    get_peft_model(make(), LoraConfig(**settings)).save_pretrained(folder)
    return folder


def with_another(model, name):
    """A new random adapter on top of a model, or beside those that it has."""
    torch.manual_seed(2)
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    if isinstance(model, PeftModel):
        model.add_adapter(name, settings)
        return model
    return get_peft_model(model, settings, adapter_name=name)


def logits_and_gradients(model):
    found = model(IDS).logits
    (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
    return found, {name: p.grad for name, p in model.named_parameters()
                   if p.grad is not None and ".new." in name}


@pytest.mark.parametrize("make", [qwen, gpt2])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("options", [
    {}, {"use_rslora": True}, {"rank_pattern": {"c_attn": 2, "q_proj": 3}},
    {"target_modules": ["q_proj", "c_attn"]}])
def test_it_adds_up_with_a_new_one_as_peft_adds_them(make, fused, options, tmp_path):
    folder = adapter(make, tmp_path, **options)
    beside = with_another(PeftModel.from_pretrained(make(), folder, adapter_name="sft"), "new")
    beside.base_model.set_adapter(["sft", "new"])
    wanted, gradients = logits_and_gradients(beside)
    model = with_another(freeze_under(make(), folder), "new")
    if fused:
        fuse_adapters(model)
    found, ours = logits_and_gradients(model)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert ours.keys() == gradients.keys() and len(ours) >= 16
    for name, gradient in gradients.items():
        assert (ours[name] - gradient).abs().max() < 1e-4 * gradient.abs().max(), name
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(ours)


@pytest.mark.parametrize("fused", [False, True])
def test_with_the_new_one_switched_off_it_is_the_reference(fused, tmp_path):
    folder = adapter(qwen, tmp_path)
    sft = PeftModel.from_pretrained(qwen(), folder)
    model = with_another(freeze_under(qwen(), folder), "new")
    if fused:
        fuse_adapters(model)
    with model.disable_adapter():
        assert torch.allclose(model(IDS).logits, sft(IDS).logits, atol=1e-5)
    assert not torch.allclose(model(IDS).logits, sft(IDS).logits, atol=1e-2)


@pytest.mark.parametrize("fused", [False, True])
def test_what_is_less_than_the_rounding_of_a_weight_is_not_lost(fused, tmp_path):
    """Steps of bfloat16 just below 2 are 2^-7: an adapter that adds 2^-10 everywhere.

    A sum over 256 inputs of 1 grows by 256 / 2^10 = 1/4. Merged, it would not grow at all.
    """
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=50, hidden_size=256, intermediate_size=16,
                                         num_hidden_layers=1, num_attention_heads=2)).bfloat16()
    layer = model.model.layers[0].mlp.gate_proj
    with torch.no_grad():
        layer.weight.zero_()[:, 0] = 1.9
        adapted = get_peft_model(model, LoraConfig(r=1, lora_alpha=1,
                                                   target_modules=["gate_proj"]))
        for name, weight in adapted.named_parameters():
            if "lora" in name:
                weight.fill_(2 ** -5)
        adapted.save_pretrained(tmp_path)
        plain = adapted.unload()
        x = torch.ones(1, 256, dtype=torch.bfloat16)
        before = layer(x)
        top = with_another(freeze_under(plain, tmp_path), "new")
        if fused:
            fuse_adapters(top)
        with top.disable_adapter():
            after = top.get_base_model().model.layers[0].mlp.gate_proj(x)
    assert torch.allclose((after - before).float(), torch.full((1, 16), 0.25), atol=2 ** -7)


@pytest.mark.parametrize(("options", "said"), [
    ({"use_dora": True}, "lora_magnitude_vector"), ({"lora_bias": True}, "lora_B.bias"),
    ({"modules_to_save": ["norm"]}, "norm"),
    ({"target_modules": ["q_proj", "lm_head"]}, "lm_head|the head"),
    ({"target_modules": ["embed_tokens"]}, "embed_tokens")])
def test_what_is_more_than_two_matrices_a_layer_is_refused(options, said, tmp_path):
    folder = adapter(qwen, tmp_path, **options)
    with pytest.raises(LineageError, match=f"more than plain LoRA.*({said}).*sft_train.jsonl"):
        freeze_under(qwen(), folder)
