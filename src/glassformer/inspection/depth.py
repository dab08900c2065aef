"""What depth does to the stream at initialisation, with and without the residual connection.

The claim: small changes accumulate, so that after 20 or 50 layers the output has nothing to do with the input, and the
residual keeps it close (He et al. 2016, arXiv 1512.03385; Vaswani et al. 2017, §3.1). Four measures at every layer show
what becomes of the vectors:

- the cosine similarity of a token's vector to its embedding;
- the cosine similarity of the vectors that two different texts have at the same position: where it goes to 1, the
  output no longer depends on the text;
- the distance from rank one, ‖X − 1x̄ᵀ‖ / ‖X‖ with x̄ the mean over the tokens: where it goes to 0, the output is the
  same for all tokens, as Dong et al. 2021 (arXiv 2103.03404) prove for attention without skips, doubly
  exponentially in depth (their residual is the nearest 1xᵀ in another norm);
- the norm of a token's vector.

What has vanished, a stream too short for its precision, has no direction, and its first three measures are NaN.

A trained model is measured by :mod:`~glassformer.inspection.residual_stream`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.theme import Theme
from glassformer.errors import ConfigError
from glassformer.inspection.panels import line_panels, point
from glassformer.inspection.residual_points import kept, residual_points
from glassformer.inspection.residual_stream import similarity
from glassformer.models.config import AttentionConfig, ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.models.family import family_of
from glassformer.models.trace import Trace
from glassformer.wording import counted

if TYPE_CHECKING:
    import altair as alt

Residual = Literal["both", "attention", "feedforward", "none"]

MEASURES = {
    "to_embedding": "cosine similarity to the embedding",
    "between_texts": "cosine similarity between two texts",
    "from_rank_one": "distance from rank one",
    "norm": "norm of the stream",
}

WORDS = {
    "both": "with the residual",
    "none": "without the residual",
    "attention": "around attention only",
    "feedforward": "around feed-forward only",
}

SMALL = ModelConfig(vocab_size=65, max_seq_len=64, d_model=64, n_layers=1, attention=AttentionConfig(n_heads=4))
"""A small GPT: pre-norm, GPT-2's starting values."""


@dataclass(frozen=True)
class Arm:
    """Models of one depth and one way to be connected, from several seeds. Each measure is [seeds, layers + 1], the
    mean over tokens; index 0 is the embedding.
    """

    n_layers: int
    residual: Residual
    to_embedding: Tensor
    between_texts: Tensor
    from_rank_one: Tensor
    norm: Tensor

    @property
    def name(self) -> str:
        """As shown: "50 layers, with the residual"."""
        return f"{counted(self.n_layers, 'layer')}, {WORDS[self.residual]}"


@dataclass(frozen=True)
class DepthPicture(Drawable):
    """The measures of every arm.

    Attributes:
        arms: one for each depth and residual.
        seeds: of the weights and the two texts.
        placement: where the models' norms stand.
        n_tokens: in each text.
    """

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    placement: str
    n_tokens: int

    def arm(self, n_layers: int, residual: Residual) -> Arm:
        """The arm of this depth and residual."""
        return next(arm for arm in self.arms if (arm.n_layers, arm.residual) == (n_layers, residual))

    def table(self) -> str:
        """Every arm at its last layer: the mean over seeds, and in brackets the smallest and the largest."""
        width = max(len(arm.name) for arm in self.arms)
        heads = ["~ embedding", "~ other text", "from rank one", "norm"]
        lines = [f"{'last layer of':<{width}}" + "".join(f"  {head:<29}" for head in heads)]
        for arm in self.arms:
            last = [getattr(arm, measure)[:, -1] for measure in MEASURES]
            cells = [f"{float(v.mean()):.3g} [{float(v.min()):.3g}, {float(v.max()):.3g}]" for v in last]
            lines.append(f"{arm.name:<{width}}" + "".join(f"  {cell:<29}" for cell in cells))
        lines.append(
            f"{self.placement}-norm, {self.n_tokens} tokens, mean [min, max] over {len(self.seeds)} seeds, "
            "at initialisation"
        )
        return "\n".join(line.rstrip() for line in lines).replace("nan [nan, nan]", "–" + " " * 13)

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """A panel for each measure, layers across, a line for each arm."""
        from glassformer.charts.drawing import Drawing

        first = results[0]
        return [
            Drawing(
                lambda theme: _lines(results, theme),
                title="Depth at initialisation, with and without the residual",
                n_frames=len(results),
                description=f"{first.placement}-norm, mean over {first.n_tokens} tokens and {len(first.seeds)} seeds; "
                "shaded from the smallest seed to the largest. Layer 0 is the embedding.",
            )
        ]


