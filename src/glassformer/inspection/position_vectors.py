"""Position vectors that are added to the tokens: their norms, distances and dot products, as numbers and figures.

Sinusoids have ‖PE‖² = d/2 exactly (Vaswani et al. 2017, §3.5). Shapes: P positions, d their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glassformer.charts.figures import Figure
from glassformer.charts.theme import Theme
from glassformer.inspection.panels import Row, line_panels, point, thinned

if TYPE_CHECKING:
    import altair as alt

SHOWN = 256
"""The most positions that a figure shows; of more, evenly spaced ones, the first and the last among them."""
SHOWN_WITH_FRAMES = 128
"""The same where there is a frame for each of several checkpoints."""


@dataclass(frozen=True)
class DistanceByGap:
    """How far apart two position vectors are, by how far apart the positions are.

    Attributes:
        mean, least, most: over all pairs of positions with that gap; entry i is for a gap of i + 1. [P − 1] each.
    """

    mean: Tensor
    least: Tensor
    most: Tensor

    @property
    def grows_until(self) -> int:
        """The gap at which the mean distance first stops growing; P − 1 if it grows throughout; 0 without any gap."""
        shrinks = (self.mean.diff() <= 0).nonzero()
        return int(shrinks[0]) + 1 if len(shrinks) else len(self.mean)


@dataclass(frozen=True)
class PositionVectors:
    """A table of vectors, one for each position.

    Attributes:
        table: [P, d], float64: norms that should be equal differ by less than the figures can show.
    """

    table: Tensor

    @cached_property
    def norms(self) -> Tensor:
        """[P]."""
        return self.table.norm(dim=1)

    def distances(self, at: Tensor | None = None) -> Tensor:
        """Euclidean, between all pairs, or those of the positions ``at``: [P, P]."""
        chosen = self.table if at is None else self.table[at]
        return torch.cdist(chosen, chosen, compute_mode="donot_use_mm_for_euclid_dist")

    def dot_products(self, at: Tensor | None = None) -> Tensor:
        """Between all pairs, or those of the positions ``at``: [P, P]."""
        chosen = self.table if at is None else self.table[at]
        return chosen @ chosen.T

    @cached_property
    def by_gap(self) -> DistanceByGap:
        """Distance as a function of the gap."""
        distances = self.distances()
        pairs = [distances.diagonal(gap) for gap in range(1, len(distances))]
        mean, least, most = (
            torch.stack([of(pair) for pair in pairs]) if pairs else distances.new_zeros(0)
            for of in (torch.mean, torch.amin, torch.amax)
        )
        return DistanceByGap(mean, least, most)

    def summary(self) -> dict[str, float]:
        """Statistics of the norms over positions, of their squares, and where the distance stops growing."""
        squares = self.norms.square()
        return {
            "mean norm": float(self.norms.mean()),
            "smallest norm": float(self.norms.min()),
            "largest norm": float(self.norms.max()),
            "mean squared norm": float(squares.mean()),
            "standard deviation of the squared norm": float(squares.std(correction=0)),
            "distance grows until a gap of": float(self.by_gap.grows_until),
        }


def figures_of_vectors(vectors: Sequence[PositionVectors], title: str) -> list[Figure]:
    """Distances and dot products by pair, norms, and distance by gap; a frame for each of the ``vectors``."""
    from glassformer.charts.drawing import Drawing
    from glassformer.charts.heat_map import HeatMap

    count = len(vectors[0].table)
    most = SHOWN if len(vectors) == 1 else SHOWN_WITH_FRAMES
    at = thinned(count, most)
    names = [str(int(position)) for position in at]
    pairs_shown = "Every pair of positions"
    if count > most:
        pairs_shown = f"Every pair of {most} evenly spaced positions of the {count:,}"
    pairs: dict[str, Any] = {"rows": names, "columns": names, "row_title": "position", "column_title": "position"}
    return [
        HeatMap(
            torch.stack([each.distances(at) for each in vectors]).float().numpy(),  # [F, P, P]
            title=f"{title}: distance pair by pair",
            value_title="distance",
            description=f"{pairs_shown}: how far apart their vectors are.",
            **pairs,
        ),
        HeatMap(
            torch.stack([each.dot_products(at) for each in vectors]).float().numpy(),
            title=f"{title}: dot product pair by pair",
            value_title="dot product",
            colours="diverging",
            description=f"{pairs_shown}: how much of one vector lies along the other, times its length.",
            **pairs,
        ),
        Drawing(
            lambda theme: position_line(
                theme, [each.norms for each in vectors], "norm of the position's vector", "position", first=0
            ),
            title=f"{title}: norms",
            n_frames=len(vectors),
            description="The length of each position's vector.",
        ),
        Drawing(
            lambda theme: _gap_lines(theme, vectors),
            title=f"{title}: distance by gap",
            n_frames=len(vectors),
            description="The mean over all pairs of positions that are so far apart, and from the smallest to the "
            f"largest. {_growth(vectors)}",
        ),
    ]


def _growth(vectors: Sequence[PositionVectors]) -> str:
    until, furthest = vectors[-1].by_gap.grows_until, len(vectors[-1].table) - 1
    at_the_end = " at the last checkpoint" if len(vectors) > 1 else ""
    if until >= furthest:
        return f"It grows with the gap throughout{at_the_end}."
    return f"It grows up to a gap of {until}{at_the_end}, and not monotonically beyond."


def _gap_lines(theme: Theme, vectors: Sequence[PositionVectors]) -> alt.TopLevelMixin:
    panel = "distance between the vectors"
    rows = [
        point(frame, panel, "", int(index) + 1, torch.stack((gaps.least[index], gaps.mean[index], gaps.most[index])))
        | {"mean": float(f"{float(gaps.mean[index]):.5g}")}
        for frame, gaps in enumerate(each.by_gap for each in vectors)
        for index in thinned(len(gaps.mean), SHOWN)
    ]
    return _panel(theme, rows, panel, "gap between the positions", len(vectors))


def position_line(theme: Theme, frames: Sequence[Tensor], panel: str, x_title: str, *, first: int) -> alt.TopLevelMixin:
    """One value for each position, from ``first`` on."""
    rows = [
        point(frame, panel, "", first + int(index), values[index])
        for frame, values in enumerate(frames)
        for index in thinned(len(values), SHOWN)
    ]
    return _panel(theme, rows, panel, x_title, len(frames))


def _panel(theme: Theme, rows: Sequence[Row], panel: str, x_title: str, n_frames: int) -> alt.TopLevelMixin:
    return line_panels(rows, theme, panels=[panel], series=[""], x_title=x_title, n_frames=n_frames, size=(560, 240))
