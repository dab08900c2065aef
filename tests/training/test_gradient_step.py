"""Gradient accumulation equals the large batch, and what a step draws is decided by (seed, step, micro-batch)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.tasks.training_config import OptimizerConfig
from glassformer.training.execution import ExecutionConfig
from glassformer.training.objectives import IGNORE
from glassformer.training.optimizers import Optimizer
from glassformer.training.step import GradientStep, split_micro_batches
from glassformer.training.telemetry import clip_gradients, gradient_norm


def small_model(**changes):
    torch.manual_seed(0)
    tree = {"vocab_size": 11, "max_seq_len": 8, "d_model": 8, "n_layers": 1, "attention": {"n_heads": 2}}
    return Decoder(ModelConfig.build(tree).override(changes)).train()


def accumulating(model, micro_batch_size, *, seed=0, label_smoothing=0.0):
    """A step that takes its batch in pieces of so many rows."""

    def step(number, inputs, targets):
        tokens = micro_batch_size * inputs.shape[1]
        path = ExecutionConfig("cpu", False, "explicit", False, tokens, 1, ())
        take = GradientStep(model, path, precision="fp32", seed=seed, label_smoothing=label_smoothing)
        return take(number, Rows(inputs, targets)).objective

    return step


@dataclass
class Rows:
    """A batch of any inputs and targets, some of which are ignored."""

    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def arguments(self):
        return (self.inputs,)

    @property
    def n_tokens(self):
        return int((self.targets != IGNORE).sum())

    def rows(self, start, stop):
        return Rows(self.inputs[start:stop], self.targets[start:stop])

    def describe(self):
        return "Made in a test."


def batch(batch_size, seq_len, seed=0, ignored=0.0):
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(11, (batch_size, seq_len + 1), generator=draw)
    targets = tokens[:, 1:].clone()
    targets[torch.rand(targets.shape, generator=draw) < ignored] = IGNORE
    return tokens[:, :-1], targets


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def divisors(n):
    return [size for size in range(1, n + 1) if n % size == 0]


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 12), st.integers(1, 8), st.sampled_from([0.0, 0.5]), st.integers(0, 100), st.data())
def test_accumulation_equals_the_large_batch(batch_size, seq_len, ignored, seed, data):
    micro = data.draw(st.sampled_from(divisors(batch_size)))
    inputs, targets = batch(batch_size, seq_len, seed, ignored)
    model = small_model()
    loss = accumulating(model, batch_size)(0, inputs, targets)
    expected = gradients(model)
    model.zero_grad()
    assert accumulating(model, micro)(0, inputs, targets) == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro", divisors(12))
@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_weights_after_updates_equal_those_of_the_large_batch(micro, kind):
    # the square root of the second moment is ill-conditioned at 0: a larger eps keeps rounding from being blown up
    config = OptimizerConfig(kind=kind, learning_rate=1e-2, eps=1e-3)

    def trained(micro_batch_size):
        model = small_model()
        optimizer, step = Optimizer(config, model), accumulating(model, micro_batch_size)
        for number in range(3):
            optimizer.zero_grad()
            step(number, *batch(12, 6, seed=number))
            clip_gradients(optimizer.parameters, gradient_norm(optimizer.parameters), 0.5)
            optimizer.step()
        return model.named_weights()

    whole, cut = trained(12), trained(micro)
    tolerance = 2e-3 if kind == "muon" else 2e-5  # Muon orthogonalises in bfloat16
    for name, weight in whole.items():
        torch.testing.assert_close(cut[name], weight, rtol=tolerance, atol=tolerance)


def test_the_gradient_is_that_of_the_mean_over_counted_tokens():
    model = small_model()
    inputs, targets = batch(4, 6, ignored=0.5)
    loss = accumulating(model, 2)(0, inputs, targets)
    found = gradients(model)
    model.zero_grad()
    counted = targets != IGNORE
    log_p = model(inputs).log_softmax(-1)
    by_hand = -log_p[counted].gather(1, targets[counted][:, None]).mean()
    by_hand.backward()
    assert loss == pytest.approx(by_hand.item(), rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


def test_a_batch_without_a_counted_target_has_no_loss_and_no_gradient():
    model = small_model()
    inputs, targets = batch(4, 6)
    assert accumulating(model, 2)(0, inputs, torch.full_like(targets, IGNORE)) == 0.0
    assert all(not parameter.grad.any() for parameter in model.parameters())


def test_dropout_is_drawn_from_seed_step_and_micro_batch_alone():
    model = small_model(dropout=0.5)
    inputs, targets = batch(4, 6)

    def loss(seed=0, step=3, micro=2):
        torch.rand(7)  # what else was drawn does not matter
        return accumulating(model, micro, seed=seed)(step, inputs, targets)

    assert loss() == loss()
    assert len({loss(), loss(seed=1), loss(step=4), loss(micro=4)}) == 4


def test_micro_batches_of_one_step_draw_different_dropout():
    model = small_model(dropout=0.5)
    inputs, targets = batch(1, 6)
    seen = []
    path = ExecutionConfig("cpu", False, "explicit", False, 6, 1, ())
    step = GradientStep(model, path, precision="fp32", seed=0)
    add = step._add_gradient

    def keep(*arguments):
        losses = add(*arguments)
        seen.append(losses[0].item())
        return losses

    step._add_gradient = keep
    step(0, Rows(inputs.repeat(3, 1), targets.repeat(3, 1)))
    assert len(set(seen)) == 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_the_smoothed_gradient_is_that_of_the_dense_target(smoothing):
    model = small_model()
    inputs, targets = batch(4, 6, ignored=0.5)
    loss = accumulating(model, 2, label_smoothing=smoothing)(0, inputs, targets)
    found = gradients(model)
    model.zero_grad()
    counted = targets != IGNORE
    log_p = model(inputs).log_softmax(-1)[counted]
    dense = torch.full_like(log_p, smoothing / 11)
    dense.scatter_add_(1, targets[counted][:, None], torch.full((len(log_p), 1), 1 - smoothing))
    by_hand = -(dense * log_p).sum(-1).mean()
    by_hand.backward()
    assert loss == pytest.approx(by_hand.item(), rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 100))
def test_a_batch_is_cut_into_pieces_that_hold_every_row_once_and_fit(n_rows, positions, tokens):
    rows = torch.arange(n_rows)[:, None].expand(-1, positions)
    pieces = split_micro_batches(Rows(rows, rows), tokens)
    assert torch.equal(torch.cat([piece.targets for piece in pieces]), rows)
    assert all(piece.targets.numel() <= max(tokens, positions) for piece in pieces)
