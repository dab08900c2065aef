"""How sure a fit is: the same fit on runs drawn again, and intervals from it that hold what they promise.

    draws = bootstrap(found)                           1,000 draws; the rows of one run are drawn together
    draws.standard_errors["alpha"]
    draws.interval("alpha")                            of a parameter, or of "a" in N_opt ∝ C^a
    draws.confidence_interval(1e9, 2e10)               of the law's own loss at N, D
    draws.prediction_interval(1e9, 2e10)               of a new run at N, D: its noise is added

A draw takes as many runs as there are, with replacement, and fits them (Efron & Tibshirani 1993, section 9.5, "case
resampling"): it assumes neither normal nor equal noise. Its plain percentile interval does not hold what it promises:

    least squares                          it is too short. Draws spread like residuals, which are smaller than errors
                                           by √((G − p)/G), for G runs and p parameters.
    Huber with a small δ, absolute ones    it is too long, and off centre. Few points lie near the minimum, so the
                                           minima of draws have long tails on one side.

So the default interval is the percentile one, corrected for its bias (BC: Efron 1981, "Nonparametric standard errors
and confidence intervals"), and then widened about the estimate by √(G/(G − p)) · t(G − p)/z, as a t interval is wider
than a normal one (Hesterberg 2015, "What teachers should know about the bootstrap", does so by the percentile's level).
Of 500 planted laws with 60 to 240 runs, 95 % intervals held the truth in (``benchmarks/scaling_coverage.py``, ±2 %):

                          α        β        E        a        loss at 10·C    a new run there
    Huber, δ = 1e-3       93.6     95.6     94.8     95.4     95.6            94.4 %
        percentile        95.2     97.6     97.0     96.8     96.6
        basic             90.0     91.4     92.6     89.8     90.6
    least squares         94.8     93.4     95.8     95.0     94.2            96.0 %
        percentile        93.4     92.4     93.4     94.4     93.2
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError, DataError, nearest
from glassformer.scaling.fits.checks import SPARE_ROWS
from glassformer.scaling.fits.diagnostics import Direction, unidentified_by_draws
from glassformer.scaling.fits.fitting import Fit, points_at, refit
from glassformer.scaling.fits.formulas import CHINCHILLA
from glassformer.scaling.fits.points import Array, Given
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, check_compute
from glassformer.scaling.wording import Interval
from glassformer.statistics.prediction import LEVEL, Prediction, check_level, from_draws, resampled, standard_errors
from glassformer.wording import counted

Quantity = Callable[[Array], Array]
"""What is asked of a fit: a function of parameters [..., p], elementwise in the axes before."""

DRAWS = 1000
FEWEST_DRAWS = 100
"""Below this the 2.5 % at each end are two or three draws."""

MOST_DRAWS = 100_000
MOST_DRAWN = 50_000_000
"""Draws, and rows of all draws together (400 MB of weights): some minutes."""

FEW_RUNS = 20
"""Below this the coverage of the intervals has not been shown; they are wide, and a note says so."""


@dataclass(frozen=True)
class AllocationIntervals:
    """Intervals of how the law spends a budget: N, D, D/N, and its loss there (the law's, without a run's noise)."""

    parameters: Interval
    tokens: Interval
    ratio: Interval
    loss: Interval


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Fits of runs drawn again. Parameters are in the order of ``fit.names``."""

    fit: Fit
    parameters: Array
    """[B, p], a row for each draw."""
    weights: Array
    """[B, n], what each draw made of the points: how often its run was drawn, times the point's own weight."""
    runs: int
    """G, how many training runs were drawn from: rows of one run are one."""
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return self.fit.names

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, a sentence each."""
        if self.runs >= FEW_RUNS:
            return ()
        note = (
            f"There are only {counted(self.runs, 'run')}: from {FEW_RUNS} on the intervals have been shown to hold "
            "what they promise; below, take them as a rough guide."
        )
        return (note,)

    @cached_property
    def standard_errors(self) -> dict[str, float]:
        """The standard deviation of the draws, by parameter. Of A and B a few large draws make most of it."""
        return dict(zip(self.names, self.parameters.std(axis=0, ddof=1).tolist(), strict=True))

    @cached_property
    def unidentified(self) -> tuple[Direction, ...]:
        """The combinations of parameters that these fits leave open."""
        fit = self.fit
        return unidentified_by_draws(fit.formula, fit.values, fit.points, fit.weights, self.parameters)

    @property
    def quantities(self) -> tuple[str, ...]:
        """What :meth:`interval` knows by name."""
        return (*self.names, *(("a",) if self.fit.formula == CHINCHILLA else ()))

    def draws(self, name: str) -> Array:
        """[B] of a parameter, or of "a" (N_opt ∝ C^a, a = β/(α + β); Hoffmann et al. 2022, eq. 4).

        Raises:
            ConfigError: there is none of that name.
        """
        return self._quantity(name)(self.parameters)

    def estimate(self, name: str) -> float:
        """Of the fit itself: what :meth:`draws` are draws of; NaN of "a" where both exponents are 0.

        Raises:
            ConfigError: there is none of that name.
        """
        return float(self._quantity(name)(self.fit.values))

    def interval(self, name: str, level: float = LEVEL) -> Interval:
        """Of a parameter, or of "a"; within what it may be.

        Raises:
            ConfigError: there is none of that name, or ``level`` is not between 0 and 1.
        """
        quantity, named = self._quantity(name), name in self.names
        logged = named and self.fit.formula.logged[self.names.index(name)]
        low, high = self.interval_of(quantity, level, logged=logged)
        least, most = self.fit.formula.limit(name) if named else (0.0, 1.0)
        return max(low, least), min(high, most)

    def interval_of(self, quantity: Quantity, level: float = LEVEL, *, logged: bool = False) -> Interval:
        """Of anything that follows from the parameters: ``quantity`` maps [..., p] to [...].

        ``logged``: it is a positive number that one compares by factors.
        """
        found = self._about(quantity, level, logged=logged)
        return float(found.low), float(found.high)

    def predict(self, n: npt.ArrayLike, d: npt.ArrayLike, *, c: Given = None, unique: Given = None) -> Array:
        """The loss of each draw, nats per token: [B, ...] for N and D shaped [...]; ``c`` and ``unique`` as a fit's."""
        points, shape = points_at(n, d, c=c, unique=unique)
        return self.fit.formula.value(self.parameters, points).reshape(len(self.parameters), *shape)

    def confidence_interval(
        self, n: npt.ArrayLike, d: npt.ArrayLike, level: float = LEVEL, *, c: Given = None, unique: Given = None
    ) -> tuple[Array, Array]:
        """Of the law's loss at N and D, which no single run has: low and high, nats per token, shaped as N and D."""
        return self._loss(n, d, level, c=c, unique=unique).interval

    def prediction_interval(
        self, n: npt.ArrayLike, d: npt.ArrayLike, level: float = LEVEL, *, c: Given = None, unique: Given = None
    ) -> tuple[Array, Array]:
        """Of the loss of a new run at N and D: low and high, nats per token, shaped as N and D.

        To the law's own interval the noise is added, as :meth:`Prediction.with_noise` does.
        """
        return self._loss(n, d, level, c=c, unique=unique).with_noise(self.noise(level)).interval

    def noise(self, level: float = LEVEL) -> float:
        """How far the loss of a new run lies from the law, at most, with this probability: in ln L.

        The ⌈level · (n + 1)⌉-th smallest residual, as conformal prediction takes it, but of residuals enlarged by
        √(n/(n − p)), since the fit has seen them. Too few rows for that: t times their standard deviation.
        """
        check_level(level)
        residuals = np.sort(np.abs(self.fit.residuals[self.fit.weights > 0]))
        n, p = len(residuals), len(self.names)
        rank = int(np.ceil(level * (n + 1) - 1e-9))
        if rank <= n:
            return float(residuals[rank - 1] * np.sqrt(n / (n - p)))
        return standard_errors(level, n - p) * float(np.sqrt((residuals**2).sum() / (n - p)))

    def allocation(self, compute: float, level: float = LEVEL) -> AllocationIntervals:
        """How the law spends ``compute`` FLOPs = 6·N·D (the point itself: ``fit.law().optimum(compute)``).

        Raises:
            ConfigError: the formula is not E + A/N^α + B/D^β, or the budget or the level is none.
        """
        law = self.fit.law()
        check_compute(compute, law.name)

        def parameters(values: Array) -> Array:
            _, A, B, alpha, beta = np.moveaxis(values, -1, 0)  # the paper's names
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                logs = np.log(alpha * A / (beta * B)) + beta * np.log(compute / FLOPS_PER_PARAMETER_AND_TOKEN)
                return np.asarray(np.exp(logs / (alpha + beta)))

        def tokens(values: Array) -> Array:
            return np.asarray(compute / FLOPS_PER_PARAMETER_AND_TOKEN / parameters(values))

        def loss(values: Array) -> Array:
            E, A, B, alpha, beta = np.moveaxis(values, -1, 0)
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                return np.asarray(E + A / parameters(values) ** alpha + B / tokens(values) ** beta)

        return AllocationIntervals(
            parameters=self.interval_of(parameters, level, logged=True),
            tokens=self.interval_of(tokens, level, logged=True),
            ratio=self.interval_of(lambda values: tokens(values) / parameters(values), level, logged=True),
            loss=self.interval_of(loss, level, logged=True),
        )

    def _quantity(self, name: str) -> Quantity:
        if name not in self.quantities:
            raise ConfigError(f"there is no {name!r} to give. {nearest(name, self.quantities)}", subject="bootstrap")
        if name in self.names:
            return lambda values: values[..., self.names.index(name)]
        alpha, beta = self.names.index("alpha"), self.names.index("beta")

        def exponent(values: Array) -> Array:
            with np.errstate(invalid="ignore", divide="ignore"):  # α = β = 0: there is none
                return np.asarray(values[..., beta] / (values[..., alpha] + values[..., beta]))

        return exponent

    def _loss(self, n: npt.ArrayLike, d: npt.ArrayLike, level: float, *, c: Given, unique: Given) -> Prediction:
        """The law's loss at N and D, shaped as these."""
        points, shape = points_at(n, d, c=c, unique=unique)
        found = self._about(lambda values: self.fit.formula.value(values, points), level, logged=True)
        value, low, high = (end.reshape(shape)[()] for end in (found.value, *found.interval))
        return Prediction(value, low, high, level)

    def _about(self, quantity: Quantity, level: float, *, logged: bool) -> Prediction:
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate, draws = np.asarray(quantity(self.fit.values)), quantity(self.parameters)
        check_level(level)
        reach = resampled(self.runs, len(self.names), level)
        return from_draws(estimate, draws, level, reach=reach, logged=logged)


