"""LayerNorm against BatchNorm: over which numbers each takes its mean and deviation, and what follows from that.

=========== ======================================== ========================== ===========================
norm        mean and deviation are over              in evaluation              a scaled-up token changes
=========== ======================================== ========================== ===========================
layernorm   the d features of one token              the same                   no other token
rmsnorm     the same, and no mean is taken away      the same                   no other token
batchnorm   all tokens of the batch, one feature     those gathered in training in training every token of
                                                     ("running statistics")     the batch, else no other
=========== ======================================== ========================== ===========================

All are given the same input here, and have neither weight nor bias. K norms (the first is none at all), B sequences, T
tokens, d features. :mod:`~glassformer.inspection.normalisation` measures the norms of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.theme import Theme
from glassformer.errors import DataError
from glassformer.inspection.normalisation import Spread
from glassformer.inspection.panels import thinned
from glassformer.inspection.residual_points import kept, labels
from glassformer.models.trace import Trace
from glassformer.parts.norms import LayerNorm, RMSNorm, SequenceBatchNorm

if TYPE_CHECKING:
    import altair as alt

BEFORE, LAYER, RMS = "before", "layernorm", "rmsnorm"
BATCH_TRAINING, BATCH_EVALUATION = "batchnorm in training", "batchnorm in evaluation"
KINDS = (BEFORE, LAYER, RMS, BATCH_TRAINING, BATCH_EVALUATION)

FACTOR = 10.0  # that one token is multiplied by
MOST_TOKENS, MOST_FEATURES = 64, 64  # that are drawn: evenly spaced where there are more


@dataclass(frozen=True)
class NormComparison(Drawable):
    """What each kind of norm makes of the same activations.

    Attributes:
        tokens: T texts, of the sequence shown.
        kinds: K names; "before" is the input itself.
        values: [K, T, d], the sequence after each.
        spread: of all sequences, with a first dimension K.
        scaled_token: the token that was multiplied by ten.
        changes: [K, T], how much each token's output changes for that: the largest change of a feature.
        others_changed: [K], the share of the other tokens, those of other sequences too, whose output changes at all.
    """

    tokens: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Tensor
    spread: Spread
    scaled_token: int
    changes: Tensor
    others_changed: Tensor

    def __str__(self) -> str:
        lines = [f"{'':<24}{'token: mean':>22}{'deviation':>22}{'feature: mean':>22}{'deviation':>22}  others changed"]
        for k, kind in enumerate(self.kinds):
            ranges = [
                f"{float(values[k].min()):.3g} to {float(values[k].max()):.3g}"
                for values in (
                    self.spread.token_means,
                    self.spread.token_deviations,
                    self.spread.feature_means,
                    self.spread.feature_deviations,
                )
            ]
            lines.append(f"{kind:<24}{''.join(f'{each:>22}' for each in ranges)}  {float(self.others_changed[k]):.0%}")
        return "\n".join(lines)

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """The activations as a map, the means and deviations as points, and whose output a scaled-up token changes."""
        from glassformer.charts.drawing import Drawing
        from glassformer.charts.heat_map import HeatMap

        first = results[0]
        tokens, features = thinned(len(first.tokens), MOST_TOKENS), thinned(first.values.shape[-1], MOST_FEATURES)
        with_scaled = torch.tensor(sorted({*tokens.tolist(), first.scaled_token}))

        def named(positions: Tensor) -> list[str]:
            return [f"{position} {first.tokens[position]}" for position in positions.tolist()]

        scaled = torch.stack([_in_one_scale(result.values) for result in results])
        changes = torch.stack([result.changes for result in results])
        what = [f"{BEFORE}, divided by its rms", *first.kinds[1:]]
        return [
            HeatMap(
                scaled[:, :, tokens][..., features].numpy(),
                title="The same activations after each norm",
                rows=named(tokens),
                columns=[str(feature) for feature in features.tolist()],
                choices={"activations": what},
                row_title="token",
                column_title="feature",
                value_title="activation",
                colours="diverging",
                domain=(-3.0, 3.0),
                description="LayerNorm gives every row the same mean and deviation, BatchNorm every column.",
            ),
            Drawing(
                lambda theme: _points(results, what, theme),
                title="What is normalised: each token, or each feature",
                n_frames=len(results),
                description="A point for each token, at the mean and deviation of its features, and for each feature, "
                "at those over all tokens. What a norm normalises lies at mean 0 and deviation 1.",
            ),
            HeatMap(
                torch.where(changes > 0, changes, torch.nan)[..., with_scaled].numpy(),
                title=f"Token {first.scaled_token} multiplied by ten: which outputs change",
                rows=list(first.kinds),
                columns=named(with_scaled),
                row_title="norm",
                column_title="token",
                value_title="largest change of a feature",
                scale="log",
                description="How far each token's output moves; blank where it does not change at all.",
            ),
        ]


@torch.no_grad()
def compare_norms(
    trace: Trace | Tensor,
    *,
    at: str | None = None,
    tokens: Sequence[str] | None = None,
    row: int = 0,
    gathered: Tensor | None = None,
    scaled_token: int = 0,
    eps: float = 1e-5,
) -> NormComparison:
    """Give the same activations to every kind of norm.

    Args:
        trace: of a batch; or activations [B, T, d] of whatever origin.
        at: the activation's name in the trace; the last block's input unless given.
        tokens: a text for each token of the sequence.
        row: which sequence of the batch is shown; BatchNorm is given all of them.
        gathered: activations [..., d] that BatchNorm's statistics for evaluation were gathered from; the same ones
            unless given.
        scaled_token: which token of the sequence is multiplied by ten, to see whose output changes.

    Raises:
        ConfigError: the trace does not hold the activation.
        DataError: activations of another shape, a row or token that is not there, another number of texts than of
            tokens; fewer than two tokens, which have no deviation for BatchNorm.
    """
    x, names = _input(trace, at, tokens, row)
    if not -x.shape[1] <= scaled_token < x.shape[1]:
        raise DataError(
            f"There are {x.shape[1]} tokens, numbered from 0; there is no token {scaled_token} to scale up."
        )
    scaled_x = x.clone()
    scaled_x[row, scaled_token] *= FACTOR
    others = torch.ones(x.shape[:2], dtype=torch.bool)
    others[row, scaled_token] = False
    outputs, largest = [], []
    for norm in _norms(x.shape[-1], x if gathered is None else gathered.detach().float().cpu(), eps):
        outputs.append(norm(x))
        largest.append((norm(scaled_x) - outputs[-1]).abs().amax(-1))  # [B, T]
    y, changes = torch.stack(outputs), torch.stack(largest)
    return NormComparison(
        names,
        KINDS,
        y[:, row],
        Spread.of(y, row),
        scaled_token % x.shape[1],
        changes[:, row],
        (changes[:, others] > 0).float().mean(-1),
    )


def _input(
    trace: Trace | Tensor, at: str | None, tokens: Sequence[str] | None, row: int
) -> tuple[Tensor, tuple[str, ...]]:
    """The activations [B, T, d] in float32, and a text for each token of the row."""
    if isinstance(trace, Trace):
        stack = trace.model.family.stack()
        n_layers = stack.n_layers(trace.model.config)
        name = at or stack.prefix + (f"blocks.{n_layers - 1}.input" if n_layers else "embedding.output")
        x = kept(trace, name)
        given = labels(trace, tokens, tokens, side=trace.model.family.stack_named(name).side, row=row)
    else:
        x, name = trace, "the input"
        given = tuple(str(position) for position in range(x.shape[-2])) if tokens is None else tuple(tokens)
    if x.dim() != 3 or x.shape[-2] != len(given):
        raise DataError(
            f"Norms are compared on activations [batch, tokens, features] with a text for each token; {name} is "
            f"{list(x.shape)}, and there are {len(given)} texts."
        )
    if not -len(x) <= row < len(x):
        raise DataError(f"There are {len(x)} sequences, numbered from 0; there is no row {row}.")
    if x.shape[0] * x.shape[1] < 2:
        raise DataError("BatchNorm needs at least 2 tokens for a deviation; give a longer text.")
    return x.detach().float().cpu(), given


def _norms(d: int, gathered: Tensor, eps: float) -> list[Callable[[Tensor], Tensor]]:
    """One for each of KINDS, without weights that training would have moved."""
    evaluating = SequenceBatchNorm(d, eps=eps)
    evaluating.features.momentum = 1.0  # its statistics are those of the last batch, whatever was before
    evaluating.train()(gathered)
    return [
        nn.Identity(),
        LayerNorm(d, eps=eps),
        RMSNorm(d, eps=eps),
        SequenceBatchNorm(d, eps=eps).train(),
        evaluating.eval(),
    ]


def _in_one_scale(values: Tensor) -> Tensor:
    """[K, T, d] for the eye: the input divided by its root mean square, so that one scale of colours fits all."""
    return torch.cat((values[:1] / values[:1].square().mean().sqrt().clamp_min(1e-12), values[1:]))


def _points(results: Sequence[NormComparison], kinds: Sequence[str], theme: Theme) -> alt.TopLevelMixin:
    """A panel for each norm and way: the points (mean, deviation)."""
    import altair as alt

    rows: list[dict[str, Any]] = []
    ways = ("each token", "each feature")
    for frame, result in enumerate(results):
        rms = float(result.values[0].square().mean().sqrt().clamp_min(1e-12))
        spread = result.spread
        for way, means, deviations, most in (
            (ways[0], spread.token_means, spread.token_deviations, MOST_TOKENS),
            (ways[1], spread.feature_means, spread.feature_deviations, MOST_FEATURES),
        ):
            for k, kind in enumerate(kinds):
                unit = rms if k == 0 else 1.0
                for index in thinned(means.shape[-1], most).tolist():
                    values = (float(means[k, index]) / unit, float(deviations[k, index]) / unit)
                    name = f"{index} {result.tokens[index]}" if way == ways[0] else f"feature {index}"
                    mean, deviation = (float(f"{value:.3g}") for value in values)
                    rows.append(
                        {"frame": frame, "norm": kind, "way": way, "of": name, "mean": mean, "deviation": deviation}
                    )
    axis = alt.Axis(tickCount=3)
    chart = (
        alt.Chart({"values": rows})
        .mark_circle(size=26, opacity=0.6, color=theme.palette[0])
        .encode(
            x=alt.X("mean:Q", axis=axis),
            y=alt.Y("deviation:Q", axis=axis),
            row=alt.Row("way:N", title=None, sort=list(ways)),
            column=alt.Column("norm:N", title=None, sort=list(kinds)),
            tooltip=[
                alt.Tooltip("of:N", title="of"),
                alt.Tooltip("mean:Q", format=".3g"),
                alt.Tooltip("deviation:Q", format=".3g"),
            ],
        )
        .properties(width=118, height=130)
        .configure(**theme.config())
        .configure_header(labelColor=theme.text, labelFontSize=11, labelLimit=130)
    )
    if len(results) > 1:
        shown = alt.param(name="frame", value=len(results) - 1)
        chart = chart.add_params(shown).transform_filter("datum.frame == frame")
    return chart
