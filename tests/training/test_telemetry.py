"""What a training says about itself is what happened, and saying it changes nothing."""

from __future__ import annotations

import math

import pytest
import torch

from glassformer.scoring.likelihood import model_loss
from glassformer.tasks import opening
from glassformer.training.telemetry import clip_gradients, first_bad_module, gradient_norm

EVERY_STEP = {"training.telemetry.gradients_every": 1, "training.telemetry.log_every": 1}


def of_kind(trainer, kind):
    return [record for record in trainer.run.metrics() if record.get("kind") == kind]


def autograd(trainer, step):
    """Loss and gradients of a step's batch by hand: the mean over the whole batch, no clipping."""
    training = trainer.config.training
    batch = trainer.samples.data.batch(step, seed=training.seed, batch_size=training.batch_size, seq_len=12)
    model = opening.build_model(trainer.config).train()
    model.load_weights(trainer.model.named_weights())
    model.set_attention_path(trainer.execution.attention_path)
    loss = model_loss(model, batch) / batch.targets.numel()
    named = dict(model.named_parameters())
    return loss.item(), dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def test_norms_and_ratios_are_those_of_autograd_and_of_the_weights_before_and_after(runs, configure):
    trainer = runs.start(configure(EVERY_STEP | {"training.micro_batch_size": 2, "training.max_steps": 1}))
    loss, gradients = autograd(trainer, 0)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    recorded = of_kind(trainer, "gradients")[0]["parameters"]
    assert list(recorded) == list(before)
    for name, values in recorded.items():
        change = (after[name] - before[name]).norm() / before[name].norm()
        expected = math.inf if not before[name].any() else change.item()
        assert values["gradient_norm"] == pytest.approx(gradients[name].norm().item(), rel=1e-3, abs=1e-7), name
        assert values["update_ratio"] == pytest.approx(expected, rel=1e-4), name
        assert values["weight_norm"] == pytest.approx(after[name].norm().item(), rel=1e-6), name
    record = of_kind(trainer, "train")[0]
    whole = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients.values()))
    assert record["gradient_norm"] == pytest.approx(whole, rel=1e-4)
    assert record["loss"] == pytest.approx(loss, rel=1e-5)


def test_the_recorded_gradient_norm_is_from_before_clipping(runs, configure):
    clipped = runs.train(configure(EVERY_STEP | {"training.grad_clip": 1e-3, "training.max_steps": 1}))
    free = runs.train(configure(EVERY_STEP | {"training.grad_clip": "none", "training.max_steps": 1}))
    assert of_kind(clipped, "train")[0]["gradient_norm"] == of_kind(free, "train")[0]["gradient_norm"] > 1e-3


@pytest.mark.parametrize("limit", [0.1, 1.0, 1e6])
def test_clipping_is_that_of_torch(limit):
    draw = torch.Generator().manual_seed(0)
    ours = {str(n): torch.nn.Parameter(torch.zeros(n, 3)) for n in range(1, 5)}
    for parameter in ours.values():
        parameter.grad = torch.randn(parameter.shape, generator=draw)
    theirs = [torch.nn.Parameter(torch.zeros_like(p)) for p in ours.values()]
    for parameter, original in zip(theirs, ours.values(), strict=True):
        parameter.grad = original.grad.clone()
    norm = gradient_norm(ours)
    clip_gradients(ours, norm, limit)
    assert norm.item() == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, limit).item())
    for parameter, original in zip(theirs, ours.values(), strict=True):
        torch.testing.assert_close(original.grad, parameter.grad)


def test_a_logged_loss_is_the_mean_since_the_last_log(runs, configure):
    each = runs.train(configure(EVERY_STEP))
    fifth = runs.train(configure({"training.telemetry.log_every": 5}))
    losses = [record["loss"] for record in of_kind(each, "train")]
    means = [sum(losses[:5]) / 5, sum(losses[5:10]) / 5, sum(losses[10:12]) / 2]
    assert [record["loss"] for record in of_kind(fifth, "train")] == pytest.approx(means)
    assert [record["step"] for record in of_kind(fifth, "train")] == [5, 10, 12]