def bootstrap(fit: Fit, *, draws: int = DRAWS, seed: int = 0) -> Bootstrap:
    """Fit again ``draws`` times, each time to as many runs as there are, drawn with replacement.

    The rows of one run (``points.run``) are drawn together: they are not independent. A draw with no more distinct
    runs than parameters would be met exactly; it is drawn again.

    Raises:
        ConfigError: fewer than 100 draws, or more than there are memory and time for.
        DataError: too few runs to draw from.
    """
    check_draws(draws, len(fit.points))
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more; it is {seed}.", subject="bootstrap")
    used = fit.weights > 0
    clusters = fit.points[used].clusters
    runs, p = int(clusters.max()) + 1, len(fit.names)
    if runs < p + SPARE_ROWS:
        raise DataError(
            f"The bootstrap cannot work: {counted(len(clusters), 'row')} of {counted(runs, 'run')} are too few to draw "
            f"from; {fit.formula.text} has {p} parameters and needs {p + SPARE_ROWS} runs at least. Rows of one run "
            "count once, since they are not independent: more runs are needed, not more rows."
        )
    counts = _drawn(np.random.default_rng(seed), runs, p, draws)
    weights = np.zeros((draws, len(fit.points)))
    weights[:, used] = counts[:, clusters] * fit.weights[used]
    parameters = refit(fit, weights)
    found = np.isfinite(parameters).all(axis=1)
    return Bootstrap(fit, parameters[found], weights[found], runs, seed)


def check_draws(draws: int, rows: int) -> None:
    """Raise :class:`ConfigError` unless a bootstrap of so many rows can make so many draws, and enough."""
    if draws < FEWEST_DRAWS:
        raise ConfigError(
            f"draws must be {FEWEST_DRAWS} or more, such as {DRAWS}; there are {draws}, and an interval would rest on "
            "its two or three outermost.",
            subject="bootstrap",
        )
    most = min(MOST_DRAWS, MOST_DRAWN // rows)
    if draws > most:
        raise ConfigError(
            f"draws must be at most {most:,} for {counted(rows, 'row')}, such as {DRAWS}; got {draws}.",
            subject="bootstrap",
        )


def _drawn(rng: np.random.Generator, runs: int, parameters: int, draws: int) -> Array:
    """How often each run is drawn, [draws, runs]; at least one distinct run more than parameters."""
    counts = rng.multinomial(runs, np.full(runs, 1 / runs), size=draws)
    while (few := (counts > 0).sum(axis=1) <= parameters).any():
        counts[few] = rng.multinomial(runs, np.full(runs, 1 / runs), size=int(few.sum()))
    return counts.astype(np.float64)
