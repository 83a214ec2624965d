"""The memory estimate against peaks that were measured, and its advice."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from persuasion_lib.training.memory import Step, advice, estimate, step_of

# Qwen2.5-0.5B in float32 on a CPU, LoRA of rank 16, one pair of 485 + 2 × 256 tokens.
QWEN = {"parameters": 494_000_000 + 8_800_000, "trained": 8_800_000, "layers": 24, "hidden": 896,
        "inner": 4864, "vocabulary": 151_936, "weight_bytes": 4, "value_bytes": 4}
SHARED = Step(tokens=997, heads=256, **QWEN)


@pytest.mark.parametrize(("step", "measured_gb"), [
    (SHARED, 6.9),                                          # benchmarks/dpo.py, shared
    (replace(SHARED, weight_bytes=2, value_bytes=2), 4.0),  # the same in bfloat16
    (Step(tokens=1482, heads=1482, **QWEN), 11.9),          # benchmarks/dpo.py, trl
])
def test_the_estimate_is_within_a_quarter_of_measured_peaks(step, measured_gb):
    assert estimate(step)["peak"] / 1e9 == pytest.approx(measured_gb, rel=0.25)


def test_the_parts_add_up_and_grow_with_what_they_depend_on():
    parts = estimate(SHARED)
    assert parts["peak"] == sum(v for k, v in parts.items() if k != "peak")
    assert parts["weights"] == 4 * QWEN["parameters"]
    double = estimate(Step(tokens=1994, heads=256, **QWEN))
    assert double["activations"] == 2 * parts["activations"]
    less = estimate(Step(tokens=997, heads=256, checkpointing=True, **QWEN))
    assert less["activations"] < parts["activations"] / 5


def test_the_advice_names_the_settings_when_memory_is_short():
    parts = {"peak": 8e9}
    assert advice(parts, 24e9) == "estimated peak memory 8.0 GB of 24.0 GB free"
    assert "training.gradient_checkpointing=true" in advice(parts, 6e9)


@pytest.mark.parametrize(("kind", "named", "inner"), [
    ("llama", {"intermediate_size": 48}, 48), ("opt", {"ffn_dim": 48}, 48),
    ("gpt2", {"n_inner": 48}, 48), ("gpt2", {}, 4 * 32)])
def test_every_family_says_how_wide_it_is_inside_by_a_name_of_its_own(kind, named, inner):
    config = AutoConfig.for_model(kind, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                  vocab_size=100, **named)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    step = step_of(model, prompt=10, reply=5, pairs=2, engine="trl", checkpointing=False)
    assert (step.hidden, step.inner) == (32, inner)
