"""The lower envelope of training curves: which model reaches the least loss with a given compute.

Hoffmann et al. 2022, section 3.1, "approach 1". Every run is a curve of loss over compute, and at each compute C one of
them is lowest; its N and D are the best known for C, and power laws N ∝ C^a, D ∝ C^b go through them.

1. Each run's curve is made to fall or stay (isotonic regression of ln L), since what goes up in it is noise, and one
   lucky validation must not win. A run that is a single row, its end, is a curve of one point.
2. The envelope at C is the least loss that any run reached with at most C. So it never rises.
3. Each size wins over some range of compute, and gives the power laws one point, in the middle of that range. Points
   at every compute would be one another's copies, and their standard errors would say nothing.
4. The sizes that win first and last are left out: where a smaller one, or a larger one, or a longer training, would
   have done better than they is not in the data. So are those whose training ended while they were winning.

The learning rate of a run that is read along the way was meant to fall until its end, so such curves lie above those of
runs that were meant to end there (section 3.1 trains with several lengths for each size).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from glassformer.errors import DataError
from glassformer.scaling.fits.points import Array, Points, refusal
from glassformer.scaling.fits.power_law import FEWEST, PowerLaw, fit_power_law

GRID = 1500
"""Computes at which the envelope is looked at, besides those of the rows, as many as Hoffmann et al. 2022."""


@dataclass(frozen=True)
class Winner:
    """A size that is lowest over some range of compute. ``compute``, ``tokens`` and ``loss`` are at its middle."""

    parameters: float
    compute: float
    tokens: float
    loss: float
    wins: tuple[float, float]
    """The least and the largest compute at which it is lowest."""
    used: bool
    """Whether the power laws go through it."""


@dataclass(frozen=True, eq=False)
class Envelope:
    """The envelope on a grid of compute, the sizes on it from the least compute on, and the power laws through them."""

    compute: Array
    """[grid] FLOPs."""
    loss: Array
    """[grid] the least loss that any run reached with at most so much; never rises."""
    parameters: Array
    """[grid] N of the run that did."""
    winners: tuple[Winner, ...]
    parameters_law: PowerLaw | None
    """N = k·C^a; None where fewer than three sizes are left for it."""
    tokens_law: PowerLaw | None
    """D = k·C^b."""
    notes: tuple[str, ...]
    """What was left out, and why there is no power law if there is none, a sentence each."""


def envelope(points: Points, *, grid: int = GRID) -> Envelope:
    """The lower envelope of ``points``: rows of one run are one curve, and rows of a run alone its end.

    Raises:
        DataError: a run's rows have different N, or there are no two sizes.
    """
    _check(points)
    curves = _curves(points)
    at = np.union1d(np.geomspace(points.c.min(), points.c.max(), grid), points.c)

    # 1. the least loss of each run with at most this compute: nothing before its first row, its last after it
    ln_loss = np.array([np.interp(np.log(at), *curve.line, left=np.inf) for curve in curves])  # [runs, grid]
    lowest = ln_loss.argmin(axis=0)
    best = ln_loss.min(axis=0)

    # 2. the sizes that win, in the order of the compute at which they do
    sizes = np.array([curve.parameters for curve in curves])
    training = at <= np.array([curve.c[-1] for curve in curves])[lowest]  # whether the winner still was
    winners, cut = [], 0
    for size in np.unique(sizes[lowest]):
        here = sizes[lowest] == size
        if not np.any(here & training):
            continue
        won = at[here & training]
        middle = float(np.sqrt(won[0] * won[-1])) if len(won) > 1 else float(won[0])
        curve = curves[int(lowest[np.flatnonzero(here & training)[np.argmin(np.abs(np.log(won / middle)))]])]
        ended = len(curve.c) > 1 and bool(np.any(here & ~training))
        cut += ended
        winners.append(
            Winner(
                parameters=float(size),
                compute=middle,
                tokens=float(np.exp(np.interp(np.log(middle), np.log(curve.c), np.log(curve.d)))),
                loss=float(np.exp(np.interp(np.log(middle), *curve.line))),
                wins=(float(won[0]), float(won[-1])),
                used=not ended,
            )
        )
    winners.sort(key=lambda winner: winner.compute)
    return _with_laws(at, np.exp(best), sizes[lowest], winners, cut)


@dataclass(frozen=True, eq=False)
class _Curve:
    """One run: compute, tokens and a loss that never rises, by growing compute."""

    parameters: float
    c: Array
    d: Array
    ln_loss: Array

    @property
    def line(self) -> tuple[Array, Array]:
        """Compute and loss in logarithms, as :func:`numpy.interp` takes them."""
        return np.log(self.c), self.ln_loss


def _curves(points: Points) -> list[_Curve]:
    from scipy.optimize import isotonic_regression

    curves = []
    runs = points.clusters
    for run in range(int(runs.max()) + 1):
        rows = np.flatnonzero(runs == run)
        rows = rows[np.argsort(points.c[rows], kind="stable")]
        falling = isotonic_regression(np.log(points.loss[rows]), increasing=False).x
        curves.append(_Curve(float(points.n[rows[0]]), points.c[rows], points.d[rows], falling))
    return curves


def _with_laws(at: Array, loss: Array, parameters: Array, winners: list[Winner], cut: int) -> Envelope:
    """The envelope with its power laws, through the winners between the first and the last."""
    last = len(winners) - 1
    judged = [replace(winner, used=winner.used and 0 < i < last) for i, winner in enumerate(winners)]
    used = [winner for winner in judged if winner.used]
    beyond = "what would have done better before and after them is not in the data"
    notes = [f"Of the {len(judged)} sizes on the envelope the first and the last are left out: {beyond}."]
    if cut:
        notes.append(f"{cut} of them ended training while lowest; how long they would have been is unknown.")
    of_parameters = of_tokens = None
    if len(used) < FEWEST:
        notes.append(f"{len(used)} sizes are left, and a power law takes {FEWEST}: train more sizes, or longer.")
    else:
        x = [winner.compute for winner in used]
        of_parameters = fit_power_law(x, [winner.parameters for winner in used], subject="the envelope's sizes")
        of_tokens = fit_power_law(x, [winner.tokens for winner in used], subject="the envelope's tokens")
    return Envelope(at, loss, parameters, tuple(judged), of_parameters, of_tokens, tuple(notes))


def _check(points: Points) -> None:
    complaints = []
    runs = points.clusters
    for run in range(int(runs.max(initial=-1)) + 1):
        sizes: npt.NDArray[np.float64] = np.unique(points.n[runs == run])
        if len(sizes) > 1:
            label = points.run[np.flatnonzero(runs == run)[0]]
            complaints.append(f"run {label} has {len(sizes)} different N, and a training curve has one.")
    if not complaints and len(np.unique(points.n)) < 2:
        complaints.append("all points have one N; an envelope takes several sizes.")
    if complaints:
        raise DataError(refusal(points.source, complaints))
