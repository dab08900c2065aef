"""How well a fit predicted: the largest budgets hidden, the rest fitted, the hidden predicted, the errors compared.

    tested = back_test(found)
    tested.sentence()                                 what was found
    tested.widening(1e22)                             how much wider a prediction interval has to be at 1e22 FLOP
    predict(draws, 1e9, 2e10, back_test=tested)         the prediction with all its intervals: :class:`LossIntervals`

A bootstrap says how far runs like those seen would move the fit. It cannot say that the law bends beyond them. A
back-test can, as far as the data reach: at several cut-offs every run beyond is hidden, whole, and predicted with the
interval that a user would have been given at the time. An error in half-widths of its interval, z, should exceed 1 in
5 % of the cases. Where it does so more often, intervals are widened in proportion to the logarithm of how far they
extrapolate:

    half-width  ×  1 + k · ln r,       r = C / the largest C that was fitted, 1 within the data

with k ≥ 0 the least that would have held the promise: the 95 % point of (|z| − 1)/ln r over the hidden runs (r of less
than 2 counts as 2). That is split conformal prediction with errors scaled by their distance (Lei et al. 2018,
"Distribution-free predictive inference for regression"). Hidden runs of one cut-off share its fit's error, so m of them
count as √m; and for the same reason the promise is checked on a few cases, not proved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError, DataError
from glassformer.scaling.fits.bootstrap import Bootstrap, bootstrap
from glassformer.scaling.fits.diagnostics import LEAST_NOISE
from glassformer.scaling.fits.fitting import Fit, points_at
from glassformer.scaling.fits.fitting import fit as fit_points
from glassformer.scaling.fits.points import Array, Given, Points
from glassformer.scaling.wording import budget, digits
from glassformer.statistics.prediction import LEVEL, Prediction, check_level, slope_of_widening
from glassformer.statistics.wording import percent
from glassformer.wording import counted

DRAWS = 200
CUTS = 5
NEAR = 2.0
"""A hidden run at less than this times the largest fitted compute counts as this far."""

LEAST_SHARE = 0.3
"""Of the runs, that are fitted at the lowest cut-off: below, the fit is of another kind than the one in question."""


@dataclass(frozen=True, eq=False)
class Step:
    """One cut-off: what was hidden, and how it was predicted. Arrays are [m], one for each hidden row."""

    cut: float
    """FLOPs: the largest compute of the runs that were fitted."""
    fitted: int
    """Rows."""
    hidden: Points
    error: Array
    """ln L predicted − ln L measured."""
    low: Array
    """The prediction interval, nats per token."""
    high: Array
    z: Array
    """The error in half-widths of the interval, to the side of the measured loss: beyond 1 in size, it was missed."""

    @property
    def ratio(self) -> Array:
        """How many times the largest fitted compute."""
        return self.hidden.c / self.cut

    @property
    def votes(self) -> float:
        """What its rows count for together: √m."""
        return float(np.sqrt(len(self.z)))

    @property
    def horizon(self) -> float:
        """The furthest."""
        return float(self.ratio.max())

    @property
    def covered(self) -> float:
        """The share of hidden rows that the interval held."""
        return float((np.abs(self.z) <= 1).mean())


@dataclass(frozen=True, eq=False)
class BackTest:
    """What hiding the largest budgets showed."""

    level: float
    steps: tuple[Step, ...]
    """From the most hidden to the least; none where there are too few budgets or runs."""
    skipped: tuple[str, ...]
    """Cut-offs that could not be fitted, and why."""
    largest: float
    """FLOPs: of all runs."""
    slope: float
    """k: how much wider, for each factor e of extrapolation. 0: no wider."""

    @property
    def calibrated(self) -> bool:
        """Whether anything could be checked."""
        return bool(self.steps)

    @property
    def horizon(self) -> float:
        """The furthest that a hidden run was from its fit, in compute; 1 if there was none."""
        return max((step.horizon for step in self.steps), default=1.0)

    @property
    def covered(self) -> float:
        """The share of hidden rows that their interval held, √m of each cut-off; NaN if there is none."""
        if not self.steps:
            return float("nan")
        return float(np.average([step.covered for step in self.steps], weights=[step.votes for step in self.steps]))

    def widening(self, compute: npt.ArrayLike) -> Array:
        """What half-widths at these budgets are multiplied by: 1 within the data, never less."""
        ratio = np.maximum(np.asarray(compute, dtype=np.float64) / self.largest, 1.0)
        return np.asarray(1.0 + self.slope * np.log(ratio))

    def calibrate(
        self, interval: tuple[npt.ArrayLike, npt.ArrayLike], *, loss: npt.ArrayLike, compute: npt.ArrayLike
    ) -> tuple[Array, Array]:
        """The interval (low, high) of predictions ``loss`` at ``compute`` FLOPs, widened in ln L about them."""
        return Prediction(loss, *interval).widened(self.widening(compute)).interval

    def sentence(self) -> str:
        """What was found, in words."""
        if not self.steps:
            reason = f" {self.skipped[-1]}" if self.skipped else ""
            return (
                "The extrapolation could not be checked: too few runs or budgets to hide the largest and fit the rest."
                f"{reason} The interval is the fit's own and stands on the formula alone."
            )
        rows = sum(len(step.hidden) for step in self.steps)
        inside = sum(int((np.abs(step.z) <= 1).sum()) for step in self.steps)
        held = f"{inside:,} of {counted(rows, 'prediction')}"
        test = (
            f"With the largest budgets hidden ({counted(len(self.steps), 'cut-off')}, extrapolating up to "
            f"{digits(self.horizon, 2)} times in compute), {held} fell inside their {percent(self.level)} intervals; "
            f"the median error was {digits(100 * self._median_error(), 2)} % of the loss."
        )
        if self.slope == 0:
            return f"{test} Intervals are left as they are."
        factor = float(self.widening(10 * self.largest))
        return f"{test} So intervals are widened, at 10 times the largest budget by a factor of {factor:.2f}."

    def notes(self, compute: float) -> tuple[str, ...]:
        """What to beware of at ``compute`` FLOPs, a sentence each."""
        ratio = compute / self.largest
        if not self.steps or ratio <= self.horizon:
            return ()
        note = (
            f"{budget(compute)} FLOP is {digits(ratio, 2)} times the largest budget of the data; the back-test reached "
            f"{digits(self.horizon, 2)} times. Beyond that the widening is itself extrapolated."
        )
        return (note,)

    def _median_error(self) -> float:
        return float(np.median(np.abs(np.concatenate([step.error for step in self.steps]))))


def back_test(
    fit: Fit, *, hide: int | tuple[float, ...] = CUTS, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> BackTest:
    """Hide the largest budgets, fit the rest as ``fit`` was fitted, predict what was hidden.

    Args:
        hide: at most how many cut-offs, spread over the upper budgets evenly in ln C; or the cut-offs themselves,
            FLOPs: runs above are hidden.
        level: of the intervals.
        draws, seed: of the bootstrap at each cut-off.

    With few budgets or runs there are fewer cut-offs, or none; :meth:`BackTest.sentence` says so.

    Raises:
        ConfigError: fewer than one cut-off, a level not between 0 and 1, or too few draws.
    """
    check_level(level)
    if isinstance(hide, int) and hide < 1:
        raise ConfigError(f"hide must be 1 cut-off or more; it is {hide}.", subject="back-test")
    points = fit.points[fit.weights > 0]
    weights = fit.weights[fit.weights > 0]
    of_run = np.zeros(points.clusters.max() + 1)
    np.maximum.at(of_run, points.clusters, points.c)
    ends = of_run[points.clusters]  # a run's largest compute: runs are hidden whole
    cuts = cut_offs(of_run, hide) if isinstance(hide, int) else sorted(hide)

    steps, skipped = [], []
    for cut in cuts:
        seen, hidden = ends <= cut, (ends > cut) & (points.c > cut)
        if not hidden.any():
            skipped.append(f"No run is above {budget(cut)} FLOP.")
            continue
        try:
            found = fit_points(points[seen], fit.formula, fit.objective, weights=weights[seen])
            resampled = bootstrap(found, draws=draws, seed=seed)
        except DataError as reason:
            skipped.append(f"Up to {budget(cut)} FLOP: {reason}")
            continue
        of_hidden = found.formula.value(found.values, points[hidden])
        if not (np.isfinite(of_hidden) & (of_hidden > 0)).all():
            skipped.append(f"Up to {budget(cut)} FLOP: its fit gives no loss above 0 for the larger runs.")
            continue
        steps.append(_step(resampled, points[hidden], level))
    largest = float(points.c.max())
    return BackTest(level, tuple(steps), tuple(skipped), largest, _slope(steps, level))


def cut_offs(budgets: Array, most: int) -> list[float]:
    """At most ``most`` budgets, ascending, above which runs are hidden; between them about the same factor.

    The lowest leaves ``LEAST_SHARE`` of the runs to be fitted, the highest hides one budget at least.

    Args:
        budgets: [runs] FLOPs; those within 1 % are one budget.
    """
    ordered = np.sort(budgets)
    levels = ordered[np.append(np.diff(np.log(ordered)) > 0.01, True)]  # each budget's largest
    first = ordered[max(int(np.ceil(LEAST_SHARE * len(ordered))) - 1, 0)]
    levels = levels[(levels >= first) & (levels < ordered[-1])]
    if len(levels) <= most:
        return [float(level) for level in levels]
    goals = np.linspace(np.log(levels[0]), np.log(ordered[-1]), most, endpoint=False)
    nearest = [int(np.argmin(np.abs(np.log(levels) - goal))) for goal in goals]
    return [float(levels[i]) for i in sorted(set(nearest))]


def _step(resampled: Bootstrap, hidden: Points, level: float) -> Step:
    """The hidden points, predicted."""
    fit = resampled.fit
    places = {"c": hidden.c, "unique": hidden.unique}  # the table's own FLOPs, which need not be 6·N·D
    low, high = resampled.prediction_interval(hidden.n, hidden.d, level, **places)
    predicted = Prediction(fit.predict(hidden.n, hidden.d, **places), low, high, level)
    error = np.log(predicted.value) - np.log(hidden.loss)
    # of points without noise, both an error and its interval are rounding
    z = predicted.in_half_widths(hidden.loss, least=LEAST_NOISE)
    return Step(float(fit.points.c.max()), len(fit.points), hidden, error, low, high, z)


def _slope(steps: list[Step], level: float) -> float:
    """k: √m votes for each cut-off's m rows."""
    if not steps:
        return 0.0
    z, ratio = (np.concatenate([getattr(step, name) for step in steps]) for name in ("z", "ratio"))
    votes = np.concatenate([np.full(len(step.z), step.votes / len(step.z)) for step in steps])
    return slope_of_widening(z, np.log(np.maximum(ratio, NEAR)), votes, level)


