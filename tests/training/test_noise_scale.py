"""The gradient noise scale: unbiased where the truth is known, free or harmless where a model trains."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from glassformer.data.batches import IGNORE
from glassformer.errors import ConfigError
from glassformer.scoring.likelihood import summed_nll
from glassformer.training.noise_scale import PARTS, NoiseMeasurement, parts, unbiased_pair

EVERY = {"training.telemetry.noise_scale_every": 2}
OFF = {"training.telemetry.noise_scale_every": "none"}


def of_kind(trainer, kind):
    return [record for record in trainer.run.metrics() if record.get("kind") == kind]


def assert_mean(values, truth):
    values = torch.tensor(values, dtype=torch.float64)
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - truth) < 4 * error, f"{values.mean()} ± {error}, and the truth is {truth}"
    assert error < 0.1 * abs(truth), "the test says something only where the mean is sharp"


def measured(parameters, gradients):
    """The record of a step whose parts have these summed gradients: [(tokens, {name: gradient sum})]."""
    noise = NoiseMeasurement()
    total = sum(tokens for tokens, _ in gradients)
    for tokens, summed in gradients:
        for name, parameter in parameters.items():
            share = summed[name] / total
            parameter.grad = share if parameter.grad is None else parameter.grad + share
        noise.look(parameters, tokens)
    for parameter in parameters.values():
        parameter.grad = None
    return noise.to_record(1, rows=total)


# ------------------------------------------------------------------------------------------------ the truth is known


@pytest.mark.parametrize("sizes", [(8, 8), (4, 4, 4, 4), (1, 2, 13), (30, 2)])
def test_planted_gradients_are_found_without_bias_however_the_batch_is_cut(sizes):
    draw = torch.Generator().manual_seed(sum(sizes))
    parameters = {"a": nn.Parameter(torch.zeros(3, 5)), "b": nn.Parameter(torch.zeros(7))}
    true = {name: 0.3 * torch.randn(p.shape, generator=draw) for name, p in parameters.items()}
    spread = {"a": 1.5, "b": 0.5}  # the standard deviation of one token's gradient, each component
    found = []
    for _ in range(1_500):
        gradients = []
        for tokens in sizes:
            noise = {n: math.sqrt(tokens) * spread[n] * torch.randn(g.shape, generator=draw) for n, g in true.items()}
            gradients.append((tokens, {name: tokens * true[name] + noise[name] for name in true}))
        found.append(measured(parameters, gradients))
    assert_mean([each["squared_norm"] for each in found], sum(float((g**2).sum()) for g in true.values()))
    assert_mean([each["trace"] for each in found], 15 * 1.5**2 + 7 * 0.5**2)
    assert {each["tokens"] for each in found} == {sum(sizes)}


def test_the_noise_scale_of_a_linear_regression_is_the_one_computed_by_hand():
    """Squared error, x ~ N(0, I), y = x·w* + σe, at w = w* + δ: G = δ and tr Σ = (d + 1)|δ|² + d·σ²."""
    draw = torch.Generator().manual_seed(0)
    d, sigma, n = 6, 0.7, 32
    delta = torch.randn(d, generator=draw)
    weights = nn.Parameter(delta.clone())
    found = []
    for _ in range(1_500):
        noise = NoiseMeasurement()
        for size in (n // 4, n // 4, n // 2):
            x, e = torch.randn(size, d, generator=draw), torch.randn(size, generator=draw)
            (0.5 * (x @ weights - sigma * e) ** 2).sum().div(n).backward()
            noise.look({"w": weights}, size)
        weights.grad = None
        found.append(noise.to_record(1, rows=n))
    norm = float(delta @ delta)
    assert_mean([each["squared_norm"] for each in found], norm)
    assert_mean([each["trace"] for each in found], (d + 1) * norm + d * sigma**2)


def test_the_pair_is_exact_where_there_is_no_chance():
    norm, trace = 3.0, 500.0
    large, small = norm + trace / 400, norm + trace / 25
    assert unbiased_pair(large, small, 400, 25) == pytest.approx((norm, trace))


def test_a_part_without_tokens_tells_nothing():
    parameters = {"w": nn.Parameter(torch.zeros(2))}
    ones = torch.ones(2)
    whole = measured(parameters, [(3, {"w": ones}), (5, {"w": 2 * ones})])
    with_empty = measured(parameters, [(3, {"w": ones}), (0, {"w": 0 * ones}), (5, {"w": 2 * ones})])
    assert with_empty == whole
    noise = NoiseMeasurement()
    noise.look(parameters, 4)
    assert not noise.measured


# ------------------------------------------------------------------------------------------------ in the trainer


TEXT, PAIRS, TASK = "nanogpt-shakespeare-cpu", "transformer-small", "task"
SMALL_TASK = {
    "data.length": 5,
    "data.vocab_size": 6,
    "model.d_model": 16,
    "model.n_layers": 2,
    "model.max_seq_len": 24,
    "model.attention.n_heads": 2,
    "training.batch_size": 4,
    "training.max_steps": 12,
    "training.compile": "off",
    "training.telemetry.validation_tokens": 96,
}
CUT = {TEXT: {"training.micro_batch_size": 2}, PAIRS: {}, TASK: {}}


def small(configure, base, changes):
    if base != TASK:
        return configure(changes, base=base)
    from glassformer.training.recipes import configuration

    given = {"data": "copy", "steps": None, "seed": None, "assignments": []}
    return configuration("tiny-transformer", **given).override(SMALL_TASK | changes)


@pytest.mark.parametrize("base", [TEXT, PAIRS, TASK])
def test_measuring_changes_no_bit_of_the_training(runs, configure, assert_same_end, base):
    changes = CUT[base] | {"model.dropout": 0.2}
    on = runs.train(small(configure, base, changes | EVERY))
    off = runs.train(small(configure, base, changes | OFF))
    found = of_kind(on, "noise_scale")
    assert [record["step"] for record in found] == list(range(2, 13, 2))
    lines = on.run.metrics_path.read_text().splitlines(keepends=True)
    on.run.metrics_path.write_text("".join(line for line in lines if '"kind": "noise_scale"' not in line))
    assert_same_end(on, off)


def test_measuring_changes_no_bit_where_a_batch_is_trained_on_whole(runs, configure):
    on = runs.train(configure({"model.dropout": 0.1} | EVERY))
    off = runs.train(configure({"model.dropout": 0.1} | OFF))
    assert len(of_kind(on, "noise_scale")) == 6
    for name, weight in off.model.named_weights().items():
        assert torch.equal(on.model.named_weights()[name], weight), name


@pytest.mark.slow(reason="compiles with the C++ compiler")
@pytest.mark.parametrize("micro_batch_size", [2, 4])
def test_a_compiled_gradient_is_the_same_bit_for_bit_while_it_is_measured(runs, configure, micro_batch_size):
    compiled = {"training.compile": "on", "training.micro_batch_size": micro_batch_size, "model.n_layers": 1}
    trainer = runs.start(configure(compiled | {"model.dropout": 0.1}))
    batch = trainer.samples.batch(3)

    def gradients(noise):
        trainer.optimizer.zero_grad()
        loss = trainer.gradient(3, batch, noise=noise)
        return loss, {name: p.grad.clone() for name, p in trainer.model.named_parameters()}

    noise = NoiseMeasurement()
    (loss, plain), (measured_loss, watched), (again, last) = gradients(None), gradients(noise), gradients(None)
    assert trainer.gradient.fell_back is None
    assert noise.measured
    assert loss == measured_loss == again
    assert all(torch.equal(plain[name], watched[name]) and torch.equal(plain[name], last[name]) for name in plain)


@pytest.mark.parametrize("micro_batch_size", [2, 4])
def test_a_resumed_run_measures_what_an_uninterrupted_one_does(
    runs, configure, resume, assert_same_end, micro_batch_size
):
    config = configure(EVERY | {"training.micro_batch_size": micro_batch_size, "model.dropout": 0.2})
    stopped = runs.train_until(config, 7)
    resumed, _ = resume(stopped.run)
    assert_same_end(resumed, runs.train(config))


@pytest.mark.parametrize(("micro_batch_size", "extra"), [(1, 0), (2, 0), (4, PARTS)])
def test_micro_batches_give_it_for_nothing_and_off_is_off(runs, configure, micro_batch_size, extra):
    passes = {}
    for name, changes in {"on": EVERY, "off": OFF}.items():
        trainer = runs.start(configure(changes | {"training.micro_batch_size": micro_batch_size}))
        calls = []
        backward = trainer.gradient._backward
        counted = lambda *arguments, backward=backward, calls=calls: calls.append(1) or backward(*arguments)  # noqa: E731
        trainer.gradient._backward = trainer.gradient._add_gradient = counted
        trainer.train()
        passes[name] = len(calls)
    assert passes["off"] == 12 * 4 // micro_batch_size
    assert passes["on"] - passes["off"] == 6 * extra


def test_a_record_is_what_the_rows_gradients_give_by_hand(runs, configure):
    changes = {"training.max_steps": 1, "training.telemetry.noise_scale_every": 1, "training.batch_tokens": 90}
    config = configure(changes | {"model.dropout": 0.0, "training.label_smoothing": 0.0}, base=PAIRS)
    trainer = runs.start(config)
    batch = trainer.samples.batch(0)
    pieces = parts(batch)
    assert len(pieces) > 1
    assert len({piece.n_tokens for piece in pieces}) > 1, "parts of pairs differ in their tokens"

    def squared_norm(piece):
        trainer.model.zero_grad()
        (summed_nll(trainer.model.train()(*piece.arguments), piece.targets) / piece.n_tokens).backward()
        return sum(float((p.grad.double() ** 2).sum()) for p in trainer.model.parameters())

    large, tokens = squared_norm(batch), int((batch.targets != IGNORE).sum())
    small_one = sum(piece.n_tokens / tokens * squared_norm(piece) for piece in pieces)
    trainer.optimizer.zero_grad()
    trainer.train()
    (record,) = of_kind(trainer, "noise_scale")
    assert (record["tokens"], record["sequences"]) == (tokens, len(batch.targets))
    assert record["part_tokens"] == tokens / len(pieces)
    assert record["squared_norm_batch"] == pytest.approx(large, rel=1e-4)
    assert record["squared_norm_part"] == pytest.approx(small_one, rel=1e-4)
    expected = unbiased_pair(large, small_one, tokens, tokens / len(pieces))
    assert (record["squared_norm"], record["trace"]) == pytest.approx(expected, rel=1e-3)


def test_a_batch_norm_is_refused_because_its_parts_are_no_samples_of_the_batch(configure):
    with pytest.raises(ConfigError, match="noise_scale_every compares"):
        configure(EVERY | {"model.norm.kind": "batchnorm"})
