"""A part's own loss is returned through blocks, stacks and models, and has one gradient however the pass is made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.func import functional_call, grad_and_value
from torch.utils.checkpoint import checkpoint

from glassformer.models.config import ModelConfig
from glassformer.models.counting import activation_bytes, parameters
from glassformer.registry import load_part_file
from glassformer.testing import check_part
from glassformer.testing.cases import random_case
from glassformer.testing.comparing import random_model

FILE = Path(__file__).parent.parent / "lossy_parts.py"
TREE = {
    "vocab_size": 11,
    "max_seq_len": 8,
    "d_model": 16,
    "n_layers": 2,
    "attention": {"n_heads": 4},
    "feedforward": {"kind": "test-lossy"},
    "part_files": [str(FILE)],
}
load_part_file(FILE)
FAMILIES = {
    "decoder": {},
    "encoder": {"family": "encoder"},
    "encoder-decoder": {"n_encoder_layers": 1},
}


def model_of(family="decoder"):
    return random_model(ModelConfig.build(TREE | FAMILIES[family])).train()


def objective(model, case):
    """Cross-entropy and the parts' losses, as a training step adds them."""
    args, options = case.arguments
    logits, losses = model(*args, **options, with_losses=True)
    return case.loss(logits) + sum(losses.values())


def gradients_of(model, loss):
    return dict(
        zip([n for n, _ in model.named_parameters()], torch.autograd.grad(loss, model.parameters()), strict=True)
    )


def same(found, expected):
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_losses_of_all_layers_are_added_up_by_name(family):
    model, seen = model_of(family), []
    for module in model.modules():
        if type(module).__name__ == "Lossy":
            module.register_forward_hook(lambda _module, _inputs, returned: seen.append(returned[1]["smallness"]))
    args, options = random_case(model.config, 2, 8).arguments
    logits, losses = model(*args, **options, with_losses=True)
    assert set(losses) == {"smallness"}
    assert len(seen) == (3 if family == "encoder-decoder" else 2)
    torch.testing.assert_close(losses["smallness"], sum(seen))
    assert torch.equal(logits, model(*args, **options)), "the logits are those without"


def test_models_without_such_parts_have_no_losses():
    model = random_model(ModelConfig.build(TREE | {"feedforward": {"kind": "relu"}}))
    assert model(torch.zeros(1, 4, dtype=torch.long), with_losses=True)[1] == {}


def test_it_reaches_the_weights():
    model, case = model_of(), random_case(model_of().config, 2, 8)
    found = gradients_of(model, objective(model, case))["blocks.0.feedforward.w_1.weight"]
    without = gradients_of(model, case.loss(case.run(model)))["blocks.0.feedforward.w_1.weight"]
    assert (found - without).abs().max() > 1e-3


def test_the_gradient_is_the_same_as_a_function_of_the_weights():
    model, case = model_of(), random_case(model_of().config, 2, 8)

    def loss(weights):
        args, options = case.arguments
        logits, losses = functional_call(model, weights, args, options | {"with_losses": True})
        return case.loss(logits) + sum(losses.values())

    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    same(grad_and_value(loss)(weights)[0], gradients_of(model, objective(model, case)))


def test_the_gradient_is_the_same_when_blocks_are_computed_again():
    model, case = model_of(), random_case(model_of().config, 2, 8)
    expected = gradients_of(model, objective(model, case))
    for block in model.blocks:
        forward = block.forward
        block.forward = lambda *args, forward=forward, **options: checkpoint(
            forward, *args, use_reentrant=False, **options
        )
    same(gradients_of(model, objective(model, case)), expected)


def test_the_gradient_is_the_same_in_one_compiled_graph():
    model, case = model_of(), random_case(model_of().config, 2, 8)
    expected = gradients_of(model, objective(model, case))
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    logits, losses = compiled(case.tokens, with_losses=True)
    same(gradients_of(model, case.loss(logits) + sum(losses.values())), expected)


def test_such_a_model_is_traced_and_counted():
    model, case = model_of(), random_case(model_of().config, 2, 8)
    trace = model.trace(case.tokens, gradients=case.tokens)
    torch.testing.assert_close(trace.logits, case.run(model.eval()))
    assert parameters(model.config).total == sum(weight.numel() for weight in model.parameters())
    assert activation_bytes(model.config, 2, 8)["feedforward"] > 0


@pytest.mark.slow(reason="every promise of a part in every use")
def test_the_part_keeps_the_contract():
    check_part("feedforward", "test-lossy", part_files=[FILE])
