"""A mean says over what: with unequal parts every reported loss is the one over all tokens, each counted once."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from glassformer.charts.loss import smoothed, tokens_of
from glassformer.runs.checkpoints import latest_checkpoint
from glassformer.scaling.noise_scale import read_noise_scale
from glassformer.scoring.likelihood import evaluate, model_loss
from glassformer.tasks.opening import average
from glassformer.training import session
from glassformer.training.progress import Progress

LENGTHS = {
    "one word or twenty": [1] * 6 + [20] * 4,
    "even": [1, 3, 5, 7, 9, 11, 13, 15],
    "one long sentence": [2] * 29 + [30],
    "all equal": [8],
    "two lengths": [4, 12],
}


@pytest.fixture(params=LENGTHS.values(), ids=LENGTHS.keys())
def unequal(request, configure, tmp_path):
    """A run on pairs of these lengths, batches of four pairs: their numbers of target tokens differ."""
    words, lines = ["one", "two", "three", "four", "five"], []
    for number in range(120):
        length = request.param[number % len(request.param)]
        sentence = [words[(number * 7 + i * i + 3 * i) % 5] for i in range(length)] + [words[number % 5]]
        lines.append(" ".join(sentence) + "\t" + " ".join(reversed(sentence)) + "\n")
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(lines))
    changes = {
        "data.source": str(path),
        "data.max_length": 48,
        "model.max_seq_len": 48,
        "model.d_model": 8,
        "training.batch_tokens": "none",
        "training.batch_size": 4,
        "training.label_smoothing": 0.1,
        "training.max_steps": 13,
    }
    return configure(changes, base="transformer-small")


def with_every_step(config, **changes):
    return config.override({"training.telemetry.log_every": 1, **changes})


def train_records(trainer):
    return [record for record in trainer.run.metrics() if record["kind"] == "train"]


def test_a_record_is_the_mean_over_the_tokens_of_its_steps(runs, unequal):
    steps = train_records(runs.train(with_every_step(unequal)))
    tokens = np.diff([record["tokens"] for record in steps], prepend=0)
    for every in (5, 13):
        trainer = runs.train(unequal.override({"training.telemetry.log_every": every}))
        start = 0
        for record in train_records(trainer):
            window = slice(start, record["step"])
            for name in ("loss", "objective"):
                losses = [each[name] for each in steps[window]]
                assert record[name] == pytest.approx(np.average(losses, weights=tokens[window]), rel=1e-6), name
            bytes_per_token = trainer.samples.bytes_per_token("train")
            assert record["bits_per_byte"] == pytest.approx(record["loss"] / math.log(2) / bytes_per_token)
            start = record["step"]
        assert start == 13


def test_a_resumed_run_has_the_same_means(runs, unequal, resume, assert_same_end):
    whole = runs.train(unequal)
    resumed, _ = resume(runs.train_until(unequal, 7).run)
    assert_same_end(resumed, whole)


def test_the_validation_loss_is_the_mean_over_its_tokens_however_it_is_cut(runs, unequal):
    trainer = runs.start(unequal)
    model = trainer.model.eval()
    found = []
    for micro_batch in (64, 200, 10_000):
        batches = list(trainer.samples.validation(micro_batch))
        with torch.no_grad():
            nats = [float(model_loss(model, batch)) for batch in batches]
        total = sum(batch.n_tokens for batch in batches)
        result = evaluate(model, batches)
        assert result.n_tokens == total
        assert result.loss == pytest.approx(sum(nats) / total, rel=1e-6)
        found.append(result.loss)
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)


@pytest.mark.parametrize(
    ("loss_sum", "objective_sum", "count", "tokens"),
    [(0.0, 0.0, 0, 48), (4.5, 4.5, 3, 48), (7.0, 8.0, 2, 17.5), (3.25, 3.5, 1, 1), (90.0, 95.0, 40, 1234.5)],
)
def test_a_checkpoint_with_means_of_batches_resumes_with_equal_batches(loss_sum, objective_sum, count, tokens):
    state = {"step": 50, "tokens": 5000, "seconds": 2.5, "best_loss": 1.5, "since_best": 1}
    old = state | {"loss_sum": loss_sum, "objective_sum": objective_sum, "loss_count": count}
    progress = Progress.from_state(json.loads(json.dumps(old)), tokens)
    assert (progress.step, progress.tokens, progress.best_loss, progress.since_best) == (50, 5000, 1.5, 1)
    assert progress.token_sum == round(count * tokens)
    if count:
        assert progress.nll_sum / (count * tokens) == pytest.approx(loss_sum / count)
        assert progress.objective_sum / (count * tokens) == pytest.approx(objective_sum / count)
    assert Progress.from_state(json.loads(json.dumps(vars(progress))), 99) == progress


def test_a_run_whose_checkpoint_is_of_an_earlier_version_continues(runs, configure, resume, tmp_path, monkeypatch):
    config = configure()  # every batch has 48 tokens
    whole = runs.train(config)
    stopped = runs.train_until(config, 7)
    checkpoint, _ = latest_checkpoint(stopped.run.checkpoints)
    progress = dict(checkpoint.state["progress"])
    nats, tokens = progress.pop("nll_sum"), progress.pop("token_sum")
    progress |= {"loss_sum": nats / 48, "objective_sum": progress["objective_sum"] / 48, "loss_count": tokens // 48}
    monkeypatch.setitem(checkpoint.state, "progress", progress)
    trainer, _ = session.resume(stopped.run)
    trainer.restore(checkpoint)
    trainer.train()
    for record, expected in zip(train_records(trainer), train_records(whole), strict=True):
        assert record["loss"] == pytest.approx(expected["loss"], rel=1e-6)


@pytest.mark.parametrize("tokens", [[1, 9, 1, 9], [5, 5, 5, 5], [1, 1, 1, 1000], [7, 1, 300, 2], [2, 4, 8, 16]])
def test_a_smoothed_curve_counts_each_token_once(tokens):
    losses = [0.5, 3.0, 0.25, 2.0]
    repeat = 60
    weights = np.array(tokens * repeat, dtype=np.float64)
    ends = np.cumsum(weights).astype(int).tolist()
    values = np.array(losses * repeat)
    records = [
        {"kind": "train", "step": step, "loss": loss, "tokens": end}
        for step, (loss, end) in enumerate(zip(values.tolist(), ends, strict=True), start=1)
    ]
    assert tokens_of(records).tolist() == weights.tolist()
    line = smoothed(values, tokens_of(records))
    for at in (0, 1, 100, 239):
        reach = min(2, at, len(values) - 1 - at) if at < 2 else 2
        window = slice(at - reach, min(at + reach, len(values) - 1) + 1)
        assert line[at] == pytest.approx(np.average(values[window], weights=weights[window]))


def test_a_loss_that_is_not_finite_takes_its_tokens_with_it():
    records = [
        {"kind": "train", "step": 1, "loss": 2.0, "tokens": 10},
        {"kind": "train", "step": 2, "loss": math.inf, "tokens": 110},
        {"kind": "train", "step": 3, "loss": 1.0, "tokens": 115},
    ]
    assert tokens_of(records).tolist() == [10, 5]
    without = [{"kind": "train", "step": 1, "loss": 2.0}, {"kind": "train", "step": 2, "loss": 1.0}]
    assert tokens_of(without).tolist() == [1, 1]


def test_the_loss_beside_a_noise_scale_is_the_mean_over_the_tokens():
    noise = {"kind": "noise_scale", "tokens": 10, "sequences": 2, "squared_norm": 1.0, "trace": 4.0}
    records = [
        {"kind": "train", "step": 1, "loss": 9.0, "tokens": 1},
        noise | {"step": 2},
        {"kind": "train", "step": 2, "loss": 3.0, "tokens": 11},
        {"kind": "train", "step": 3, "loss": 1.0, "tokens": 111},
        noise | {"step": 4},
    ]
    (stage,) = read_noise_scale(records, draws=50).stages
    assert stage.loss == pytest.approx((3.0 * 10 + 1.0 * 100) / 110)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
def test_an_average_of_checkpoints_is_the_plain_mean_of_each_weight(n):
    generator = torch.Generator().manual_seed(n)
    weights = [
        {
            "w": torch.randn(3, 2, generator=generator),
            "alpha": torch.randn((), generator=generator),
            "count": torch.tensor(i),
            "mask": torch.tensor([i % 2 == 0, True]),
        }
        for i in range(n)
    ]
    found = average(weights)
    for name in ("w", "alpha"):
        plain = sum(each[name].double() for each in weights) / n
        assert torch.allclose(found[name].double(), plain, atol=1e-6)
        assert found[name].dtype == torch.float32
    assert torch.equal(found["count"], weights[-1]["count"])
    assert torch.equal(found["mask"], weights[-1]["mask"])