def depth_picture(
    config: ModelConfig | None = None,
    *,
    depths: Sequence[int] = (1, 20, 50),
    residuals: Sequence[Residual] = ("both", "none"),
    seeds: Sequence[int] = (0, 1, 2),
    n_tokens: int | None = None,
) -> DepthPicture:
    """Build models of one configuration at several depths, with and without the residual, and measure their streams.

    A seed gives the weights and two texts of random tokens, the same two for every arm. The models are at their
    starting values; nothing is trained.

    Args:
        config: of a decoder-only model; its depth and residual are replaced. A small GPT unless given.
        n_tokens: in each text; as many as the context holds, up to 64, unless given.

    Raises:
        ConfigError: a configuration with an encoder; no depth, seed or residual; a length that does not fit.
    """
    config = config or SMALL
    n_tokens = min(config.max_seq_len, 64) if n_tokens is None else n_tokens
    complaints = [f"{what} is empty; give at least one." for what, given in (
        ("depths", depths), ("residuals", residuals), ("seeds", seeds)) if not given]  # fmt: skip
    if (family := family_of(config)).name != "decoder":
        complaints.append(f"the depth picture is of a decoder-only model, and this is {family.words}.")
    if not 2 <= n_tokens <= config.max_seq_len:
        complaints.append(f"n_tokens is {n_tokens}; it must be 2 to {config.max_seq_len} (max_seq_len).")
    if complaints:
        raise ConfigError(complaints, subject="depth picture")
    arms = []
    for n_layers in depths:
        for residual in residuals:
            arm_config = config.override({"n_layers": n_layers, "residual": residual})
            measured = [_measure(arm_config, seed, n_tokens) for seed in seeds]  # each [4, layers + 1]
            arms.append(Arm(n_layers, residual, *torch.stack(measured, dim=1)))
    return DepthPicture(tuple(arms), tuple(seeds), config.norm.placement, n_tokens)


def stream_measures(trace: Trace) -> Tensor:
    """The four measures at every layer of a decoder's trace of two texts, in the order of MEASURES: [4, layers + 1]."""
    places = residual_points(trace, each="block")
    embedding = kept(trace, places[0].probe).float()
    assert len(embedding) == 2, f"two texts, not {len(embedding)}"
    columns = []
    for place in places:
        x = kept(trace, place.probe).float()  # [2, T, d_model]
        spread = (x - x.mean(1, keepdim=True)).norm(dim=(1, 2)) / x.norm(dim=(1, 2))
        columns.append(
            torch.stack(
                [
                    similarity(x, embedding).mean(),
                    similarity(x[0], x[1]).mean(),
                    spread.mean(),
                    x.norm(dim=-1).mean(),
                ]
            )
        )
    return torch.stack(columns, dim=1).cpu()


def _measure(config: ModelConfig, seed: int, n_tokens: int) -> Tensor:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = Decoder(config)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(config.vocab_size, (2, n_tokens), generator=generator)
    last = "after_feedforward" if config.has_feedforward else "after_attention"
    only = ("embedding.output", *([f"blocks.*.{last}"] if config.n_layers else []))
    return stream_measures(model.trace(tokens, only=only))


def _lines(results: Sequence[DepthPicture], theme: Theme) -> alt.TopLevelMixin:
    rows = [
        point(frame, words, arm.name, layer, values)
        for frame, result in enumerate(results)
        for arm in result.arms
        for measure, words in MEASURES.items()
        for layer, values in enumerate(getattr(arm, measure).T)
        if not values.isnan().any()
    ]
    return line_panels(
        rows,
        theme,
        panels=list(MEASURES.values()),
        series=[arm.name for arm in results[0].arms],
        dashed=[arm.name for arm in results[0].arms if arm.residual == "none"],
        x_title="layer",
        n_frames=len(results),
        size=(320, 200),
    )
