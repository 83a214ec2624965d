import json

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, TopPLogitsWarper

from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.store import KeyedLog
from persuasion_lib.models import sampling as generation
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.loading import load_base, load_tokenizer
from persuasion_lib.models.sampling import (
    InverseCDF,
    Nucleus,
    Request,
    rows_that_fit,
    sample,
    sample_batch,
)


def chosen(scores, uniform):
    processor = InverseCDF(torch.tensor([[uniform]]), prompt_length=3)
    return processor(torch.zeros(1, 3, dtype=torch.long), torch.tensor([scores])).argmax().item()


def test_a_uniform_number_picks_the_token_whose_share_it_falls_into():
    scores = torch.log(torch.tensor([0.2, 0.5, 0.3])).tolist()
    assert [chosen(scores, u) for u in (0.0, 0.19, 0.21, 0.69, 0.71, 0.999)] == [0, 0, 1, 1, 2, 2]


def test_a_token_that_was_ruled_out_is_never_picked():
    assert [chosen([-torch.inf, 0.0, -torch.inf], u) for u in (0.0, 0.5, 0.9999)] == [1, 1, 1]


def test_over_many_draws_the_shares_are_the_probabilities():
    uniforms = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(0))
    scores = torch.log(torch.tensor([0.2, 0.5, 0.3])).repeat(20_000, 1)
    picked = InverseCDF(uniforms, 3)(torch.zeros(20_000, 3, dtype=torch.long), scores).argmax(-1)
    shares = torch.bincount(picked) / 20_000
    assert torch.allclose(shares, torch.tensor([0.2, 0.5, 0.3]), atol=0.015)


@pytest.mark.parametrize("spread", [0.1, 3.0, 8.0])      # flat: the stock warper does it
@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.98])
def test_the_nucleus_is_that_of_the_stock_warper(spread, top_p):
    scores = spread * torch.randn(4, 5000, generator=torch.Generator().manual_seed(0))
    stock = TopPLogitsWarper(top_p)(None, scores)
    assert torch.equal(Nucleus(top_p)(None, scores), stock)
    assert (stock > -torch.inf).any(1).all() and (stock == -torch.inf).any()


def test_a_token_that_is_the_whole_nucleus_stays():
    scores = torch.tensor([[50.0, 0.0, -3.0]])
    assert Nucleus(0.9)(None, scores).tolist() == [[50.0, -torch.inf, -torch.inf]]


@pytest.fixture
def family(smoke_run, monkeypatch):
    monkeypatch.chdir(smoke_run[0])
    return ModelFamily(load_config("smoke"), ["rlhf"])


def ask(text):
    return [{"role": "system", "content": "Persuade honestly."}, {"role": "user", "content": text}]


REQUESTS = [Request(str(n), ask("I am sure that " + "tea is better than coffee. " * (1 + n % 3)))
            for n in range(6)]


def test_a_reply_does_not_depend_on_what_else_is_in_its_batch(family):
    settings = load_config("smoke").generation
    with family.use("sft") as model:
        together = sample_batch(model, family.tokenizer, REQUESTS, settings, seed=1)
        alone = [sample_batch(model, family.tokenizer, [r], settings, seed=1)[0] for r in REQUESTS]
    assert [g.text for g in together] == [g.text for g in alone]


def test_requests_with_one_prompt_share_its_way_through_the_model(family, monkeypatch):
    settings = load_config("smoke").pairs
    twice = [Request(f"{r.key}:{n}", r.prompt) for r in REQUESTS for n in (1, 2)]
    prompt_rows = []
    with family.use("sft") as model:
        alone = [sample_batch(model, family.tokenizer, [r], settings, seed=1)[0] for r in twice]
        forward = model.base_model.model.model.forward

        def counted(input_ids, **options):
            prompt_rows.extend([len(input_ids)] * (input_ids.shape[1] > 1))
            return forward(input_ids=input_ids, **options)

        monkeypatch.setattr(model.base_model.model.model, "forward", counted)
        together = sample_batch(model, family.tokenizer, twice, settings, seed=1)
    assert together == alone        # texts, how they ended, numbers of tokens
    assert prompt_rows == [3]       # twelve requests, three different prompts


