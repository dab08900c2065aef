"""The one loop trains translators too: on sentence pairs of many lengths, with smoothed labels and honest numbers."""

from __future__ import annotations

import math

import pytest
import torch

from glassformer.data.batches import IGNORE
from glassformer.errors import CheckpointError, ConfigError, RunError, TrainingError
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.runs.checkpoints import list_checkpoints
from glassformer.scoring.likelihood import evaluate, model_loss
from glassformer.tasks import opening
from glassformer.tasks.open_run import open_model, open_translator
from glassformer.tasks.opening import average, read_weights
from glassformer.training import session


@pytest.fixture(scope="module")
def trained(tmp_path_factory, configure):
    """A small translator that was trained for 12 steps, its last four checkpoints kept."""
    config = configure(
        {"training.checkpoints.every": 3, "training.checkpoints.keep_last": 4, "training.telemetry.log_every": 1},
        base="transformer-small",
    )
    trainer = session.start(config, root=tmp_path_factory.mktemp("runs"), name="pairs", command=["test"])
    trainer.train()
    return trainer


def of_kind(trainer, kind):
    return [record for record in trainer.run.metrics() if record.get("kind") == kind]


def test_a_translator_learns_to_reverse(runs, configure):
    changes = {
        "model.d_model": 32,
        "model.dropout": 0.0,
        "training.batch_tokens": 200,
        "training.max_steps": 150,
        "training.schedule.warmup_steps": 20,
        "training.optimizer.learning_rate": 5e-3,
        "training.telemetry.validate_every": 1000,
    }
    trainer = runs.train(configure(changes, base="transformer-small"))
    before, *_, after = of_kind(trainer, "validation")
    assert before["loss"] > 2.0
    assert after["loss"] < 1.6 < math.log(7), "seven words: without the source it could not be lower"


def test_the_loss_that_is_told_is_the_plain_one_and_the_smoothed_one_stands_beside_it(trained):
    assert trained.config.training.label_smoothing == 0.1
    first = of_kind(trained, "train")[0]
    batch = trained.samples.batch(0)
    model = opening.build_model(trained.config).train()  # as it was before the first update, with the same dropout
    torch.manual_seed(0)
    assert first["objective"] != first["loss"]
    nll = model_loss(model.eval(), batch).item() / batch.n_tokens
    assert first["loss"] == pytest.approx(nll, rel=0.1), "but for dropout"


def test_without_smoothing_there_is_one_loss(runs, configure):
    trainer = runs.train(
        configure({"training.label_smoothing": 0.0, "training.max_steps": 2}, base="transformer-small")
    )
    assert all("objective" not in record for record in of_kind(trainer, "train"))


def test_tokens_are_counted_as_they_were_predicted(trained):
    counted = [int((trained.samples.batch(step).targets != IGNORE).sum()) for step in range(12)]
    told = [record["tokens"] for record in of_kind(trained, "train")]
    assert told == [sum(counted[: step + 1]) for step in range(12)]
    assert len(set(counted)) > 1, "batches of pairs differ in size"


def test_padding_never_changes_loss_or_gradient(trained):
    model = EncoderDecoder(trained.config.model).eval()
    batch = trained.samples.batch(3)
    together = model_loss(model, batch)
    together.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    alone = 0.0
    for row in range(len(batch.indices)):
        single = batch.rows(row, row + 1)
        source, target = int((~single.source_padding).sum()), single.n_tokens
        loss = model(single.source[:, :source], single.inputs[:, :target]).log_softmax(-1)
        loss = -loss.gather(-1, single.targets[:, :target, None]).sum()
        loss.backward()
        alone += loss.item()
    assert together.item() == pytest.approx(alone, rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5)


def test_what_the_pairs_are_is_kept_with_the_run(trained):
    (event,) = [event for event in trained.run.events() if event["event"] == "data"]
    assert event["pairs"]["train"] + event["pairs"]["validation"] == 400
    assert 0 <= event["padding_share"] < 0.5
    assert event["steps_per_epoch"] == trained.samples.steps_per_epoch


def test_validation_is_the_same_whatever_the_micro_batch(trained):
    small, large = (evaluate(trained.model, trained.samples.validation(tokens)) for tokens in (20, 4_000))
    assert small.n_tokens == large.n_tokens
    assert small.loss == pytest.approx(large.loss, rel=1e-5)


def test_an_epoch_budget_ends_after_as_many_batches_as_an_epoch_has(runs, configure):
    changes = {"training.max_steps": "none", "training.max_epochs": 0.2, "model.n_layers": 1}
    trainer = runs.train(configure(changes, base="transformer-small"))
    assert trainer.progress.step == math.ceil(0.2 * trainer.samples.steps_per_epoch)


def test_an_average_is_the_mean_of_the_newest_checkpoints(trained):
    averaged, step, _ = read_weights(trained.run, "average-3")
    steps = [int(path.name.removeprefix("step-")) for path in list_checkpoints(trained.run.checkpoints)[-3:]]
    each = [read_weights(trained.run, at)[0] for at in steps]
    assert step == 12
    for name, weight in averaged.items():
        torch.testing.assert_close(weight, sum(one[name] for one in each) / 3)
    opened = open_translator(trained.run, "average-3")
    assert all(torch.equal(weight, averaged[name]) for name, weight in opened.model.named_weights().items())
    assert all(torch.equal(weight, each[0][name]) for name, weight in average([each[0]]).items())


@pytest.mark.parametrize(
    ("which", "message"),
    [("average-99", "asks for 99"), ("average-0", "written average-N"), ("average-x", "written average-N")],
)
def test_an_average_that_cannot_be_is_refused(trained, which, message):
    with pytest.raises(CheckpointError, match=message):
        open_translator(trained.run, which)


def test_a_run_of_the_other_family_is_refused(trained, runs, configure):
    with pytest.raises(RunError, match="is a translator"):
        open_model(trained.run)
    with pytest.raises(RunError, match="is a language model"):
        open_translator(runs.train(configure({"training.max_steps": 1})).run)


def test_a_loss_that_is_not_finite_names_the_pairs(runs, configure):
    trainer = runs.start(configure(base="transformer-tiny"))
    weight = dict(trainer.model.named_parameters())["decoder.blocks.1.cross_attention.w_q.weight"]
    weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match="gradient of step 0 is not finite") as caught:
        trainer.train()
    assert "decoder.blocks.1.cross_attention.w_q.weight" in str(caught.value)
    assert str(trainer.samples.batch(0).indices[0]) in str(caught.value)


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        ("transformer-small", {"training.seq_len": 8}, "lengths"),
        ("transformer-small", {"training.micro_batch_size": 2}, "micro_batch_size has no effect"),
        ("transformer-small", {"data.max_length": 400}, "data.max_length is 400"),
        ("transformer-small", {"data.joint": False}, "set model.embedding.source=own"),
        ("transformer-small", {"model.n_encoder_layers": "none"}, "trains an encoder-decoder model"),
        ("nanogpt-shakespeare-cpu", {"training.batch_tokens": 100}, "batch_tokens is for sentence pairs"),
        ("nanogpt-shakespeare-cpu", {"model.n_encoder_layers": 2}, "learns from sentence pairs"),
    ],
)
def test_settings_that_cannot_work_together_are_refused_before_there_is_a_run(runs, configure, base, changes, message):
    with pytest.raises(ConfigError, match=message):
        runs.start(configure(changes, base=base))
    assert not runs.root.exists()
