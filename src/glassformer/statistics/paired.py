"""The arithmetic of paired differences, on arrays: the t interval and test, Holm's adjustment, Hedges' correction.

differences   [..., n]    variant − base, one for each pair; the axes before it are as many studies as one likes
p             [..., m]    one for each variant of a study
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]

ROUNDING = 8 * np.finfo(np.float64).eps
"""Differences that spread by less than this share of the losses they come from differ by rounding alone."""


class PairedT(NamedTuple):
    """A paired t test and its interval; every field is shaped [...]."""

    mean: Floats
    sd: Floats
    """The standard deviation of the differences, with n − 1."""
    low: Floats
    high: Floats
    t: Floats
    p: Floats
    """Two-sided."""


def paired_t(differences: npt.ArrayLike, confidence: float = 0.95) -> PairedT:
    """Student's t interval and test (Student 1908) for the mean of ``differences`` [..., n], n ≥ 2.

    Where the differences have no spread, the interval is a point, t is infinite or NaN, and p is 0 or NaN:
    ``without_spread`` finds such cases beforehand.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    assert n >= 2, f"{n} difference has no spread"
    mean = values.mean(axis=-1)
    sd = values.std(axis=-1, ddof=1)
    error = sd / np.sqrt(n)
    half = stats.t.isf((1 - confidence) / 2, n - 1) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / error
    return PairedT(mean, sd, mean - half, mean + half, t, 2 * stats.t.sf(np.abs(t), n - 1))


def holm(p: npt.ArrayLike) -> Floats:
    """The p values [..., m] adjusted for their number: reject those at most α, and the chance of any false rejection
    is at most α, however the tests depend on each other (Holm 1979).

    The k-th smallest is multiplied by m − k + 1, and none may be smaller than one before it.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    m = values.shape[-1]
    order = np.argsort(values, axis=-1)
    stepped = np.take_along_axis(values, order, axis=-1) * np.arange(m, 0, -1)
    stepped = np.minimum(1.0, np.maximum.accumulate(stepped, axis=-1))
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    return adjusted


def hedges_correction(degrees: npt.ArrayLike) -> Floats:
    """What a standardised difference is multiplied by to be unbiased, for the degrees of freedom of its standard
    deviation: Γ(ν/2) / (√(ν/2) Γ((ν − 1)/2)), ν ≥ 2 (Hedges 1981, equation 6e).

    >>> hedges_correction([2, 7]).round(4).tolist()
    [0.5642, 0.8882]
    """
    nu = np.asarray(degrees, dtype=np.float64)
    return np.exp(special.gammaln(nu / 2) - special.gammaln((nu - 1) / 2)) / np.sqrt(nu / 2)


def without_spread(base: npt.ArrayLike, variant: npt.ArrayLike) -> bool:
    """Whether all pairs of the losses ``base`` [n] and ``variant`` [n] differ by the same amount, up to rounding."""
    first, second = np.asarray(base, dtype=np.float64), np.asarray(variant, dtype=np.float64)
    largest = max(np.abs(first).max(), np.abs(second).max())
    return bool(np.ptp(second - first) <= ROUNDING * largest)
