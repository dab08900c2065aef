"""Exact boundaries of the sequential t test: how large |t| must be at each n, so that looking at every n is allowed.

The error allowed, α, is spent look by look (Lan & DeMets 1983, "Discrete sequential boundaries for clinical trials"):
by n pairs, a share 1 − 2/n of it. A third is spent at the first look, n = 3, half by 4, nine tenths by 20, and never
all of it, so no largest n need be named beforehand and a study may go on after its budget was raised. So much is spent
early because the parts of a Transformer often differ by many standard deviations, and then 3 seeds should do.

The boundary c(n) is the value for which

    P(|t(n)| ≥ c(n), and |t(k)| < c(k) at every k from 3 to n − 1)  =  α · 2 / (n (n − 1))

when the true mean is 0. It can be computed exactly, as Jennison & Turnbull 1991 ("Exact calculations for sequential t,
χ² and F tests") do, because under that hypothesis t is a Markov chain that no unknown variance enters. Run backwards:
the last value's residual, as a sine of its largest possible size, is sin φ with φ's density proportional to
cos(φ)ⁿ⁻² on (−π/2, π/2), independent of t(n + 1) (Basu's theorem), and leaving that value out leads to

    t(n)  =  √((n − 1)/(n + 1)) · (t(n + 1) − sin φ) / cos φ

So the chance g(τ) of never having crossed before, given t(n + 1) = τ, is an integral over φ of the same chance one
look earlier, and the crossing probability an integral of g times the density of Student's t with n degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats
from scipy.interpolate import CubicSpline

from glassformer.statistics.paired import Floats

FIRST_LOOK = 3
MOST_LOOKS = 200
"""Pairs up to which the quadrature below has been checked."""

GRID = 401
NODES, WEIGHTS = np.polynomial.legendre.leggauss(96)


def spent(n: int) -> float:
    """The share of the error that has been spent once n pairs have been looked at, n ≥ 2."""
    return 1 - 2 / n


@lru_cache(maxsize=256)
def critical_values(alpha: float, looks: int) -> Floats:
    """The boundaries c(3), c(4), ..., c(looks) of |t|, two-sided, that together are ever crossed with a chance of
    ``alpha`` · (1 − 2/looks) if the differences are independent, normal and of mean 0. Read-only.

    >>> critical_values(0.05, 6).round(2).tolist()
    [7.65, 5.33, 4.59, 4.24]
    """
    assert 0 < alpha < 1, f"α is {alpha}"
    assert FIRST_LOOK <= looks <= MOST_LOOKS, f"{looks} looks"
    boundaries = [float(stats.t.isf(alpha * spent(FIRST_LOOK) / 2, FIRST_LOOK - 1))]
    uncrossed: Callable[[Floats], Floats] = np.ones_like  # given t(3), before the look at 3
    for n in range(FIRST_LOOK, looks):
        boundary, uncrossed = _next_look(n, boundaries[-1], uncrossed, alpha * (spent(n + 1) - spent(n)))
        boundaries.append(boundary)
    values = np.array(boundaries)
    values.flags.writeable = False
    return values


def _next_look(
    n: int, boundary: float, uncrossed: Callable[[Floats], Floats], error: float
) -> tuple[float, Callable[[Floats], Floats]]:
    """From look n to n + 1: its boundary, at which ``error`` is spent, and g as a function of |t(n + 1)|.

    ``uncrossed`` is g at look n, for |t(n)| below ``boundary``.
    """
    # 1. |t(n)| < boundary is a condition on φ: an interval around the angle a, where t(n + 1) = reach · sin(a)
    slope = boundary * np.sqrt((n + 1) / (n - 1))
    reach, half = np.hypot(1, slope), np.arctan(slope)  # beyond reach, look n had certainly crossed
    a = np.linspace(0, np.pi / 2, GRID)
    tau = reach * np.sin(a)
    low = a - half
    high = np.where(tau < 1, a + half, np.pi - a - half)

    # 2. g(τ): integrate over φ  [grid, nodes]
    width = np.maximum(high - low, 0.0)[:, None]
    phi = low[:, None] + width * (NODES + 1) / 2
    density = np.exp(special.gammaln(n / 2) - special.gammaln((n - 1) / 2)) / np.sqrt(np.pi) * np.cos(phi) ** (n - 2)
    before = np.sqrt((n - 1) / (n + 1)) * (tau[:, None] - np.sin(phi)) / np.cos(phi)
    g = np.sum(uncrossed(np.minimum(np.abs(before), boundary)) * density * width * WEIGHTS / 2, axis=1)

    # 3. the boundary: both tails of g(τ) · density of τ beyond it hold ``error``
    crossing = CubicSpline(a, 2 * g * stats.t.pdf(tau, n) * reach * np.cos(a)).antiderivative()
    end = float(crossing(np.pi / 2))
    angle = optimize.brentq(lambda x: end - float(crossing(x)) - error, 0.0, np.pi / 2, xtol=1e-13)
    by_angle = CubicSpline(a, g)
    return float(reach * np.sin(angle)), lambda t: by_angle(np.arcsin(np.minimum(t / reach, 1.0)))
