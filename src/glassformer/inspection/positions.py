"""Position encodings measured: position vectors, rotations and biases.

An encoding can act in three places (:mod:`glassformer.parts.positions`), and is measured by what it does there, so
that one of your own is measured like those built in:

- vectors *added* to the tokens (learned, sinusoidal): their norms, pairwise distances and dot products, and how the
  distance depends on the gap between two positions. Sinusoids have ‖PE‖² = d/2 exactly (Vaswani et al. 2017, §3.5);
- a *rotation* of queries and keys (Su et al. 2021, arXiv 2104.09864): how similar a vector is to the same vector some
  positions on, (2/d) Σ_i cos(m θ_i) at m positions;
- a *bias* on the scores (Press et al. 2021, arXiv 2108.12409): by distance and head.

Shapes: P positions, d their width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.theme import Theme
from glassformer.errors import ConfigError
from glassformer.inspection.panels import Row, line_panels, point, thinned
from glassformer.models.family import Side
from glassformer.models.transformer import Transformer
from glassformer.parts.positions import PositionEncoding

if TYPE_CHECKING:
    import altair as alt

SHOWN = 256
"""The most positions that a figure shows; of more, evenly spaced ones, the first and the last among them."""
SHOWN_WITH_FRAMES = 128
"""The same where there is a frame for each of several checkpoints."""

NO_ENCODING = (
    "This model has no position encoding (positions.kind=none): nothing is added to the tokens, queries and keys are "
    "not rotated, and scores are not biased. Only the causal mask, where there is one, distinguishes positions."
)


# --- vectors that are added to the tokens -----------------------------------------------------------------------------


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


# --- all that an encoding does ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Positions(Drawable):
    """One encoding, by what it does; what it does not do is None.

    Attributes:
        added: the vectors it adds to the tokens.
        turning: [P], how alike a query and the same query m positions on are, once turned: the mean over unit vectors.
        turned_norms: [P], the norm of a unit vector turned to each position; 1 if turning changes directions only.
        bias: [H, P], what it adds to a score m tokens back.
        missing: why there is nothing to show, if so.
        title: of the figures.
    """

    added: PositionVectors | None = None
    turning: Tensor | None = None
    turned_norms: Tensor | None = None
    bias: Tensor | None = None
    missing: str = ""
    title: str = "Positions"

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        figures: list[Figure] = []
        title = results[-1].title
        added = [result.added for result in results if result.added is not None]
        turning = [result.turning for result in results if result.turning is not None]
        bias = [result.bias for result in results if result.bias is not None]
        if added:
            figures += _figures_of_vectors(added, title)
        if turning:
            figures.append(_figure_of_rotation(turning, title))
        if bias:
            figures.append(_figure_of_bias(bias, title))
        return figures

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.missing)}</p>" if self.missing else super()._repr_html_()


def positions(model: Transformer, *, side: Side | None = None) -> Positions:
    """The position encoding of a model's stack, at each of its ``max_seq_len`` positions.

    For the same before and after training, open the model at several checkpoints: ``Positions.figures_of`` draws one
    frame each.

    Args:
        side: which stack; the one that the head reads unless given.

    Raises:
        ConfigError: there is no such stack.
    """
    stack, config = model.family.stack(side), model.config
    of = f" of the {stack.side}" if len(model.family.stacks) > 1 else ""
    title = f"{config.positions.kind} positions{of}".capitalize()
    encoding = stack.module(model).embedding.positions
    return positions_of(encoding, config.max_seq_len, d_head=config.d_head, title=title)


@torch.no_grad()
def positions_of(encoding: PositionEncoding, length: int, *, d_head: int, title: str = "Positions") -> Positions:
    """A bare encoding, at positions 0 to ``length`` − 1.

    Args:
        length: how many; not more than the encoding was made for.
        d_head: width of the queries that it may turn.

    Raises:
        ConfigError: fewer than one position.
    """
    if length < 1:
        raise ConfigError(f"length is {length}; expected at least 1 position.", subject="inspection")
    buffer = next(iter([*encoding.parameters(), *encoding.buffers()]), None)
    device = None if buffer is None else buffer.device
    index = torch.arange(length, device=device)

    table = encoding.embed(index)
    added = None if table is None else PositionVectors(table.cpu().double())
    turning = turned_norms = None
    unit = torch.full((1, 1, length, d_head), d_head**-0.5, device=device)
    turned = encoding.rotate(unit, index)
    if not torch.equal(turned, unit):
        turning, turned_norms = _turning(encoding, index, d_head), turned[0, 0].norm(dim=-1).cpu()
    bias = encoding.bias(index[-1:], index)  # [H, 1, P]: the last position looks back at all
    if bias is not None:
        bias = bias[..., 0, :].flip(-1).float().cpu()
    nothing = added is None and turning is None and bias is None
    return Positions(added, turning, turned_norms, bias, NO_ENCODING if nothing else "", title)


def _turning(encoding: PositionEncoding, index: Tensor, d_head: int) -> Tensor:
    """The mean over unit vectors q of (R_0 q)·(R_m q), which is tr(R_0ᵀ R_m)/d: [P] for m = 0, 1, …"""
    alike = torch.zeros(len(index), device=index.device)
    for axis in torch.eye(d_head, device=index.device):
        turned = encoding.rotate(axis.expand(1, 1, len(index), d_head), index)[0, 0]  # [P, d_head]
        alike += turned @ turned[0]
    return (alike / d_head).cpu()


# --- figures ----------------------------------------------------------------------------------------------------------


def _figures_of_vectors(vectors: Sequence[PositionVectors], title: str) -> list[Figure]:
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
            lambda theme: _line(
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


def _figure_of_rotation(turning: Sequence[Tensor], title: str) -> Figure:
    from glassformer.charts.drawing import Drawing

    return Drawing(
        lambda theme: _line(theme, turning, "similarity", "positions apart", first=0),
        title=f"{title}: similarity by distance",
        n_frames=len(turning),
        description="A query against itself some positions on, after both are rotated: the mean over unit vectors. "
        "Rotation preserves every norm.",
    )


def _figure_of_bias(bias: Sequence[Tensor], title: str) -> Figure:
    from glassformer.charts.heat_map import HeatMap

    at = thinned(bias[0].shape[-1], SHOWN)
    return HeatMap(
        torch.stack([each[:, at] for each in bias]).numpy(),  # [F, H, P]
        title=f"{title}: bias by distance",
        rows=[f"head {head}" for head in range(len(bias[0]))],
        columns=[str(int(distance)) for distance in at],
        row_title="head",
        column_title="tokens back",
        value_title="added to the score",
        description="What is added to a query's score for a key so many tokens back.",
    )


def _line(theme: Theme, frames: Sequence[Tensor], panel: str, x_title: str, *, first: int) -> alt.TopLevelMixin:
    """One value for each position, from ``first`` on."""
    rows = [
        point(frame, panel, "", first + int(index), values[index])
        for frame, values in enumerate(frames)
        for index in thinned(len(values), SHOWN)
    ]
    return _panel(theme, rows, panel, x_title, len(frames))


def _gap_lines(theme: Theme, vectors: Sequence[PositionVectors]) -> alt.TopLevelMixin:
    panel = "distance between the vectors"
    rows = [
        point(frame, panel, "", int(index) + 1, torch.stack((gaps.least[index], gaps.mean[index], gaps.most[index])))
        | {"mean": float(f"{float(gaps.mean[index]):.5g}")}
        for frame, gaps in enumerate(each.by_gap for each in vectors)
        for index in thinned(len(gaps.mean), SHOWN)
    ]
    return _panel(theme, rows, panel, "gap between the positions", len(vectors))


def _panel(theme: Theme, rows: Sequence[Row], panel: str, x_title: str, n_frames: int) -> alt.TopLevelMixin:
    return line_panels(rows, theme, panels=[panel], series=[""], x_title=x_title, n_frames=n_frames, size=(560, 240))
