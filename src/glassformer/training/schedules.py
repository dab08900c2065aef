"""The learning rate at each step, as a multiple of the peak. Step 0 is the first update."""

from __future__ import annotations

import math

from glassformer.tasks.training_config import ScheduleConfig
from glassformer.training.learning_curve import LearningRateCurve


def factor(config: ScheduleConfig, step: int, progress: float, d_model: int) -> float:
    """What the peak learning rate is multiplied with.

    Args:
        step: the update about to be made, from 0.
        progress: the share of the budget that is used, 0 to 1: of steps, or of time where time is the budget.
        d_model: enters the noam schedule.
    """
    warmup = config.warmup_steps
    if config.kind == "noam":
        return noam(step + 1, d_model, warmup)
    if config.kind == "inverse-sqrt":
        return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.kind == "constant":
        return 1.0
    low = config.final_fraction
    if config.kind == "cosine":
        began = progress * warmup / step if step else 0.0  # the progress at which the warm-up ended: no jump there
        fallen = (progress - began) / (1 - began) if began < 1 else 1.0
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * fallen))
    start = 1 - config.decay_fraction
    decayed = max(0.0, progress - start) / config.decay_fraction if config.decay_fraction else 0.0
    return 1 - (1 - low) * decayed


def noam(step: int, d_model: int, warmup: int) -> float:
    """d_model^−0.5 · min(step^−0.5, step · warmup^−1.5), step from 1 (Vaswani et al. 2017, equation 3)."""
    return float(d_model**-0.5 * min(step**-0.5, step * warmup**-1.5))


def rates(config: ScheduleConfig, total_steps: int, d_model: int) -> LearningRateCurve:
    """The whole schedule of a run that ends after so many steps."""
    return LearningRateCurve.of(lambda step: factor(config, step, step / total_steps, d_model), total_steps)
