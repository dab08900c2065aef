"""What the norms of a model do to its residual stream: mean and deviation before and after each.

:mod:`~glassformer.inspection.norm_comparison` gives the same input to norms of every kind. Deviations are √(mean of
squared distances from the mean), as the norms themselves use; B sequences, T tokens, d features, N norms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.theme import Theme
from glassformer.errors import ConfigError
from glassformer.inspection.panels import line_panels, point
from glassformer.inspection.residual_points import kept, labels, residual_points, sublayers
from glassformer.models.family import Side
from glassformer.models.trace import Trace

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class Spread:
    """Mean and deviation along both ways through activations [..., B, T, d].

    Attributes:
        token_means, token_deviations: [..., T], over the features of each token of one sequence.
        feature_means, feature_deviations: [..., d], over all B · T tokens.
    """

    token_means: Tensor
    token_deviations: Tensor
    feature_means: Tensor
    feature_deviations: Tensor

    @classmethod
    def of(cls, x: Tensor, row: int = 0) -> Self:
        """Measure [..., B, T, d]; ``row`` is the sequence whose tokens are measured."""
        tokens, all_tokens = x[..., row, :, :], x.flatten(-3, -2)
        return cls(
            tokens.mean(-1),
            tokens.std(-1, correction=0),
            all_tokens.mean(-2),
            all_tokens.std(-2, correction=0),
        )


@dataclass(frozen=True)
class ModelNorms(Drawable):
    """Inputs and outputs of every norm of a model's residual stream.

    Attributes:
        side: which stack.
        kind: of norm, as the configuration names it.
        norms: N names, in the order of the forward pass: "blocks.0.attention_norm", ..., "final_norm".
        tokens: T texts.
        before, after: with a first dimension N.
    """

    side: Side
    kind: str
    norms: tuple[str, ...]
    tokens: tuple[str, ...]
    before: Spread
    after: Spread

    def __str__(self) -> str:
        width = max(map(len, self.norms)) + 2
        lines = [f"{self.kind:<{width}}{'mean before':>14}{'after':>10}{'deviation before':>20}{'after':>10}"]
        for n, name in enumerate(self.norms):
            means = [float(spread.token_means[n].mean()) for spread in (self.before, self.after)]
            deviations = [float(spread.token_deviations[n].mean()) for spread in (self.before, self.after)]
            lines.append(
                f"{name:<{width}}{means[0]:>14.3g}{means[1]:>10.3g}{deviations[0]:>20.3g}{deviations[1]:>10.3g}"
            )
        return "\n".join(lines)

    @property
    def labels(self) -> tuple[str, ...]:
        """N short names, for pictures of one stack: "0.attention", ..., "final"."""
        start = r"^(encoder\.|decoder\.)?(blocks\.)?"
        return tuple(re.sub(start, "", name).removesuffix("_norm") for name in self.norms)

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """Lines over the norms, mean and range over tokens; and every token's deviation as a map."""
        from glassformer.charts.drawing import Drawing
        from glassformer.charts.heat_map import HeatMap

        first = results[0]
        of = f" of the {first.side}" if first.side == "encoder" else ""
        deviations = [
            torch.stack((result.before.token_deviations, result.after.token_deviations)) for result in results
        ]
        return [
            Drawing(
                lambda theme: _norm_by_norm(results, theme),
                title=f"Before and after each norm{of}",
                n_frames=len(results),
                description="Mean and deviation of a token's features: the mean over tokens, and from the smallest to "
                "the largest.",
            ),
            HeatMap(
                torch.stack(deviations).numpy(),  # [F, 2, N, T]
                title=f"Deviation at each norm{of}, token by token",
                rows=first.labels,
                columns=[f"{position} {token}" for position, token in enumerate(first.tokens)],
                choices={"measured": ["before the norm", "after the norm"]},
                row_title="norm",
                column_title="token",
                value_title="deviation of the features",
                scale="log",
                description="The standard deviation of each token's features.",
            ),
        ]


@torch.no_grad()
def model_norms(
    trace: Trace,
    *,
    side: Side | None = None,
    tokens: Sequence[str] | None = None,
    source: Sequence[str] | None = None,
    row: int = 0,
) -> ModelNorms:
    """Measure the inputs and outputs of every norm of one stack's residual stream. (Norms of queries and keys are not
    among them: their inputs are not named activations.)

    Args:
        side: which stack; the one that the head reads unless given.
        tokens, source: a text for each token that this stack, or an encoder beside it, read.
        row: which sequence's tokens are measured; features are measured over all of them.

    Raises:
        ConfigError: the stack has no norms; a side that the model does not have; a trace that does not hold the
            activations around the norms.
        DataError: another number of texts than of tokens; a row that does not exist.
    """
    stack = trace.model.family.stack(side)
    names = labels(trace, tokens, source, side=side, row=row)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for sublayer in sublayers(trace, side):
        name = sublayer.probe.removesuffix(".")
        if isinstance(sublayer.norm, nn.Identity):
            continue
        x = kept(trace, sublayer.before.probe)
        if sublayer.placement == "pre":
            found[f"{name}_norm"] = (x, kept(trace, f"{name}_input"))
        else:
            y = sublayer.output(trace)
            found[f"{name}_norm"] = (x + y if sublayer.skip else y, kept(trace, sublayer.after.probe))
    if not isinstance(stack.module(trace.model).final_norm, nn.Identity):
        last = residual_points(trace, side)[-2]  # before the final norm
        found[f"{stack.prefix}final_norm"] = (kept(trace, last.probe), kept(trace, f"{stack.prefix}final"))
    if not found:
        raise ConfigError("The model has no norms.", subject="inspection")
    before, after = (
        Spread.of(torch.stack([pair[index] for pair in found.values()]).float().cpu(), row) for index in (0, 1)
    )
    return ModelNorms(stack.side, trace.model.config.norm.kind, tuple(found), names, before, after)


def _norm_by_norm(results: Sequence[ModelNorms], theme: Theme) -> alt.TopLevelMixin:
    panels, series = ("mean of the features", "deviation of the features"), ("before the norm", "after the norm")
    rows = [
        point(frame, panel, which, name, values[n])
        for frame, result in enumerate(results)
        for which, spread in zip(series, (result.before, result.after), strict=True)
        for panel, values in zip(panels, (spread.token_means, spread.token_deviations), strict=True)
        for n, name in enumerate(result.labels)
    ]
    return line_panels(
        rows, theme, panels=panels, series=series, x_title="norm", names=results[0].labels, n_frames=len(results)
    )
