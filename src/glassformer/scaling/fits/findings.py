"""Everything that is found out about a fit: what the report page shows, and what the terminal and the JSON say.

found = investigate(read_points(path))            the fit, its intervals, back-test, surface, and other choices
found.best.parameters, found.best.ratio_interval
found.sentences()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from glassformer.errors import ConfigError, DataError
from glassformer.scaling.fits.best_size import BestSize, best_parameters, best_size, on_trend
from glassformer.scaling.fits.bootstrap import DRAWS, Bootstrap, bootstrap, check_draws
from glassformer.scaling.fits.fit_formula import Formula
from glassformer.scaling.fits.fitting import EXACT, Fit
from glassformer.scaling.fits.fitting import fit as fit_points
from glassformer.scaling.fits.formulas import CHINCHILLA
from glassformer.scaling.fits.held_out_prediction import BackTest, back_test
from glassformer.scaling.fits.held_out_prediction import predict as predict_with_intervals
from glassformer.scaling.fits.isoflop import IsoFlops, isoflop_minima
from glassformer.scaling.fits.objectives import DELTA, Objective
from glassformer.scaling.fits.points import Array, Points
from glassformer.scaling.fits.sensitivity import Sensitivity, sensitivity
from glassformer.scaling.fits.surface import Surface, surface
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN
from glassformer.scaling.wording import Interval, budget, digits, large, to

BEYOND = 10.0
"""Times the largest budget of the data: the target, unless one is given."""

LEAST_TARGET, MOST_TARGET = 1e3, 1e40
"""FLOPs for which a law can be asked."""

BUDGETS = 41
"""Budgets for which the best size and its intervals are drawn."""

LISTED = 6  # influential points that a sentence names

Progress = Callable[[str], None]
"""Receives what is done next."""


@dataclass(frozen=True)
class AtBudget:
    """What the fit says of a budget. Intervals are 95 %.

    Attributes:
        parameters, tokens: the best N and D; None where the formula has no best size.
        loss: nats per token, at that size; without one, at ``place``; of a formula of compute alone, of the budget.
        place: N and D on the trend of the runs' own sizes; None where the formula has a best size, or is of compute
            alone.
        loss_interval: of a new run there: the law's error and a run's noise.
        calibrated: the same, widened by what the back-test found.
    """

    compute: float
    loss: float
    loss_interval: Interval
    calibrated: Interval
    parameters: float | None = None
    tokens: float | None = None
    parameters_interval: Interval | None = None
    tokens_interval: Interval | None = None
    ratio_interval: Interval | None = None
    place: tuple[float, float] | None = None

    @property
    def ratio(self) -> float | None:
        """Tokens for each parameter."""
        return None if self.parameters is None or self.tokens is None else self.tokens / self.parameters


@dataclass(frozen=True, eq=False)
class Findings:
    """A fit and what is known about it.

    Attributes:
        target: FLOPs to which it is extrapolated.
        path: budgets from the least of the data to the target, which is the last.
        missing: why something is not there, by its name: "IsoFLOP curves", "surface", "other choices".
        dropped: labels of points that the user had left out of the fit.
        seconds: that all of it took.
    """

    fit: Fit
    bootstrap: Bootstrap
    target: float
    path: tuple[AtBudget, ...]
    influential: tuple[int, ...]
    isoflop: IsoFlops | None
    surface: Surface | None
    back_test: BackTest
    sensitivity: Sensitivity | None
    missing: dict[str, str]
    dropped: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def best(self) -> AtBudget:
        """At the target."""
        return self.path[-1]

    @cached_property
    def runs(self) -> int:
        """Training runs among the rows."""
        return len(np.unique(self.fit.points.run))

    @property
    def beyond(self) -> float:
        """How many times the largest budget of the data the target is."""
        return self.target / float(self.fit.points.c.max())

    def sentences(self) -> list[str]:
        """What it comes to: the optimum, and how reliable it is."""
        return [self.optimum_sentence(), *self.reliability.values()]

    @property
    def reliability(self) -> dict[str, str]:
        """How reliable it is: the back-test, what moves it, what is open, what other choices say."""
        predicted = {
            "back-test": " ".join([self.back_test.sentence(), *self.back_test.notes(self.target)]),
            "influence": self._influence(),
            "the minimum": self.fit.starts.sentence(),
            "identified": " ".join(direction.sentence for direction in self.bootstrap.unidentified)
            or "The points identify every combination of the parameters: none varies by a factor of e or more among "
            "the bootstrap's fits.",
        }
        if self.sensitivity is not None:
            predicted["other choices"] = self.sensitivity.sentence()
        exact = [EXACT] if self.fit.exact else []
        notes = [*self.fit.points.notes, *exact, *self.bootstrap.notes]
        return predicted | ({"the points": " ".join(notes)} if notes else {})

    def optimum_sentence(self) -> str:
        """N, D and the loss at the target."""
        best = self.best
        times = f"{digits(self.beyond, 2)} times the largest budget of the data"
        loss = f"a loss of {digits(best.loss, 4)} nats per token (95 % {to(best.calibrated, _four)})"
        if best.parameters is None or best.tokens is None or best.ratio is None:
            at = ""
            if best.place is not None:
                n, d = map(large, best.place)
                at = f" at {n} parameters and {d} tokens, on the trend of the runs (the formula has no best size)"
            return f"At {budget(self.target)} FLOP, {times}, the law predicts {loss}{at}."
        return (
            f"At {budget(self.target)} FLOP, {times}, the best model has {large(best.parameters)} parameters "
            f"(95 % {to(best.parameters_interval, large)}) and sees {large(best.tokens)} tokens, {digits(best.ratio)} "
            f"for each parameter ({to(best.ratio_interval)}); it should reach {loss}."
        )

    def _influence(self) -> str:
        if not self.influential:
            return "No outliers: no point lies far from the law and moves the fit by much."
        points = self.fit.points
        ordered = sorted(self.influential, key=lambda i: -self.fit.influence[i])
        named = [f"{points.run[i]} (loss {points.loss[i]:.3f})" for i in ordered[:LISTED]]
        more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
        where = f"{len(ordered)} of {len(points)} points are outliers that move the fit"
        return f"{where}: {', '.join(named)}{more}. They are in the fit."


def _four(value: float) -> str:
    return digits(value, 4)


@np.errstate(all="ignore")  # of runs without noise or without a law much is 0 or infinite, and is shown as such
def investigate(
    points: Points,
    formula: str | Formula = "chinchilla",
    objective: str | Objective = "huber",
    *,
    delta: float = DELTA,
    fixed: Mapping[str, float] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    target: float | None = None,
    drop_influential: bool = False,
    progress: Progress | None = None,
) -> Findings:
    """Fit, and find out everything about the fit.

    Args:
        fixed: constants for some of the formula's parameters, by name.
        target: FLOPs to extrapolate to; 10 times the largest budget of the data unless given.
        drop_influential: whether to leave out the outliers that move the fit, and fit again; they are listed.

    Raises:
        ConfigError: no such formula or objective; too few draws.
        DataError: the points cannot fix the formula's parameters, or too few are left.
    """
    check_draws(draws, len(points))  # before anything that takes time
    if target is not None and not LEAST_TARGET <= target <= MOST_TARGET:
        raise ConfigError(
            f"the target is {budget(target)} FLOP; expected {budget(LEAST_TARGET)} to {budget(MOST_TARGET)}.",
            subject="fit",
        )
    began = time.perf_counter()
    say = progress or (lambda _: None)
    say("fitting")
    fit = fit_points(points, formula, objective, delta=delta, fixed=fixed)
    dropped: tuple[str, ...] = ()
    if drop_influential and len(fit.influential):
        kept = np.setdiff1d(np.arange(len(points)), fit.influential)
        dropped = tuple(f"{points.run[i]} (loss {points.loss[i]:.3f})" for i in fit.influential)
        fit = fit_points(points[kept], fit.formula, fit.objective)
    aim = BEYOND * float(points.c.max()) if target is None else target
    _check_target(fit, aim)
    say(f"bootstrap of {draws:,} draws")
    resampled = bootstrap(fit, draws=draws, seed=seed)
    missing: dict[str, str] = {}
    say("back-test")
    tested = back_test(fit, seed=seed)
    minima = _isoflop(fit, missing)
    say("the objective's surface")
    around = surface(fit, resampled.parameters)
    if around is None:
        missing["surface"] = f"{fit.formula.shown} has fewer than two exponents: there is no plane to draw."
    say("the influence of each point")
    influential = tuple(int(i) for i in fit.influential)
    say("other choices")
    others = None
    if best_size(fit.predict, aim) is None:
        missing["other choices"] = f"{fit.formula.shown} has no best size at the target to compare."
    else:
        others = sensitivity(fit, aim, influential=influential, isoflop=minima)
    budgets = np.geomspace(min(float(fit.points.c.min()), aim), aim, BUDGETS)
    path = _path(fit, resampled, budgets, tested)
    seconds = time.perf_counter() - began
    return Findings(fit, resampled, aim, path, influential, minima, around, tested, others, missing, dropped, seconds)


def _check_target(fit: Fit, target: float) -> None:
    """Raise :class:`DataError` if the law has no loss at the target, as one that falls below 0 on the way has none."""
    best = best_size(fit.predict, target)
    loss = float(fit.predict(*on_trend(fit.points, np.array(target)), c=target)) if best is None else best.loss
    if not (np.isfinite(loss) and loss > 0):
        raise DataError(
            f"At {budget(target)} FLOP the fit of {fit.formula.text} gives a loss of {loss:.3g}, which none can be. "
            "Give a target nearer to the runs, or another formula."
        )


def _isoflop(fit: Fit, missing: dict[str, str]) -> IsoFlops | None:
    found = isoflop_minima(fit.points)
    if found.minima:
        return found
    missing["IsoFLOP curves"] = "No budget of the data has enough sizes with a lowest point among them. " + (
        found.notes[0] if found.notes else ""
    )
    return None


def _path(fit: Fit, resampled: Bootstrap, budgets: Array, tested: BackTest) -> tuple[AtBudget, ...]:
    """What the fit says of each budget."""
    sizes = [best_size(fit.predict, float(compute)) for compute in budgets]
    n, d = on_trend(fit.points, budgets)
    n = np.array([at if size is None else size.parameters for at, size in zip(n, sizes, strict=True)])
    d = np.array([at if size is None else size.tokens for at, size in zip(d, sizes, strict=True)])
    predicted = predict_with_intervals(resampled, n, d, c=budgets, back_test=tested)
    sized = {"N", "D"} & {*fit.formula.variables}
    path = []
    for i, size in enumerate(sizes):
        own, wide = ((float(low[i]), float(high[i])) for low, high in (predicted.prediction, predicted.calibrated))
        place = (float(n[i]), float(d[i])) if sized and size is None else None
        at = AtBudget(float(budgets[i]), float(predicted.loss[i]), own, wide, place=place)
        path.append(at if size is None else _with_size(at, fit, resampled, size))
    return tuple(path)


def _with_size(at: AtBudget, fit: Fit, resampled: Bootstrap, size: BestSize) -> AtBudget:
    if fit.formula == CHINCHILLA:
        ends = resampled.allocation(size.compute)
        intervals = ends.parameters, ends.tokens, ends.ratio
    else:
        products = size.compute / FLOPS_PER_PARAMETER_AND_TOKEN
        low, high = resampled.interval_of(best_parameters(fit, size), logged=True)
        intervals = (low, high), (products / high, products / low), (products / high**2, products / low**2)
    return replace(
        at,
        parameters=size.parameters,
        tokens=size.tokens,
        parameters_interval=intervals[0],
        tokens_interval=intervals[1],
        ratio_interval=intervals[2],
    )
