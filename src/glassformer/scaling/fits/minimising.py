"""The minimum of an objective over a formula's parameters: a damped Newton method with exact derivatives, many at once.

Every row of a batch is a problem of its own: its own start, and its own weights of the points (a bootstrap sample).

    1. The residuals' gradients and curvatures are exact (``laws/formula.py``), so is the Hessian of the objective.
    2. A step solves it, with each eigenvalue's sign dropped (a saddle is left, not approached) and a damping added
       that grows where the objective did not fall (Levenberg 1944, Marquardt 1963).
    3. A parameter at its limit, with the gradient pointing outwards, stays there.
    4. A row is done when its gradient is zero to rounding: no larger than what its own terms' rounding explains.

Huber with a small δ, and absolute deviation even more so, change their curvature at every residual that crosses δ. They
are approached from wider ones: each width starts at the minimum of the one before (continuation). A fit's starts begin
at different widths, for from the widest all of them would follow one path.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from glassformer.scaling.fits.fit_formula import Formula
from glassformer.scaling.fits.objectives import Objective
from glassformer.scaling.fits.points import Points
from glassformer.scaling.laws.formula import Array, Program

Mask = npt.NDArray[np.bool_]

NARROWEST = 1e-7  # of the way to a kink; the last bit is done exactly by landing on it
NARROWING = 6.0
STEPS = 300
STEPS_ON_THE_WAY = 60
WIDTHS = 2
"""Of the objective, from wide to narrow, at which the starts of a fit begin."""
NEAREST = 0.01
"""The narrowest of these, as a part of the widest: a kink has no width to begin at."""
ROWS_AT_ONCE = 128  # small enough for a processor's cache


@dataclass(frozen=True)
class FitProblem:
    """Points, a formula, an objective: what is summed."""

    formula: Formula
    points: Points
    objective: Objective

    def residuals(self, theta: Array) -> Array:
        """[B, p] → [B, n], NaN where the formula gives no loss."""
        return self._difference(self._run(self.formula.working.loss, theta)[0])

    def _run(self, program: Program, theta: Array) -> list[Array]:
        """The outputs of one of the formula's programs, [B, n] each."""
        outputs = self.formula.working.run(program, theta, self.columns)
        return [np.broadcast_to(output, (len(theta), len(self.points))) for output in outputs]

    @cached_property
    def columns(self) -> dict[str, Array]:
        """The formula's variables, [n] each."""
        return self.formula.columns(self.points)

    def _difference(self, loss: Array) -> Array:
        if self.objective.of == "L":
            return loss - self.points.loss
        with np.errstate(all="ignore"):
            return np.asarray(np.log(loss) - np.log(self.points.loss))

    def value(self, theta: Array, weights: Array, objective: Objective | None = None) -> Array:
        """The weighted sum over the points: [B]; infinite where it is undefined. ``objective`` may be a widened one."""
        return _total(objective or self.objective, self.residuals(theta), weights)

    def gradient_norm(self, theta: Array, weights: Array) -> float:
        """Of one θ [p] with weights [n]: Euclidean, without parameters that are held at a limit.

        At a kink, of the smallest subgradient: each residual that is 0 may have any slope between its two sides'.
        """
        derivatives = self.differentiate(theta[None], weights[None], self.objective)
        working = self.formula.working
        held = _held(theta, derivatives.gradient[0], working.lower, working.upper)
        if self.objective.width > 0:
            return float(np.linalg.norm(np.where(held, 0.0, derivatives.gradient[0])))
        residual = self.residuals(theta[None])[0]
        met = np.flatnonzero((np.abs(residual) <= 1e-12) & (weights > 0))
        slopes = self.slopes(theta[None])[0]
        side = weights * self.objective.derivative(np.where(residual > 0, 1.0, -1.0))
        side[met] = 0.0
        gradient, at_kink = slopes.T @ side, slopes[met]
        free = ~held
        multipliers = np.linalg.lstsq(at_kink[:, free].T, -gradient[free], rcond=None)[0]
        above = weights[met] * self.objective.derivative(np.ones(len(met)))
        below = weights[met] * self.objective.derivative(-np.ones(len(met)))
        least = gradient + at_kink.T @ np.clip(multipliers, below, above)
        return float(np.linalg.norm(least[free]))

    def slopes(self, theta: Array) -> Array:
        """The residuals' derivative by θ: [B, p] → [B, n, p]."""
        loss, *slopes = self._run(self.formula.working.slopes, theta)
        unit = loss if self.objective.of == "ln L" else np.ones_like(loss)
        with np.errstate(all="ignore"):
            return np.stack([slope / unit for slope in slopes], axis=-1)

    def differentiate(self, theta: Array, weights: Array, objective: Objective) -> Derivatives:
        """Everything that a Newton step needs, at θ [B, p]."""
        working, n = self.formula.working, len(self.points)
        batch, p = theta.shape
        results = working.run(working.program, theta, self.columns)
        loss = np.broadcast_to(results[0], (batch, n))
        slopes = np.empty((batch, p, n))
        for i in range(p):
            slopes[:, i] = results[1 + i]
        residual = self._difference(loss)
        with np.errstate(all="ignore"):
            first = weights * objective.derivative(residual)
            second = weights * objective.curvature(residual)
            inner = first
            if self.objective.of == "ln L":
                slopes /= loss[:, None]
                inner = first / loss
                second = second - first
            hessian = np.matmul(slopes * second[:, None], slopes.transpose(0, 2, 1))
            for (i, j), curvature in zip(working.pairs, results[1 + p :], strict=True):
                bend = np.einsum("bn,bn->b", inner, np.broadcast_to(curvature, (batch, n)))
                hessian[:, i, j] += bend
                if i != j:
                    hessian[:, j, i] += bend
            return Derivatives(
                value=_total(objective, residual, weights),
                gradient=np.einsum("bpn,bn->bp", slopes, first),
                terms=np.einsum("bpn,bn->bp", np.abs(slopes), np.abs(first)),
                hessian=hessian,
                scale=np.sqrt(np.einsum("bpn,bpn,bn->bp", slopes, slopes, weights)),
            )


