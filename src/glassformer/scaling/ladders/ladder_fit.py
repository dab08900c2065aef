"""The law through a ladder's rungs, and the predicted loss of a larger run with its interval.

Each rung is one point, the geometric mean of its seeds, and the law is fitted by least squares on ln L, the maximum
likelihood for normal errors of ln L. The prediction interval of a run at another place T is Student's t interval of the
linearised fit,

    ln L(T) ± t_{n−p} · √(s² · (1 + j_Tᵀ (JᵀJ)⁻¹ j_T) + u²),      s² = Σ r²/(n − p)

with u² = σ²·(1 − 1/m), the excess variance of a single run over the mean of a rung's m seeds (σ² is the variance of
ln L within rungs; u is 0 for one seed a rung). It includes the noise of the run itself, the law's misfit as far as the
rungs show it, and the small number of rungs. A back-test checks it: the law fitted without the rungs of most compute
predicts these, and where a loss lay outside its interval, the interval is widened by as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from glassformer.errors import ConfigError, DataError
from glassformer.scaling.fits.diagnostics import shown
from glassformer.scaling.fits.fitting import Fit, fit
from glassformer.scaling.fits.formulas import CHINCHILLA, power_law
from glassformer.scaling.fits.points import Array, Points
from glassformer.scaling.ladders.ladder_design import SPARE
from glassformer.scaling.ladders.ladder_rungs import LadderRun
from glassformer.statistics.prediction import Prediction, from_error, largest_miss, standard_errors

LAW, PATH_LAW = "chinchilla", "power-floor"
PARAMETERS = {LAW: 5, PATH_LAW: 3}

WORDS = {LAW: "L = E + A/N^α + B/D^β", PATH_LAW: "L = E + a/C^α along the path"}

STEEPEST = 0.5
"""Of the exponent of compute. Published ones lie between 0.05 and 0.2 (Kaplan et al. 2020; Hoffmann et al. 2022); rungs
that scatter may otherwise be fitted by a wall at the floor, with the target on it."""

FORMULAS = {
    LAW: CHINCHILLA,
    PATH_LAW: replace(
        power_law("C", floor=True), limits={"alpha": (0.0, STEEPEST)}, starts={"alpha": (0.02, STEEPEST)}
    ),
}

LEAST_NOISE = 1e-6
"""Of ln L: losses are written and read with about so many digits, and no two runs agree better."""

SINGULAR = 1e12
"""A condition number of the scaled Jacobian from which nothing can be said."""


@dataclass(frozen=True)
class HeldOutRun:
    """A rung held out of a fit that then predicted it."""

    run: str
    predicted: Prediction
    loss: float
    reach: float
    """Its compute, as a multiple of the largest that the fit saw."""

    @property
    def over(self) -> float:
        """Its error in half-widths of the interval: above 1 it lies outside."""
        return abs(float(self.predicted.in_half_widths(self.loss)))


@dataclass(frozen=True, eq=False)
class LadderFit:
    """The law through the rungs.

    Attributes:
        fit: to one point for each rung.
        hidden: the back-test, the largest rungs first.
        single: u, the standard deviation in ln L by which one run scatters beyond the mean of a rung's seeds.
        notes: what was done otherwise than planned, and why; what the rungs do not fix.
    """

    fit: Fit
    held_out: tuple[HeldOutRun, ...]
    notes: tuple[str, ...]
    single: float = 0.0

    @property
    def formula(self) -> str:
        """The law that was fitted, by name."""
        return LAW if self.fit.formula.name == LAW else PATH_LAW

    @cached_property
    def noise(self) -> float:
        """s: the standard deviation of ln L about the law."""
        return _noise(self.fit)

    @cached_property
    def widened(self) -> float:
        """Factor of the prediction interval after the back-test: 1 where it was wide enough."""
        return largest_miss(each.over for each in self.held_out)

    def intervals(self) -> dict[str, tuple[float, float, float]]:
        """Each parameter, and its 95 % interval by the same linearisation, within what the parameter may be."""
        reach = standard_errors(degrees=self.fit.spare) * self.noise * np.sqrt(np.diag(_unscaled_covariance(self.fit)))
        found = {}
        for name, value, half in zip(self.fit.names, self.fit.values.tolist(), reach.tolist(), strict=True):
            least, most = self.fit.formula.limit(name)
            found[shown(name)] = (value, max(least, value - half), min(most, value + half))
        return found

    def predict(self, n: float, d: float, c: float) -> Prediction:
        """The prediction for one run with these exact parameters, tokens and FLOPs."""
        return predict(self.fit, n, d, c, single=self.single).widened(self.widened)

    def curve(self, n: Array, d: Array, c: Array) -> list[Prediction]:
        """The prediction at several places."""
        return [self.predict(*place) for place in zip(n.tolist(), d.tolist(), c.tolist(), strict=True)]


def fit_ladder(points: Points, planned: str, *, single: float = 0.0) -> LadderFit:
    """Fit the law that was planned, or the simpler one where the rungs that ended do not identify it, and say so.

    Args:
        points: one for each rung that ended.
        planned: :data:`LAW` or :data:`PATH_LAW`.
        single: as :func:`single_noise` gives it.

    Raises:
        DataError: too few rungs ended for any law.
    """
    notes = []
    kind = planned
    if planned == LAW and len(points) < PARAMETERS[LAW] + SPARE - 1:
        kind = PATH_LAW
        notes.append(
            f"{len(points)} rungs do not fix the five parameters of {WORDS[LAW]}, so {WORDS[PATH_LAW]} was fitted "
            "instead, which has three."
        )
    fewest = PARAMETERS[kind] + 1
    if len(points) < fewest:
        raise DataError(
            f"{len(points)} rungs have ended, and {WORDS[kind]} needs {fewest} at least to be fitted with an "
            "interval: make more of them (a larger --budget), or see why the others diverged."
        )
    if kind == LAW:
        why = ""
        try:
            found = fit(points, FORMULAS[LAW], "squares")
            why = "" if _fixed(found) else f"these rungs leave {WORDS[LAW]} open (condition {found.condition:.2g})."
        except DataError as error:
            why = str(error)
        if why:
            kind = PATH_LAW
            notes.append(f"{why} So {WORDS[PATH_LAW]} was fitted instead.")
    if kind == PATH_LAW:
        found = fit(points, FORMULAS[PATH_LAW], "squares")
    if not _fixed(found):
        raise DataError(f"{len(points)} rungs do not fix {WORDS[kind]}: they must differ more in compute.")
    # a alone is the reducible loss of one FLOP, far from every run, and says nothing of what is predicted
    notes += [each.sentence for each in found.unidentified if set(each.combination) != {"ln a"}]
    return LadderFit(found, _back_test(found), tuple(notes), single)


def predict(fit: Fit, n: float, d: float, c: float, *, single: float = 0.0) -> Prediction:
    """Student's t interval of the linearised fit for one run."""
    at = Points.of([n], [d], [1.0], c=[c])
    loss = float(fit.formula.value(fit.values, at)[0])
    row = fit.formula.jacobian(fit.values, at)[0] / loss
    spread = _noise(fit) * math.sqrt(1 + float(row @ _unscaled_covariance(fit) @ row))
    return from_error(loss, math.hypot(spread, single), degrees=fit.spare, logged=True)


