"""Settings that can hardly be meant are said at a run's start: printed, recorded, and told before a study."""

from __future__ import annotations

import pytest

from glassformer.errors import ConfigError
from glassformer.models.presets import preset, preset_names
from glassformer.runs.checkpoints import list_checkpoints
from glassformer.runs.manifest import step_of
from glassformer.tasks.registry import prepare_samples
from glassformer.tasks.run_config import RunConfig
from glassformer.training.budgets import budget_ends, total_steps
from glassformer.training.effects import check_effects, without_effect
from glassformer.training.recipes import configuration
from glassformer.training.schedules import factor
from glassformer.training.start_warnings import start_warnings

NOAM = {"training.schedule.kind": "noam"}
TEXT = "nanogpt-shakespeare-cpu"
PAIRS = "transformer-small"

QUESTIONABLE = {
    "noam with a peak for a factor": (TEXT, NOAM, "times below the paper's"),
    "noam with a low factor": (TEXT, NOAM | {"training.optimizer.learning_rate": 0.01}, "learning_rate=1,"),
    "noam on pairs": (PAIRS, NOAM | {"training.optimizer.learning_rate": 1e-3}, "learning_rate=1,"),
    "the paper's factor as a peak": (TEXT, {"training.optimizer.learning_rate": 1.0}, "is the peak itself"),
    "a warm-up longer than the run": (TEXT, {"training.schedule.warmup_steps": 13}, "longer than the run of 12 steps"),
    "a warm-up in the decay": (
        TEXT,
        {"training.schedule.kind": "wsd", "training.schedule.warmup_steps": 11},
        "never stable at its peak",
    ),
    "a cosine that ends at its peak": (TEXT, {"training.schedule.final_fraction": 1.0}, "never falls"),
    "no steps to decay in": (
        TEXT,
        {"training.schedule.kind": "wsd", "training.schedule.decay_fraction": 0.0},
        "no steps to decay in",
    ),
    "patience beyond the end": (TEXT, {"training.patience": 2}, "cannot stop this run early"),
    "patience with a single validation": (
        TEXT,
        {"training.patience": 1, "training.telemetry.validate_every": 100},
        "1 validation after",
    ),
    "validations after the end": (TEXT, {"training.telemetry.validate_every": 100}, "before the first update and"),
    "checkpoints kept after the end": (TEXT, {"training.checkpoints.keep_every": 13}, "keeps nothing"),
    "noise measured once": (TEXT, {"training.telemetry.noise_scale_every": 7}, "measures once"),
    "noise never measured": (TEXT, {"training.telemetry.noise_scale_every": 13}, "measures never"),
    "labels smoothed away": (TEXT, {"training.label_smoothing": 0.9}, "label_smoothing=0.9"),
    "a batch larger than the text": (TEXT, {"training.batch_size": 4_000}, "more than the"),
    "a batch larger than the pairs": (
        PAIRS,
        {"training.batch_size": 4_000, "training.batch_tokens": "none"},
        "every step takes all",
    ),
    "tokens of a batch beyond the pairs": (PAIRS, {"training.batch_tokens": 100_000}, "batch_tokens=100,000 is more"),
    "epochs that the default number of steps ends": (
        TEXT,
        {"training.max_steps": 2_000, "training.max_epochs": 900.0},
        "set training.max_steps=none",
    ),
    "no second moment": (
        TEXT,
        {"training.optimizer.kind": "sgd", "training.optimizer.beta2": 0.9},
        "beta2=0.9 has no effect",
    ),
    "an end that nothing decays to": (
        TEXT,
        {"training.schedule.kind": "constant", "training.schedule.final_fraction": 0.5},
        "final_fraction=0.5 has no effect",
    ),
    "a decay of another schedule": (TEXT, {"training.schedule.decay_fraction": 0.5}, "decay_fraction=0.5 has no"),
}


@pytest.mark.parametrize(("base", "changes", "words"), QUESTIONABLE.values(), ids=QUESTIONABLE.keys())
def test_a_setting_that_can_hardly_be_meant_is_said(configure, base, changes, words):
    config = configure({"training.schedule.kind": "cosine"} | changes, base=base)
    found = start_warnings(config, prepare_samples(config))
    assert len([warning for warning in found if words in warning]) == 1, found
    assert all("training." in warning or "wsd decays" in warning for warning in found)


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (TEXT, {}),
        (TEXT, NOAM | {"training.optimizer.learning_rate": 1.0}),
        (TEXT, {"training.patience": 1}),
        (TEXT, {"training.schedule.warmup_steps": 12}),
        (TEXT, {"training.checkpoints.keep_every": 5}),
        (TEXT, {"training.telemetry.noise_scale_every": 6}),
        (TEXT, {"training.optimizer.kind": "sgd", "training.optimizer.learning_rate": 0.5}),
        (TEXT, {"training.max_tokens": 48 * 5}),
        (PAIRS, {"training.label_smoothing": 0.1, "training.schedule.kind": "cosine", "training.batch_size": 32}),
        (PAIRS, {"training.batch_size": 4, "training.batch_tokens": "none", "training.schedule.kind": "cosine"}),
    ],
)
def test_a_sensible_run_warns_of_nothing(configure, base, changes):
    config = configure(changes, base=base)
    assert start_warnings(config, prepare_samples(config)) == []


