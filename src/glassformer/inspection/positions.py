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
from html import escape
from typing import Self

import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.errors import ConfigError
from glassformer.inspection.panels import thinned
from glassformer.inspection.position_vectors import SHOWN, PositionVectors, figures_of_vectors, position_line
from glassformer.models.family import Side
from glassformer.models.transformer import Transformer
from glassformer.parts.positions import PositionEncoding

NO_ENCODING = (
    "This model has no position encoding (positions.kind=none): nothing is added to the tokens, queries and keys are "
    "not rotated, and scores are not biased. Only the causal mask, where there is one, distinguishes positions."
)


@dataclass(frozen=True)
class Positions(Drawable):
    """One encoding, by what it does; what it does not do is None.

    Attributes:
        added: the vectors it adds to the tokens.
        rotation_similarity: [P], of a query and the same query m positions on, once rotated; mean over unit vectors.
        rotated_norms: [P], the norm of a unit vector rotated to each position; 1 if only directions change.
        bias: [H, P], what it adds to a score m tokens back.
        missing: why there is nothing to show, if so.
        title: of the figures.
    """

    added: PositionVectors | None = None
    rotation_similarity: Tensor | None = None
    rotated_norms: Tensor | None = None
    bias: Tensor | None = None
    missing: str = ""
    title: str = "Positions"

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        figures: list[Figure] = []
        title = results[-1].title
        added = [result.added for result in results if result.added is not None]
        rotation_similarity = [
            result.rotation_similarity for result in results if result.rotation_similarity is not None
        ]
        bias = [result.bias for result in results if result.bias is not None]
        if added:
            figures += figures_of_vectors(added, title)
        if rotation_similarity:
            figures.append(_figure_of_rotation(rotation_similarity, title))
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
        d_head: width of the queries that it may rotate.

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
    rotation_similarity = rotated_norms = None
    unit = torch.full((1, 1, length, d_head), d_head**-0.5, device=device)
    rotated = encoding.rotate(unit, index)
    if not torch.equal(rotated, unit):
        rotation_similarity, rotated_norms = (
            _rotation_similarity(encoding, index, d_head),
            rotated[0, 0].norm(dim=-1).cpu(),
        )
    bias = encoding.bias(index[-1:], index)  # [H, 1, P]: from the last position to all
    if bias is not None:
        bias = bias[..., 0, :].flip(-1).float().cpu()
    nothing = added is None and rotation_similarity is None and bias is None
    return Positions(added, rotation_similarity, rotated_norms, bias, NO_ENCODING if nothing else "", title)


def _rotation_similarity(encoding: PositionEncoding, index: Tensor, d_head: int) -> Tensor:
    """The mean over unit vectors q of (R_0 q)·(R_m q), which is tr(R_0ᵀ R_m)/d: [P] for m = 0, 1, …"""
    similarity = torch.zeros(len(index), device=index.device)
    for axis in torch.eye(d_head, device=index.device):
        rotated = encoding.rotate(axis.expand(1, 1, len(index), d_head), index)[0, 0]  # [P, d_head]
        similarity += rotated @ rotated[0]
    return (similarity / d_head).cpu()


def _figure_of_rotation(rotation_similarity: Sequence[Tensor], title: str) -> Figure:
    from glassformer.charts.drawing import Drawing

    return Drawing(
        lambda theme: position_line(theme, rotation_similarity, "similarity", "positions apart", first=0),
        title=f"{title}: similarity by distance",
        n_frames=len(rotation_similarity),
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
