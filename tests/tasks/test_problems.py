"""The one loop trains on tasks whose right answers are known: accuracy beside the loss, and nothing else different."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from seals import unsealed

from glassformer.data.batches import IGNORE
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tokenizer import SymbolTokenizer
from glassformer.errors import ConfigError, RunError
from glassformer.generation import SamplingConfig, generate
from glassformer.models.presets import preset
from glassformer.scoring.likelihood import count_right, evaluate, model_loss
from glassformer.tasks import opening
from glassformer.tasks.open_run import open_model
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.run_data import OtherDataError
from glassformer.training import session

SMALL = {
    "model.d_model": 32,
    "model.n_layers": 2,
    "model.max_seq_len": 20,
    "model.attention.n_heads": 2,
    "training.batch_size": 32,
    "training.max_steps": 12,
    "training.compile": "off",
    "training.schedule.warmup_steps": 10,
    "training.optimizer.learning_rate": 5e-3,
    "training.telemetry.log_every": 5,
    "training.telemetry.validate_every": 4,
    "training.telemetry.gradients_every": 6,
    "training.checkpoints.every": 3,
    "data.length": 4,
    "data.vocab_size": 8,
}


def on_task(kind="copy", changes=None) -> RunConfig:
    model = preset("nanogpt-shakespeare-cpu").model
    return RunConfig(model=model, data=SyntheticConfig(kind=kind)).override(SMALL | (changes or {}))


def validations(trainer) -> list[dict]:
    return [record for record in trainer.run.metrics() if record["kind"] == "validation"]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A small model that was trained to copy for 150 steps, by the clock a second or two."""
    changes = {"training.max_steps": 150, "training.telemetry.validate_every": 50, "training.checkpoints.every": 150}
    root = tmp_path_factory.mktemp("runs")
    trainer = session.start(on_task("copy", changes), root=root, name="copy", command=["test"])
    trainer.train()
    return trainer


def test_a_tiny_model_learns_to_copy_problems_that_it_never_saw(learned):
    before, *_, after = validations(learned)
    assert before["accuracy"] < 0.3
    assert before["exact"] < 0.05
    assert after["accuracy"] > 0.98
    assert after["exact"] > 0.95
    assert after["exact"] <= after["accuracy"]


def test_what_is_told_right_is_what_greedy_decoding_gets_right(learned):
    model = opening.build_model(learned.config)  # as it was before training, when few answers are right
    data = learned.samples.data
    chosen = data.fresh(200, length=4)
    for each in (learned.model.eval(), model.eval()):
        told = evaluate(each, data.batches(chosen, batch_size=32), accuracy=True)
        prompts = [row[:5].tolist() for row in chosen.tokens]
        written = generate(each, prompts, SamplingConfig(max_new_tokens=4, temperature=0.0))
        right = [list(out.tokens) == row[5:].tolist() for out, row in zip(written, chosen.tokens, strict=True)]
        assert told.exact == pytest.approx(sum(right) / 200)
    assert sum(right) < 20, "and the starting weights' were few"


def test_the_loss_counts_the_answer_s_tokens_alone(learned):
    batch = learned.samples.batch(0)
    model = opening.build_model(learned.config).eval()
    log_p = model(batch.inputs).log_softmax(-1)
    expected = -sum(log_p[row, place, batch.targets[row, place]].item() for row in range(32) for place in range(4, 8))
    assert (batch.targets[:, :4] == IGNORE).all()
    assert batch.n_tokens == 32 * 4
    assert model_loss(model, batch).item() == pytest.approx(expected, rel=1e-5)
    tokens = [record["tokens"] for record in learned.run.metrics() if record["kind"] == "train"]
    assert tokens[-1] == 150 * 32 * 4


def test_right_answers_are_counted_where_something_counts():
    targets = torch.tensor([[IGNORE, 2, 1], [IGNORE, IGNORE, 0], [0, 1, 2], [IGNORE] * 3])
    logits = torch.zeros(4, 3, 3)
    for row, place, token in [(0, 1, 2), (0, 2, 1), (1, 2, 2), (2, 0, 0), (2, 1, 1), (2, 2, 0), (1, 0, 1), (3, 0, 1)]:
        logits[row, place, token] = 1.0
    assert count_right(logits, targets) == (4, 2), "the row without targets has none that is wrong"


def test_accuracy_is_told_only_where_there_is_a_right_answer(runs, configure, learned):
    of_text = runs.train(configure({"training.max_steps": 1}))
    assert all("accuracy" not in record for record in validations(of_text))
    plain = evaluate(learned.model, learned.samples.validation(1_000))
    assert (plain.accuracy, plain.exact) == (None, None)


