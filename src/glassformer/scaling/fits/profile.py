"""Profile likelihood: how much worse the best fit gets if one quantity is held at a value, and an interval from it.

    profile(found, "alpha").interval(0.95)             of a parameter, or of "a" in N_opt ∝ C^a
    profile(found, (1e9, 2e10)).interval(0.95)         of the law's loss at N, D

The objective's minimum over all else, as a function of the quantity, needs no symmetry and no standard error: what the
data leave open on one side has an interval that is open on that side. The interval holds the values whose objective is
at most a threshold above the minimum (Venzon & Moolgavkar 1988, "A method for computing profile-likelihood-based
confidence intervals"). For least squares and normal errors the threshold is known (F). For Huber, absolute deviations,
and rows of one run that share errors it is not, and it is taken from the bootstrap: how much worse the draws' fits get
if the quantity is held at the estimate, which is the truth that they were drawn from (Hall & Wilson 1991, "Two
guidelines for bootstrap hypothesis testing"); and it is widened for few runs as ``bootstrap.widened`` says.

Holding is done in the formula: α is replaced by a number, β by a·α/(1 − a), E by L₀ − A/N₀^α − B/D₀^β.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from glassformer.errors import ConfigError, nearest
from glassformer.scaling.fits.bootstrap import LEVEL, Bootstrap, bootstrap, check_level, widened
from glassformer.scaling.fits.expressions import derivative
from glassformer.scaling.fits.fitting import Fit, points_at
from glassformer.scaling.fits.formulas import CHINCHILLA, Formula
from glassformer.scaling.fits.minimising import Minima, Problem, minimise
from glassformer.scaling.fits.points import Array
from glassformer.scaling.wording import Interval
from glassformer.studies.wording import percent

DRAWS = 300
STEP = 0.35  # between two values, in standard errors
STEPS = 40  # to each side at most, each 5 % longer than the one before
GROWTH = 1.05
HIGHEST = 0.99
"""The level up to which a profile is followed."""


@dataclass(frozen=True)
class Held:
    """A quantity that can be held at a value: the formula with it inside, and the quantity of given parameters."""

    name: str
    at: Callable[[float], Formula]
    of: Callable[[Array], Array]
    logged: bool
    limits: Interval
    """Of the value; what is beyond cannot be."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The least objective as a function of one quantity."""

    name: str
    estimate: float
    values: Array
    """[k] of the quantity, ascending; the estimate among them."""
    objective: Array
    """[k] the least that the objective can be at each."""
    excess: Array
    """[B] ascending: how much worse the draws' fits get with the quantity held at the estimate."""
    limits: Interval
    widening: Callable[[float], float]
    """By how much the distance from the estimate grows for few runs, at a level."""

    @property
    def minimum(self) -> float:
        """The objective at the estimate."""
        return float(self.objective.min())

    def threshold(self, level: float = LEVEL) -> float:
        """How much above the minimum the objective may be.

        Raises:
            ConfigError: ``level`` is not between 0 and 1.
        """
        check_level(level)
        return float(np.quantile(self.excess, level) * self.widening(level) ** 2)

    def interval(self, level: float = LEVEL) -> Interval:
        """The values whose objective is within the threshold; an end that the data leave open is the quantity's limit.

        Raises:
            ConfigError: ``level`` is not between 0 and 1, or the profile does not reach so far.
        """
        root = np.sqrt(np.maximum(self.objective - self.minimum, 0.0))  # nearly straight on each side
        middle = int(np.argmin(np.abs(self.values - self.estimate)))
        below, above = slice(middle, None, -1), slice(middle, None)
        edge = float(np.sqrt(self.threshold(level)))
        low, high = (
            self._reached(self.values[side], root[side], edge, limit, level)
            for side, limit in ((below, self.limits[0]), (above, self.limits[1]))
        )
        return low, high

    def _reached(self, values: Array, root: Array, edge: float, limit: float, level: float) -> float:
        """Where, going outwards, the objective first passes the threshold."""
        beyond = np.flatnonzero(root > edge)
        if not len(beyond):
            if values[-1] == limit or (not np.isfinite(limit) and len(values) > STEPS):
                return limit
            raise ConfigError(
                f"the profile of {self.name} was followed to {percent(HIGHEST)} only; {percent(level)} is beyond.",
                subject="interval",
            )
        at = int(beyond[0])
        share = (edge - root[at - 1]) / (root[at] - root[at - 1])
        return float(values[at - 1] + share * (values[at] - values[at - 1]))


def profile(
    fit: Fit, of: str | tuple[float, float], *, draws: int = DRAWS, seed: int = 0, trust: Bootstrap | None = None
) -> Profile:
    """The profile of a parameter, of "a" (N_opt ∝ C^a), or of the law's loss at ``(N, D)``.

    Args:
        draws, seed: of the bootstrap that the threshold is from.
        trust: that bootstrap, if there is one already; then ``draws`` and ``seed`` are its own.

    Raises:
        ConfigError: there is no such quantity, or too few draws.
        DataError: too few runs for a bootstrap.
    """
    held = _held(fit, of)
    trust = bootstrap(fit, draws=draws, seed=seed) if trust is None else trust
    estimate = float(held.of(fit.values))
    spread = np.nan_to_num(held.of(trust.parameters), nan=estimate, posinf=1e300)
    if held.logged:
        spread = np.log(np.maximum(spread, 1e-300))
    error = float(np.subtract(*np.quantile(spread, [0.8413, 0.1587]))) / 2

    excess = _excess(fit, trust, held, estimate)
    runs, p = trust.runs, len(fit.names)

    def widening(level: float) -> float:
        return widened(level, runs, p) / float(stats.norm.isf((1 - level) / 2))

    enough = float(np.quantile(excess, HIGHEST)) * widening(HIGHEST) ** 2
    below, above = (_walk(fit, held, estimate, sign * STEP * error, enough) for sign in (-1, 1))
    rows = [*reversed(below), (estimate, fit.minimum), *above]
    values, objective = (np.array(column) for column in zip(*rows, strict=True))
    return Profile(held.name, estimate, values, objective, np.sort(excess), held.limits, widening)


