"""Where a fit starts: a grid over the shapes of a formula, with the best linear parameters at each point of it.

For given shapes (α, β) the loss is linear in the others (E, A, B), which are not negative: their best values are an
inner problem of a few normal equations, reweighted so that least squares turns into the objective (iteratively
reweighted least squares). All points of the grid are solved at once. The relative residual L/L_measured − 1 stands in
for the logarithm, from which it differs in second order only; the Newton method that follows is exact.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glassformer.scaling.fits.fit_formula import Formula
from glassformer.scaling.fits.objectives import Objective
from glassformer.scaling.fits.points import Points
from glassformer.scaling.laws.formula import Array

Mask = npt.NDArray[np.bool_]

PER_SHAPE = {0: 1, 1: 64, 2: 24, 3: 9}
MOST_CELLS = 1296  # 6⁴; beyond four shapes, that many drawn at random
REWEIGHTINGS = 6


@dataclass(frozen=True)
class Starts:
    """The starting points of a fit, best first: parameters [m, p] and the objective of the inner problem [m]."""

    values: Array
    profile: Array


def starting_points(points: Points, formula: Formula, objective: Objective, weights: Array, count: int) -> Starts:
    """Up to ``count`` points of the grid: the best of all, and the best of each region, so that none is left out."""
    cells, regions = _grid(formula, points)
    values, profile = _projected(points, formula, objective, weights, cells)
    order = np.argsort(np.where(np.isfinite(profile), profile, np.inf), kind="stable")
    best_of_region = np.unique(regions[order], return_index=True)[1]
    chosen = [*order[: count // 3], *order[np.sort(best_of_region)]]
    chosen = list(dict.fromkeys(int(i) for i in chosen if np.isfinite(profile[i])))[:count]
    return Starts(values[chosen], profile[chosen])


def _grid(formula: Formula, points: Points) -> tuple[Array, npt.NDArray[np.intp]]:
    """[G, q] shapes, evenly spaced in their logarithm, and the region [G] of each: a coarser grid."""
    q = len(formula.shapes)
    ranges = [np.log(formula.start(name, points)) for name in formula.shapes]
    if q <= 4:
        each = PER_SHAPE.get(q, round(MOST_CELLS ** (1 / max(q, 1))))
        units = np.array(list(itertools.product((np.arange(each) + 0.5) / each, repeat=q))).reshape(each**q, q)
    else:
        units = np.random.default_rng(0).random((MOST_CELLS, q))
    blocks = {0: 1, 1: 16, 2: 6, 3: 3}.get(q, 2)
    coarse = np.minimum((units * blocks).astype(np.intp), blocks - 1)
    regions = (coarse * blocks ** np.arange(q)).sum(axis=1, dtype=np.intp)
    shapes = np.exp(np.array([low + units[:, i] * (high - low) for i, (low, high) in enumerate(ranges)]))
    return shapes.reshape(q, len(units)).T, regions


def _projected(
    points: Points, formula: Formula, objective: Objective, weights: Array, cells: Array
) -> tuple[Array, Array]:
    """The best linear parameters of each cell: all parameters [G, p] and the objective [G]."""
    rest, factors = formula.projected(cells, formula.columns(points))  # [G, n], [G, n, k]
    unit = points.loss if objective.of == "ln L" else np.ones(len(points))
    target, rest = points.loss / unit, rest / unit
    factors = factors / unit[:, None]
    usable: Mask = np.asarray(np.isfinite(factors).all(axis=(1, 2)) & np.isfinite(rest).all(axis=1))
    factors, rest = np.where(usable[:, None, None], factors, 0.0), np.where(usable[:, None], rest, 0.0)
    scale = np.sqrt((factors**2).mean(axis=1)) + 1e-300  # [G, k]
    factors = factors / scale[:, None]
    positive = np.array([formula.limit(name)[0] for name in formula.linear]).reshape(-1) >= 0
    emphasis = np.broadcast_to(weights, rest.shape)
    for _ in range(REWEIGHTINGS if factors.shape[2] else 1):
        linear = _least_squares(factors, target - rest, emphasis, positive)
        residual = rest + np.einsum("gnk,gk->gn", factors, linear) - target
        width = np.maximum(0.3 * np.median(np.abs(residual), axis=1, keepdims=True), 1e-12)
        emphasis = weights * _emphasis(objective, residual, width)
    with np.errstate(all="ignore"):
        misfit = np.log1p(np.maximum(residual, -1 + 1e-9)) if objective.of == "ln L" else residual
        profile = np.where(usable, (weights * objective.value(misfit)).sum(axis=1), np.inf)
    # a factor at exactly 0 has no logarithm; one that adds a millionth of the loss is as good a start
    least = np.where(positive, 1e-6, -np.inf)
    values = np.concatenate([np.maximum(linear, least) / scale, cells], axis=1)
    return values, profile


def _emphasis(objective: Objective, residual: Array, width: Array) -> Array:
    """The weight that makes r² act like the objective: its slope over r. Kinks are rounded over ``width``."""
    if not np.isfinite(objective.width):
        return np.ones_like(residual)
    away = np.where(np.abs(residual) < width, np.where(residual < 0, -width, width), residual)
    return objective.derivative(away) / away


def _least_squares(factors: Array, target: Array, weights: Array, positive: Mask) -> Array:
    """Weighted least squares in each cell, [G, k], with the ``positive`` parameters not below 0.

    With few parameters the surest way is every choice of those that are 0: the best that is feasible is the solution.
    """
    cells, _, k = factors.shape
    best, least = np.zeros((cells, k)), np.full(cells, np.inf)
    gram = np.einsum("gnk,gnl,gn->gkl", factors, factors, weights, optimize=True)
    right = np.einsum("gnk,gn->gk", factors, target * weights)
    may_vanish = np.flatnonzero(positive)
    # beyond a dozen there would be too many choices: then only all of them, and clipping
    choices = range(2 ** len(may_vanish)) if len(may_vanish) <= 8 else [0]
    for choice in choices:
        kept = np.setdiff1d(np.arange(k), [index for bit, index in enumerate(may_vanish) if choice >> bit & 1])
        if len(kept) == 0:
            continue
        block = (
            gram[:, kept[:, None], kept] + 1e-14 * np.eye(len(kept)) * gram[:, kept, kept].max(axis=1)[:, None, None]
        )
        block = block + 1e-300 * np.eye(len(kept))
        found = np.zeros((cells, k))
        found[:, kept] = np.linalg.solve(block, right[:, kept, None])[..., 0]
        if choices == [0]:
            found = np.where(positive, np.maximum(found, 0), found)
        # the sum of squares, less that of the target
        squares = np.einsum("gk,gkl,gl->g", found, gram, found) - 2 * np.einsum("gk,gk->g", found, right)
        wins = (squares < least) & (found[:, positive] >= 0).all(axis=1)
        best[wins], least[wins] = found[wins], squares[wins]
    return best