def test_validation_is_the_same_whatever_the_micro_batch(learned):
    small, large = (evaluate(learned.model, learned.samples.validation(n), accuracy=True) for n in (9, 10_000))
    assert small.n_tokens == large.n_tokens
    assert small.loss == pytest.approx(large.loss, rel=1e-5)
    assert (small.accuracy, small.exact) == (large.accuracy, large.exact)


def test_the_model_s_vocabulary_is_the_task_s_and_its_tokenizer_is_kept(learned):
    assert learned.config.model.vocab_size == 9
    opened = open_model(learned.run, "latest")
    assert isinstance(opened.tokenizer, SymbolTokenizer)
    prompt = opened.tokenizer.encode("d a c a |").tolist()
    (answer,) = generate(opened.model, [prompt], SamplingConfig(max_new_tokens=4, temperature=0.0))
    assert opened.tokenizer.decode(answer.tokens) == "daca"


def test_floating_point_operations_count_the_prompt_too(learned):
    per_answer_token = learned.samples.seq_len / 4
    assert learned.samples.seq_len == 8
    assert learned.samples.positions_per_token == per_answer_token == 2.0


def test_what_the_task_is_stands_in_the_run_s_record(learned):
    (event,) = [event for event in learned.run.events() if event["event"] == "data"]
    assert event["fingerprint"] == learned.samples.fingerprint
    assert event["problems"] == {"validation": len(learned.samples.data.validation)}
    assert session.entropies(learned.run) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data.kind": "sort", "data.min_length": 1, "model.dropout": 0.2},
        {"data.kind": "associative-recall", "training.micro_batch_size": 8},
        {"data.kind": "selective-copy", "training.optimizer.kind": "muon"},
    ],
    ids=["copy", "sort, many lengths", "recall in micro-batches", "selective copy"],
)
def test_a_stopped_run_ends_as_one_that_was_not(runs, resume, assert_same_end, changes):
    config = on_task(changes=changes)
    whole = runs.train(config)
    stopped = runs.train_until(config, 7)
    assert stopped.progress.step == 7
    again, warnings = resume(stopped.run)
    assert not warnings
    again_records = [record for record in again.run.metrics() if record["kind"] == "validation"]
    assert [record["accuracy"] for record in again_records] == [record["accuracy"] for record in validations(whole)]
    assert all(torch.equal(weight, whole.tensors()["model"][name]) for name, weight in again.tensors()["model"].items())
    assert_same_end(again, whole)


def test_runs_of_one_seed_see_the_same_problems_and_of_another_others(runs):
    first, second, third = (runs.start(on_task(changes={"training.seed": seed})) for seed in (1, 1, 2))
    assert torch.equal(first.samples.batch(5).inputs, second.samples.batch(5).inputs)
    assert not torch.equal(first.samples.batch(5).inputs, third.samples.batch(5).inputs)
    assert first.samples.fingerprint == third.samples.fingerprint, "and are validated on the same"


def test_a_checkpoint_of_another_task_is_refused(runs):
    trained = runs.train(on_task(changes={"training.max_steps": 3}))
    config = Path(trained.run.path) / "config.json"
    config.write_text(config.read_text().replace('"kind": "copy"', '"kind": "sort"'))
    with pytest.raises(RunError, match=r"config\.json has changed"):
        session.resume(type(trained.run).open(trained.run.path))
    unsealed(trained.run.path, trained.run.path)
    with pytest.raises(OtherDataError, match="not those that it was trained on"):
        session.resume(type(trained.run).open(trained.run.path))


def test_a_small_task_says_how_few_problems_it_is_validated_on(runs):
    trainer = runs.start(on_task("addition", {"data.length": 1, "data.vocab_size": 16}))
    (note,) = trainer.samples.notes
    assert f"{len(trainer.samples.data.validation)} different problems" in note


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.length": 11}, r"copy of length 11 takes 22 positions.*length 20: set model.max_seq_len=22"),
        ({"training.seq_len": 8}, "training.seq_len has no effect"),
        ({"training.batch_tokens": 100}, "training.batch_tokens is for sentence pairs"),
        ({"training.max_epochs": 1.0}, "training.max_epochs has no effect"),
        ({"model.n_encoder_layers": 1}, "learns from sentence pairs"),
        ({"data.kind": "associative-recall", "data.length": 5}, "5 pairs needs as many different keys"),
    ],
)
def test_settings_that_cannot_work_together_are_refused_before_there_is_a_run(runs, changes, message):
    with pytest.raises(ConfigError, match=message):
        runs.start(on_task(changes=changes))
    assert not runs.root.exists()


def test_all_of_them_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        on_task(changes={"data.length": 11, "training.seq_len": 8, "training.max_epochs": 1.0})
    assert len(caught.value.complaints) == 3


def test_a_run_s_configuration_is_read_back(learned):
    assert opening.run_config(learned.run) == learned.config
    assert learned.config.seq_len == learned.config.data.n_positions == 8
    assert math.isinf(learned.samples.steps_per_epoch)