@dataclass
class Derivatives:
    """A batch of problems at one θ each. ``terms`` is the gradient with all its summands taken positive."""

    value: Array  # [B]
    gradient: Array  # [B, p]
    terms: Array  # [B, p]
    hessian: Array  # [B, p, p]
    scale: Array  # [B, p] the root of the slopes' squares

    def replace(self, rows: Mask, new: Derivatives) -> None:
        """Take the ``rows`` of ``new``."""
        for name in ("value", "gradient", "terms", "hessian", "scale"):
            getattr(self, name)[rows] = getattr(new, name)[rows]


@dataclass(frozen=True)
class Minima:
    """Where each row of a batch ended."""

    theta: Array  # [B, p]
    value: Array  # [B] of the objective itself


def minimise_apart(problem: FitProblem, theta: Array, weights: Array) -> Minima:
    """As :func:`minimise`, but with starts that can disagree: each begins at another width of the objective.

    Widened far, an objective with kinks has one minimum, and all starts would follow one path from it to wherever it
    leads. Those that begin narrow are caught by other minima, as they should be.
    """
    last = max(problem.objective.width, NARROWEST)
    if not np.isfinite(last):
        return minimise(problem, theta, weights)
    wide = max(_typical(problem, theta), last)
    found, value = theta.copy(), np.empty(len(theta))
    for group in range(WIDTHS):
        rows = slice(group, None, WIDTHS)
        if len(theta[rows]):
            width = wide * (max(last, NEAREST * wide) / wide) ** (group / (WIDTHS - 1))
            minima = minimise(problem, theta[rows], weights[rows], start_width=width)
            found[rows], value[rows] = minima.theta, minima.value
    return Minima(found, value)


