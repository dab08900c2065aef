"""Promise 3: a run that was stopped, however it was, ends as one that was not, bit for bit."""

from __future__ import annotations

import json

import pytest

from glassformer.errors import CheckpointError
from glassformer.runs.checkpoints import latest_checkpoint, list_checkpoints, open_checkpoint
from glassformer.runs.folder import Run
from glassformer.tasks.run_data import OtherDataError
from glassformer.training import session

RANDOM_BLOCKS = {
    "model.attention.pattern": "bigbird",
    "model.attention.block_size": 1,
    "model.attention.window_blocks": 1,
    "model.attention.global_blocks": 1,
    "model.attention.random_blocks": 1,
}
CONFIGURATIONS = {
    "plain": {},
    "dropout": {"model.dropout": 0.2, "model.attention.dropout": 0.1},
    "micro-batches with dropout": {"training.micro_batch_size": 2, "model.dropout": 0.2},
    "muon": {"training.optimizer.kind": "muon"},
    "adam": {"training.optimizer.kind": "adam"},
    "sgd": {"training.optimizer.kind": "sgd"},
    "bf16": {"training.precision": "bf16"},
    "batch norm": {"model.norm.kind": "batchnorm"},
    "windows": {"model.attention.pattern": "window", "model.attention.windows": [2, 3]},
    "random blocks with dropout": RANDOM_BLOCKS | {"model.attention.dropout": 0.1},
    "random blocks in bf16": RANDOM_BLOCKS | {"training.precision": "bf16"},
    "noam": {"training.schedule.kind": "noam"},
    "warm-up, stable, decay": {"training.schedule.kind": "wsd"},
    "tokens as the budget": {"training.max_steps": "none", "training.max_tokens": 12 * 4 * 12 - 5},
    "no validation between": {"training.telemetry.validate_every": 100},
    "checkpoints at the end only": {"training.checkpoints.every": "none"},
}