def rung_points(runs: Sequence[LadderRun], losses: Sequence[Sequence[float]], source: str) -> Points:
    """One point for each rung that has a loss: the geometric mean of its seeds."""
    ended = [(run, values) for run, values in zip(runs, losses, strict=True) if len(values)]
    if not ended:
        raise DataError(f"No rung of {source} has ended with a loss.")
    kept = [run for run, _ in ended]
    means = [math.exp(float(np.mean(np.log(values)))) for _, values in ended]
    n, d, c = ([getattr(run, name) for run in kept] for name in ("n", "d", "c"))
    return Points.of(n, d, means, c=c, run=[run.name for run in kept], source=source)


def single_noise(losses: Sequence[Sequence[float]]) -> float:
    """By how much, in ln L, one run scatters beyond the mean of a rung's seeds; 0 where no rung has two."""
    logs = [np.log(values) for values in losses if len(values)]
    spare = sum(len(values) - 1 for values in logs)
    if not spare:
        return 0.0
    variance = sum(float(np.sum((values - values.mean()) ** 2)) for values in logs) / spare
    return math.sqrt(variance * (1 - float(np.mean([1 / len(values) for values in logs]))))


def _back_test(found: Fit) -> tuple[HeldOutRun, ...]:
    """Predict the largest rungs from the others, as long as enough are left for an interval."""
    points = found.points
    order = np.argsort(points.c)
    held_out: list[HeldOutRun] = []
    for hide in range(1, 1 + max(0, min(3, found.spare - 2))):
        seen, unseen = points[order[:-hide]], points[order[-hide:]]
        try:
            less = fit(seen, found.formula, "squares")
        except (DataError, ConfigError):
            break
        if not _fixed(less):
            break
        at = len(unseen) - 1  # of the hidden ones, the largest: what lies farthest
        reach = float(unseen.c[at] / seen.c.max())
        predicted = predict(less, float(unseen.n[at]), float(unseen.d[at]), float(unseen.c[at]))
        held_out.append(HeldOutRun(str(unseen.run[at]), predicted, float(unseen.loss[at]), reach))
    return tuple(held_out)


def _rows(found: Fit) -> Array:
    """[n, p] ∂ ln L/∂θ."""
    points = found.points
    value = found.formula.value(found.values, points)
    return np.asarray(found.formula.jacobian(found.values, points) / value[:, None], dtype=np.float64)


def _fixed(found: Fit) -> bool:
    rows = _rows(found)
    size = np.linalg.norm(rows, axis=0)
    return bool((size > 0).all()) and float(np.linalg.cond(rows / size)) < SINGULAR


def _unscaled_covariance(found: Fit) -> Array:
    """(JᵀJ)⁻¹ [p, p], by columns of length 1, whose units do not matter."""
    rows = _rows(found)
    size = np.linalg.norm(rows, axis=0)
    scaled = rows / size
    return np.asarray(np.linalg.inv(scaled.T @ scaled) / np.outer(size, size), dtype=np.float64)


def _noise(found: Fit) -> float:
    return max(LEAST_NOISE, float(np.sqrt(np.sum(found.residuals**2) / found.spare)))
