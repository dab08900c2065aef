"""Fit a formula of the loss to training runs: the global minimum, and what there is to know about it.

    found = fit(points)                              E + A/N^α + B/D^β, Huber with δ = 1e-3 on ln L
    found = fit(points, "E + a/C**alpha", "squares")
    found.parameters, found.minimum, found.starts.agreeing, found.unidentified, found.influential
    refit(found, weights)                            one fit for each row of weights [B, n]: a bootstrap

Starts come from a grid over the exponents on which all else is solved by linear algebra (``starting.py``). From each of
them a Newton method with exact derivatives goes down until the gradient is zero to rounding (``minimising.py``). The
lowest end is the fit; how many others converged there is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError, DataError
from glassformer.scaling.fits.checks import check_points
from glassformer.scaling.fits.diagnostics import LEAST_NOISE, Direction, Influence, condition, influence, unidentified
from glassformer.scaling.fits.fit_formula import Formula
from glassformer.scaling.fits.formulas import CHINCHILLA
from glassformer.scaling.fits.formulas import formula as formula_of
from glassformer.scaling.fits.minimising import FitProblem, Minima, minimise, minimise_apart
from glassformer.scaling.fits.objectives import DELTA, Objective
from glassformer.scaling.fits.objectives import objective as objective_of
from glassformer.scaling.fits.points import Given, Points
from glassformer.scaling.fits.starting import starting_points
from glassformer.scaling.laws.formula import Array
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, ParametricLoss

STARTS, MOST_STARTS = 32, 10_000
ENOUGH = 1 / 4
"""Of the starts, how many must agree: the lowest minimum is then no chance find."""
FURTHER = 256
RESTARTS, MOST_RESTARTS = 64, 6
"""Where fewer agree: points of the grid, and restarts, how many at a time and how often."""
EXACT = (
    "The residuals are zero to rounding: these losses were computed from such a law, not measured. The intervals are "
    "as narrow as rounding, and say nothing of trainings."
)
AGREEMENT = 1e-7
"""Ends whose objectives differ by less than this, relatively, are the same minimum."""


@dataclass(frozen=True)
class Agreement:
    """How many starts were tried, and how many ended at the minimum."""

    tried: int
    agreeing: int
    second_best: float | None
    """The objective of the next basin; None if all ended at the same minimum."""
    spread: Array
    """[p] the largest difference of each parameter among the starts that agree: what the objective cannot tell apart.
    """

    def sentence(self) -> str:
        """In words."""
        found = f"{self.agreeing} of {self.tried} starts converged here"
        if self.second_best is None:
            return f"{found}."
        return f"{found}; the next best minimum is {self.second_best:.6g}."


@dataclass(frozen=True, eq=False)
class Fit:
    """A formula fitted to points. Parameters are in the order of ``names`` everywhere."""

    points: Points
    formula: Formula
    objective: Objective
    weights: Array
    """[n] of the points, 1 unless given."""
    values: Array
    """[p] the parameters."""
    minimum: float
    """The objective's weighted sum over the points."""
    gradient_norm: float
    """Euclidean, of the sum, by the fitter's own coordinates: logarithms of factors such as A, other parameters as they
    are; without those that are at a limit. With a kink (least absolute deviation), of the nearest subgradient."""
    starts: Agreement

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return self.formula.names

    @property
    def parameters(self) -> dict[str, float]:
        """By name."""
        return dict(zip(self.names, self.values.tolist(), strict=True))

    @property
    def spare(self) -> int:
        """Degrees of freedom: points − parameters."""
        return len(self.points) - len(self.values)

    @property
    def mean(self) -> float:
        """The objective a point: the minimum divided by the weights' sum."""
        return self.minimum / float(self.weights.sum())

    @cached_property
    def residuals(self) -> Array:
        """[n] ln L of the fit − ln L measured."""
        return np.log(self.predicted) - np.log(self.points.loss)

    @property
    def exact(self) -> bool:
        """Whether every point is met to rounding."""
        return bool(np.abs(self.residuals[self.weights > 0]).max() <= LEAST_NOISE)

    @cached_property
    def condition(self) -> float:
        """Of the derivative of ln L by the logarithms of the parameters: the largest singular value by the smallest."""
        return condition(self.formula, self.values, self.points, self.weights)

    @cached_property
    def unidentified(self) -> tuple[Direction, ...]:
        """The combinations of parameters that these points leave open, the worst first."""
        return unidentified(self.formula, self.values, self.points, self.weights)

    @cached_property
    def left_out(self) -> Influence:
        """What each point alone does to the fit: n refits, each without one."""
        weights = np.tile(self.weights, (len(self.points), 1))
        np.fill_diagonal(weights, 0.0)
        return influence(self.formula, self.values, self.points, self.weights, refit(self, weights))

    @property
    def influence(self) -> Array:
        """[n] how far the fit moves without each point, in standard errors: the root of Cook's distance."""
        return self.left_out.moved

    @property
    def influential(self) -> npt.NDArray[np.intp]:
        """The points, by index, that move the fit by more than a standard error and lie off it by more than chance."""
        return self.left_out.outlying

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, a sentence each."""
        exact = [EXACT] if self.exact else []
        directions = (direction.sentence for direction in self.unidentified)
        return (*self.points.notes, *exact, self.starts.sentence(), *directions)

    @cached_property
    def predicted(self) -> Array:
        """[n] the fit's loss at its own points, with their own FLOPs and unique tokens."""
        return self.formula.value(self.values, self.points)

    def predict(self, n: npt.ArrayLike, d: npt.ArrayLike, *, c: Given = None, unique: Given = None) -> Array:
        """The fit's loss, nats per token, at N and D, which broadcast.

        Args:
            c: training FLOPs, as the table of the fit counts them; 6·N·D unless given.
            unique: unique tokens; all of them unless given.
        """
        points, shape = points_at(n, d, c=c, unique=unique)
        return self.formula.value(self.values, points).reshape(shape)

    def law(self) -> ParametricLoss:
        """The fit as a law.

        Raises:
            ConfigError: the formula is not E + A/N^α + B/D^β.
        """
        if replace(self.formula, fixed={}) != CHINCHILLA:
            raise ConfigError(
                f"only a fit of {CHINCHILLA.text} is a law of N and D; this is one of {self.formula.text}.",
                subject="law of a fit",
            )
        points, constants = self.points, {**self.formula.fixed, **self.parameters}
        return ParametricLoss.of(
            E=constants["E"],
            A=constants["A"],
            B=constants["B"],
            alpha=constants["alpha"],
            beta=constants["beta"],
            name="fit",
            title=f"a fit to {len(points)} points",
            source=f"fitted to {points.source or 'points'}: {len(points)} points, {self.objective.describe()}",
            counting=points.counting,
            fitted_range={"N": _range(points.n), "D": _range(points.d)},
        )


