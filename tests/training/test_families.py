"""Eight families of models from prompt to step: rows of SFT and DPO, sampling, a short training."""

from dataclasses import replace

import pytest
import torch
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import LineageError
from persuasion_lib.core.records import Example, LabeledPair, Pair
from persuasion_lib.models.chat import closing_ids
from persuasion_lib.models.loading import end_tokens, load_base, load_tokenizer, prompt_ids
from persuasion_lib.models.sampling import Request, Sampling, sample_batch
from persuasion_lib.training.dpo import preference_rows, train_preferences
from persuasion_lib.training.drift import drift
from persuasion_lib.training.loop import check_lora, lora
from persuasion_lib.training.sft import check_sft_batch, sft_rows, train_sft
from worlds.families import FAMILIES, family_folder, tiny_model

FIT = [name for name in FAMILIES if name not in ("none", "thinks")]
SYSTEM = {"role": "system", "content": "Be kind."}
OPENING = {"role": "assistant", "content": "Do give."}
ASKED = [[SYSTEM, {"role": "user", "content": "Tea is good."}],
         [SYSTEM, OPENING, {"role": "user", "content": "Why?"}]]
REPLIES = ["Coffee is better, isn't it?", "It helps.", "Yes, it is.", "So."]
EXAMPLES = [Example(reply, prompt, reply)
            for prompt, reply in zip(ASKED * 2, REPLIES, strict=True)]
PAIRS = [LabeledPair(Pair(e.example_id, e.prompt, e.response, f"Not {n} of it."), "a", "me")
         for n, e in enumerate(EXAMPLES)]


def of(name, project):
    family_folder(name, project / "base")
    return load_config("smoke", ["model.base=base", "sft.per_device_train_batch_size=2",
                                 "dpo.per_device_train_batch_size=2", "model.dtype=float32"])


def arguments(project):
    return {"output_dir": str(project / "scratch"), "use_cpu": True, "report_to": "none",
            "bf16": False, "max_length": None, "activation_checkpointing": False,
            "per_device_train_batch_size": 4}


@pytest.mark.parametrize("name", FIT)
def test_rows_of_sft_and_dpo_are_prompt_reply_and_its_end(project, name):
    config = of(name, project)
    tokenizer = load_tokenizer(config)
    sft = SFTTrainer(model=load_base(config), train_dataset=sft_rows(EXAMPLES),
                     processing_class=tokenizer, args=SFTConfig(**arguments(project)))
    batch = next(iter(sft.get_train_dataloader()))
    check_sft_batch(batch, tokenizer, end_tokens(sft.model, tokenizer))
    taught = {tokenizer.decode(labels[labels != -100]) for labels in batch["labels"]}
    closing = tokenizer.decode(closing_ids(tokenizer))
    assert {text.removesuffix(closing).strip() for text in taught} == {
        example.response for example in EXAMPLES}
    assert all(text.endswith(closing) for text in taught)      # though the end may be what pads
    dpo = DPOTrainer(model=load_base(config), train_dataset=preference_rows(PAIRS),
                     processing_class=tokenizer, peft_config=lora(config),
                     args=DPOConfig(**arguments(project)))
    for row, pair in zip(dpo.train_dataset, PAIRS, strict=True):
        assert row["prompt_ids"] == prompt_ids(tokenizer, pair.pair.prompt)
        for part, reply in (("chosen_ids", pair.chosen), ("rejected_ids", pair.rejected)):
            assert tokenizer.decode(row[part]).strip() == f"{reply}{closing}".strip()


@pytest.mark.parametrize("name", FIT)
def test_a_reply_stops_at_each_of_the_end_tokens_of_a_family(project, name):
    """A head that says nothing but one token: it ends at once, and another never does."""
    config = of(name, project)
    tokenizer, model = load_tokenizer(config), load_base(config)
    ends = end_tokens(model, tokenizer)
    shape = FAMILIES[name]
    named = [shape.eos, *shape.ends, tokenizer.convert_ids_to_tokens(closing_ids(tokenizer)[0])]
    assert ends == sorted(set(tokenizer.convert_tokens_to_ids(named)))
    requests = [Request(str(n), prompt) for n, prompt in enumerate(ASKED)]
    other = tokenizer("t", add_special_tokens=False)["input_ids"][0]
    for token in (*ends, other):
        always(model, token)
        for reply in sample_batch(model, tokenizer, requests, Sampling(8, temperature=0.0), seed=1):
            wanted = ("", "stop", 0) if token in ends else ("tttttttt", "length", 8)
            assert (reply.text, reply.finish, reply.tokens) == wanted


def test_a_token_that_the_tokenizer_does_not_know_says_nothing(project):
    """Qwen's embedding has more rows than its vocabulary has tokens."""
    config = of("qwen2.5", project)
    tokenizer, model = load_tokenizer(config), load_base(config)
    beyond = model.get_input_embeddings().weight.shape[0] - 1
    assert beyond > len(tokenizer)
    always(model, beyond)
    greedy = Sampling(8, temperature=0.0)
    reply, = sample_batch(model, tokenizer, [Request("1", ASKED[0])], greedy, seed=1)
    assert (reply.text, reply.finish) == ("", "length")


def always(model, token):
    """The hidden state becomes a constant, in the direction of one row of the head."""
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(torch.zeros_like(head.weight))     # no longer tied
    with torch.no_grad():
        head.weight[token] = 1.0
    model.lm_head.register_forward_pre_hook(lambda _, given: (torch.ones_like(given[0]),))


@pytest.mark.parametrize("name", ["llama3", "gemma"])
def test_sft_and_dpo_train_on_a_family_and_start_where_they_must(project, name):
    """The one pads with its end token, the other has no system role and strict turns."""
    config = of(name, project)
    train_sft(config, EXAMPLES, EXAMPLES[:2])
    other = [replace(pair, label="b") for pair in PAIRS]
    curve = train_preferences(config, "rlhf", PAIRS, other[:2])
    assert not curve.empty and curve["eval_loss"].notna().any()


def test_a_model_that_takes_no_adapter_is_refused(project):
    """Before the first step, in a sentence, and not as peft's traceback."""
    config = of("qwen2.5", project)
    model = tiny_model("mamba2", 306, num_heads=4, head_dim=16, state_size=8, n_groups=1)
    with pytest.raises(LineageError, match=r"base \(Mamba2ForCausalLM\) takes no LoRA .*out_proj"):
        check_lora(config, model)


def test_drift_is_nothing_where_nothing_was_learned(project):
    """Of replies without a second beginning of the text, and with the family's own end."""
    from peft import get_peft_model
    config = of("llama3", project)
    tokenizer = load_tokenizer(config)
    model = get_peft_model(load_base(config), lora(config))
    assert drift(model, tokenizer, ASKED, max_new_tokens=6, seed=0).kl == pytest.approx(0, abs=1e-6)
