"""The best size for each compute budget, read off curves of equal compute (IsoFLOPs), and power laws through them.

Of runs that cost the same, those of a small model trained for long and of a large one trained briefly both end above
one in between. Two ways to find the least loss of such a curve:

    "parabola"        least squares of the loss by a parabola in ln N (Hoffmann et al. 2022, section 3.2, "approach 2"),
                      by default over the sizes within a factor of ``WIDTH`` of the one that did best: farther out the
                      curve is no parabola, and its two arms differ. The standard error of the minimum follows from the
                      scatter about the parabola by the delta method.
    "interpolation"   Akima's spline (1970) of ln L over ln N, its least value on a fine grid, and the median and the
                      spread of that under draws of seed noise (Porian et al. 2024, as their published analysis does).

A budget with too few sizes, or whose least loss is at an edge of its sizes, gives no minimum; it is reported, not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError
from glassformer.scaling.fits.points import Array, Points
from glassformer.scaling.fits.power_law import FEWEST as FEWEST_MINIMA
from glassformer.scaling.fits.power_law import PowerLaw, fit_power_law
from glassformer.wording import counted

Method = Literal["parabola", "interpolation"]

FEWEST_SIZES = 4
"""A parabola goes through any three points, and says nothing of its error then."""
WIDTH = 8.0
"""Sizes that far below and above the best one are the parabola's, as a factor."""
SAME_BUDGET = 0.1
"""Runs whose compute is within this share above the least of their group are of one budget."""
SEED_NOISE = 0.002
"""Standard deviation of a final loss between seeds, in nats: what Porian et al. 2024 take for RefinedWeb (0.01 for
OpenWebText2)."""
DRAWS = 1000
GRID = 25
"""Grid points for each size but one, in interpolation."""
LEAST_ERROR = 0.33
"""No minimum counts as known better than this share of the mean distance between sizes (Porian et al. 2024)."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where one budget's curve is lowest."""

    compute: float
    """FLOPs, the geometric mean of the budget's runs."""
    parameters: float
    """N*."""
    tokens: float
    """D*, on the line of ln D over ln N through the budget's runs: C/(6·N*) where C = 6·N·D."""
    loss: float
    """Nats per token."""
    error: float
    """Standard error of ln N*."""
    weight_error: float
    """The error by which the power laws weigh it: ``error``, but no less than ``LEAST_ERROR`` of the sizes' distance.
    """
    used: npt.NDArray[np.intp]
    """Which rows of the points the curve goes through."""
    curve: Callable[[npt.ArrayLike], Array]
    """Loss over N, for the range of the rows used."""


@dataclass(frozen=True)
class Unused:
    """A budget without a minimum, and why."""

    compute: float
    sizes: int
    reason: str

    @property
    def sentence(self) -> str:
        """``The budget of 1.2e+16 FLOP has no minimum: ...``"""
        return f"The budget of {self.compute:.3g} FLOP gives no minimum: {self.reason}."


@dataclass(frozen=True, eq=False)
class IsoFlops:
    """The minima of all budgets, from the least compute on, and the power laws of N* and D* through them."""

    method: Method
    minima: tuple[Minimum, ...]
    unused: tuple[Unused, ...]
    parameters_law: PowerLaw | None
    """N* = k·C^a; None below ``FEWEST_MINIMA`` minima."""
    tokens_law: PowerLaw | None
    """D* = k·C^b."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not used, a sentence each, and why there is no power law if there is none."""
        few = [each for each in self.unused if each.sizes < FEWEST_SIZES]
        notes = [each.sentence for each in self.unused if each.sizes >= FEWEST_SIZES]
        if few:
            between = f"from {few[0].compute:.3g} to {few[-1].compute:.3g} FLOP"
            notes.append(
                f"{counted(len(few), 'budget')} {between} with fewer than {FEWEST_SIZES} sizes gave no minimum."
            )
        if self.parameters_law is None:
            notes.append(f"There is no power law: it takes {FEWEST_MINIMA} minima, and there are {len(self.minima)}.")
        return tuple(notes)


