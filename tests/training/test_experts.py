"""A training step of a model with experts: one gradient however the batch is cut, and a balance of the whole step."""

from __future__ import annotations

import copy

import pytest
import torch
from training.test_auxiliary_losses import Rows

from glassformer.data.batches import IGNORE
from glassformer.models.config import ModelConfig
from glassformer.parts.experts import balance_routers, layers_of_experts
from glassformer.tasks.training_config import OptimizerConfig
from glassformer.testing.comparing import random_model
from glassformer.training.execution import ExecutionConfig
from glassformer.training.muon import StackedMuon
from glassformer.training.optimizers import Optimizer
from glassformer.training.step import GradientStep

TREE = {
    "vocab_size": 11,
    "max_seq_len": 8,
    "d_model": 8,
    "n_layers": 2,
    "attention": {"n_heads": 2},
    "feedforward": {"kind": "swiglu", "d_ff": 12, "experts": {"n_experts": 4, "balance": 0.5, "z_loss": 0.1}},
}


def model_of(**experts):
    config = ModelConfig.build(TREE).override({f"feedforward.experts.{name}": value for name, value in experts.items()})
    return random_model(config).train()


def batch_of(*, pads=False):
    torch.manual_seed(1)
    batch = Rows(torch.randint(11, (4, 8)), torch.randint(11, (4, 8)))
    if pads:
        batch.targets[0, 3:] = batch.targets[2, 6:] = IGNORE
    return batch


