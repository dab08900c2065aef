"""What a run says at its start of settings that can be carried out, and can hardly be meant.

Each warning names the setting, what it does here, and what to set instead. They depend on the data (how large a batch
is beside them, how many steps an epoch has), so they are found when a run starts, or a study is checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_config import TelemetryConfig, TrainingConfig
from glassformer.tasks.training_data import TrainingData
from glassformer.training.budgets import budget_ends, total_steps
from glassformer.training.effects import ineffective_in_training
from glassformer.training.schedules import noam

TOO_LOW_FOR_NOAM, TOO_HIGH_FOR_ADAM = 0.1, 0.1
"""The paper's factor before its formula is 1; the step of Adam is about the learning rate itself."""


def start_warnings(config: RunConfig, samples: TrainingData) -> list[str]:
    """Every warning about a run on these data, in no special order."""
    steps = total_steps(config.training, samples)
    found = [*_of_the_rate(config), *samples.batch_warnings(config), *ineffective_in_training(config)]
    if config.training.label_smoothing > 0.5:
        found.append(
            f"training.label_smoothing={config.training.label_smoothing:g} spreads more of the target's probability "
            "over the vocabulary than it leaves with the right token (the paper: 0.1)."
        )
    if steps is not None:
        found += [
            *_of_the_budgets(config.training, samples, steps),
            *_of_the_schedule(config.training, steps),
            *_of_the_moments(config.training, steps),
        ]
    return found


def _of_the_rate(config: RunConfig) -> Iterator[str]:
    rate, schedule, kind = (
        config.training.optimizer.learning_rate,
        config.training.schedule,
        config.training.optimizer.kind,
    )
    if schedule.kind == "noam" and rate < TOO_LOW_FOR_NOAM:
        peak = noam(schedule.warmup_steps, config.model.d_model, schedule.warmup_steps)
        yield (
            "training.schedule.kind=noam multiplies its formula with training.optimizer.learning_rate, here "
            f"{rate:g}: the rate peaks at {rate * peak:.1e}, {1 / rate:,.0f} times below the paper's {peak:.1e}: set "
            "training.optimizer.learning_rate=1, the paper's factor."
        )
    if schedule.kind != "noam" and kind != "sgd" and rate >= TOO_HIGH_FOR_ADAM:
        yield (
            f"training.optimizer.learning_rate={rate:g} is the peak itself with training.schedule.kind={schedule.kind} "
            f"(only with noam is it a factor), far above what {kind} trains with: usual are 1e-4 to 1e-2."
        )


def _of_the_budgets(training: TrainingConfig, samples: TrainingData, steps: int) -> Iterator[str]:
    """A budget that was chosen, and that the default number of steps ends before it is used up."""
    if training.max_steps != _default(TrainingConfig, "max_steps"):
        return
    for name, end in budget_ends(training, samples).items():
        if end > steps:
            yield (
                f"training.{name}={getattr(training, name):,} would take {end:,} steps, and the default of "
                f"training.max_steps={steps:,} ends the run first: set training.max_steps=none."
            )


def _of_the_schedule(training: TrainingConfig, steps: int) -> Iterator[str]:
    schedule = training.schedule
    warmup = schedule.warmup_steps
    if warmup > steps:
        yield (
            f"training.schedule.warmup_steps={warmup:,} is longer than the run of {steps:,} steps: the learning rate "
            "rises to the end, and never reaches its peak."
        )
    elif schedule.kind == "wsd" and warmup > steps * (1 - schedule.decay_fraction):
        yield (
            f"the warm-up of {warmup:,} steps reaches into the last part of the {steps:,} in which wsd decays "
            f"(training.schedule.decay_fraction={schedule.decay_fraction:g}): the rate is never stable at its peak."
        )
    if schedule.kind in ("cosine", "wsd") and schedule.final_fraction == 1:
        yield f"training.schedule.final_fraction=1 leaves {schedule.kind} where it is: the learning rate never falls."
    if schedule.kind == "wsd" and schedule.decay_fraction == 0:
        yield "training.schedule.decay_fraction=0 leaves wsd no steps to decay in: the learning rate never falls."


def _of_the_moments(training: TrainingConfig, steps: int) -> Iterator[str]:
    """Things that are to happen every so many steps, and do not in a run of ``steps``."""
    telemetry, checkpoints = training.telemetry, training.checkpoints
    every = telemetry.validate_every
    validations = steps // every + (steps % every > 0)
    if training.patience is not None and training.patience + 1 >= validations:
        yield (
            f"training.patience={training.patience} cannot stop this run early: it has {validations:,} "
            f"validation{'s' * (validations != 1)} after its first update (training.telemetry.validate_every={every:,} "
            f"of {steps:,} steps), and the first is always a new best."
        )
    if every > steps and every != _default(TelemetryConfig, "validate_every"):
        yield (
            f"training.telemetry.validate_every={every:,} is more than the {steps:,} steps of the run: it is validated "
            "before the first update and after the last only."
        )
    if telemetry.noise_scale_every is not None and steps // telemetry.noise_scale_every < 2:
        often = ("never", "once")[steps // telemetry.noise_scale_every]
        yield (
            f"training.telemetry.noise_scale_every={telemetry.noise_scale_every:,} measures {often} in {steps:,} "
            "steps, and glassformer scale noise needs two measurements at least."
        )
    if checkpoints.keep_every is not None and checkpoints.keep_every > steps:
        yield f"training.checkpoints.keep_every={checkpoints.keep_every:,} keeps nothing: the run has {steps:,} steps."


def _default(config: type[TrainingConfig | TelemetryConfig], name: str) -> object:
    return config.model_fields[name].default