def _walk(fit: Fit, held: Held, estimate: float, step: float, enough: float) -> list[tuple[float, float]]:
    """Values further and further from the estimate with their objectives, until it is ``enough`` above the minimum."""
    rows: list[tuple[float, float]] = []
    value, known = estimate, fit.parameters
    for _ in range(STEPS):
        value = value * np.exp(step) if held.logged else value + step
        value = float(np.clip(value, *held.limits))
        objective, known = _least(fit, held.at(value), known)
        rows.append((value, objective))
        if objective - fit.minimum > enough or value in held.limits:
            break
        step *= GROWTH
    return rows


def _least(fit: Fit, formula: Formula, known: dict[str, float]) -> tuple[float, dict[str, float]]:
    """The least objective of the formula with something held, from the parameters next to it."""
    found = _held_minima(fit, formula, known, fit.weights[None])
    values = formula.working.values(found.theta[0])
    return float(found.value[0]), known | dict(zip(formula.names, values.tolist(), strict=True))


def _excess(fit: Fit, trust: Bootstrap, held: Held, estimate: float) -> Array:
    """[B] how much higher the objective of each draw is with the quantity held at the estimate."""
    theta = fit.formula.working.of(trust.parameters)
    free = Problem(fit.formula, fit.points, fit.objective).value(theta, trust.weights)
    bound = _held_minima(fit, held.at(estimate), fit.parameters, trust.weights).value
    return np.maximum(bound - free, 0.0)


def _held_minima(fit: Fit, formula: Formula, known: dict[str, float], weights: Array) -> Minima:
    """One minimum for each row of ``weights``, all from the same parameters."""
    start = formula.working.of(np.array([known[name] for name in formula.names]))
    theta = np.tile(start, (len(weights), 1))
    with np.errstate(over="ignore", invalid="ignore"):  # a step where the held law has no loss is tried and rejected
        return minimise(Problem(formula, fit.points, fit.objective), theta, weights)


# ------------------------------------------------------------------------------------------------- holding


def _held(fit: Fit, of: str | tuple[float, float]) -> Held:
    """What is held, and how."""
    formula, names = fit.formula, fit.names
    if not isinstance(of, str):
        return _prediction(fit, *of)
    if of in names:
        index = names.index(of)
        return Held(
            name=of,
            at=lambda value: _with(formula, of, repr(value)),
            of=lambda values: values[..., index],
            logged=formula.logged[index],
            limits=formula.limit(of),
        )
    if of == "a" and formula == CHINCHILLA:
        alpha, beta = names.index("alpha"), names.index("beta")
        return Held(
            name="a",
            at=lambda value: _with(formula, "beta", f"{value / (1 - value)!r}*alpha"),
            of=lambda values: values[..., beta] / (values[..., alpha] + values[..., beta]),
            logged=False,
            limits=(1e-6, 1 - 1e-6),
        )
    known = (*names, "a") if formula == CHINCHILLA else names
    raise ConfigError(f"there is no {of!r} to hold. {nearest(of, known)} Or give (N, D).", subject="profile")


def _prediction(fit: Fit, n: float, d: float) -> Held:
    """The loss at N and D: a linear parameter is what it takes for the law to pass through it there.

    That parameter's own limit is not held: where E would have to be negative, it is.
    """
    formula, at = fit.formula, points_at(n, d, unique=None)
    if not formula.linear:
        raise ConfigError(
            f"{formula.text} has no parameter in which it is linear, so no loss can be held; profile a parameter.",
            subject="profile",
        )
    slopes = {name: derivative(formula.expression, name) for name in formula.linear}
    additive = [name for name, slope in slopes.items() if not slope.names]
    name = (additive or list(formula.linear))[0]
    here = formula.text
    for variable, column in formula.columns(at).items():
        here = re.sub(rf"\b{variable}\b", f"({float(column[0])!r})", here)
    without = re.sub(rf"\b{name}\b", "0.0", here)
    with_one = re.sub(rf"\b{name}\b", "1.0", here)
    share = "1.0" if name in additive else f"(({with_one}) - ({without}))"
    return Held(
        name=f"the loss at N = {n:.3g}, D = {d:.3g}",
        at=lambda value: _with(formula, name, f"({value!r} - ({without}))/{share}"),
        of=lambda values: formula.value(values, at)[..., 0],
        logged=True,
        limits=(0.0, np.inf),
    )


def _with(formula: Formula, name: str, text: str) -> Formula:
    """The formula with one parameter replaced."""
    return replace(
        formula,
        name="own",
        text=re.sub(rf"\b{name}\b", f"({text})", formula.text),
        limits={other: limit for other, limit in formula.limits.items() if other != name},
        starts={other: start for other, start in formula.starts.items() if other != name},
    )
