"""Learning speed: when a loss curve first reaches a level, and its mean over training.

Variants that learn later may end at the same final loss. So a study also measures when a curve first reaches the
baseline's final loss, in steps and in seconds, and its mean loss over the steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from glassformer.statistics.paired import Floats

CurveLosses = Sequence[float | None]
"""Losses along a run; None, NaN or an infinity where it had diverged."""


def first_reach(x: Sequence[float], losses: CurveLosses, level: float) -> float | None:
    """The first ``x`` at which ``losses`` are at or below ``level``, on straight lines between the points.

    ``x`` may be steps or seconds, growing, one for each loss. A loss that is not finite reaches nothing, and no line is
    drawn from it. None if the level is never reached.

    >>> first_reach([0, 100, 200], [4.0, 3.0, 2.0], 2.5)
    150.0
    """
    before = math.nan
    for i, loss in enumerate(_checked(x, losses)):
        if loss <= level:
            if math.isnan(before):
                return float(x[i])
            return float(x[i] - (x[i] - x[i - 1]) * (level - loss) / (before - loss))
        before = float(loss)
    return None


def mean_loss(steps: Sequence[float], losses: CurveLosses, start: float, stop: float) -> float | None:
    """The area under the loss curve from step ``start`` to ``stop`` by the trapezoid rule, divided by these steps.

    In the losses' unit, nats per token. None if the curve does not reach from ``start`` to ``stop``, or is not finite
    somewhere between: a diverged run has no area.

    >>> mean_loss([0, 100, 200], [4.0, 3.0, 2.0], 50, 150)
    3.0
    """
    assert start < stop, f"no steps between {start} and {stop}"
    x, y = np.asarray(steps, dtype=np.float64), _checked(steps, losses)
    if not len(x) or start < x[0] or stop > x[-1]:
        return None
    within = (start < x) & (x < stop)
    ends_x, ends_y = (start, stop), (_at(x, y, start), _at(x, y, stop))
    x = np.concatenate([ends_x[:1], x[within], ends_x[1:]])
    y = np.concatenate([ends_y[:1], y[within], ends_y[1:]])
    return float(np.trapezoid(y, x) / (stop - start)) if not np.isnan(y).any() else None


def shared_steps(curves: Iterable[Sequence[float]]) -> tuple[float, float] | None:
    """The range that the steps of every curve cover, from the latest start to the earliest end; None if there is none.

    Mean losses are only comparable over the same steps: a run that went on for longer has more of its low end.

    >>> shared_steps([[0, 50, 100], [10, 200]])
    (10.0, 100.0)
    """
    steps_of = list(curves)
    if not steps_of or not all(len(steps) for steps in steps_of):
        return None
    start, stop = max(steps[0] for steps in steps_of), min(steps[-1] for steps in steps_of)
    return (float(start), float(stop)) if start < stop else None


def _at(x: Floats, y: Floats, step: float) -> float:
    """The loss at a step that the curve covers, on a straight line between points; NaN if either end is."""
    right = int(np.searchsorted(x, step))
    if x[right] == step:
        return float(y[right])
    share = (step - x[right - 1]) / (x[right] - x[right - 1])
    return float((1 - share) * y[right - 1] + share * y[right])


def _checked(x: Sequence[float], losses: CurveLosses) -> Floats:
    """The losses as an array, NaN where they are not finite."""
    assert len(x) == len(losses), f"{len(x)} points for {len(losses)} losses"
    assert all(before < after for before, after in zip(x, x[1:], strict=False)), "the points must grow"
    values = np.array([math.nan if loss is None else loss for loss in losses], dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)
