"""Losses of studies that were never trained: what simulations of tuned studies draw from, and choose among.

The final loss of a run of arm a at rate r with seed s is

    floor + curvature · (x − optimum)²  +  effect of s  +  own noise,       x = log₁₀ r

The effect of a seed is shared by all arms and rates, so that pairs remove it; the own noise grows with the distance
from the optimum; and the run diverges with a chance that rises through ½ at the arm's ``limit``.

Axes: S studies, A arms (the baseline first), R rates of the grid, K seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glassformer.statistics.paired import Floats

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

RATES = np.log10([3e-4, 1e-3, 3e-3, 1e-2])
"""log₁₀ of the rates that every arm is given."""

EXTENSIONS = 3
"""Times that an arm's grid is extended at an edge."""

SEED_NOISE = 0.03
RUN_NOISE = 0.01
NEVER = 99.0  # a limit that no rate comes near
WORST = 1e300  # the mean of a rate at which every run diverged


@dataclass(frozen=True)
class Curves:
    """The smooth curves of the arms of S studies, each [S, A] or what broadcasts to it."""

    optimum: Floats
    """log₁₀ of the best rate."""
    curvature: Floats
    """Nats per squared decade."""
    limit: Floats
    """log₁₀ of the rate at which half of the runs diverge; ``NEVER``: none does."""
    floor: Floats
    """Loss at the optimum, nats per token."""

    def loss(self, x: Floats) -> Floats:
        """The mean loss [S, A, ...] at log rates x [S, A, ...]."""
        optimum, curvature, floor = (_like(each, x) for each in (self.optimum, self.curvature, self.floor))
        return floor + curvature * (x - optimum) ** 2

    def run(self, rng: np.random.Generator, x: Floats, seed_effect: Floats) -> Floats:
        """Losses of runs at log rates x [S, A, ...] whose seeds have this effect; NaN where a run diverges."""
        away = np.abs(x - _like(self.optimum, x))
        noise = RUN_NOISE * (1 + away**2) * rng.standard_normal(x.shape)
        diverged = rng.random(x.shape) < 1 / (1 + np.exp(np.clip(-(x - _like(self.limit, x)) / 0.05, -60, 60)))
        return np.where(diverged, np.nan, self.loss(x) + seed_effect + noise)

    def at_rate(self, rng: np.random.Generator, x: Floats, seeds: int) -> Floats:
        """Runs [S, A, K] of ``seeds`` new seeds, each arm at its log rate x [S, A]."""
        effect = rng.normal(0, SEED_NOISE, (len(x), 1, seeds))
        return self.run(rng, np.repeat(x[..., None], seeds, axis=-1), effect)

    def at_grid(self, rng: np.random.Generator, grid: Floats, seeds: int, studies: int) -> Floats:
        """Runs [S, A, R, K] of ``seeds`` new seeds at every log rate of the grid [R]."""
        shape = (studies, np.shape(self.optimum)[-1], len(grid), seeds)
        x = np.broadcast_to(grid[:, None], shape)
        return self.run(rng, x, rng.normal(0, SEED_NOISE, (studies, 1, 1, seeds)))


def _like(values: Floats, x: Floats) -> Floats:
    """[S, A] with as many axes behind as x [S, A, ...] has."""
    return values.reshape(*values.shape, *(1,) * (x.ndim - values.ndim))


def extended(given: Floats = RATES) -> Floats:
    """Log rates [R]: those given, with ``EXTENSIONS`` more on each side, by the ratio of the two outermost ones."""
    steps = np.arange(1, EXTENSIONS + 1)
    low, high = given[1] - given[0], given[-1] - given[-2]
    return np.concatenate([given[0] - low * steps[::-1], given, given[-1] + high * steps])


def best_of(losses: Floats, tried: Booleans | None = None) -> Integers:
    """Which rate [...] of the losses [..., R, K] is chosen among those ``tried`` [..., R]: fewest divergences, then the
    lowest mean of the runs that finished, then the smaller rate.

    This is the product's rule for all studies at once; tests/studies/test_simulated_losses.py holds it to the original.
    """
    diverged = np.isnan(losses).sum(axis=-1)
    finished = losses.shape[-1] - diverged
    mean = np.where(finished > 0, np.nansum(losses, axis=-1) / np.maximum(finished, 1), WORST)
    if tried is not None:
        diverged = np.where(tried, diverged, losses.shape[-1] + 1)
    fewest = diverged == diverged.min(axis=-1, keepdims=True)
    best: Integers = np.where(fewest, mean, np.inf).argmin(axis=-1)
    return best


def choose(losses: Floats) -> tuple[Integers, Booleans]:
    """The rate [S, A] of an ``extended`` grid that each arm gets, from losses [S, A, R, K] at all of its rates; and
    whether it lies on the edge of what was tried.

    Only the rates given are looked at first; where the best lies on an edge, one more there, up to ``EXTENSIONS``.
    """
    rates = np.arange(losses.shape[-2])
    first = np.full(losses.shape[:-2], EXTENSIONS)
    last = np.full(losses.shape[:-2], len(rates) - 1 - EXTENSIONS)
    while True:
        best = best_of(losses, (rates >= first[..., None]) & (rates <= last[..., None]))
        down, up = (best == first) & (first > 0), (best == last) & (last < len(rates) - 1)
        if not (down | up).any():
            return best, (best == first) | (best == last)
        first, last = first - down, last + up
