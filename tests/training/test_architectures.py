"""The fast engines on tiny random models of many families: plain logits, or a refusal."""

import pytest
import torch
import transformers

from persuasion_lib.core.errors import ConfigError
from persuasion_lib.training.packed import pack_rows
from persuasion_lib.training.shared_prefix import share_prefixes

LONGEST = 64
SIZES = {"vocab_size": 200, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 4, "max_position_embeddings": 128, "initializer_range": 0.2,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SHARED_KEYS = {"num_key_value_heads": 2}
EXPERTS = {**SHARED_KEYS, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
           "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
FIT = [("Llama", SHARED_KEYS), ("Mistral", SHARED_KEYS), ("Phi3", SHARED_KEYS), ("Olmo2", {}),
       ("Granite", {"logits_scaling": 8.0, "attention_multiplier": 0.3}),
       ("Cohere", {"logit_scale": 0.0625}), ("Gemma", {**SHARED_KEYS, "head_dim": 8}),
       ("Gemma3Text", {**SHARED_KEYS, "head_dim": 8}), ("Starcoder2", {}), ("GPTNeoX", {}),
       ("GPT2", GPT2),
       ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.2}),
       ("Qwen2", SHARED_KEYS), ("Qwen3", SHARED_KEYS), ("SmolLM3", SHARED_KEYS),
       ("Qwen2Moe", EXPERTS), ("Mixtral", EXPERTS),
       ("Mistral", {**SHARED_KEYS, "sliding_window": LONGEST})]
REFUSED = [
    ("Mistral", {"sliding_window": LONGEST - 1}, "its attention sees 63 tokens"),
    ("Gemma2", {"head_dim": 8}, "its logits are capped"),
    ("Phi", {}, "its head has a bias"), ("StableLm", {}, "attention cannot be replaced"),
    ("Falcon", {}, "attention cannot be replaced"), ("Mamba", {}, "layers of linear_attention"),
    # What no setting says is found by computing an example: another attention class, attention
    # sinks, and a scale of Granite's name that multiplies.
    ("Nemotron", SHARED_KEYS, "differ by .* nats a token"),
    ("GptOss", {**EXPERTS, "layer_types": ["full_attention"] * 2}, "differ by .* nats a token"),
    ("HyperCLOVAX", {"logits_scaling": 4.0}, "differ by .* nats a token")]


def tiny(family, settings):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES | settings)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() == 1:                          # norms, biases, sinks
                weights += 0.1 * torch.randn_like(weights)
    model.get_output_embeddings().weight.requires_grad_(False)
    return model


def batch():
    """Two pairs as trl pads them: prompts of 9 and 20 tokens, replies of 12, 5, 7 and 30."""
    tokens = torch.randint(3, 200, (4, 64), generator=torch.Generator().manual_seed(1))
    tokens[2:, :20] = tokens[:2, :20]
    labels = torch.full_like(tokens, -100)
    for row, (prompt, reply) in enumerate([(9, 12), (20, 5), (9, 7), (20, 30)]):
        labels[row, prompt:prompt + reply] = tokens[row, prompt:prompt + reply]
        tokens[row, prompt + reply:] = 0
    return tokens, labels


def plain_log_probs(model, tokens, labels):
    """Of the targets, from the logits of one row at a time without its padding."""
    found = []
    for row, label in zip(tokens, labels, strict=True):
        length = int((row > 0).sum())
        logps = model(input_ids=row[None, :length]).logits[0, :-1].log_softmax(-1)
        picked = logps.gather(-1, row[1:length, None])[:, 0]
        found.append(picked[label[1:length] != -100])
    return torch.cat(found)


def slopes(model, log_probs):
    """Of the log-probabilities, unequally weighted, by the first layer's weights."""
    model.zero_grad()
    (log_probs * torch.linspace(-1, 1, len(log_probs))).sum().backward()
    return torch.cat([p.grad.flatten() for name, p in model.named_parameters()
                      if p.grad is not None and ".0." in name])


@pytest.mark.parametrize("engine", [share_prefixes, pack_rows])
@pytest.mark.parametrize(("family", "settings"), FIT)
def test_log_probabilities_and_gradients_are_those_of_plain_logits(family, settings, engine):
    model = tiny(family, settings)
    tokens, labels = batch()
    wanted = plain_log_probs(model, tokens, labels)
    wanted_slopes = slopes(model, wanted)
    engine(model, LONGEST)
    found = model(input_ids=tokens, attention_mask=(tokens > 0).long(), labels=labels,
                  fused_lm_head=True)
    log_probs = found.log_probs[found.label_mask]
    assert torch.allclose(log_probs, wanted, atol=2e-5)
    assert torch.allclose(slopes(model, log_probs), wanted_slopes, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("family", "settings", "reason"), REFUSED)
def test_what_would_be_other_numbers_is_refused_with_the_way_out(family, settings, reason):
    with pytest.raises(ConfigError, match=rf"(?s){reason}.*Set dpo.engine=trl\."):
        share_prefixes(tiny(family, settings), LONGEST)
