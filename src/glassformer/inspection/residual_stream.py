"""The residual stream in numbers: its norm and direction at each point, and what a sublayer adds.

A skip connection leaves what is there and adds to it (He et al. 2016, arXiv 1512.03385; Vaswani et al. 2017, §3.1), so
the stream stays near the embedding as long as little is added, and turns away from it as much is. Without a skip, each
sublayer's output stands in place of its input. :mod:`~glassformer.inspection.depth` sets the two side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.theme import Theme
from glassformer.inspection.panels import line_panels, point
from glassformer.inspection.residual_points import FINAL_NORM, kept, labels, residual_points, sublayers
from glassformer.models.family import Side
from glassformer.models.trace import Trace

if TYPE_CHECKING:
    import altair as alt

QUANTITIES = {
    "norms": "norm of the stream",
    "added": "norm of what is added / norm of the stream",
    "to_embedding": "cosine similarity to the embedding",
    "to_before": "cosine similarity to the previous point",
}


@dataclass(frozen=True)
class ResidualStream(Drawable):
    """One stack's stream over one sequence, at N points and T tokens. Norms are Euclidean, over d_model.

    Attributes:
        side: "encoder" or "decoder".
        residual_points: N names: "embedding", "0 attention", "0 feed-forward", ..., "final norm".
        norms: [N, T].
        to_embedding: [N, T], the cosine of the angle to the embedding's output.
        to_before: [N, T], of the angle to the point before; NaN at the embedding.
        added: [N, T], the norm of the sublayer's output over that of the stream it is added to (or, without a skip,
            that it replaces); NaN at points that are not the output of a sublayer.
        tokens: T texts.
    """

    side: Side
    residual_points: tuple[str, ...]
    norms: Tensor
    to_embedding: Tensor
    to_before: Tensor
    added: Tensor
    tokens: tuple[str, ...]

    def mean(self, quantity: str) -> Tensor:
        """The mean over tokens of "norms", "to_embedding", "to_before" or "added": [N]."""
        assert quantity in QUANTITIES, quantity
        values: Tensor = getattr(self, quantity)
        return values.mean(1)

    def table(self) -> str:
        """A line for each point, of the means over tokens."""
        width = max(map(len, self.residual_points))
        lines = [f"{'point':<{width}}  {'norm':>9}  {'added':>7}  {'~ embedding':>11}  {'~ before':>8}"]
        means = {quantity: self.mean(quantity).tolist() for quantity in QUANTITIES}
        for index, name in enumerate(self.residual_points):
            norm, added, to_embedding, to_before = (means[quantity][index] for quantity in QUANTITIES)
            lines.append(f"{name:<{width}}  {norm:9.3f}  {added:7.3f}  {to_embedding:11.3f}  {to_before:8.3f}")
        return "\n".join(lines).replace("nan", "  –")

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """Lines over the points, mean and range over tokens; and each token's similarities as a map."""
        from glassformer.charts.drawing import Drawing
        from glassformer.charts.heat_map import HeatMap

        first = results[0]
        of = f" of the {first.side}" if first.side == "encoder" else ""
        compared = torch.stack([torch.stack((result.to_embedding, result.to_before)) for result in results])
        return [
            Drawing(
                lambda theme: _lines(results, theme),
                title=f"Residual stream{of}",
                n_frames=len(results),
                description="Norm, what each sublayer adds, and similarity: the mean over tokens, and from the "
                "smallest to the largest.",
            ),
            HeatMap(
                compared.numpy(),  # [F, 2, N, T]
                title=f"Similarity{of}, token by token",
                rows=first.residual_points,
                columns=first.tokens,
                choices={"compared with": ["the embedding", "the previous point"]},
                row_title="point",
                column_title="token",
                value_title="cosine similarity",
                colours="diverging",
                domain=(-1.0, 1.0),
                description="How much of its direction each token's vector keeps.",
            ),
        ]


def residual_stream(
    trace: Trace,
    *,
    side: Side | None = None,
    tokens: Sequence[str] | None = None,
    source: Sequence[str] | None = None,
    row: int = 0,
) -> ResidualStream:
    """Measure one stack's residual stream.

    Args:
        side: which stack; the one that the head reads unless given.
        tokens, source: a text for each token that this stack, or an encoder beside it, read.
        row: which sequence of the batch.

    Raises:
        ConfigError: a side that the model does not have; a trace that does not hold the points.
        DataError: another number of texts than of tokens; a row that does not exist.
    """
    names = labels(trace, tokens, source, side=side, row=row)
    places = residual_points(trace, side)
    stream = torch.stack([kept(trace, place.probe)[row] for place in places]).float()  # [N, T, d_model]
    norms = stream.norm(dim=-1)
    nothing = torch.full_like(norms[:1], torch.nan)
    added = torch.full_like(norms, torch.nan)
    for index, sublayer in enumerate(sublayers(trace, side)):  # the point after the embedding is the first's
        added[index + 1] = sublayer.output(trace)[row].float().norm(dim=-1) / norms[index]
    return ResidualStream(
        side=trace.model.family.stack(side).side,
        residual_points=tuple(place.name for place in places),
        norms=norms.cpu(),
        to_embedding=similarity(stream, stream[:1]).cpu(),
        to_before=torch.cat((nothing, similarity(stream[1:], stream[:-1]))).cpu(),
        added=added.cpu(),
        tokens=names,
    )


def similarity(x: Tensor, y: Tensor) -> Tensor:
    """The cosine of the angle between vectors, [..., d_model] → [...]; NaN where one is 0, which has no direction.

    In float64: a stream without norms and skips may be 1e-30 long and still point somewhere.
    """
    x, y = x.double(), y.double()
    return ((x / x.norm(dim=-1, keepdim=True)) * (y / y.norm(dim=-1, keepdim=True))).sum(-1).float()


def _lines(results: Sequence[ResidualStream], theme: Theme) -> alt.TopLevelMixin:
    """A panel for each quantity, points across."""
    rows = [
        point(frame, words, "", name, values)
        for frame, result in enumerate(results)
        for quantity, words in QUANTITIES.items()
        for name, values in zip(result.residual_points, getattr(result, quantity), strict=True)
        # the final norm sets a length of its own, beside which the stream's would be flat
        if not values.isnan().any() and (quantity, name) != ("norms", FINAL_NORM)
    ]
    names = results[0].residual_points
    return line_panels(rows, theme, panels=list(QUANTITIES.values()), series=[""], names=names, n_frames=len(results))
