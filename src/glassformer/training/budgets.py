"""At which step a run's budgets of steps, tokens and epochs end it."""

from __future__ import annotations

import math

from glassformer.tasks.training_config import TrainingConfig
from glassformer.tasks.training_data import BatchShape


def budget_ends(training: TrainingConfig, samples: BatchShape) -> dict[str, int]:
    """The step at which each budget that is set is used up; a budget of seconds has none."""
    ends = {} if training.max_steps is None else {"max_steps": training.max_steps}
    if training.max_tokens is not None:
        ends["max_tokens"] = math.ceil(training.max_tokens / samples.tokens_per_step)
    if training.max_epochs is not None:
        ends["max_epochs"] = math.ceil(training.max_epochs * samples.steps_per_epoch)
    return ends


def total_steps(training: TrainingConfig, samples: BatchShape) -> int | None:
    """The step at which the first of them ends the run; None where only time does."""
    return min(budget_ends(training, samples).values(), default=None)
