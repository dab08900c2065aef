"""The best model for a budget, found on a fitted law of any formula: the N of least loss with C = 6·N·D.

Where the law is L = E + A/N^α + B/D^β there is a closed form (:meth:`ParametricLoss.optimum`); here it is a search, on
a grid over ln N that narrows around the best size. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from glassformer.scaling.fits.points import Array, Points
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN

if TYPE_CHECKING:
    from glassformer.scaling.fits.fitting import Fit

GRID = 241  # sizes tried at once
ROUNDS = 7  # of the search, each over the two cells around the best size of the one before
EDGE = 0.02  # of the sizes tried at first: an optimum so near to their ends is none
LEVEL = 1e-13  # of a loss: a law that is so level towards an end has its least loss there
AROUND = 6.0  # in ln N, to each side of the fit's own best size, where those of a bootstrap's draws are looked for

Loss = Callable[[Array, Array], Array]
"""A fitted law: N [n] and D [n] -> nats per token [n]."""


@dataclass(frozen=True)
class BestSize:
    """How a law spends ``compute`` FLOPs: N, D, and the loss it expects of them."""

    compute: float
    parameters: float
    tokens: float
    loss: float

    @property
    def ratio(self) -> float:
        """Tokens for each parameter."""
        return self.tokens / self.parameters


def best_size(loss: Loss, compute: float) -> BestSize | None:
    """The size of least loss between one parameter and one token; None where the law falls to one of these ends."""
    products = compute / FLOPS_PER_PARAMETER_AND_TOKEN
    widest = float(np.log(products))
    low, high, best, least = 0.0, widest, 0.0, np.inf
    for narrowed in range(ROUNDS):
        grid = np.linspace(low, high, GRID)
        losses = loss(np.exp(grid), products / np.exp(grid))
        if not narrowed and not min(losses[0], losses[-1]) > losses.min() * (1 + LEVEL):
            return None
        at = int(np.argmin(losses))
        best, least, step = float(grid[at]), float(losses[at]), float(grid[1] - grid[0])
        low, high = max(0.0, best - step), min(widest, best + step)
    if not EDGE * widest < best < (1 - EDGE) * widest:
        return None
    n = float(np.exp(best))
    return BestSize(compute, n, products / n, least)


def on_trend(points: Points, compute: Array) -> tuple[Array, Array]:
    """N and D at these budgets on the runs' own trend: least squares of ln N and of ln D on ln C."""
    at, budget = np.log(compute), np.log(points.c)
    centred = budget - budget.mean()
    scale = float(centred @ centred)

    def extended(values: Array) -> Array:
        slope = float(centred @ np.log(values)) / scale if scale > 1e-9 else 0.5  # runs of one budget: both grow
        return np.asarray(np.exp(np.log(values).mean() + slope * (at - budget.mean())))

    return extended(points.n), extended(points.d)


def exponent(loss: Loss, compute: float) -> float | None:
    """A of N ∝ C^a around ``compute``: the slope of the best size over a power of ten, on logarithms."""
    below, above = best_size(loss, compute / 10**0.5), best_size(loss, compute * 10**0.5)
    return None if below is None or above is None else float(np.log10(above.parameters / below.parameters))


def best_parameters(fit: Fit, best: BestSize) -> Callable[[Array], Array]:
    """The best N at a budget as a function of the fit's parameters: [..., p] → [...], for a bootstrap's draws.

    The least loss on a grid around the fit's own best size, and the vertex of the parabola through it and its
    neighbours.
    """
    from glassformer.scaling.fits.fitting import points_at

    u = np.log(best.parameters) + np.linspace(-AROUND, AROUND, GRID)
    n = np.exp(u)
    points, _ = points_at(n, best.compute / FLOPS_PER_PARAMETER_AND_TOKEN / n)

    def parameters(values: Array) -> Array:
        losses = fit.formula.value(values, points)  # [..., GRID]
        at = np.clip(np.nan_to_num(losses, nan=np.inf).argmin(axis=-1), 1, GRID - 2)
        left, middle, right = (np.take_along_axis(losses, (at + i)[..., None], axis=-1)[..., 0] for i in (-1, 0, 1))
        bend = left - 2 * middle + right
        with np.errstate(invalid="ignore", divide="ignore"):
            shift = np.where(bend > 0, 0.5 * (left - right) / bend, 0.0)
        return np.asarray(np.exp(u[at] + np.clip(shift, -1, 1) * (u[1] - u[0])))

    return parameters