def minimise(problem: FitProblem, theta: Array, weights: Array, *, start_width: float | None = None) -> Minima:
    """The minima nearest to the starts ``theta`` [B, p] for ``weights`` [B, n].

    ``start_width`` is how wide the objective is made at first; twice the median residual unless given.
    """
    ends, values = [], []
    for first in range(0, len(theta), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        end = _descend(problem, theta[rows].copy(), weights[rows], start_width)
        ends.append(end)
        values.append(problem.value(end, weights[rows]))
    return Minima(np.concatenate(ends), np.concatenate(values))


def _descend(problem: FitProblem, theta: Array, weights: Array, start_width: float | None) -> Array:
    """From wide to narrow.

    The minima of ever narrower objectives lie on a path that becomes straight, in proportion to the width: the last two
    point to the next one.
    """
    target = problem.objective.width
    if not np.isfinite(target):
        return _newton(problem, theta, weights, problem.objective, STEPS, 1e-12)
    last = max(target, NARROWEST)
    near = 1e-3 if target == last else 1e-5  # a kink must be distinguished from its neighbours
    before = None
    for width in _widths(problem, theta, last, start_width):
        objective = problem.objective.widened(width)
        if before is not None:
            ahead = theta + (theta - before) / NARROWING
            closer = problem.value(ahead, weights, objective) < problem.value(theta, weights, objective)
            ahead = np.where(closer[:, None], ahead, theta)
        else:
            ahead = theta
        before = theta
        theta = _newton(problem, ahead, weights, objective, STEPS_ON_THE_WAY, near)
    if target < last:
        for nearly_met in (100 * last, 10 * last, 3 * last):
            for along in (True, False):
                theta = _land(problem, theta, weights, nearly_met, along)
        return theta
    return _newton(problem, theta, weights, problem.objective, STEPS, 1e-12 + 1e-15 / last)


def _widths(problem: FitProblem, theta: Array, last: float, start_width: float | None) -> Array:
    """The objective's widths on the way, ``last`` included: each a NARROWING part of the one before, or less."""
    width = start_width or _typical(problem, theta)
    steps = max(int(np.ceil(np.log(max(width, last) / last) / np.log(NARROWING))), 0)
    return last * NARROWING ** np.arange(steps, -1.0, -1.0)


def _typical(problem: FitProblem, theta: Array) -> float:
    """Twice the median residual: an objective so wide is nearly least squares."""
    residuals = np.abs(problem.residuals(theta))
    return 2 * float(np.median(residuals[np.isfinite(residuals)]))


def _newton(problem: FitProblem, theta: Array, weights: Array, objective: Objective, steps: int, near: float) -> Array:
    """Damped Newton steps until each row's gradient is ``near`` times its terms."""
    working = problem.formula.working
    theta = np.clip(theta, working.lower, working.upper)
    derivatives = problem.differentiate(theta, weights, objective)
    damping = np.full(len(theta), 1e-4)
    busy = np.arange(len(theta))  # the rows not yet done; theta and weights are kept whole, the rest shrinks
    for _ in range(steps):
        fixed = _held(theta[busy], derivatives.gradient, working.lower, working.upper)
        slope = np.where(fixed, 0.0, np.abs(derivatives.gradient))
        with np.errstate(invalid="ignore"):
            done = (slope <= near * derivatives.terms).all(axis=1) | (damping > 1e12) | ~np.isfinite(derivatives.value)
        if done.any():
            keep = ~done
            busy, damping, fixed = busy[keep], damping[keep], fixed[keep]
            derivatives = Derivatives(*(getattr(derivatives, name)[keep] for name in derivatives.__dataclass_fields__))
        if not len(busy):
            break
        step, fall = _step(derivatives, fixed, damping)
        trial = np.clip(theta[busy] + step, working.lower, working.upper)
        seen = problem.differentiate(trial, weights[busy], objective)
        better = _better(seen, derivatives, fixed)
        with np.errstate(invalid="ignore", divide="ignore"):
            trusted = better & (derivatives.value - seen.value > 0.5 * fall)
        theta[busy[better]] = trial[better]
        derivatives.replace(better, seen)
        damping = np.where(better, np.where(trusted, damping * 0.1, damping), np.maximum(damping, 1e-8) * 8)
        damping = np.maximum(damping, 1e-14)
    return theta


def _held(theta: Array, gradient: Array, lower: Array, upper: Array) -> Mask:
    """Which parameters are at a limit that the objective pushes them against."""
    return ((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0))


def _step(derivatives: Derivatives, fixed: Mask, damping: Array) -> tuple[Array, Array]:
    """A damped step [B, p], and how far the objective should fall by it [B]."""
    scale = np.maximum(derivatives.scale, 1e-150)  # of a parameter without effect
    hessian = derivatives.hessian / scale[:, :, None] / scale[:, None, :]
    gradient = np.where(fixed, 0.0, derivatives.gradient / scale)
    hessian = np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, hessian)
    eigenvalues, vectors = np.linalg.eigh(np.nan_to_num(hessian, posinf=0.0, neginf=0.0))
    size = np.abs(eigenvalues)
    top = np.maximum(size.max(axis=1, keepdims=True), 1e-300)
    along = np.einsum("bij,bi->bj", vectors, gradient)
    move = -along / (np.maximum(size, 1e-15 * top) + damping[:, None] * top)
    with np.errstate(over="ignore"):  # a flat direction: the step is clipped below
        fall = -np.einsum("bj,bj->b", along, move) - 0.5 * np.einsum("bj,bj->b", eigenvalues, move * move)
    step = np.where(fixed, 0.0, np.einsum("bij,bj->bi", vectors, move) / scale)
    return np.clip(step, -10, 10), fall