def isoflop_minima(
    points: Points,
    *,
    method: Method = "parabola",
    width: float = WIDTH,
    weighted: bool = True,
    same_budget: float = SAME_BUDGET,
    seed_noise: float = SEED_NOISE,
    draws: int = DRAWS,
    seed: int = 0,
) -> IsoFlops:
    """The best N of each compute budget, and power laws through them.

    Runs of one size and budget (seeds) count by their mean loss.

    Args:
        width: of "parabola": sizes within this factor of the best one are fitted; ``math.inf`` for all.
        weighted: whether the power laws weigh each minimum by its error.
        same_budget: the share by which the compute of one budget's runs may differ.
        seed_noise, draws, seed: of "interpolation": the standard deviation of a loss in nats, and the draws of it.

    Raises:
        ConfigError: an argument that cannot be.
    """
    _check(method, width, same_budget, seed_noise, draws, points)
    rng = np.random.default_rng(seed)
    minima: list[Minimum] = []
    unused: list[Unused] = []
    for rows in budgets(points, same_budget):
        curve = _Curve.of(points, rows)
        found = curve.parabola(width) if method == "parabola" else curve.interpolation(seed_noise, draws, rng)
        if isinstance(found, str):
            unused.append(Unused(curve.compute, len(curve.u), found))
        else:
            minima.append(found)
    laws = [_law(minima, values, weighted) for values in ("parameters", "tokens")]
    return IsoFlops(method, tuple(minima), tuple(unused), *laws)


def budgets(points: Points, same_budget: float = SAME_BUDGET) -> list[npt.NDArray[np.intp]]:
    """The rows of each compute budget, from the least on; no two of a budget are more than ``same_budget`` apart.

    The budget with the most runs is found first, then that with the most of those left, and so on: what lies between
    two budgets cannot pull them apart.
    """
    left = np.argsort(points.c, kind="stable")
    groups = []
    while len(left):
        c = points.c[left]
        end = np.searchsorted(c, c * (1 + same_budget), side="right")
        first = int(np.argmax(end - np.arange(len(c))))
        groups.append(left[first : end[first]])
        left = np.delete(left, slice(first, end[first]))
    return sorted(groups, key=lambda group: float(points.c[group[0]]))