def test_telemetry_does_not_change_the_training(runs, configure):
    noisy = runs.train(configure(EVERY_STEP | {"model.dropout": 0.2}), lambda _: torch.rand(3))
    quiet = {"training.telemetry.gradients_every": "none", "training.telemetry.log_every": 1000}
    silent = runs.train(configure(quiet | {"model.dropout": 0.2}))
    weights = silent.model.named_weights()
    assert all(torch.equal(weight, weights[name]) for name, weight in noisy.model.named_weights().items())


def test_gradients_are_recorded_at_the_first_every_nth_and_last_step(runs, configure):
    trainer = runs.train(configure({"training.telemetry.gradients_every": 5}))
    assert [record["step"] for record in of_kind(trainer, "gradients")] == [1, 5, 10, 12]
    trainer = runs.train(configure({"training.telemetry.gradients_every": "none"}))
    assert of_kind(trainer, "gradients") == []


def test_a_record_holds_rates_that_fit_each_other(runs, configure):
    trainer = runs.train(configure())
    for record in of_kind(trainer, "train"):
        assert record["tokens"] == record["step"] * 4 * 12
        assert record["flops_per_second"] == pytest.approx(record["tokens_per_second"] * trainer.flops_per_token)
        assert record["tokens_per_second"] > 0
        assert 0 < record["peak_fraction"] < 1
        assert record["bits_per_byte"] == pytest.approx(record["loss"] / math.log(2))
    seconds = [record["seconds"] for record in trainer.run.metrics() if "seconds" in record]
    assert seconds == sorted(seconds)


def test_every_observer_hears_what_the_metrics_hold(runs, configure):
    heard = []
    trainer = runs.train(configure(), heard.append)
    kept = [record for record in heard if "event" not in record]
    assert kept == trainer.run.metrics()
    assert [record["event"] for record in heard if "event" in record] == ["start", "end"]


def test_a_mask_s_minus_infinity_is_not_a_bad_number(runs, configure):
    model = runs.start(configure()).model
    assert first_bad_module(model, [torch.zeros(2, 8, dtype=torch.long)]) == "the loss itself"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_plus_infinity_in_the_masked_scores_are_found(runs, configure, bad):
    model = runs.start(configure()).model
    probe = model.blocks[1].attention.masked_scores
    probe.register_forward_hook(lambda _module, _inputs, scores: scores.index_fill(-1, torch.tensor([0]), bad))
    found = first_bad_module(model, [torch.zeros(2, 8, dtype=torch.long)])
    assert found == "the activation blocks.1.attention.masked_scores"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_minus_infinity_is_bad_everywhere_else(runs, configure, bad):
    model = runs.start(configure()).model
    probe = model.blocks[1].attention.scores
    probe.register_forward_hook(lambda _module, _inputs, scores: torch.full_like(scores, bad))
    found = first_bad_module(model, [torch.zeros(2, 8, dtype=torch.long)])
    assert found == "the activation blocks.1.attention.scores"


def test_tensorboard_s_own_reader_finds_the_same_values(runs, configure):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = runs.train(configure({"training.telemetry.tensorboard": True}))
    reader = EventAccumulator(str(trainer.run.path / "tensorboard"))
    reader.Reload()

    def values(tag):
        return [(event.step, event.value) for event in reader.Scalars(tag)]

    for kind in ("train", "validation"):
        expected = [(record["step"], pytest.approx(record["loss"], rel=1e-6)) for record in of_kind(trainer, kind)]
        assert values(f"{kind}/loss") == expected
        assert expected
    name = "blocks.0.attention.w_o.weight"
    for quantity in ("gradient_norm", "update_ratio", "weight_norm"):
        assert values(f"{quantity}/{name}") == [
            (record["step"], pytest.approx(record["parameters"][name][quantity], rel=1e-6))
            for record in of_kind(trainer, "gradients")
        ]