def points_at(
    n: npt.ArrayLike, d: npt.ArrayLike, *, c: Given = None, unique: Given = None
) -> tuple[Points, tuple[int, ...]]:
    """Points at which to predict, in a row, with a loss of 1 that nobody reads; and the shape that N and D have."""
    n, d = np.asarray(n, float), np.asarray(d, float)
    flops = FLOPS_PER_PARAMETER_AND_TOKEN * n * d if c is None else np.asarray(c, float)
    n, d, flops, u = np.broadcast_arrays(n, d, flops, d if unique is None else np.asarray(unique, float))
    return Points.of(n.ravel(), d.ravel(), np.ones(n.size), c=flops.ravel(), unique=u.ravel()), n.shape


def fit(
    points: Points,
    formula: str | Formula = "chinchilla",
    objective: str | Objective = "huber",
    *,
    delta: float = DELTA,
    fixed: Mapping[str, float] | None = None,
    starts: int = STARTS,
    weights: npt.ArrayLike | None = None,
) -> Fit:
    """The parameters that make the objective least.

    Args:
        formula: a name of ``formulas.FORMULAS``, a text such as "E + A/N**alpha", or a :class:`Formula`.
        objective: a name of ``objectives.OBJECTIVES`` or an :class:`Objective`.
        delta: Huber's δ, in ln L.
        fixed: constants for some of the formula's parameters, by name; the others are fitted.
        starts: from how many points of the grid a Newton method starts.
        weights: [n] of the points, 0 or above.

    Raises:
        ConfigError: there is no such formula or objective, or it cannot be read.
        DataError: the points cannot fix the formula's parameters: too few, too few distinct, or one tied to another;
            every reason at once.
    """
    formula, objective = formula_of(formula, fixed), objective_of(objective, delta)
    chosen = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=np.float64)
    check_points(points, formula, chosen)
    if not 1 <= starts <= MOST_STARTS:
        raise ConfigError(f"starts must be 1 to {MOST_STARTS:,}; it is {starts}.", subject="fit")

    problem = FitProblem(formula, points, objective)
    grid = starting_points(points, formula, objective, chosen, starts)
    if not len(grid.values):
        raise DataError(
            f"{formula.text} gives no loss at any start: every one overflows or is the logarithm of a negative number. "
            "Give the ranges in which its parameters are looked for: formulas.own(text, starts=...)."
        )
    minima = minimise_apart(problem, formula.working.of(grid.values), np.tile(chosen, (len(grid.values), 1)))
    enough = max(2, round(ENOUGH * len(minima.value)))
    if _near(minima).sum() < enough:
        minima = _further(problem, minima, chosen, enough)
    best = int(np.argmin(minima.value))
    lowest = float(minima.value[best])
    values = formula.working.values(minima.theta)
    near = _near(minima)
    others = minima.value[~near & np.isfinite(minima.value)]
    agreement = Agreement(
        tried=len(minima.value),
        agreeing=int(near.sum()),
        second_best=float(others.min()) if len(others) else None,
        spread=np.ptp(values[near], axis=0),
    )
    _check_losses(formula, values[best], points, chosen)
    gradient = problem.gradient_norm(minima.theta[best], chosen)
    return Fit(points, formula, objective, chosen, values[best], lowest, gradient, agreement)


