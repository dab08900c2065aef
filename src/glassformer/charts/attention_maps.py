"""All attention heads at once: a bird's-eye grid, one head at full size, and arcs from token to token.

The idea of the overview and of the arcs is BertViz's (Vig, *A Multiscale Visualization of Attention in the Transformer
Model*, 2019, arXiv 1906.05714).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from glassformer.charts.colours import lookup
from glassformer.charts.figures import Figure
from glassformer.charts.heat_map import image
from glassformer.charts.packing import RESOLUTION, Precision, pack
from glassformer.charts.theme import find_theme

FINE = 1_500_000  # weights up to which a figure stores 16 bits each: about 3 MB of page
THUMBNAIL = 84  # CSS pixels along the longer side of a small map in the static picture
SHARP = 2  # pixels a CSS pixel there


class AttentionMaps(Figure):
    """The attention weights of L layers of H heads, for T queries over S keys.

    Args:
        weights: [F, L, H, T, S], or [L, H, T, S] for one frame; rows sum to 1, or to 0 where a query sees nothing.
        title: the heading.
        queries: T tokens.
        keys: S tokens; the same as the queries in self-attention.
        layers: L labels.
        measures: a name (``"entropy (nats)"``) -> numbers [F, L, H] or [L, H] that the reader can set below the heads.
        description: one or two sentences for readers and screen readers.
    """

    component: ClassVar[str] = "attention-maps"
    scripts: ClassVar[tuple[str, ...]] = ("heat_map.js", "attention_maps.js")

    def __init__(
        self,
        weights: ArrayLike,
        *,
        title: str,
        queries: Sequence[str],
        keys: Sequence[str],
        layers: Sequence[str],
        measures: Mapping[str, ArrayLike] | None = None,
        description: str = "",
    ) -> None:
        array = np.asarray(weights, dtype=np.float32)
        self.weights = array[None] if array.ndim == 4 else array
        self.queries, self.keys, self.layers = list(queries), list(keys), list(layers)
        self.title, self.description = title, description
        self.n_frames, n_layers, self.n_heads = self.weights.shape[:3]
        assert n_layers == len(self.layers), f"{title!r}: weights {self.weights.shape}, {len(self.layers)} layers"
        assert self.weights.shape[3:] == (len(self.queries), len(self.keys)), f"{title!r}: {self.weights.shape}"
        heads = (self.n_frames, n_layers, self.n_heads)
        self.measures = {name: np.asarray(of, dtype=np.float32).reshape(heads) for name, of in (measures or {}).items()}
        self.precision: Precision = "float16" if self.weights.size <= FINE else "8-bit"
        self.height = max(720, 100 * n_layers + 60) + 280

    def caption(self) -> str:
        stored = f"Colours follow the square root of the weight; {RESOLUTION[self.precision]}."
        return f"{self.description} {stored}".strip()

    def data(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "weights": pack(self.weights, precision=self.precision),
            "queries": self.queries,
            "keys": self.keys,
            "self": self.queries == self.keys,
            "layers": self.layers,
            "measures": [(name, pack(of, precision="float32")) for name, of in self.measures.items()],
        }

    def chart(self, *, theme: str = "light", frame: int = -1) -> Any:
        """The bird's-eye grid at one frame: layers downwards, heads across, the square root of the weight as colour.

        Raises:
            ConfigError: there is no such theme.
        """
        import altair as alt

        look = find_theme(theme)
        tall, wide = len(self.queries), len(self.keys)
        height, width = (THUMBNAIL * side / max(tall, wide) for side in (tall, wide))
        maps = [
            {
                "layer": self.layers[layer],
                "head": head,
                "url": image(
                    pooled(np.sqrt(weights.clip(0)), SHARP * THUMBNAIL), "sequential", theme, SHARP * THUMBNAIL
                ),
            }
            for layer, heads in enumerate(self.weights[frame])
            for head, weights in enumerate(heads)
        ]
        bare = look.config() | {"axisBand": {"grid": False, "domain": False, "ticks": False}}
        axis_scale = alt.Scale(padding=0)
        shades = ["#" + bytes(lookup("sequential", theme)[index]).hex() for index in range(0, 256, 8)]
        pictures = (
            alt.Chart({"values": maps})
            .mark_image(width=width, height=height, aspect=False)
            .encode(
                x=alt.X("head:O", title="head", scale=axis_scale, axis=alt.Axis(orient="top", labelAngle=0)),
                y=alt.Y("layer:O", title=None, sort=self.layers, scale=axis_scale),
                url="url:N",
            )
        )
        legend = (
            alt.Chart({"values": [{"weight": 0}, {"weight": 1}]})
            .mark_point(opacity=0)
            .encode(
                color=alt.Color(
                    "weight:Q",
                    scale=alt.Scale(type="sqrt", domain=[0, 1], range=shades),
                    legend=alt.Legend(
                        title="weight", orient="right", direction="vertical", values=[0, 0.04, 0.25, 1], format="~g"
                    ),
                )
            )
        )
        size = {"width": round((width + 8) * self.n_heads), "height": round((height + 8) * len(self.layers))}
        return alt.layer(pictures, legend).properties(title=self.title, **size).configure(**bare)


def pooled(matrix: np.ndarray[Any, Any], most: int) -> np.ndarray[Any, Any]:
    """The matrix with at most ``most`` rows and columns: the largest value of each block, so that thin lines stay."""
    step = -(-max(matrix.shape) // most)
    rows, columns = (range(0, side, step) for side in matrix.shape)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(matrix, rows, axis=0), columns, axis=1))
