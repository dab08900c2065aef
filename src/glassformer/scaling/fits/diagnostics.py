"""What a fit rests on: how well its points fix its parameters, and which of them fix it.

Directions. s are the singular values of ∂ ln L/∂ ln θ: how much the predictions move if parameters change by a factor.
Noise of standard deviation σ in ln L leaves a combination of logarithms uncertain by about σ/s. Where that is a factor
of e or more, the points do not identify it.

Influence. Each point is left out, and the fit made again (n refits). How far it moves is Cook's distance (Cook 1977),
the mean square over the p parameters in standard errors; above 1 one point decides what the others should (Cook &
Weisberg 1982, section 3.5). Points far out in N or D do so by rights. Those that also lie off the fit, further than
the farthest of n points with normal noise would, are named: look at them before trusting the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from glassformer.scaling.fits.formulas import GREEK, Formula
from glassformer.scaling.fits.points import Points
from glassformer.scaling.laws.formula import Array

OPEN = 1.0
"""The standard error of a combination of logarithms from which it counts as not identified: a factor of e."""

NEGLIGIBLE = 1e-9
"""A parameter that moves no prediction by more than this times its own relative change has no effect."""

CHANCE = 0.05
"""How likely any of n points with normal noise may be so far off the fit (Bonferroni)."""

LEAST_NOISE = 1e-10
"""Of ln L: below it residuals are rounding, and tell nothing of the points."""


@dataclass(frozen=True)
class Direction:
    """A combination of parameters that the points leave open.

    Attributes:
        combination: the direction in logarithms of parameters, of length 1: {"ln B": 0.98, "ln β": 0.2}; one that is
            fixed at a limit stands alone.
        standard_error: of that combination of logarithms; infinite where nothing fixes it.
        sentence: what it means.
    """

    combination: Mapping[str, float]
    standard_error: float
    sentence: str


@dataclass(frozen=True)
class Influence:
    """What each point alone does."""

    moved: Array
    """[n] how far the fit moves without the point, in standard errors: the root of Cook's distance."""
    off: Array
    """[n] the residual in ln L, from the median one, in standard deviations of the noise."""
    outlying: npt.NDArray[np.intp]
    """Points that move the fit by more than a standard error and lie off it by more than chance explains."""


def noise(residuals: Array, weights: Array, parameters: int) -> float:
    """The standard deviation of residuals in ln L, by the median of their size: a few wild points do not raise it."""
    used = residuals[weights > 0]
    spare = max(len(used) - parameters, 1)
    sigma = 1.4826 * np.median(np.abs(used - np.median(used))) * np.sqrt(len(used) / spare)
    return max(float(sigma), LEAST_NOISE)


def sensitivity(formula: Formula, values: Array, points: Points, weights: Array) -> Array:
    """∂ ln L/∂ ln θ of each point and parameter, by the root of its weight: [n, p]."""
    slopes = formula.jacobian(values, points) * values / formula.value(values, points)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        # a parameter at the edge of what can be computed: as large as numbers are, so that there are singular values
        return np.nan_to_num(slopes * np.sqrt(weights)[:, None], nan=0.0, posinf=1e150, neginf=-1e150)


def condition(formula: Formula, values: Array, points: Points, weights: Array) -> float:
    """Largest by smallest singular value of the sensitivity; infinite if one is 0."""
    singular = np.linalg.svd(sensitivity(formula, values, points, weights), compute_uv=False)
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else np.inf


def unidentified(formula: Formula, values: Array, points: Points, weights: Array) -> tuple[Direction, ...]:
    """Parameters at a limit or without effect, and the combinations of the others that are open, the worst first."""
    slopes = sensitivity(formula, values, points, weights)
    found, free = [], []
    for i, name in enumerate(formula.names):
        low, high = formula.limit(name)
        at_least, at_most = values[i] <= low * (1 + 1e-9), values[i] >= high * (1 - 1e-9)  # a logarithm was taken
        if at_least or at_most:
            limit = f"{values[i]:g}, the {'least' if at_least else 'largest'} that it may be"
            found.append(_alone(name, f"{shown(name)} ended at {limit}: the data do not fix it from that side."))
        elif np.abs(slopes[:, i]).max() < NEGLIGIBLE:
            found.append(_alone(name, f"{shown(name)} = {values[i]:.3g} has no effect on any point: anything goes."))
        else:
            free.append(i)
    if not free:
        return tuple(found)
    residuals = np.log(formula.value(values, points)) - np.log(points.loss)
    sigma = noise(residuals, weights, len(values))
    _, singular, vectors = np.linalg.svd(slopes[:, free], full_matrices=False)
    floor = 1e-12 * singular[0]
    for s, vector in zip(singular[::-1], vectors[::-1], strict=True):
        error = sigma / s if s > floor else np.inf
        if error < OPEN:
            break
        found.append(_combination([formula.names[i] for i in free], vector, error))
    return tuple(found)


def shown(name: str) -> str:
    """A parameter as the papers write it."""
    return GREEK.get(name, name)


def _alone(name: str, sentence: str) -> Direction:
    return Direction({f"ln {shown(name)}": 1.0}, np.inf, sentence)


def _combination(names: list[str], vector: Array, error: float) -> Direction:
    """A singular direction, its largest part positive, in words."""
    vector = vector * np.sign(vector[np.argmax(np.abs(vector))])
    order = [i for i in np.argsort(-np.abs(vector)) if abs(vector[i]) > 0.1]
    combination = {f"ln {shown(names[i])}": float(vector[i]) for i in order}
    certain = f"only to within a factor of {np.exp(error):.3g}" if error < 50 else "not at all"
    if len(order) == 1:
        return Direction(combination, error, f"The data fix {shown(names[order[0]])} {certain}.")
    together = ", ".join(
        f"{shown(names[i])} {'up' if vector[i] > 0 else 'down'} by a factor of e^{abs(vector[i]):.2f}" for i in order
    )
    sentence = f"The data fix this combination {certain}: {together}. Moved together so, they hardly change the fit."
    return Direction(combination, error, sentence)


def influence(formula: Formula, values: Array, points: Points, weights: Array, without: Array) -> Influence:
    """What leaving out each point does, given the fits ``without`` it [n, p]."""
    base = np.log(formula.value(values, points))
    residuals = base - np.log(points.loss)
    sigma = noise(residuals, weights, len(values))
    moves = np.log(formula.value(without, points)) - base  # [n left out, n predicted]
    moved = np.sqrt((moves**2 * weights).sum(axis=1) / len(values)) / sigma
    off = (residuals - np.median(residuals[weights > 0])) / sigma
    farthest = NormalDist().inv_cdf(1 - CHANCE / (2 * len(points)))
    return Influence(moved, off, np.flatnonzero((moved > 1) & (np.abs(off) > farthest)))