def test_a_warning_is_recorded_once_and_a_resumed_run_does_not_repeat_it(runs, configure, resume):
    heard = []
    trainer = runs.start(configure(NOAM), heard.append)
    trainer.train()
    said = [event["message"] for event in trainer.run.events() if event["event"] == "warning"]
    assert said == start_warnings(trainer.config, trainer.samples)
    assert [record["message"] for record in heard if record.get("event") == "warning"] == said
    stopped = runs.train_until(configure(NOAM), 7)
    resume(stopped.run)
    assert [event["message"] for event in stopped.run.events() if event["event"] == "warning"] == said


def test_noam_peaks_where_the_warning_says(configure):
    config = configure(NOAM | {"training.schedule.warmup_steps": 5})
    (warning,) = start_warnings(config, prepare_samples(config))
    rate = config.training.optimizer.learning_rate
    peak = max(factor(config.training.schedule, step, 0.0, config.model.d_model) for step in range(50))
    assert f"{rate * peak:.1e}" in warning
    assert f"{peak:.1e}" in warning


@pytest.mark.parametrize(
    ("every", "keep_every", "kept"),
    [(3, 5, {5, 10, 12}), ("none", 4, {4, 8, 12}), (6, 4, {4, 8, 12}), (2, 6, {6, 12}), (500, 1, set(range(1, 13)))],
)
def test_every_multiple_of_keep_every_is_kept_whatever_the_other_interval(runs, configure, every, keep_every, kept):
    changes = {
        "training.checkpoints.every": every,
        "training.checkpoints.keep_every": keep_every,
        "training.checkpoints.keep_last": 1,
        "training.telemetry.validate_every": 12,
    }
    trainer = runs.train(configure(changes))
    assert {step_of(path) for path in list_checkpoints(trainer.run.checkpoints)} == kept


def test_the_first_budget_ends_a_run(configure):
    config = configure({"training.max_tokens": 480, "training.max_epochs": 50.0})
    samples = prepare_samples(config)
    ends = budget_ends(config.training, samples)
    assert ends["max_tokens"] == 10
    assert total_steps(config.training, samples) == 10


IDLE = {
    "training.optimizer.eps": {"training.optimizer.kind": "sgd"},
    "training.schedule.decay_fraction": {"training.schedule.kind": "noam"},
    "training.schedule.final_fraction": {"training.schedule.kind": "inverse-sqrt"},
    "model.attention.n_heads": {"model.sublayers": "feedforward", "model.positions.kind": "learned"},
    "model.attention.dropout": {"model.sublayers": "feedforward"},
    "model.feedforward.d_ff": {"model.sublayers": "attention"},
    "model.norm.eps": {"model.norm.kind": "none"},
    "model.norm.placement": {"model.norm.kind": "none"},
    "model.norm.kind": {"model.norm.kind": "rmsnorm", "model.norm.placement": "none", "model.norm.final": "false"},
    "model.norm.bias": {"model.norm.kind": "rmsnorm"},
    "model.positions.theta": {"model.positions.kind": "alibi"},
    "model.initialisation.std": {"model.initialisation.scheme": "xavier"},
    "model.initialisation.scale_residual": {"model.residual": "none"},
}


@pytest.mark.parametrize(("path", "beside"), IDLE.items(), ids=IDLE.keys())
def test_a_chosen_setting_without_effect_is_refused_and_says_why(path, beside):
    config = configuration(TEXT, data=None, steps=None, seed=None, assignments=[f"{k}={v}" for k, v in beside.items()])
    with pytest.raises(ConfigError, match="has no effect") as error:
        check_effects(config, [path])
    assert error.value.complaints[0].startswith(f"{path}=")
    helpful = {"training.schedule.decay_fraction": "training.schedule.kind=wsd"} | {
        "model.positions.theta": "model.positions.kind=rotary"
    }
    chosen = [helpful[path]] if path in helpful else []
    check_effects(configuration(TEXT, data=None, steps=None, seed=None, assignments=chosen), [path])


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_has_a_recipe_without_effect(name):
    chosen = preset(name)
    config = configuration(name, data=None, steps=None, seed=None, assignments=[])
    assert list(without_effect(config, chosen.recipe)) == []
    assert isinstance(config, RunConfig)
