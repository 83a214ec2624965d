"""Replies of thirty kinds of models, sampled in one batch, are those of their plain logits."""


import pytest
import torch
from transformers import MptConfig, MptForCausalLM

from persuasion_lib.core.errors import LineageError
from persuasion_lib.demo.model import train_tokenizer
from persuasion_lib.models.check import check_sampling
from persuasion_lib.models.loading import prompt_ids
from persuasion_lib.models.sampling import Request, Sampling, sample_batch
from worlds.families import tiny_model

TOKENIZER = train_tokenizer(["Tea is good. Why should I change my view?"])
REQUESTS = [Request(key, [{"role": "user", "content": "Tea is good. " * times}])
            for key, times in (("a", 1), ("b", 6), ("c", 3), ("d", 3))]
NEW = 36        # tokens: more than after which rows that have ended leave the batch
HEADS = {"head_dim": 8}
WINDOW = {"sliding_window": 16}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], **WINDOW}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
          "linear_value_head_dim": 8, "shared_expert_intermediate_size": 16}
# With keys and values of all that was said, or of a window: sampled together.
TOGETHER = {
    "qwen2": {}, "qwen3": HEADS, "llama": {}, "gemma": HEADS, "gemma2": HEADS | WINDOW,
    "gemma3_text": HEADS | WINDOW, "mistral": WINDOW, "phi": {}, "phi3": {"pad_token_id": 0},
    "cohere": {}, "cohere2": MIXED, "olmo2": {}, "granite": {}, "stablelm": {},
    "starcoder2": {}, "smollm3": {}, "gpt_neox": {}, "gpt2": GPT, "gptj": GPT | {"rotary_dim": 4},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32}, "falcon": {"num_kv_heads": 2},
    "mixtral": {"num_local_experts": 2}, "qwen3_moe": HEADS | EXPERTS, "exaone4": MIXED,
    "gpt_oss": HEADS | MIXED | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "glm4": HEADS | {"pad_token_id": 0}, "ernie4_5": {}, "helium": HEADS}
# With a state of their own: one after the other.
ALONE = {
    "mamba": {"state_size": 8},
    "mamba2": {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 16},
    "falcon_h1": MAMBA | {"mamba_d_ssm": 64, "mamba_chunk_size": 16},
    "minimax": HEADS | {"num_local_experts": 2,
                        "layer_types": ["linear_attention", "full_attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "qwen3_next": HEADS | EXPERTS | LINEAR | {
        "layer_types": ["linear_attention", "full_attention"]},
    "granitemoehybrid": MAMBA | {"layer_types": ["mamba", "attention"], "num_local_experts": 0,
                                 "shared_intermediate_size": 64}}


@torch.no_grad()
def plain(model, prompt):
    """The likeliest tokens, each from the logits of all that was said before, without a cache."""
    ids = prompt_ids(TOKENIZER, prompt)
    start = len(ids)
    while len(ids) < start + NEW:
        token = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()
        if token == TOKENIZER.eos_token_id:
            break
        ids.append(int(token))
    return TOKENIZER.decode(ids[start:], skip_special_tokens=True).strip()


@pytest.mark.parametrize("kind", [*TOGETHER, *ALONE])
def test_sampled_together_or_alone_the_likeliest_tokens_are_those_of_plain_logits(kind):
    model = tiny_model(kind, len(TOKENIZER), **(TOGETHER | ALONE)[kind])
    check_sampling(model, TOKENIZER, kind)
    greedy = Sampling(NEW, temperature=0.0)
    replies = sample_batch(model, TOKENIZER, REQUESTS, greedy, seed=1)
    assert [reply.text for reply in replies] == [plain(model, r.prompt) for r in REQUESTS]


def test_sampled_alone_a_reply_depends_on_its_own_numbers_only():
    model = tiny_model("mamba2", len(TOKENIZER), **ALONE["mamba2"])
    warm = Sampling(max_new_tokens=8)
    together = sample_batch(model, TOKENIZER, REQUESTS, warm, seed=1)
    assert together[2:3] == sample_batch(model, TOKENIZER, REQUESTS[2:3], warm, seed=1)
    assert together[2] != together[3]       # one prompt, two replies


def test_a_model_whose_cache_gives_other_numbers_is_refused():
    """MPT's positions are counted from the end of 2,048, whatever is in the cache."""
    torch.manual_seed(0)
    model = MptForCausalLM(MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=len(TOKENIZER),
                                     initializer_range=0.2)).eval()
    with pytest.raises(LineageError, match=r"theirs \(MptForCausalLM\).*Choose another model.base"):
        check_sampling(model, TOKENIZER, "theirs")


def test_a_model_that_gives_no_numbers_is_refused():
    model = tiny_model("llama", len(TOKENIZER))
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    with pytest.raises(LineageError, match="a token was nan below the likeliest"):
        check_sampling(model, TOKENIZER, "theirs")