@pytest.mark.parametrize("changes", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_resumed_equals_uninterrupted(runs, configure, resume, assert_same_end, changes):
    whole = runs.train(configure(changes))
    stopped = runs.train_until(configure(changes), 7)  # between two logs, two checkpoints and two validations
    assert stopped.progress.step == 7
    resumed, warnings = resume(stopped.run)
    assert warnings == []
    assert whole.progress.step == 12
    assert_same_end(resumed, whole)


PAIRS = {
    "plain": {},
    "with dropout": {"model.dropout": 0.3, "model.attention.dropout": 0.1},
    "sentences as the limit": {"training.batch_tokens": "none"},
    "separate vocabularies": {"data.joint": False, "model.embedding.source": "own"},
    "noam, no smoothing": {"training.schedule.kind": "noam", "training.label_smoothing": 0.0},
    "bf16": {"training.precision": "bf16"},
    "epochs as the budget": {"training.max_steps": "none", "training.max_epochs": 0.25},
}


def translator_cases():
    """Every change to one preset, and the plain and the bf16 run of the other; the rest of that one is slow."""
    slow = pytest.mark.slow(reason="trains three times; the change is tried with transformer-tiny")
    for base in ("transformer-small", "transformer-tiny"):
        for name, changes in PAIRS.items():
            quick = base == "transformer-tiny" or name in ("plain", "bf16")
            yield pytest.param(base, changes, id=f"{base}-{name}", marks=[] if quick else [slow])


@pytest.mark.parametrize(("base", "changes"), [*translator_cases()])
def test_a_resumed_translator_equals_an_uninterrupted_one(runs, configure, resume, assert_same_end, base, changes):
    config = configure(changes, base=base)
    whole = runs.train(config)
    resumed, warnings = resume(runs.train_until(config, 7).run)
    assert warnings == []
    assert whole.progress.step > 7
    assert_same_end(resumed, whole)


MASKED = {
    "plain": {},
    "with dropout": {"model.dropout": 0.3, "model.attention.dropout": 0.1},
    "whole words, all masked": {"data.masking.whole_words": True, "data.masking.mask": 1, "data.masking.random": 0},
}


@pytest.mark.parametrize("changes", MASKED.values(), ids=MASKED)
def test_a_resumed_masked_language_model_equals_an_uninterrupted_one(runs, configure, resume, assert_same_end, changes):
    config = configure(changes, base="masked-small")
    whole = runs.train(config)
    resumed, warnings = resume(runs.train_until(config, 7).run)
    assert warnings == []
    assert whole.progress.step > 7
    assert_same_end(resumed, whole)


@pytest.mark.parametrize("step", range(1, 12))
def test_resumed_equals_uninterrupted_wherever_it_was_stopped(runs, configure, resume, assert_same_end, step):
    config = configure({"model.dropout": 0.1})
    whole = runs.train(config)
    resumed, _ = resume(runs.train_until(config, step).run)
    assert_same_end(resumed, whole)


def test_a_run_stopped_at_every_step_equals_one_that_never_was(runs, configure, resume, assert_same_end, stop):
    config = configure({"model.norm.kind": "batchnorm", "training.optimizer.kind": "muon", "model.dropout": 0.1})
    whole = runs.train(config)
    trainer = runs.train_until(config, 1)
    for step in range(2, 12):
        trainer, _ = session.resume(trainer.run)
        stop(trainer, step)
        assert trainer.train().interrupted
    resumed, _ = resume(trainer.run)
    assert_same_end(resumed, whole)


@pytest.mark.slow(reason="compiles with the C++ compiler")
@pytest.mark.parametrize("changes", [{}, {"model.dropout": 0.2}, {"model.norm.kind": "batchnorm"}], ids=str)
def test_resumed_equals_uninterrupted_when_compiled(runs, configure, resume, assert_same_end, changes):
    config = configure(changes | {"training.compile": "on"})
    whole = runs.train(config)
    resumed, _ = resume(runs.train_until(config, 7).run)
    assert resumed.execution.compile
    assert_same_end(resumed, whole)


def test_a_run_without_a_checkpoint_starts_again_from_its_beginning(runs, configure, resume, assert_same_end):
    config = configure()
    whole = runs.train(config)
    killed = runs.start(config)

    def die(record):
        if record.get("kind") == "train":
            raise ZeroDivisionError

    killed.observers = [die]
    killed.config = config.override({"training.checkpoints.every": None})
    killed._save = lambda **_: None
    with pytest.raises(ZeroDivisionError):
        killed.train()
    assert list_checkpoints(killed.run.checkpoints) == []
    resumed, _ = resume(killed.run)
    assert_same_end(resumed, whole)


def test_a_run_killed_while_its_folder_was_filled_gets_what_it_lacks(runs, configure, resume, assert_same_end):
    config = configure()
    whole = runs.train(config)
    run = runs.start(config).run
    run.metrics_path.write_bytes(b"")
    for file in run.tokenizer.iterdir():
        file.unlink()
    resumed, _ = resume(run)
    assert_same_end(resumed, whole)
    assert session.entropies(run) == session.entropies(whole.run) != {}
    assert [file.name for file in run.tokenizer.iterdir()] == ["tokenizer.json"]


def damage(checkpoint):
    file = checkpoint / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_a_damaged_newest_checkpoint_falls_back_says_so_and_ends_the_same(runs, configure, resume, assert_same_end):
    config = configure({"training.telemetry.validate_every": 100})
    whole = runs.train(config)
    stopped = runs.train_until(config, 7)
    damage(list_checkpoints(stopped.run.checkpoints)[-1])
    resumed, warnings = resume(stopped.run)
    assert len(warnings) == 1
    assert "step-00000007 is damaged" in warnings[0]
    assert warnings[0].endswith("Went back to step-00000006.")
    assert_same_end(resumed, whole)


def test_a_run_that_began_with_other_code_warns_when_it_is_resumed(configure, runs, resume):
    stopped = runs.train_until(configure(), 2)
    path = stopped.run.path / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": "0" * 64}))
    _, (warning,) = resume(stopped.run)
    assert warning.startswith("this run began with other code of glassformer (source 000000000000, now")


def test_with_every_checkpoint_damaged_nothing_is_resumed(runs, configure):
    stopped = runs.train_until(configure(), 7)
    for checkpoint in list_checkpoints(stopped.run.checkpoints):
        damage(checkpoint)
    with pytest.raises(CheckpointError, match="No checkpoint in .* can be used"):
        session.resume(stopped.run)


def test_a_finished_run_makes_no_further_update(runs, configure, resume, assert_same_end):
    whole = runs.train(configure())
    before = whole.run.metrics()
    again, _ = resume(whole.run)
    assert again.ended() == "finished"
    assert_same_end(again, whole)
    assert again.run.metrics() == before


def test_patience_survives_a_stop(runs, configure, resume, assert_same_end):
    config = configure(
        {
            "training.optimizer.learning_rate": 0.3,  # far too much: the loss gets worse
            "training.schedule.warmup_steps": 0,
            "training.telemetry.validate_every": 1,
            "training.patience": 3,
            "training.max_steps": 200,
        }
    )
    whole = runs.train(config)
    assert whole.ended() == "stopped early"
    assert whole.progress.since_best == 3
    end = whole.progress.step
    resumed, _ = resume(runs.train_until(config, end - 1).run)  # one validation before patience ends
    assert_same_end(resumed, whole)
    again, _ = session.resume(resumed.run)
    assert again.train().reason == "stopped early"
    assert again.progress.step == end


def test_the_best_checkpoint_is_the_one_of_the_lowest_validation_loss_and_outlives_pruning(runs, configure):
    config = configure(
        {
            "training.optimizer.learning_rate": 0.3,  # far too much: the loss goes up and down
            "training.schedule.kind": "constant",
            "training.schedule.warmup_steps": 0,
            "training.telemetry.validate_every": 1,
            "training.checkpoints.every": 1,
            "training.checkpoints.keep_last": 1,
            "training.max_steps": 25,
        }
    )

    def validations(trainer):
        return [record for record in trainer.run.metrics() if record["kind"] == "validation" and record["step"]]

    # a run that ends with a step that is not its best: with a constant rate, its steps are those of the longer run
    end = [record["step"] for record in validations(runs.train(config)) if not record["best"]][-1]
    trainer = runs.train(config.override({"training.max_steps": end}))
    best = min(validations(trainer), key=lambda record: record["loss"])
    assert best["best"]
    checkpoint, _ = open_checkpoint(trainer.run.checkpoints, "best")
    assert (checkpoint.step, checkpoint.is_best) == (best["step"], True)
    assert trainer.progress.best_loss == best["loss"]
    kept = [path.name for path in list_checkpoints(trainer.run.checkpoints)]
    assert kept == [f"step-{best['step']:08d}", f"step-{end:08d}"]


def test_a_resumed_run_takes_the_recorded_path(runs, configure, monkeypatch):
    stopped = runs.train_until(configure({"training.micro_batch_size": "none"}), 7)
    recorded = stopped.execution
    monkeypatch.setattr("glassformer.training.execution.CACHE_SIZED", 1)  # would choose micro-batches of 1 now
    trainer, _ = session.resume(stopped.run)
    assert trainer.execution == recorded
    chosen_now = session.choose(trainer.config, trainer.samples)
    assert chosen_now.micro_batch_tokens == trainer.config.seq_len != recorded.micro_batch_tokens
    trainer.train()
    starts = [event["acceleration"] for event in trainer.run.events() if event["event"] == "start"]
    assert len(starts) == 2
    assert starts[0] == starts[1] == recorded.to_dict()
    assert all(starts[0]["reasons"])


def test_a_run_refuses_other_data_than_it_was_trained_on(runs, configure, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("abcdefgh" * 100)
    stopped = runs.train_until(configure({"data.source": str(own)}), 5)
    own.write_text("hgfedcba" * 100)
    with pytest.raises(OtherDataError, match=r"not those that it was trained on.*800 bytes"):
        session.resume(stopped.run)
    own.write_text("abcd" * 100)
    with pytest.raises(OtherDataError, match=r"not those that it was trained on.*400 bytes"):
        session.resume(stopped.run)


def test_checkpoints_hold_the_state_of_their_step_and_nothing_later(runs, configure):
    trainer = runs.train(configure({"model.norm.kind": "batchnorm"}))
    newest, warnings = latest_checkpoint(trainer.run.checkpoints)
    assert (newest.step, warnings) == (12, [])
    assert newest.state["progress"]["step"] == 12
    assert any(name.endswith("running_mean") for name in newest.tensors["model"])
    assert Run.open(trainer.run.path).config == trainer.config.to_dict()
