"""A reply ends at any token that the tokenizer or the model's own settings name."""


import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from persuasion_lib.core.errors import SelfTestError
from persuasion_lib.demo.model import train_tokenizer
from persuasion_lib.models.loading import end_tokens
from persuasion_lib.models.sampling import Request, Sampling, sample_batch
from persuasion_lib.training.sft import check_sft_batch


@pytest.fixture
def tokenizer():
    return train_tokenizer(["Tea is good.", "Coffee is better."])


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, initializer_range=0.2, eos_token_id=None)).eval()


@pytest.mark.parametrize(("named", "ends"), [(None, [2, 7]), (7, [2, 7]), (9, [2, 7, 9]),
                                             ([9, 7], [2, 7, 9])])
def test_tokenizer_template_and_the_models_settings_are_asked_for_end_tokens(
        model, tokenizer, named, ends):
    """<|im_end|>, which the template writes, is 2: a base model often does not name it."""
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(7)
    model.generation_config.eos_token_id = named
    assert end_tokens(model, tokenizer) == ends


def test_a_reply_stops_at_an_end_token_that_only_the_models_settings_name(model, tokenizer):
    requests = [Request("1", [{"role": "user", "content": "Tea?"}])]
    prompt = tokenizer.apply_chat_template(requests[0].prompt, add_generation_prompt=True,
                                           return_tensors="pt", return_dict=True)
    endless = model.generate(**prompt, do_sample=False, max_new_tokens=4, pad_token_id=0)
    fourth = endless[0, -1].item()
    assert endless[0, -4:].tolist().index(fourth) == 3      # and it does not come before
    model.generation_config.eos_token_id = [fourth]
    greedy = Sampling(40, temperature=0.0)
    reply, = sample_batch(model, tokenizer, requests, greedy, seed=1)
    assert (reply.finish, reply.tokens) == ("stop", 3)


def test_an_sft_row_may_end_with_any_of_them_but_only_once(tokenizer):
    """The turn ends with <|im_end|>, as Gemma's does, where the tokenizer names another token."""
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Tea?"}],
                                           add_generation_prompt=True, return_dict=False)
    turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    other = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    reply = [*tokenizer("Yes.")["input_ids"], turn_end]
    batch = {"input_ids": torch.tensor([prompt + reply]),
             "labels": torch.tensor([[-100] * len(prompt) + reply])}
    check_sft_batch(batch, tokenizer, [other, turn_end])
    with pytest.raises(SelfTestError, match="with 0 end tokens"):
        check_sft_batch(batch, tokenizer, [other])
