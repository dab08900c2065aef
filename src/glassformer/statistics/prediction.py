"""A prediction with its interval: how it is made, and how much wider hidden runs show that it has to be.

from_draws(estimate, draws, reach=resampled(60, 5))         of a bootstrap; bias-corrected, and wider for few samples
from_error(estimate, error, degrees=12)                     Student's, or normal without ``degrees``
from_slopes(estimate, slopes, errors)                       the delta method, of independent errors
percentiles(draws)                                          the plain percentile interval

Hidden runs are predicted and measured; their errors, in half-widths of their intervals, say what to widen others by:

z = prediction.in_half_widths(measured)                     beyond 1 in size: the interval missed it
prediction.widened(largest_miss(z))                         so that it would have held them all
k = slope_of_widening(z, ln_distance, votes, 0.95)          half-width × (1 + k · distance) would have held the promise
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from glassformer.errors import ConfigError

Array = npt.NDArray[np.float64]

LEVEL = 0.95

MOST_BIAS = 1.0
"""z₀ of the bias correction is held within this: beyond it, the end of an interval would be a single draw."""


@dataclass(frozen=True)
class Prediction:
    """A value and the interval that holds it with probability ``level``: numbers, or arrays of one shape.

    What is compared by factors, such as a loss, is widened and measured in logarithms.
    """

    value: Any
    low: Any
    high: Any
    level: float = LEVEL

    @property
    def interval(self) -> tuple[Any, Any]:
        """(low, high)."""
        return self.low, self.high

    @property
    def half_width(self) -> float:
        """Relative, on the logarithm: 0.03 is ±3 %."""
        return float(np.sqrt(self.high / self.low) - 1)

    def holds(self, measured: float) -> bool:
        """Whether it lies inside."""
        return bool(self.low <= measured <= self.high)

    def widened(self, factor: npt.ArrayLike) -> Prediction:
        """Each end so many times as far from the value, in ln."""
        centre = np.log(self.value)
        low, high = (np.exp(centre + factor * (np.log(end) - centre)) for end in self.interval)
        return Prediction(self.value, low, high, self.level)

    def with_noise(self, noise: float) -> Prediction:
        """Of one more measurement, which may be ``noise`` off in ln at this level.

        To each side the two distances are added as squares, as independent errors are ("MOVER": Zou & Donner 2008).
        """
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # an end that is open
            centre = np.log(self.value)
            below, above = np.hypot(centre - np.log(self.low), noise), np.hypot(np.log(self.high) - centre, noise)
            return Prediction(self.value, np.exp(centre - below), np.exp(centre + above), self.level)

    def in_half_widths(self, measured: npt.ArrayLike, *, least: float = 0.0) -> Array:
        """Errors, ln value − ln measured, in half-widths to the side of the measured; ``least``: of a half-width."""
        centre = np.log(self.value)
        error = centre - np.log(measured)
        half = np.where(error > 0, centre - np.log(self.low), np.log(self.high) - centre)
        return np.asarray(error / np.maximum(half, least))


def check_level(level: float) -> None:
    """Raise :class:`ConfigError` unless 0 < level < 1."""
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, such as 0.95; it is {level}.", subject="interval")


# ------------------------------------------------------------------------------------------------- making


def standard_errors(level: float = LEVEL, degrees: int | None = None) -> float:
    """To each side: of a normal distribution, or of Student's with so many degrees of freedom.

    >>> round(standard_errors(), 3), round(standard_errors(0.95, 10), 3)
    (1.96, 2.228)
    """
    tail = (1 - level) / 2
    return float(-special.ndtri(tail) if degrees is None else -special.stdtrit(degrees, tail))


def resampled(samples: int, parameters: int, level: float = LEVEL) -> float:
    """Standard errors to each side, as the spread of draws measures them: √(G/(G − p)) · t(G − p).

    >>> round(resampled(60, 5), 3)
    2.093
    """
    spare = samples - parameters
    return float(np.sqrt(samples / spare)) * standard_errors(level, spare)


def from_error(
    value: Any, error: Any, level: float = LEVEL, *, degrees: int | None = None, logged: bool = False
) -> Prediction:
    """By a standard error, with the degrees of freedom it was estimated with; ``logged``: it is that of ln value."""
    half = standard_errors(level, degrees) * error
    if logged:
        return Prediction(value, value * np.exp(-half), value * np.exp(half), level)
    return Prediction(value, value - half, value + half, level)


def from_slopes(value: float, slopes: Array, errors: Array, level: float = LEVEL) -> Prediction:
    """By the delta method: [p] derivatives of the value, and the standard errors, taken as independent."""
    return from_error(value, float(np.linalg.norm(slopes * errors)), level)


def percentiles(draws: Array, level: float = LEVEL, *, outward: bool = False) -> tuple[Array, Array]:
    """Of draws [B, ...]: low and high; ``outward``: draws themselves, which may be infinite, not between two."""
    tail = (1 - level) / 2
    methods = ("lower", "higher") if outward else ("linear", "linear")
    low, high = (np.quantile(draws, at, axis=0, method=how) for at, how in zip((tail, 1 - tail), methods, strict=True))  # type: ignore[call-overload]
    return low, high


def from_draws(
    estimate: Array, draws: Array, level: float = LEVEL, *, reach: float | None = None, logged: bool = False
) -> Prediction:
    """The bias-corrected percentile interval, widened about the estimate; all [...].

    Args:
        estimate: [...] of the fit to all samples.
        draws: [B, ...] of the fits to drawn ones.
        level: the chance that an interval so made holds the truth.
        reach: standard errors to each side, as :func:`resampled` gives them; those of a normal distribution, which do
            not widen it, unless given.
        logged: it is a positive number that one compares by factors.

    Raises:
        ConfigError: ``level`` is not between 0 and 1.
    """
    check_level(level)
    value = estimate
    if logged:
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate, draws = np.log(estimate), np.log(draws)
    z = standard_errors(level)
    draws = np.where(np.isnan(draws), estimate, draws)  # a draw that has no such quantity says nothing of it
    below = (draws < estimate).mean(axis=0) + 0.5 * (draws == estimate).mean(axis=0)
    bias = np.clip(special.ndtri(below), -MOST_BIAS, MOST_BIAS)
    finite = np.clip(draws, -1e300, 1e300)  # a draw without a floor or an exponent
    ordered = np.sort(finite, axis=0)
    widening = 1.0 if reach is None else reach / z
    low, high = (
        estimate + widening * (_quantile(ordered, special.ndtr(2 * bias + side)) - estimate) for side in (-z, z)
    )
    low, high = np.minimum(low, estimate), np.maximum(high, estimate)
    with np.errstate(over="ignore"):  # an end that is open
        low, high = (np.exp(low), np.exp(high)) if logged else (low, high)
    return Prediction(value, low, high, level)


def _quantile(ordered: Array, share: Array) -> Array:
    """Quantiles [...] of draws in ascending order [B, ...], each at its own share [...]; linear between two draws."""
    at = np.clip(np.asarray(share) * (len(ordered) + 1) - 1, 0, len(ordered) - 1)
    lower = np.floor(at).astype(int)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    first, second = (np.take_along_axis(ordered, index[None], axis=0)[0] for index in (lower, upper))
    return np.asarray(first + (at - lower) * (second - first))


# ------------------------------------------------------------------------------------------------- widening


def largest_miss(z: Iterable[float]) -> float:
    """The factor by which intervals would have held every error z, given in half-widths; never below 1."""
    return max([1.0, *map(abs, z)])


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
