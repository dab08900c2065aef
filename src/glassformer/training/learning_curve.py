"""A loss curve that knows its learning rate, and what it says of the steps to come.

The mean curve is that of Tissue et al. 2024 (arXiv 2408.11029, equation 1), linearised where the run stands now:

    L(s) = L₀ + A·S₁(s)^(−α) − C·S₂(s)

S₁ is the area under the learning rate so far, S₂ what its decay has won. With the paper's momentum λ → 0, which
predicts best on runs of some hundreds to thousands of steps, S₂ is simply how far the learning rate has fallen from its
peak. No four constants describe a run exactly, so around the mean curve the loss may wander: a Brownian motion in
ln S₁, which makes an interval widen with the horizon. The validation loss follows the same curve at a distance that may
change.

All of it is Gaussian but for α and the three sizes of wandering and noise, over which a small grid is averaged, each
point by how likely it makes what was seen. One fit is a batch of Cholesky factors of 40 × 40 matrices: milliseconds.
It is computed in y = ln(L + ε), ε a twentieth of the first loss: relative for losses of texts, additive near zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The numbers were chosen on one half of some hundred finished runs; benchmarks/extrapolation.py checks the other half.
ALPHAS = (0.2, 0.6, 1.4)
"""How fast the decline in ln S₁ slows down: the power α."""
WANDERING = (0.005, 0.015, 0.04, 0.12)
"""Standard deviation of the curve's own wandering, in y per unit of ln S₁."""
UNSTEADINESS = (0.001, 0.003, 0.01, 0.03)
"""Standard deviation in y of what one update more or less does to the validation loss."""
PARTING = (0.003, 0.02)
"""Standard deviation with which the validation loss parts from the training loss, in y while the steps double."""
SLOPE = (0.08, 0.08)
"""Decline in y per unit of ln S₁ where the run stands: mean and standard deviation before anything is seen."""
ANNEALING = (1.0, 0.05)
"""What a full decay of the learning rate wins, in y: its mean in slopes, and its standard deviation. The latter is
wide: before a decay begins, nothing in the run shows what it will win."""
DRIFT = 0.02
"""Standard deviation of the steady part of that parting: the gap's growth in y while the steps double."""
LEVEL, GAP = 5.0, 1.0
"""Standard deviations of the level and of the gap between validation and training: wide."""
NEGLIGIBLE = 0.001
"""The least noise in y that a training record is taken to have."""

FORGOTTEN = 0.15
"""Of the steps so far: the first falls of a loss follow other laws and are left out."""
TRAINING_POINTS, VALIDATION_POINTS = 24, 12
"""The most that a fit sees: training records are averaged into bins even in ln s, validations thinned out likewise."""
KNOTS = 4_096
"""Where a schedule is evaluated, at most."""


@dataclass(frozen=True)
class LearningRateCurve:
    """A learning-rate schedule from its first to its last step, relative to its peak.

    Attributes:
        steps: [k], from 0 to the last step.
        area: [k], S₁ = the sum of the rates of the updates up to each step.
        fallen: [k], S₂ = peak − rate, after the peak; 0 before.
    """

    steps: Floats
    area: Floats
    fallen: Floats

    @classmethod
    def of(cls, factor: Callable[[int], float], total_steps: int) -> LearningRateCurve:
        """Of a schedule: ``factor(i)`` is the learning rate of update i, from 0, in any unit."""
        at = np.unique(np.linspace(0, total_steps - 1, min(total_steps, KNOTS)).round().astype(np.int64))
        rate = np.array([factor(int(i)) for i in at])
        rate = rate / rate.max()
        peak = int(rate.argmax())
        # update i leads to step i + 1; between knots the area is that of the trapezium
        area = np.concatenate([[0.0, rate[0]], rate[0] + np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(at))])
        fallen = np.where(np.arange(len(at)) > peak, 1.0 - rate, 0.0)
        return cls(np.concatenate([[0.0], at + 1.0]), area, np.concatenate([[0.0], fallen]))

    @property
    def last_step(self) -> int:
        """Where the schedule ends."""
        return int(self.steps[-1])

    @property
    def peak_step(self) -> float:
        """The step from which the rate has begun to fall, or the end of the warm-up of one that never does."""
        rate = np.diff(self.area) / np.diff(self.steps)
        return float(self.steps[1:][rate >= rate.max() - 1e-9][0])

    def __call__(self, steps: Floats) -> tuple[Floats, Floats]:
        """(S₁, S₂) at any steps."""
        return np.interp(steps, self.steps, self.area), np.interp(steps, self.steps, self.fallen)


@dataclass(frozen=True)
class Curve:
    """What is expected of the validation loss at some steps, in y = ln(L + ε): mean and standard deviation, [m]."""

    steps: Floats
    mean: Floats
    sd: Floats

    def at(self, step: float) -> tuple[float, float]:
        """Mean and standard deviation at a step in between."""
        x = np.log(self.steps)
        return tuple(float(np.interp(np.log(step), x, each)) for each in (self.mean, self.sd))  # type: ignore[return-value]


