"""LoRA layers as one product against peft's own forward pass."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from persuasion_lib.models.fused_lora import BLOCK_ROWS, fuse_adapters


def layers(*, dtype=torch.float32, sizes=(24, 16), **options):
    """A linear layer with the adapters "one" and "two", whose weights are random."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(*sizes)).to(dtype)
    settings = LoraConfig(r=4, lora_alpha=6, target_modules=["0"], init_lora_weights=False,
                          **options)
    model = get_peft_model(model, settings, adapter_name="one")
    model.add_adapter("two", settings)
    return model.eval()


def output_and_gradients(model, x):
    x = x.clone().requires_grad_()
    model.zero_grad()
    out = model(x)
    (out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return [out, x.grad, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("active", [["one"], ["two"], ["one", "two"]])
def test_output_and_gradients_are_those_of_peft(active):
    model, x = layers(), torch.randn(3, 5, 24)
    model.base_model.set_adapter(active)
    stock = output_and_gradients(model, x)
    fuse_adapters(model)
    fused = output_and_gradients(model, x)
    assert len(fused) == len(stock) == 2 + 2 * len(active)
    for ours, theirs in zip(fused, stock, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fixed_adapters_give_the_same_for_every_choice_of_them(dtype):
    model, x = layers(dtype=dtype), torch.randn(5, 24).to(dtype)
    found = {}
    for fixed in (False, True):
        fuse_adapters(model, fixed=fixed)
        for active in (["one"], ["two"], ["one", "two"], ["one"]):
            model.base_model.set_adapter(active)
            with torch.no_grad():
                found[fixed, *active] = model(x)
    for active in (["one"], ["two"], ["one", "two"]):
        assert torch.equal(found[True, *active], found[False, *active])
    assert not torch.equal(found[True, "one"], found[True, "two"])


def test_adapters_that_may_change_are_read_each_time_without_gradients_too():
    model, x = layers(), torch.randn(5, 24)
    fuse_adapters(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1.0,
                                  fused=True)
    with torch.no_grad():
        before = model(x)
    model(x).sum().backward()
    optimizer.step()
    with torch.no_grad():
        assert not torch.allclose(model(x), before, atol=1e-2)
    assert torch.allclose(model(x.clone().requires_grad_()), model(x))


def test_adapters_that_are_switched_off_or_merged_count_as_peft_counts_them():
    model, x = layers(), torch.randn(5, 24)
    plain, adapted = model.get_base_model()[0].get_base_layer()(x), model(x)
    fuse_adapters(model)
    with model.disable_adapter():
        assert torch.equal(model(x), plain)
    assert torch.allclose(model(x), adapted, atol=1e-5) and not torch.allclose(adapted, plain)
    model.merge_adapter(["one"])
    assert torch.allclose(model(x), adapted, atol=1e-5)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.5},
                                     {"lora_bias": True}])
def test_layers_with_more_than_two_products_stay_those_of_peft(options):
    model, x = layers(**options).train(), torch.randn(5, 24)

    def output():
        torch.manual_seed(1)        # of the dropout
        return model(x)

    stock = output()
    fuse_adapters(model)
    assert torch.equal(output(), stock)


def test_in_bfloat16_it_is_as_near_to_float32_as_peft_is():
    """The adapters of peft are computed in float32, ours in bfloat16; both outputs are bfloat16."""
    x = torch.randn(64, 24).bfloat16()
    exact = output_and_gradients(layers(dtype=torch.bfloat16).float(), x.float())
    stock, ours = (layers(dtype=torch.bfloat16) for _ in range(2))
    fuse_adapters(ours)

    def errors(model):
        found = output_and_gradients(model, x)
        return torch.stack([(f.float() - e).norm() / e.norm()
                            for f, e in zip(found, exact, strict=True)]).detach()

    assert (errors(ours) < 2 * errors(stock)).all() and (errors(stock) > 0).all()


def test_blocks_of_rows_join_to_the_whole_product():
    rows = torch.randn(2 * BLOCK_ROWS + 7, 24).bfloat16()
    model = layers(dtype=torch.bfloat16)
    fuse_adapters(model)
    with torch.no_grad():
        one_by_one = torch.cat([model(part) for part in rows.split(100)])
        assert torch.allclose(model(rows).float(), one_by_one.float(), rtol=2 ** -6, atol=1e-2)
