"""Intervals of a prediction: from draws of a bootstrap, and how much wider hidden runs show that they have to be.

low, high = from_draws(estimate, draws, 0.95, samples=60, parameters=5)
z = in_half_widths(predicted, low, high, measured)                   beyond 1 in size: the interval missed it
k = slope_of_widening(z, ln_distance, votes, 0.95)                   half-width × (1 + k · distance) would have held
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from glassformer.errors import ConfigError

Array = npt.NDArray[np.float64]

LEVEL = 0.95

MOST_BIAS = 1.0
"""z₀ of the bias correction is held within this: beyond it, the end of an interval would be a single draw."""


def check_level(level: float) -> None:
    """Raise :class:`ConfigError` unless 0 < level < 1."""
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, such as 0.95; it is {level}.", subject="interval")


def from_draws(estimate: Array, draws: Array, level: float, *, samples: int, parameters: int) -> tuple[Array, Array]:
    """The bias-corrected percentile interval, widened about the estimate: low and high, [...] each.

    Args:
        estimate: [...] of the fit to all samples.
        draws: [B, ...] of the fits to drawn ones.
        level: the chance that an interval so made holds the truth.
        samples, parameters: of the fit, which say how much wider few samples make it (:func:`widened`).

    Raises:
        ConfigError: ``level`` is not between 0 and 1.
    """
    check_level(level)
    z = stats.norm.isf((1 - level) / 2)
    draws = np.where(np.isnan(draws), estimate, draws)  # a draw that has no such quantity says nothing of it
    below = (draws < estimate).mean(axis=0) + 0.5 * (draws == estimate).mean(axis=0)
    bias = np.clip(stats.norm.ppf(below), -MOST_BIAS, MOST_BIAS)
    finite = np.clip(draws, -1e300, 1e300)  # a draw without a floor or an exponent
    ordered = np.sort(finite, axis=0)
    widening = widened(level, samples, parameters) / z
    low, high = (
        estimate + widening * (_quantile(ordered, stats.norm.cdf(2 * bias + side)) - estimate) for side in (-z, z)
    )
    return np.minimum(low, estimate), np.maximum(high, estimate)


def widened(level: float, samples: int, parameters: int) -> float:
    """Standard errors to each side, as the spread of draws measures them: √(G/(G − p)) · t(G − p).

    >>> round(widened(0.95, 60, 5), 3)
    2.093
    """
    spare = samples - parameters
    return float(np.sqrt(samples / spare) * stats.t.isf((1 - level) / 2, spare))


def _quantile(ordered: Array, share: Array) -> Array:
    """Quantiles [...] of draws in ascending order [B, ...], each at its own share [...]; linear between two draws."""
    at = np.clip(np.asarray(share) * (len(ordered) + 1) - 1, 0, len(ordered) - 1)
    lower = np.floor(at).astype(int)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    first, second = (np.take_along_axis(ordered, index[None], axis=0)[0] for index in (lower, upper))
    return np.asarray(first + (at - lower) * (second - first))


def in_half_widths(predicted: Array, low: Array, high: Array, measured: Array, *, least: float = 0.0) -> Array:
    """Errors in half-widths of their intervals, to the side of the measured value; ``least``: of a half-width."""
    error = predicted - measured
    half = np.where(error > 0, predicted - low, high - predicted)
    return np.asarray(error / np.maximum(half, least))


def slope_of_widening(z: Array, distance: Array, votes: Array, level: float) -> float:
    """The least k ≥ 0 such that half-widths × (1 + k · distance) would have held at this level.

    Split conformal prediction with errors scaled by their distance (Lei et al. 2018): the quantile of
    (|z| − 1)/distance in which each error has its ``votes``.
    """
    scores = (np.abs(z) - 1) / distance
    order = np.argsort(scores)
    wanted = min(level * (1 + 1 / votes.sum()), 1.0)  # (m + 1) · level of m votes
    at = int(np.searchsorted(np.cumsum(votes[order]) / votes.sum(), wanted - 1e-12))
    return max(0.0, float(scores[order][min(at, len(scores) - 1)]))