def test_prompts_that_go_through_the_model_in_parts_have_the_same_replies(family, monkeypatch):
    settings = load_config("smoke").generation
    with family.use("sft") as model:
        whole = sample_batch(model, family.tokenizer, REQUESTS, settings, seed=1)
        monkeypatch.setitem(generation.PREFILL_TOKENS, "cpu", 80)
        assert sample_batch(model, family.tokenizer, REQUESTS, settings, seed=1) == whole


def test_replies_that_have_ended_leave_the_batch_and_change_no_other(family, monkeypatch):
    settings = load_config("smoke").generation
    replies = []
    with family.use("sft") as model:
        for every in (1, 7, 1000):
            monkeypatch.setattr(generation, "DROP_EVERY", every)
            replies.append(sample_batch(model, family.tokenizer, REQUESTS, settings, seed=3))
    assert replies[0] == replies[1] == replies[2]
    assert len({g.tokens for g in replies[0]}) > 1


def test_what_a_models_folder_asks_for_by_default_does_not_change_its_replies(smoke_copy):
    config = load_config("smoke")
    folder = path_of(config, "base") / "generation_config.json"

    def reply():
        return sample_batch(load_base(config), load_tokenizer(config), REQUESTS[:1],
                            config.generation, seed=1)

    plain = reply()
    folder.write_text(json.dumps(json.loads(folder.read_text()) | {
        "repetition_penalty": 5.0, "do_sample": True, "top_k": 1, "temperature": 9.0}))
    assert reply() == plain


def test_two_requests_with_the_same_prompt_draw_different_numbers(family):
    settings = load_config("smoke").pairs
    with family.use("sft") as model:
        a, b = sample_batch(model, family.tokenizer,
                            [Request("x:1", ask("Hello.")), Request("x:2", ask("Hello."))],
                            settings, seed=1)
    assert a.text != b.text


def test_temperature_zero_is_greedy_and_ignores_the_seed(family):
    settings = load_config("smoke", ["generation.temperature=0"]).generation
    with family.use("base") as model:
        replies = [sample_batch(model, family.tokenizer, REQUESTS, settings, seed=s)
                   for s in (1, 2)]
    assert replies[0] == replies[1]


def test_an_interrupted_run_continues_and_gives_the_same_replies(family, tmp_path):
    settings = load_config("smoke", ["generation.batch_size=2"]).generation

    def replies(log, requests):
        with KeyedLog(tmp_path / log) as opened, family.use("sft") as model:
            result = sample(model, family.tokenizer, requests, settings, seed=1, model_hash="m",
                            log=opened, desc="")
            return result, len(opened.by_key)

    whole, n_whole = replies("whole.jsonl", REQUESTS)
    replies("part.jsonl", REQUESTS[:3])
    resumed, n_resumed = replies("part.jsonl", REQUESTS)
    assert resumed == whole and n_resumed == n_whole == 6
    assert replies("part.jsonl", REQUESTS)[1] == 6      # nothing left to do: nothing is sampled


def test_a_reply_that_hits_the_cap_says_so(family):
    settings = load_config("smoke", ["generation.max_new_tokens=2"]).generation
    with family.use("base") as model:
        replies = sample_batch(model, family.tokenizer, REQUESTS, settings, seed=1)
    assert {g.finish for g in replies} <= {"stop", "length"} and any(
        g.finish == "length" and g.tokens == 2 for g in replies)


def test_as_many_replies_at_once_as_half_of_the_free_memory_holds():
    """Two layers, keys and values of 2 heads of 8 numbers of 4 bytes: 256 bytes a token.

    For 100 tokens, and 6 copies of 50 logits, a reply takes 25,600 + 1,200 bytes.
    """
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=50, hidden_size=32, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2))
    a_reply = 26_800
    assert rows_that_fit(model, 100, 32, free=2 * 10 * a_reply) == 10
    assert rows_that_fit(model, 100, 4, free=2 * 10 * a_reply) == 4
    assert rows_that_fit(model, 100, 32, free=0) == 1
    assert rows_that_fit(model, 100, 32, free=1e9, on_gpu=True) == 128
    assert rows_that_fit(model, 100, 200, free=1e9, on_gpu=True) == 200
    assert rows_that_fit(model, 100, 32, free=2 * 10 * a_reply, on_gpu=True) == 10