# ------------------------------------------------------------------------------------------------- a prediction


@dataclass(frozen=True, eq=False)
class LossIntervals:
    """Predicted losses at N and D with every interval, all arrays shaped as N and D were; intervals are (low, high)."""

    level: float
    parameters: Array
    tokens: Array
    compute: Array
    """FLOPs: 6·N·D unless given."""
    ratio: Array
    """How many times the largest compute of the data."""
    loss: Array
    """Nats per token."""
    confidence: tuple[Array, Array]
    """Of the law's own loss: what endlessly many runs would average, if the formula is right."""
    prediction: tuple[Array, Array]
    """Of a new run: its noise is added."""
    calibrated: tuple[Array, Array]
    """Of a new run, widened by what the back-test found; the same where nothing could be checked."""
    notes: tuple[str, ...]


def predict(
    resampled: Bootstrap,
    n: npt.ArrayLike,
    d: npt.ArrayLike,
    *,
    level: float = LEVEL,
    back_test: BackTest | None = None,
    c: Given = None,
    unique: Given = None,
) -> LossIntervals:
    """The loss at N and D with its intervals; ``back_test``: the back-test of the same fit.

    Raises:
        ConfigError: ``level`` is not between 0 and 1.
        DataError: N or D is not a finite number above 0.
    """
    at, shape = points_at(n, d, c=c, unique=unique)
    loss = resampled.fit.predict(n, d, c=c, unique=unique)
    compute, largest = at.c.reshape(shape), float(resampled.fit.points.c.max())
    prediction = resampled.prediction_interval(n, d, level, c=c, unique=unique)
    notes = resampled.notes
    calibrated = prediction
    if back_test is not None:
        calibrated = back_test.calibrate(prediction, loss=loss, compute=compute)
        notes += (back_test.sentence(), *back_test.notes(float(compute.max())))
    return LossIntervals(
        level=level,
        parameters=at.n.reshape(shape),
        tokens=at.d.reshape(shape),
        compute=compute,
        ratio=compute / largest,
        loss=loss,
        confidence=resampled.confidence_interval(n, d, level, c=c, unique=unique),
        prediction=prediction,
        calibrated=calibrated,
        notes=notes,
    )