def predict(training: Floats, validation: Floats, rates: LearningRateCurve, targets: Floats) -> Curve:
    """Expect the validation loss at later steps.

    Args:
        training: [n, 2] step (the middle of those that a record averages) and y of each record so far, n ≥ 5.
        validation: [v, 2] step and y of each validation so far, v ≥ 2.
        targets: [m] steps.
    """
    now = max(training[-1, 0], validation[-1, 0])
    begin = max(FORGOTTEN * now, min(rates.peak_step, training[-5, 0]))
    noise = _noise(training[:, 1])
    seen, weights = _binned(_since(training, begin, least=5))
    checked = _thinned(_since(validation, begin, least=2))

    # 1. every point of the curve, seen or to come
    steps = np.concatenate([seen[:, 0], checked[:, 0], targets])
    y = np.concatenate([seen[:, 1], checked[:, 1]])
    is_validation = np.arange(len(steps)) >= len(seen)
    area, fallen = rates(steps)
    area_now, fallen_now = rates(np.array([now]))
    u, doubled, decay = np.log(area / area_now), steps / now - 1.0, fallen - fallen_now

    # 2. mean and covariance of all points, for each point of the grid
    wander, part = _brownian(u), _brownian(doubled) * np.outer(is_validation, is_validation)
    own_noise = np.where(is_validation, 0.0, np.pad(noise**2 / weights, (0, len(steps) - len(weights))))
    unsteady = np.where(is_validation, 1.0, 0.25)  # a record averages over steps
    means, covariances = [], []
    for alpha in ALPHAS:
        slope = np.expm1(-alpha * u) / alpha - ANNEALING[0] * decay
        linear = (
            LEVEL**2
            + SLOPE[1] ** 2 * np.outer(slope, slope)
            + ANNEALING[1] ** 2 * np.outer(decay, decay)
            + GAP**2 * np.outer(is_validation, is_validation)
            + DRIFT**2 * np.outer(is_validation * doubled, is_validation * doubled)
        )
        for wandering, shaking, parting in product(WANDERING, UNSTEADINESS, PARTING):
            means.append(SLOPE[0] * slope)
            diagonal = np.diag(own_noise + unsteady * shaking**2)
            covariances.append(linear + wandering**2 * wander + parting**2 * part + diagonal)
    mean, sd = _conditioned(np.array(means), np.array(covariances), y)
    return Curve(targets, mean, sd)


def _conditioned(means: Floats, covariances: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the last points given the first, averaged over the grid [g] by its likelihood."""
    n = len(y)
    root = np.linalg.cholesky(covariances[:, :n, :n])  # [g, n, n]
    asked = np.concatenate([(y - means[:, :n])[..., None], covariances[:, :n, n:]], axis=2)
    solved = np.linalg.solve(root, asked)
    z, cross = solved[..., 0], solved[..., 1:]  # [g, n], [g, n, m]
    mean = means[:, n:] + np.einsum("gnm,gn->gm", cross, z)
    variance = np.diagonal(covariances, axis1=1, axis2=2)[:, n:] - (cross**2).sum(1)
    likelihood = -0.5 * (z**2).sum(1) - np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
    weight = np.exp(likelihood - likelihood.max())
    weight /= weight.sum()
    centre = weight @ mean
    return centre, np.sqrt(weight @ (variance + (mean - centre) ** 2))


def _brownian(x: Floats) -> Floats:
    """Covariance of a Brownian motion that begins at the least of ``x``."""
    begun = x - x.min()
    return np.minimum.outer(begun, begun)


def _noise(y: Floats) -> float:
    """Standard deviation of a record, from second differences, which a smooth curve does not have: robustly."""
    second = y[2:] - 2 * y[1:-1] + y[:-2]
    return max(NEGLIGIBLE, float(1.4826 * np.median(np.abs(second)) / np.sqrt(6)))


def _since(points: Floats, begin: float, *, least: int) -> Floats:
    """The points from a step on, but at least so many of the last ones."""
    return points[min(int(np.searchsorted(points[:, 0], begin)), len(points) - least) :]


def _binned(points: Floats) -> tuple[Floats, Floats]:
    """Means in bins even in ln s, and how many points each holds."""
    x = np.log(points[:, 0])
    bins = np.minimum((x - x[0]) / max(x[-1] - x[0], 1e-9) * TRAINING_POINTS, TRAINING_POINTS - 1).astype(np.int64)
    _, label, count = np.unique(bins, return_inverse=True, return_counts=True)
    return np.stack([np.bincount(label, column) / count for column in points.T], axis=1), count.astype(np.float64)


def _thinned(points: Floats) -> Floats:
    """At most VALIDATION_POINTS, the last ones densest."""
    back = np.unique(np.geomspace(1, len(points), min(len(points), VALIDATION_POINTS)).round().astype(np.int64))
    return points[len(points) - back[::-1]]
