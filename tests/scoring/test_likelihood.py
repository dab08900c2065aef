"""What the loss counts, and that evaluating leaves no trace."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.language_modeling import TokenBatch
from glassformer.scoring.likelihood import Evaluation, evaluate, summed_nll
from glassformer.tasks import opening
from glassformer.training.objectives import IGNORE


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(2, 9), st.integers(0, 1000))
def test_the_loss_is_the_summed_negative_log_likelihood_of_counted_targets(batch, length, vocabulary, seed):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, length, vocabulary, generator=draw)
    targets = torch.randint(-1, vocabulary, (batch, length), generator=draw)
    expected = sum(
        -math.log(math.exp(logits[b, t, targets[b, t]]) / logits[b, t].exp().sum())
        for b in range(batch)
        for t in range(length)
        if targets[b, t] != IGNORE
    )
    assert summed_nll(logits, targets).item() == pytest.approx(float(expected), rel=1e-4, abs=1e-5)


def test_an_ignored_target_adds_nothing_to_loss_or_gradient():
    logits = torch.randn(2, 5, 7, requires_grad=True)
    targets = torch.randint(7, (2, 5))
    targets[0, 3:] = IGNORE
    summed_nll(logits, targets).backward()
    assert not logits.grad[0, 3:].any()
    assert logits.grad[0, :3].any(dim=-1).all()
    changed = logits.detach().clone()
    changed[0, 3:] = 1e4
    assert summed_nll(changed, targets) == summed_nll(logits, targets)


def test_the_loss_of_bfloat16_logits_is_summed_in_float32():
    logits, targets = torch.randn(8, 64, 50).bfloat16(), torch.randint(50, (8, 64))
    assert summed_nll(logits, targets).dtype == torch.float32
    assert summed_nll(logits, targets) == summed_nll(logits.float(), targets)


@pytest.fixture
def trainer(runs, configure):
    return runs.start(configure({"model.dropout": 0.5, "model.norm.kind": "batchnorm"}))


def batches(trainer, **options):
    return trainer.samples.data.validation_batches(**({"batch_size": 4, "seq_len": 12} | options))


def test_evaluating_twice_gives_the_same_number_and_no_trace(trainer):
    before = {name: weight.clone() for name, weight in trainer.model.named_weights().items()}
    trainer.model.train()
    state = torch.get_rng_state()
    once, again = (evaluate(trainer.model, batches(trainer)) for _ in range(2))
    assert once == again
    assert torch.equal(torch.get_rng_state(), state)
    assert trainer.model.training
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.model.named_weights().items())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    trainer.model.eval()
    assert evaluate(trainer.model, batches(trainer)) == once, "dropout is off in evaluation, whatever the mode before"
    assert not trainer.model.training


def test_the_mode_is_put_back_when_a_batch_fails(trainer):
    trainer.model.train()

    def failing():
        yield next(iter(batches(trainer)))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(trainer.model, failing())
    assert trainer.model.training


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_whole_split_is_counted_once(trainer, batch_size):
    result = evaluate(trainer.model, batches(trainer, batch_size=batch_size))
    assert result.n_tokens == len(trainer.samples.data.validation) - 1
    assert result.loss == pytest.approx(evaluate(trainer.model, batches(trainer)).loss, rel=1e-5)


def test_ignored_targets_are_not_counted(trainer):
    given = next(iter(batches(trainer)))
    targets = given.targets.clone()
    targets[1:] = IGNORE
    whole = TokenBatch(given.inputs, targets, given.offsets)
    first = TokenBatch(given.inputs[:1], given.targets[:1], given.offsets[:1])
    assert evaluate(trainer.model, [whole]).n_tokens == 12
    assert evaluate(trainer.model, [whole]).loss == pytest.approx(evaluate(trainer.model, [first]).loss, rel=1e-5)


def test_validation_does_not_change_the_training(runs, configure):
    seldom = runs.train(configure({"training.telemetry.validate_every": 12, "model.dropout": 0.3}))
    often = runs.train(configure({"training.telemetry.validate_every": 1, "model.dropout": 0.3}))
    for name, weight in seldom.model.named_weights().items():
        assert torch.equal(weight, often.model.named_weights()[name]), name


def test_the_recorded_validation_loss_is_that_of_the_recorded_weights(runs, configure):
    trainer = runs.train(configure({"training.telemetry.validation_tokens": "none"}))
    last = [record for record in trainer.run.metrics() if record["kind"] == "validation"][-1]
    result = evaluate(opening.build_model(trainer.config), batches(trainer))  # at its starting weights
    assert last["loss"] < result.loss
    assert last["n_tokens"] == len(trainer.samples.data.validation) - 1
    assert last["loss"] == evaluate(trainer.model, batches(trainer)).loss
    assert last["perplexity"] == pytest.approx(math.exp(last["loss"]))
    assert last["bits_per_byte"] == pytest.approx(last["loss"] / math.log(2))  # one byte a character here


@pytest.mark.parametrize(("loss", "expected"), [(0.0, 1.0), (1000.0, math.inf), (math.inf, math.inf)])
def test_perplexity_is_the_exponential_of_the_loss_without_overflow(loss, expected):
    assert Evaluation(loss, 1).perplexity == expected
    assert math.isnan(Evaluation(math.nan, 1).perplexity)
