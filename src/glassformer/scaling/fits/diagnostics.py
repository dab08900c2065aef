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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from glassformer.scaling.fits.fit_formula import GREEK, Formula
from glassformer.scaling.fits.points import Points
from glassformer.scaling.laws.formula import Array

OPEN = 1.0
"""The standard error of a combination of logarithms from which it counts as not identified: a factor of e."""

NEGLIGIBLE = 1e-9
"""A parameter that moves no prediction by more than this times its own relative change has no effect."""

TAIL = 0.025
"""Of a bootstrap's draws, left out at each end of a spread."""

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
    """Parameters at a limit or without effect, and the combinations of the others that are open, the worst first.

    Linearised, before any bootstrap. Rows of one run may share all of their error, so the noise counts as many times as
    a run has rows.
    """
    slopes = sensitivity(formula, values, points, weights)
    found, free = _alone(formula, values, slopes)
    if not free:
        return tuple(found)
    residuals = np.log(formula.value(values, points)) - np.log(points.loss)
    used = weights > 0
    shared = used.sum() / len(np.unique(points.clusters[used]))
    sigma = noise(residuals, weights, len(values)) * np.sqrt(shared)
    _, singular, vectors = np.linalg.svd(slopes[:, free], full_matrices=False)
    floor = 1e-12 * singular[0]
    errors = [sigma / s if s > floor else np.inf for s in singular[::-1]]
    names = [formula.names[i] for i in free]
    return (*found, *_open(names, errors, vectors[::-1]))


def unidentified_by_draws(
    formula: Formula, values: Array, points: Points, weights: Array, draws: Array
) -> tuple[Direction, ...]:
    """The same as a bootstrap's ``draws`` [B, p] have it, which the intervals and standard errors are from as well.

    The spread is that of the middle 95 %. A parameter of which a standard error is as large as itself counts as open
    even if its logarithm is not, so that no number beside the verdict contradicts it.
    """
    found, free = _alone(formula, values, sensitivity(formula, values, points, weights))
    if not free:
        return tuple(found)
    names = [formula.names[i] for i in free]
    logs = np.log(np.clip(draws[:, free], 1e-300, 1e300))
    low, high = np.quantile(logs, [TAIL, 1 - TAIL], axis=0)
    _, singular, vectors = np.linalg.svd(np.clip(logs, low, high) - logs.mean(axis=0), full_matrices=False)
    found += _open(names, (singular / np.sqrt(len(logs))).tolist(), vectors)
    named = {name for direction in found for name in direction.combination}
    with np.errstate(over="ignore", invalid="ignore"):
        errors = draws[:, free].std(axis=0, ddof=1)
    for name, value, error, ends in zip(names, values[free], errors, np.exp([low, high]).T, strict=True):
        if f"ln {shown(name)}" not in named and not error < abs(value):
            sentence = (
                f"The data hardly fix {shown(name)}: its standard error, {error:.3g}, is as large as itself; 95 % of "
                f"the bootstrap's fits have {ends[0]:.3g} to {ends[1]:.3g}."
            )
            found.append(Direction({f"ln {shown(name)}": 1.0}, float(np.log(ends[1] / ends[0])) / 4, sentence))
    return tuple(found)


def _alone(formula: Formula, values: Array, slopes: Array) -> tuple[list[Direction], list[int]]:
    """The parameters at a limit or without effect; and which are neither, by index."""
    found, free = [], []
    for i, name in enumerate(formula.names):
        low, high = formula.limit(name)
        at_least, at_most = values[i] <= low * (1 + 1e-9), values[i] >= high * (1 - 1e-9)  # a logarithm was taken
        sentence = ""
        if at_least or at_most:
            limit = f"{values[i]:g}, the {'least' if at_least else 'largest'} that it may be"
            sentence = f"{shown(name)} ended at {limit}: the data do not fix it from that side."
        elif np.abs(slopes[:, i]).max() < NEGLIGIBLE:
            sentence = f"{shown(name)} = {values[i]:.3g} has no effect on any point: its value is arbitrary."
        if sentence:
            found.append(Direction({f"ln {shown(name)}": 1.0}, np.inf, sentence))
        else:
            free.append(i)
    return found, free


def _open(names: list[str], errors: Sequence[float], vectors: Array) -> list[Direction]:
    """The directions whose standard errors, largest first, are OPEN or more."""
    pairs = zip(errors, vectors, strict=True)
    return [_combination(names, vector, error) for error, vector in pairs if error >= OPEN]


def shown(name: str) -> str:
    """A parameter as the papers write it."""
    return GREEK.get(name, name)


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
