"""Choosing each arm's best values from its selection runs, and where its grid goes on beyond an edge.

    rank of a point = (diverged runs, mean final loss of the others, values)         the lowest is the best

If the best lies on an edge of the grid, a better one may lie beyond: the arm's grid goes on there by the grid's own
ratio, at most ``MOST_EXTENSIONS`` times at each edge. All of this follows from the losses alone, so a study that was
killed chooses the same when it is resumed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from glassformer.statistics.comparison import Losses
from glassformer.studies.tuning import MOST_EXTENSIONS, Number, Values, values_shown
from glassformer.studies.variation import shown
from glassformer.wording import counted

Grid = Mapping[str, Sequence[Number]]
Allowed = Callable[[Values], bool]
"""Whether an arm can have these values."""


@dataclass(frozen=True)
class SelectionPoint:
    """An arm at one combination of values, and how its selection runs ended.

    Attributes:
        arm: ``base`` or a variant's name.
        values: of every tuned setting.
        losses: final validation loss, nats per token, by selection seed; None where a run diverged.
    """

    arm: str
    values: Values
    losses: Losses

    @property
    def finite(self) -> list[float]:
        """The losses of the runs that did not diverge."""
        return [loss for loss in self.losses.values() if loss is not None and math.isfinite(loss)]

    @property
    def diverged(self) -> int:
        """Runs that diverged."""
        return len(self.losses) - len(self.finite)

    @property
    def mean(self) -> float | None:
        """Mean final loss of the runs that did not diverge; None where all did."""
        return fmean(self.finite) if self.finite else None

    @property
    def rank(self) -> tuple[int, float, tuple[Number, ...]]:
        """The lowest is the best: fewer diverged runs, then the lower mean, then the smaller values."""
        return self.diverged, math.inf if self.mean is None else self.mean, tuple(self.values.values())


def best_point(points: Sequence[SelectionPoint]) -> SelectionPoint | None:
    """The best of an arm's points that have runs; None if none has."""
    return min((point for point in points if point.losses), key=lambda point: point.rank, default=None)


def extensions(points: Sequence[SelectionPoint], grid: Grid, allowed: Allowed) -> list[Values]:
    """Combinations that are missing to an arm's grid, once it is extended where its best lies on an edge.

    Args:
        points: of one arm, all of their runs ended.
        grid: that all arms began with.
        allowed: whether the arm can be built with some values; a grid ends where it cannot.
    """
    best = best_point(points)
    if best is None:
        return []
    axes = {setting: _axis(points, setting) for setting in grid}
    for setting, axis in axes.items():
        for outer, inner in _edges(axis, best.values[setting]):
            beyond = step_beyond(outer, inner)
            if _extended(axis, grid[setting], outer) < MOST_EXTENSIONS and beyond is not None:
                axes[setting] = sorted([*axis, beyond])
    known = [point.values for point in points]
    combinations = (dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*axes.values()))
    return [values for values in combinations if values not in known and allowed(values)]


def step_beyond(outer: Number, inner: Number) -> Number | None:
    """The next value after two, by their ratio, in 3 digits; integers are rounded. None where there is none.

    >>> step_beyond(0.01, 0.003), step_beyond(0.001, 0.003), step_beyond(4, 2), step_beyond(0.0, 0.1)
    (0.0333, 0.000333, 8, None)
    """
    if not (outer > 0 and inner > 0):
        return None
    exact = outer * (outer / inner)
    if isinstance(outer, int) and isinstance(inner, int):
        value: Number = round(exact)
    else:
        short = float(f"{exact:.3g}")
        value = short if (short > outer) == (outer > inner) and short != outer else exact
    beyond = outer < value < math.inf if outer > inner else 0 < value < outer
    return value if beyond else None


def notes(points: Sequence[SelectionPoint], best: SelectionPoint, grid: Grid) -> str:
    """That an arm's grid was extended, or that its best is still on the edge; empty if neither."""
    return "; ".join(
        note for setting, values in grid.items() for note in _notes(_axis(points, setting), values, setting, best)
    )


def _notes(axis: Sequence[Number], grid: Sequence[Number], setting: str, best: SelectionPoint) -> Iterator[str]:
    name, value = setting.rpartition(".")[2], best.values[setting]
    if added := [each for each in axis if each not in grid]:
        yield f"the grid of {name} was extended to {values_shown(added)}, since the best value lay on its edge"
    if value in (axis[0], axis[-1]) and value != 0:  # what is 0 at an edge has nothing beyond
        which = "smallest" if value == axis[0] else "largest"
        times = _extended(axis, grid, value)
        after = f" after {counted(times, 'extension')}" if times else ""
        yield f"the best {name}, {shown(value)}, is still the {which} value{after}: a better one may lie beyond"


def _axis(points: Sequence[SelectionPoint], setting: str) -> list[Number]:
    return sorted({point.values[setting] for point in points})


def _edges(axis: Sequence[Number], value: Number) -> Iterator[tuple[Number, Number]]:
    """The edge of an axis that a value lies on, and its neighbour."""
    if value == axis[0]:
        yield axis[0], axis[1]
    elif value == axis[-1]:
        yield axis[-1], axis[-2]


def _extended(axis: Sequence[Number], grid: Sequence[Number], edge: Number) -> int:
    """How often an axis has been extended at this edge."""
    return sum(value < min(grid) for value in axis) if edge == axis[0] else sum(value > max(grid) for value in axis)
