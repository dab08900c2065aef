"""The objective around its minimum, over two parameters, all others that can be set to their best.

    excess(α, β) = min over E, A, B of the objective / its minimum − 1

A parameter that the fitter takes the logarithm of, such as R*_D, spans powers of ten: it is laid out in its logarithm.

The formula is linear in the others, so each place of the grid is a small problem: iteratively reweighted least squares
(Beaton & Tukey 1974) on the residuals' logarithms, all places at once. A few hundred rows take about a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from glassformer.scaling.fits.points import Array

if TYPE_CHECKING:
    from glassformer.scaling.fits.fitting import Fit

GRID = 33  # places along each parameter at which the objective is computed
DRAWN = 241  # along each parameter in the picture, by interpolation
ROUNDS = 30
LEVELS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5)
WIDER = 0.45  # of the draws' range, added at both ends
LEAST_MINIMUM = 1e-290  # of points that are met exactly: the excess is a number yet
TAIL = 0.01  # of the draws, left out at each end of the range


@dataclass(frozen=True)
class Surface:
    """Excess of the objective over its minimum, [DRAWN, DRAWN] of (y, x), as a share; infinite where there is none.

    Attributes:
        names: of the two parameters, the one along x first.
        at: the fit's values of them.
        low, high: the ends of the picture, [2] each.
        logarithmic: whether x and y are laid out in their logarithms.
        held: parameters that stay at their fitted values, since the formula is not linear in them.
    """

    names: tuple[str, str]
    at: tuple[float, float]
    low: Array
    high: Array
    excess: Array
    held: tuple[str, ...] = ()
    logarithmic: tuple[bool, bool] = (False, False)
    levels: tuple[float, ...] = LEVELS

    @property
    def edges(self) -> tuple[Array, Array]:
        """The borders of the cells along x and y, [DRAWN + 1] each."""
        x, y = (_laid_out(self.low[i], self.high[i], len(self.excess), self.logarithmic[i])[0] for i in range(2))
        return x, y


def _laid_out(low: float, high: float, cells: int, logarithmic: bool) -> tuple[Array, Array]:
    """The borders [cells + 1] and the middles [cells] of equal cells; equal in the logarithm where that is asked."""
    ends = np.log([low, high]) if logarithmic else np.array([low, high])
    fine = np.linspace(float(ends[0]), float(ends[1]), 2 * cells + 1)
    fine = np.exp(fine) if logarithmic else fine
    return fine[::2], fine[1::2]


def surface(fit: Fit, draws: Array) -> Surface | None:
    """The objective over the first two parameters in which the formula is not linear; None where it has only one.

    Args:
        draws: [B, p] parameters of bootstrap samples; they say how far to look.
    """
    from scipy.ndimage import zoom

    shapes = fit.formula.shapes
    if len(shapes) < 2:
        return None
    names = (shapes[0], shapes[1])
    at = np.array([fit.parameters[name] for name in names])
    columns = [fit.names.index(name) for name in names]
    logged = (fit.formula.logged[columns[0]], fit.formula.logged[columns[1]])
    low, high = _range(draws[:, columns], at, fit, np.array(logged))
    x, y = (_laid_out(low[axis], high[axis], GRID, logged[axis])[1] for axis in range(2))
    grid = np.empty((GRID, GRID, len(shapes)))
    grid[...] = [fit.parameters[name] for name in shapes]
    grid[..., 0], grid[..., 1] = x[None, :], y[:, None]
    objective = _least(fit, grid.reshape(GRID * GRID, -1)).reshape(GRID, GRID)
    excess = objective / max(fit.minimum, LEAST_MINIMUM) - 1
    fine = np.expm1(zoom(np.log1p(np.maximum(excess, 0)), DRAWN / GRID, order=1, grid_mode=True, mode="nearest"))
    return Surface(names, (float(at[0]), float(at[1])), low, high, fine, held=shapes[2:], logarithmic=logged)


def _range(draws: Array, at: Array, fit: Fit, logged: Array) -> tuple[Array, Array]:
    """The draws' range and some more, around the fit, within the limits of the parameters."""
    limits = np.array([fit.formula.limit(name) for name in fit.formula.shapes[:2]])
    draws, at, limits = (
        np.where(logged, np.log(np.maximum(values, 1e-300)), values) for values in (draws, at, limits.T)
    )
    low = np.minimum(np.quantile(draws, TAIL, axis=0), at)
    high = np.maximum(np.quantile(draws, 1 - TAIL, axis=0), at)
    room = np.maximum(WIDER * (high - low), 0.02 * np.abs(at) + 1e-6)
    ends = np.maximum(low - room, limits[0]), np.minimum(high + room, limits[1])
    low, high = (np.where(logged, np.exp(end), end) for end in ends)
    return low, high


def _residual(fit: Fit, loss: Array) -> Array:
    if fit.objective.of == "L":
        return loss - fit.points.loss
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.log(loss) - np.log(fit.points.loss))


def _total(fit: Fit, loss: Array) -> Array:
    """The objective of losses [G, n]: [G], infinite where a loss is none."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = (fit.objective.value(_residual(fit, loss)) * fit.weights).sum(axis=1)
    return np.where(np.isfinite(total), total, np.inf)


def _least(fit: Fit, shapes: Array) -> Array:
    """The least objective at given shapes [G, q], over the linear parameters, none of them negative: [G]."""
    rest, factors = fit.formula.projected(shapes, fit.formula.columns(fit.points))  # [G, n], [G, n, k]
    measured = fit.points.loss
    # columns scaled to about 1, so that A and B, which span powers of ten, are solved for as well as E
    size = np.abs(factors).max(axis=1, keepdims=True) + 1e-300
    factors = factors / size
    if not factors.shape[-1]:  # nothing is linear: the two parameters, and those held, are all there is
        return _total(fit, rest)
    linear = _solve(factors / measured[:, None], (measured - rest) / measured, np.ones_like(rest))
    linear = np.maximum(linear, 1e-12)
    best, kept = np.full(len(shapes), np.inf), linear
    for _ in range(ROUNDS):
        loss = rest + np.einsum("gnk,gk->gn", factors, linear)
        r, value = _residual(fit, loss), _total(fit, loss)
        better = value < best
        best, kept = np.where(better, value, best), np.where(better[:, None], linear, kept)
        weights = fit.weights * np.abs(fit.objective.derivative(r)) / np.maximum(np.abs(r), 1e-9)
        slopes = factors if fit.objective.of == "L" else factors / loss[..., None]
        step = _solve(slopes, -r, weights)
        # a row that got worse goes back most of the way instead
        linear = np.where(better[:, None], np.maximum(linear + step, 1e-12), kept + 0.3 * (linear - kept))
    return best


def _solve(slopes: Array, target: Array, weights: Array) -> Array:
    """Weighted least squares for each row of a batch: [G, n, k], [G, n], [G, n] → [G, k]."""
    weighted = slopes * np.nan_to_num(weights)[..., None]
    normal = np.einsum("gnk,gnl->gkl", weighted, slopes)
    right = np.einsum("gnk,gn->gk", weighted, np.nan_to_num(target))
    normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(slopes.shape[-1])
    return np.asarray(np.linalg.solve(normal + 1e-300 * np.eye(slopes.shape[-1]), right[..., None])[..., 0])