def _better(new: Derivatives, old: Derivatives, fixed: Mask) -> Mask:
    """Lower; or, where rounding hides the difference, with a smaller gradient."""
    with np.errstate(invalid="ignore"):
        lower = new.value < old.value * (1 - 1e-14)
        level = new.value <= old.value * (1 + 1e-14)
        steep_new = np.where(fixed, 0.0, np.abs(new.gradient) / np.maximum(old.scale, 1e-300)).max(axis=1)
        steep_old = np.where(fixed, 0.0, np.abs(old.gradient) / np.maximum(old.scale, 1e-300)).max(axis=1)
    return np.asarray(np.isfinite(new.value) & (lower | level & (steep_new < steep_old)))


def _land(problem: FitProblem, theta: Array, weights: Array, nearly_met: float, along: bool) -> Array:
    """Land on the kink: make residuals smaller than ``nearly_met`` exactly 0, where that lowers the objective.

    The minimum of absolute deviations lies where as many points are met exactly as there are parameters (fewer, where
    the formula's own curvature decides): Newton steps on those equations. ``along`` the kink the steps go to where the
    other residuals' sum is least; without it they are the shortest that reach the kink.
    """
    working = problem.formula.working
    size = np.where(weights > 0, np.abs(problem.residuals(theta)), np.inf)
    free = (theta > working.lower) & (theta < working.upper)
    landed = theta.copy()
    to_land = np.flatnonzero(size.min(axis=1) > 1e-13)  # a row that met a point exactly has landed before
    for _ in range(5 if len(to_land) else 0):
        at, some = landed[to_land], weights[to_land]
        residuals, slopes = problem.residuals(at), problem.slopes(at)
        derivatives = problem.differentiate(at, some, problem.objective)
        for row, b in enumerate(to_land):
            met = np.argsort(size[b])[: free[b].sum()]
            met = met[size[b, met] <= nearly_met]
            hessian, gradient = derivatives.hessian[row][np.ix_(free[b], free[b])], derivatives.gradient[row][free[b]]
            if len(met) and np.isfinite(hessian).all() and np.isfinite(slopes[row][met]).all():
                if not along:
                    scale = derivatives.scale[row][free[b]]
                    hessian, gradient = np.diag(scale * scale), np.zeros_like(gradient)
                step = _equality_step(hessian, gradient, slopes[row][met][:, free[b]], residuals[row][met])
                landed[b, free[b]] += step
        landed = np.clip(landed, working.lower, working.upper)
    better = problem.value(landed, weights) < problem.value(theta, weights)
    return np.where(better[:, None], landed, theta)


def _equality_step(hessian: Array, gradient: Array, slopes: Array, residuals: Array) -> Array:
    """The Newton step to the stationary point at which ``residuals`` [k] are 0: of the Lagrangian's equations."""
    k, p = slopes.shape
    with np.errstate(over="ignore"):
        scale = np.sqrt((slopes**2).sum(axis=0))
    scale = np.where(scale > 1e-12 * scale.max(), scale, np.inf)  # a parameter that moves none of them stays
    system = np.zeros((p + k, p + k))
    system[:p, :p] = hessian / np.outer(scale, scale)
    system[:p, p:] = (slopes / scale).T
    system[p:, :p] = slopes / scale
    right = -np.concatenate([gradient / scale, residuals])
    if not (np.isfinite(system).all() and np.isfinite(right).all()):  # slopes whose squares overflow: no step
        return np.zeros(p)
    solution = np.linalg.lstsq(system, right, rcond=1e-13)[0]
    return np.asarray(solution[:p] / scale)


def _total(objective: Objective, residuals: Array, weights: Array) -> Array:
    """[B] the weighted sum; a point without weight does not count even where it is undefined."""
    with np.errstate(all="ignore"):
        penalties = np.where(weights > 0, objective.value(residuals) * weights, 0.0)
        total = penalties.sum(axis=-1)
    return np.where(np.isfinite(total), total, np.inf)