@dataclass(frozen=True, eq=False)
class _Curve:
    """One budget: mean loss at each size, sizes growing."""

    compute: float
    u: Array
    """ln N of each size."""
    loss: Array
    tokens: Array
    """ln D, on the line over ln N: intercept and slope."""
    rows: Sequence[npt.NDArray[np.intp]]
    """The points of each size."""

    @classmethod
    def of(cls, points: Points, rows: npt.NDArray[np.intp]) -> _Curve:
        sizes, at = np.unique(points.n[rows], return_inverse=True)
        members = [rows[at == i] for i in range(len(sizes))]
        u = np.log(sizes)
        ln_d = np.array([np.log(points.d[own]).mean() for own in members])
        slope = np.polyfit(u - u.mean(), ln_d, 1)[0] if len(sizes) > 1 else -1.0
        line = np.array([ln_d.mean() - slope * u.mean(), slope])
        loss = np.array([points.loss[own].mean() for own in members])
        return cls(float(np.exp(np.log(points.c[rows]).mean())), u, loss, line, members)

    def parabola(self, width: float) -> Minimum | str:
        """The vertex of a parabola through the sizes near the best; or why there is none."""
        best = int(np.argmin(self.loss))
        if reason := self._no_minimum(best, len(self.u)):
            return reason
        near = np.flatnonzero(np.abs(self.u - self.u[best]) <= np.log(width) * (1 + 1e-9))
        if len(near) < FEWEST_SIZES:
            return (
                f"{len(near)} of its sizes are within a factor of {width:g} of the best, and {FEWEST_SIZES} are needed"
            )
        # 1. loss = p + q·z + r·z², z = ln N − ln N_best
        z = self.u[near] - self.u[best]
        design = np.stack([np.ones_like(z), z, z**2], axis=1)  # [sizes, 3]
        (p, q, r), *_ = np.linalg.lstsq(design, self.loss[near], rcond=None)
        if r <= 0:
            return "the parabola through its losses has no least value"
        vertex = -q / (2 * r)
        if not z[0] < vertex < z[-1]:
            return "the parabola through its losses is lowest outside its sizes: train smaller or larger models"
        # 2. the vertex moves by −dq/(2r) − vertex·dr/r
        residuals = self.loss[near] - design @ np.array([p, q, r])
        variance = residuals @ residuals / (len(z) - 3)
        covariance = variance * np.linalg.inv(design.T @ design)
        moves = np.array([0.0, -1 / (2 * r), -vertex / r])
        error = float(np.sqrt(moves @ covariance @ moves))

        def curve(n: npt.ArrayLike) -> Array:
            away = np.log(np.asarray(n, dtype=np.float64)) - self.u[best]
            return np.asarray(p + q * away + r * away**2)

        return self._minimum(self.u[best] + vertex, float(p + q * vertex + r * vertex**2), error, near, curve)

    def interpolation(self, noise: float, draws: int, rng: np.random.Generator) -> Minimum | str:
        """The least value of Akima's spline of ln L over ln N, under draws of seed noise; or why there is none."""
        from scipy.interpolate import Akima1DInterpolator

        if len(self.u) < FEWEST_SIZES:
            return self._too_few()
        grid = np.linspace(self.u[0], self.u[-1], GRID * (len(self.u) - 1))
        spline = Akima1DInterpolator(self.u, np.log(self.loss))
        if reason := self._no_minimum(int(np.argmin(spline(grid))), len(grid)):
            return reason
        noisy = self.loss[:, None] + noise * rng.standard_normal((len(self.u), draws))  # [sizes, draws]
        values = Akima1DInterpolator(self.u, np.log(noisy))(grid)  # [grid, draws]
        lowest = values.argmin(axis=0)
        inside = (lowest > 0) & (lowest < len(grid) - 1)
        if np.count_nonzero(inside) < draws / 2:
            return "its least loss is at an edge of its sizes in most draws of the seeds' noise"
        found = grid[lowest[inside]]
        losses = values.min(axis=0)[inside]
        share = np.count_nonzero(inside) / draws

        def curve(n: npt.ArrayLike) -> Array:
            return np.asarray(np.exp(spline(np.log(np.asarray(n, dtype=np.float64)))))

        everything = np.arange(len(self.u))
        error = float(found.std() / share)
        return self._minimum(float(np.median(found)), float(np.exp(np.median(losses))), error, everything, curve, share)

    def _no_minimum(self, best: int, n: int) -> str | None:
        """Why there is none, if the best of ``n`` sizes or values, growing, is number ``best``."""
        if len(self.u) < FEWEST_SIZES:
            return self._too_few()
        if best in (0, n - 1):
            edge, other = ("smallest", "smaller") if best == 0 else ("largest", "larger")
            return f"the {edge} of its sizes did best: train {other} models at this budget"
        return None

    def _too_few(self) -> str:
        return f"it has {counted(len(self.u), 'size')}, and {FEWEST_SIZES} are needed"

    def _minimum(
        self,
        u: float,
        loss: float,
        error: float,
        used: npt.NDArray[np.intp],
        curve: Callable[[npt.ArrayLike], Array],
        share: float = 1.0,
    ) -> Minimum:
        """``share``: of the draws that had a minimum; the least error is raised by it as the error is."""
        least = LEAST_ERROR * (self.u[-1] - self.u[0]) / (len(self.u) - 1) / share
        return Minimum(
            compute=self.compute,
            parameters=float(np.exp(u)),
            tokens=float(np.exp(self.tokens[0] + self.tokens[1] * u)),
            loss=loss,
            error=error,
            weight_error=max(error, float(least)),
            used=np.concatenate([self.rows[i] for i in used]),
            curve=curve,
        )


def _law(minima: Sequence[Minimum], values: str, weighted: bool) -> PowerLaw | None:
    if len(minima) < FEWEST_MINIMA:
        return None
    errors = [each.weight_error for each in minima] if weighted else None
    compute = [each.compute for each in minima]
    return fit_power_law(compute, [getattr(each, values) for each in minima], errors=errors, subject="the minima")


def _check(method: str, width: float, same_budget: float, seed_noise: float, draws: int, points: Points) -> None:
    complaints = []
    if method not in ("parabola", "interpolation"):
        complaints.append(f"method is {method!r}; expected 'parabola' or 'interpolation'.")
    if not width > 1:
        complaints.append(f"width is {width}; expected a factor above 1.")
    if not same_budget >= 0:
        complaints.append(f"same_budget is {same_budget}; expected a share of at least 0.")
    if not seed_noise >= 0:
        complaints.append(f"seed_noise is {seed_noise}; expected nats, at least 0.")
    if method == "interpolation" and len(points) and not 6 * seed_noise < points.loss.min():
        least = points.loss.min()
        complaints.append(f"seed_noise is {seed_noise}; expected at most a sixth of the least loss, {least:.3g} nats.")
    if draws < 1:
        complaints.append(f"draws is {draws}; expected at least 1.")
    if complaints:
        raise ConfigError(complaints, subject="search for minima")