def _check_losses(formula: Formula, values: Array, points: Points, weights: Array) -> None:
    """Raise :class:`DataError` if the fit gives a point no loss above 0: an objective on L allows it, no loss is so."""
    with np.errstate(all="ignore"):
        losses = formula.value(values, points)
        bad = np.flatnonzero((weights > 0) & ~(np.isfinite(losses) & (losses > 0)))
    if len(bad):
        raise DataError(
            f"The best fit of {formula.text} gives {points.run[bad[0]]} a loss of "
            f"{losses[bad[0]]:.3g}, which none can be. "
            "Fit ln L (objective huber, absolute or squares), or another formula."
        )


def _near(minima: Minima) -> npt.NDArray[np.bool_]:
    """Which ends are at the lowest minimum."""
    lowest = float(minima.value.min())
    return np.asarray(minima.value <= lowest + AGREEMENT * abs(lowest) + 1e-24)


def _further(problem: FitProblem, minima: Minima, weights: Array, enough: int) -> Minima:
    """Where few starts agree: the rest of the grid, and restarts from minima of the points drawn again.

    With few points and much noise, Huber's objective and absolute deviation have many minima, one for each choice of
    points that are met exactly. The minimum of a bootstrap sample lies near, and in another one's reach (Wood 2001,
    "Minimizing model fitting objectives that contain spurious local minima by bootstrap restarting").
    """

    def with_ends_from(theta: Array) -> Minima:
        found = minimise(problem, theta, np.tile(weights, (len(theta), 1)))
        return Minima(np.concatenate([minima.theta, found.theta]), np.concatenate([minima.value, found.value]))

    grid = starting_points(problem.points, problem.formula, problem.objective, weights, FURTHER)
    minima = with_ends_from(problem.formula.working.of(grid.values))
    draw = np.random.default_rng(0)
    chance = (weights > 0) / (weights > 0).sum()
    for _ in range(MOST_RESTARTS):
        if _near(minima).sum() >= enough:
            break
        best = np.argsort(minima.value, kind="stable")[:4]
        theta = np.repeat(minima.theta[best], RESTARTS // len(best), axis=0)
        samples = weights * draw.multinomial(len(weights), chance, size=len(theta))
        minima = with_ends_from(minimise(problem, theta, samples).theta)
    return minima


def refit(fit: Fit, weights: npt.ArrayLike) -> Array:
    """The same fit with other weights of the points, one for each row: [B, n] → parameters [B, p].

    Each starts at the fit, so it is fast; and ends where its own gradient is zero to rounding.
    """
    rows = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    assert rows.shape[1] == len(fit.points), f"weights are shaped {rows.shape} for {len(fit.points)} points"
    problem = FitProblem(fit.formula, fit.points, fit.objective)
    theta = np.tile(fit.formula.working.of(fit.values), (len(rows), 1))
    return fit.formula.working.values(minimise(problem, theta, rows).theta)


def _range(values: Array) -> tuple[float, float]:
    return float(values.min()), float(values.max())
