"""One attention head, step by step: from its queries, keys and values to what it hands on.

Vaswani et al., *Attention Is All You Need* (2017), equation 1: softmax(QKᵀ/√d_k)·V. The page computes the matrices
itself from Q, K and V, so that every head of every layer can be looked at, and the reader sees them follow from each
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from glassformer.charts.colours import Kind
from glassformer.charts.figures import Figure
from glassformer.charts.heat_map import HeatMap
from glassformer.charts.packing import RESOLUTION, Precision, narrowest, pack
from glassformer.charts.theme import find_theme

PANEL = 220  # longest side of a matrix in the static picture, in CSS pixels
Array = np.ndarray[Any, Any]


class AttentionSteps(Figure):
    """The computation of every head of one forward pass.

    L layers, H heads, G groups of heads that share keys and values (G = H without grouping), T query tokens, S keys.

    Args:
        query: [L, H, T, d_k], as it enters the dot product: after normalisation and rotation, if the model has them.
        key: [L, G, S, d_k].
        value: [L, G, S, d_v].
        mask: [H or 1, T, S], added to the scaled scores: 0, a bias, or −∞ where a query may not look.
        scale: the factor of the scores, 1/√d_k in the paper.
        title: the heading.
        queries: T texts.
        keys: S texts.
        layers: L names.
        follows: the title of the :class:`~glassformer.charts.attention_maps.AttentionMaps` whose chosen head is shown
            here too; any on the page unless given.
        description: one or two sentences for readers and screen readers.
    """

    component: ClassVar[str] = "attention-steps"
    scripts: ClassVar[tuple[str, ...]] = ("heat_map.js", "attention_steps.js", "attention_steps.css")

    def __init__(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        *,
        mask: ArrayLike,
        scale: float,
        title: str,
        queries: Sequence[str],
        keys: Sequence[str],
        layers: Sequence[str],
        follows: str = "",
        description: str = "",
    ) -> None:
        self.query, self.key, self.value, self.mask = (
            np.asarray(array, dtype=np.float32) for array in (query, key, value, mask)
        )
        fits = all(narrowest(array) == "float16" for array in (self.query, self.key, self.value))
        self.precision: Precision = "float16" if fits else "float32"
        self.scale = float(scale)
        self.title, self.description, self.follows = title, description, follows
        self.queries, self.keys, self.layers = list(queries), list(keys), list(layers)
        self.height = 900

        L, H, T, d_k = self.query.shape
        G, S = self.key.shape[1:3]
        assert self.key.shape == (L, G, S, d_k), (self.query.shape, self.key.shape)
        assert self.value.shape[:3] == (L, G, S), (self.key.shape, self.value.shape)
        assert H % G == 0, f"{H} heads cannot share {G} groups of keys evenly"
        assert self.mask.shape in {(H, T, S), (1, T, S)}, (self.mask.shape, self.query.shape, self.key.shape)
        assert (len(self.queries), len(self.keys), len(self.layers)) == (T, S, L), (T, S, L)

    def steps(self, layer: int = 0, head: int = 0) -> dict[str, Array]:
        """The matrices of one head in the order of their computation, by the names the picture gives them.

        ``Q`` [T, d_k], ``K`` [S, d_k], ``scores``, ``scaled``, ``masked`` and ``weights`` [T, S], ``V`` [S, d_v],
        ``output`` [T, d_v]. A query that may look nowhere has weights of 0.
        """
        group = head * self.key.shape[1] // self.query.shape[1]
        q, k, v = self.query[layer, head], self.key[layer, group], self.value[layer, group]
        scores = q @ k.T
        masked = scores * self.scale + self.mask[head % len(self.mask)]
        most = masked.max(axis=1, keepdims=True)
        powers = np.exp(masked - np.where(np.isfinite(most), most, 0))
        weights = powers / np.maximum(powers.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return {
            "Q": q,
            "K": k,
            "scores": scores,
            "scaled": scores * self.scale,
            "masked": masked,
            "weights": weights,
            "V": v,
            "output": weights @ v,
        }

    def data(self) -> dict[str, Any]:
        return {
            "query": pack(self.query, precision=self.precision),
            "key": pack(self.key, precision=self.precision),
            "value": pack(self.value, precision=self.precision),
            "mask": pack(self.mask),
            "scale": self.scale,
            "queries": self.queries,
            "keys": self.keys,
            "layers": self.layers,
            "follows": self.follows,
        }

    def caption(self) -> str:
        """The description, and the stored resolution: what is computed from rounded numbers is a little off."""
        stored = f"The page computes this from Q, K and V; their {RESOLUTION[self.precision]}."
        return f"{self.description} {stored}".strip()

    def chart(self, *, theme: str = "light", frame: int = -1, layer: int = 0, head: int = 0) -> Any:
        """All matrices of one head.

        Raises:
            ConfigError: there is no such theme.
        """
        import altair as alt

        look = find_theme(theme)
        panels = []
        for number, (name, matrix) in enumerate(self.steps(layer, head).items(), start=1):
            features = [str(feature) for feature in range(matrix.shape[1])]
            weights = name == "weights"
            kind: Kind = "sequential" if weights else "diverging"
            panel = HeatMap(
                matrix,
                title=f"{number}  {name}",
                rows=self.keys if name in {"K", "V"} else self.queries,
                columns=features if name in {"Q", "K", "V", "output"} else self.keys,
                colours=kind,
                scale="sqrt" if weights else "linear",
                domain=(0.0, 1.0) if weights else None,
            ).chart(theme=theme, longest_side=PANEL)
            panel.config = alt.Undefined  # only the whole picture may have one
            panels.append(panel)
        heading = alt.TitleParams(self.title, subtitle=f"layer {self.layers[layer]}, head {head}")
        chart = alt.concat(*panels, columns=4).resolve_scale(color="independent", x="independent", y="independent")
        return chart.properties(title=heading).configure(**look.config())
