"""Our optimizers against torch's own, decay on matrices only, every parameter once, state that round-trips."""

from __future__ import annotations

import pytest
import torch

from glassformer.errors import CheckpointError
from glassformer.models.build import build
from glassformer.models.presets import preset, preset_names
from glassformer.tasks.training_config import OptimizerConfig
from glassformer.testing import shrunk
from glassformer.training.optimizers import Optimizer, decays

KINDS = ("adamw", "adam", "sgd", "muon")


def model(name="nanogpt-shakespeare-cpu", **changes):
    torch.manual_seed(0)
    return build(shrunk(preset(name).model).override(changes))


def put_gradients(model, step):
    draw = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)


def updated(model, optimizer, steps=range(5)):
    for step in steps:
        put_gradients(model, step)
        optimizer.set_learning_rate(0.01 * (step + 1))
        optimizer.step()
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def torchs_own(kind, parameters, **options):
    matrices = [p for p in parameters if p.dim() >= 2]
    vectors = [p for p in parameters if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=0.8)
    adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    return adam([group for group in groups if group["params"]], lr=1.0, betas=(0.8, 0.9), eps=1e-6, foreach=False)


def settings(kind):
    return OptimizerConfig(kind=kind, learning_rate=1.0, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.3)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_updates_are_those_of_torch(kind):
    ours, theirs = model(), model()
    reference = torchs_own(kind, list(theirs.parameters()))
    found = updated(ours, Optimizer(settings(kind), ours))
    for step in range(5):
        put_gradients(theirs, step)
        for group in reference.param_groups:
            group["lr"] = 0.01 * (step + 1)
        reference.step()
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(found[name], weight.detach(), rtol=1e-5, atol=1e-6)


def test_muon_updates_the_blocks_matrices_and_leaves_the_rest_to_adamw():
    ours, theirs = model(), model()
    named = dict(theirs.named_parameters())
    matrices = {name for name, p in named.items() if name.startswith("blocks.") and p.dim() == 2}
    assert matrices
    assert not any("embedding" in name or "norm" in name for name in matrices)
    muon = torch.optim.Muon(
        [named[name] for name in named if name in matrices],
        lr=1.0,
        momentum=0.8,
        weight_decay=0.3,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torchs_own("adamw", [named[name] for name in named if name not in matrices])
    found = updated(ours, Optimizer(settings("muon"), ours))
    for step in range(5):
        put_gradients(theirs, step)
        for part in (muon, adamw):
            for group in part.param_groups:
                group["lr"] = 0.01 * (step + 1)
            part.step()
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(found[name], weight.detach(), rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_only_matrices_decay(kind):
    one, other = model(**{"head.bias": True}), model(**{"head.bias": True})
    with_decay = updated(one, Optimizer(settings(kind), one), range(1))
    without = OptimizerConfig(**settings(kind).model_dump() | {"weight_decay": 0.0})
    no_decay = updated(other, Optimizer(without, other), range(1))
    for name, weight in with_decay.items():
        changed = not torch.equal(weight, no_decay[name])
        assert changed == (weight.dim() >= 2) == decays(weight.dim()), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", preset_names())
def test_every_parameter_of_every_preset_is_updated_exactly_once(name, kind):
    built = model(name)
    optimizer = Optimizer(settings(kind), built)
    covered = [p for part in optimizer.parts for group in part.param_groups for p in group["params"]]
    assert len(covered) == len({id(p) for p in covered}) == len(list(built.parameters()))
    before = {name: weight.detach().clone() for name, weight in built.named_parameters()}
    after = updated(built, optimizer, range(1))
    assert all(not torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_continues_bit_for_bit(kind):
    whole = model()
    expected = updated(whole, Optimizer(settings(kind), whole), range(6))
    first = model()
    optimizer = Optimizer(settings(kind), first)
    updated(first, optimizer, range(3))
    state = {name: value.clone() for name, value in optimizer.state().items()}
    second = model()
    second.load_weights(first.named_weights())
    continued = Optimizer(settings(kind), second)
    continued.load_state(state)
    found = updated(second, continued, range(3, 6))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(value.is_contiguous() and name.count("/") == 1 for name, value in state.items())


def test_the_loaded_state_is_a_copy_that_the_optimizer_owns():
    built = model()
    optimizer = Optimizer(settings("adamw"), built)
    updated(built, optimizer, range(2))
    state = {name: value.clone() for name, value in optimizer.state().items()}
    kept = {name: value.clone() for name, value in state.items()}
    other = model()
    again = Optimizer(settings("adamw"), other)
    again.load_state(state)
    updated(other, again, range(2))
    assert all(torch.equal(state[name], kept[name]) for name in kept)


def test_state_of_other_parameters_is_refused_by_name():
    with pytest.raises(CheckpointError, match="does not have: .*nobody.weight"):
        Optimizer(settings("adamw"), model()).load_state({"nobody.weight/exp_avg": torch.zeros(1)})


def test_a_model_without_matrices_in_its_blocks_has_no_muon():
    built = model(n_layers=0)
    assert [type(part).__name__ for part in Optimizer(settings("muon"), built).parts] == ["AdamW"]