def taken(model, batch, *, rows_at_a_time=4, compiled=False, precision="fp32"):
    """A step's losses and gradients."""
    execution = ExecutionConfig("cpu", False, "explicit", compiled, 8 * rows_at_a_time, 1, ())
    step = GradientStep(model, execution, precision=precision, seed=0)
    loss = step(0, batch)
    assert step.fell_back is None
    found = {name: weight.grad for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = None
    return loss, found


@pytest.mark.parametrize("pads", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("rows_at_a_time", [1, 3])
def test_the_gradient_is_that_of_the_whole_batch_however_it_is_cut(rows_at_a_time, pads):
    """The balance loss is a product of two means: the mean of the pieces' own would be another loss."""
    model, batch = model_of(), batch_of(pads=pads)
    whole, gradients = taken(model, batch)
    cut, of_pieces = taken(model, batch, rows_at_a_time=rows_at_a_time)
    assert whole.auxiliary.keys() == cut.auxiliary.keys() == {"balance", "router_z"}
    assert cut.objective == pytest.approx(whole.objective, rel=1e-5)
    for name, loss in whole.auxiliary.items():
        assert cut.auxiliary[name] == pytest.approx(loss, rel=1e-5), name
    for name, gradient in gradients.items():
        torch.testing.assert_close(of_pieces[name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    for own, expected in zip(cut.routing, whole.routing, strict=True):
        assert torch.equal(own.load, expected.load)


def test_the_losses_are_beside_the_likelihood():
    loss, _ = taken(model_of(), batch_of())
    assert loss.objective == pytest.approx(loss.nll + sum(loss.auxiliary.values()), rel=1e-6)
    assert loss.auxiliary["balance"] > 2 * 0.5 * 0.99, "1 for each of two layers in balance, and more out of it"
    off, _ = taken(model_of(balance=0.0, z_loss=0.0), batch_of())
    assert off.auxiliary == {}
    assert off.objective == pytest.approx(off.nll)


def test_pads_at_the_end_are_not_counted():
    batch = batch_of(pads=True)
    loss, gradients = taken(model_of(), batch)
    real = 4 * 8 - 5 - 2
    assert [int(each.tokens) for each in loss.routing] == [real, real]
    assert [int(each.load.sum()) for each in loss.routing] == [2 * real, 2 * real]
    other = copy.copy(batch)
    other.inputs = torch.where(batch.targets == IGNORE, 7, batch.inputs)
    same, others = taken(model_of(), other)
    assert same.auxiliary == pytest.approx(loss.auxiliary, rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_targets_that_are_not_counted_before_one_that_is_are_no_pads():
    """A prompt's tokens have no target of their own, and every answer depends on them."""
    batch = batch_of()
    batch.targets[:, :5] = IGNORE
    loss, _ = taken(model_of(), batch)
    assert int(loss.routing[0].tokens) == 4 * 8


@pytest.mark.slow(reason="compiles a step")
@pytest.mark.parametrize("rows_at_a_time", [4, 2])
def test_a_compiled_step_is_the_eager_one(rows_at_a_time):
    torch.compiler.reset()
    model, batch = model_of(router="sigmoid", n_shared=1, balance=0.1), batch_of()
    expected, gradients = taken(model, batch)
    found, other = taken(model, batch, compiled=True, rows_at_a_time=rows_at_a_time)
    assert found.objective == pytest.approx(expected.objective, rel=1e-5)
    assert found.auxiliary == pytest.approx(expected.auxiliary, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(other[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_in_bf16_the_router_is_in_float32():
    model = model_of()
    seen = []
    for layer in layers_of_experts(model).values():
        layer.router.logits.register_forward_hook(lambda _module, _inputs, logits: seen.append(logits.dtype))
    exact, _ = taken(model, batch_of())
    rounded, _ = taken(model, batch_of(), precision="bf16")
    assert set(seen) == {torch.float32}
    assert rounded.objective == pytest.approx(exact.objective, rel=0.1)


# --- a selection bias -----------------------------------------------------------------------------------------------


def test_a_selection_bias_moves_against_the_load_of_the_whole_step_and_stays_centred():
    model, batch = model_of(router="sigmoid", bias_rate=0.5, balance=None), batch_of()
    loss, _ = taken(model, batch, rows_at_a_time=1)
    before = {name: layer.router.bias.clone() for name, layer in layers_of_experts(model).items()}
    assert loss.auxiliary.keys() == {"router_z"}, "no balance loss beside the bias, unless it is asked for"
    layers = layers_of_experts(model)
    balance_routers(layers, loss.routing)
    for (name, layer), routing in zip(layers.items(), loss.routing, strict=True):
        direction = torch.sign(routing.load.mean() - routing.load)
        torch.testing.assert_close(layer.router.bias - before[name], 0.5 * (direction - direction.mean()))


def test_evaluation_changes_no_bias(runs, configure):
    """What validation routes is not of the step: two trainings that validate more or less often are one."""
    own = {
        "model.feedforward.experts.n_experts": 4,
        "model.feedforward.experts.router": "sigmoid",
        "model.feedforward.experts.bias_rate": 0.1,
    }
    found = []
    for every in (1, 100):
        run = runs.train(configure(own | {"training.telemetry.validate_every": every}))
        found.append(run)
    biases = [{n: b for n, b in each.model.named_buffers() if n.endswith("router.bias")} for each in found]
    assert biases[0].keys() == biases[1].keys() != set()
    assert all(torch.equal(bias, biases[1][name]) for name, bias in biases[0].items())
    assert any(bias.any() for bias in biases[0].values())


RUNS = {
    "balance loss, micro-batches, dropout": {"training.micro_batch_size": 2, "model.feedforward.dropout": 0.2},
    "selection bias, muon": {
        "model.feedforward.experts.router": "sigmoid",
        "model.feedforward.experts.bias_rate": 0.1,
        "training.optimizer.kind": "muon",
    },
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_resumed_equals_uninterrupted(runs, configure, resume, assert_same_end, changes):
    """The selection biases are in the checkpoint, and every record is as it would have been."""
    own = {"model.feedforward.experts.n_experts": 4, "model.feedforward.experts.jitter": 0.1, **changes}
    whole = runs.train(configure(own))
    stopped = runs.train_until(configure(own), 7)
    resumed, warnings = resume(stopped.run)
    assert warnings == []
    assert_same_end(resumed, whole)


def test_translators_train_with_experts_and_measure_noise(runs, configure):
    """Sources with pads, targets with pads, pieces of different sizes, and gradients of parts in between."""
    own = {
        "model.feedforward.experts.n_experts": 4,
        "training.max_steps": 2,
        "training.batch_tokens": 96,
        "training.telemetry.noise_scale_every": 1,
        "training.telemetry.log_every": 1,
    }
    trainer = runs.start(configure(own, base="transformer-tiny"))
    trainer.gradient.micro_batch_tokens = 32
    trainer.train()
    records = [record for record in trainer.run.metrics() if record.get("kind") == "experts"]
    names = [f"{side}.blocks.{layer}.feedforward" for side in ("encoder", "decoder") for layer in (0, 1)]
    assert [list(record["layers"]) for record in records] == [names, names]
    assert any(record.get("kind") == "noise_scale" for record in trainer.run.metrics())
    assert not [event for event in trainer.run.events() if event["event"] == "warning" and "parameter" in event]


def test_a_run_records_its_experts_and_each_loss_by_its_name(runs, configure):
    heard = []
    own = {"model.feedforward.experts.n_experts": 4, "model.feedforward.experts.z_loss": 0.01}
    trainer = runs.train(configure(own), heard.append)
    records = [record for record in trainer.run.metrics() if record.get("kind") == "experts"]
    assert [record["step"] for record in records] == [5, 10, 12]
    for record in records:
        assert list(record["layers"]) == ["blocks.0.feedforward", "blocks.1.feedforward"]
        for layer in record["layers"].values():
            assert sum(layer["load"]) == pytest.approx(1)
            assert layer["max_violation"] == pytest.approx(max(layer["load"]) * 4 - 1)
    trained = [record for record in heard if record.get("kind") == "train"]
    assert all(record["auxiliary"].keys() == {"balance", "router_z"} for record in trained)
    assert all(record["objective"] > record["loss"] for record in trained)
    (start,) = [event for event in heard if event.get("event") == "start"]
    assert start["parameters_active"] < start["parameters_in_all"]


# --- optimizers -----------------------------------------------------------------------------------------------------


def test_muon_updates_each_expert_as_torchs_does_a_matrix():
    torch.manual_seed(0)
    weight, gradients = torch.randn(3, 6, 4), [torch.randn(3, 6, 4) for _ in range(3)]
    stack = torch.nn.Parameter(weight.clone())
    alone = [torch.nn.Parameter(each.clone()) for each in weight]
    ours = StackedMuon([stack], lr=0.1, momentum=0.9, weight_decay=0.2)
    torchs = torch.optim.Muon(alone, lr=0.1, momentum=0.9, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        stack.grad = gradient.clone()
        for each, own in zip(alone, gradient, strict=True):
            each.grad = own.clone()
        ours.step()
        torchs.step()
    torch.testing.assert_close(stack.detach(), torch.stack([each.detach() for each in alone]), atol=2e-2, rtol=0)


@pytest.mark.parametrize("kind", ["adamw", "muon", "sgd"])
def test_experts_matrices_decay_and_their_biases_do_not(kind):
    model = model_of()
    optimizer = Optimizer(OptimizerConfig(kind=kind, learning_rate=0.1, weight_decay=0.5), model)
    decay = {
        id(parameter): group["weight_decay"]
        for part in optimizer.parts
        for group in part.param_groups
        for parameter in group["params"]
    }
    experts = layers_of_experts(model)["blocks.0.feedforward"].experts
    assert decay[id(experts.w_1.weight)] == decay[id(experts.w_2.weight)] == 0.5
    assert decay[id(experts.w_1.bias)] == decay[id(experts.w_2.bias)] == 0.0
    stacked = [p for part in optimizer.parts if isinstance(part, StackedMuon) for p in part.param_groups[0]["params"]]
    assert {id(p) for p in stacked} == (
        {id(p) for n, p in model.named_parameters() if "experts.w_" in n and n.endswith("weight")}
        if kind == "muon"
        else set()
    )
