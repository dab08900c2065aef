"""Guesses at every token and layer: the picture of the logit lens.

A row is a layer, a column a token. The cell shows the best guess there, coloured by its probability, and lists the next
ones, their probabilities and the rank of the right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from glassformer.charts.colours import Kind, colour, lookup
from glassformer.charts.figures import Figure
from glassformer.charts.heat_map import axis, number, visible
from glassformer.charts.packing import narrowest, pack
from glassformer.charts.theme import find_theme

if TYPE_CHECKING:
    import altair as alt

PICTURED = 24  # tokens of the static picture: more could not be read
CELL = (50, 24)  # its cells' width and height, in CSS pixels
Array = np.ndarray[Any, Any]


class TokenGrid(Figure):
    """The best guesses of each layer for each token, one frame a checkpoint.

    F frames, R rows, C columns, K guesses.

    Args:
        guesses: [F, R, C, K], or [R, C, K] for a single frame: places in ``vocabulary``, the best guess first.
        probabilities: of the guesses, in the same shape.
        title: the heading.
        rows: R names, the first drawn at the top.
        tokens: C texts, the token a column stands at.
        vocabulary: the text of each token that can be guessed.
        right: C texts, the token that is right; empty where none is known.
        ranks: [F, R, C] or [R, C], where the right token stands among all: 1 is the best guess.
        values: [F, R, C] or [R, C], what colours the cells; the best guess's probability if there are none.
        value_title: what the values are.
        colours: ``"sequential"`` or ``"diverging"``.
        domain: the values at the two ends of the scale.
        description: one or two sentences for readers and screen readers.
    """

    component: ClassVar[str] = "token-grid"
    scripts: ClassVar[tuple[str, ...]] = ("token_grid.js", "token_grid.css")

    def __init__(
        self,
        guesses: ArrayLike,
        probabilities: ArrayLike,
        *,
        title: str,
        rows: Sequence[str],
        tokens: Sequence[str],
        vocabulary: Sequence[str],
        right: Sequence[str] = (),
        ranks: ArrayLike | None = None,
        values: ArrayLike | None = None,
        value_title: str = "probability of the best guess",
        colours: Kind = "sequential",
        domain: tuple[float, float] = (0.0, 1.0),
        description: str = "",
    ) -> None:
        self.guesses = _framed(guesses, 4).astype(np.int64)
        self.probabilities = _framed(probabilities, 4).astype(np.float32)
        self.ranks = None if ranks is None else _framed(ranks, 3).astype(np.int64)
        self.values = None if values is None else _framed(values, 3).astype(np.float32)
        self.title, self.value_title, self.description = title, value_title, description
        self.rows, self.tokens, self.right = list(rows), list(tokens), list(right)
        self.colours, self.domain = colours, domain
        self.n_frames = len(self.guesses)
        self.height = 24 * len(self.rows) + 150

        cells = (self.n_frames, len(self.rows), len(self.tokens))
        assert self.guesses.shape == self.probabilities.shape, (self.guesses.shape, self.probabilities.shape)
        for name, array in (("guesses", self.guesses[..., 0]), ("values", self.values), ("ranks", self.ranks)):
            assert array is None or array.shape == cells, f"{name} {array.shape}; expected [F, R, C] = {cells}"
        assert not self.right or len(self.right) == len(self.tokens), (len(self.right), len(self.tokens))

        # only the texts that are guessed somewhere go into the page
        used, places = np.unique(self.guesses, return_inverse=True)
        self.texts = [vocabulary[int(index)] for index in used]
        self.places = places.reshape(self.guesses.shape)

    def data(self) -> dict[str, Any]:
        return {
            "texts": self.texts,
            "guesses": pack(self.places, precision="float32"),  # places in texts: whole numbers stay exact
            "probabilities": pack(self.probabilities),
            "ranks": None if self.ranks is None else pack(self.ranks, precision="float32"),
            "values": None if self.values is None else pack(self.values, precision=narrowest(self.values)),
            "valueTitle": self.value_title,
            "kind": self.colours,
            "domain": list(self.domain),
            "rows": self.rows,
            "tokens": self.tokens,
            "right": self.right,
            "label": self.title,
        }

    def chart(self, *, theme: str = "light", frame: int = -1) -> alt.LayerChart:
        """The best guesses at one frame, of the first PICTURED tokens.

        Raises:
            ConfigError: there is no such theme.
        """
        import altair as alt

        look = find_theme(theme)
        low, high = self.domain
        shown = len(self.tokens[:PICTURED])
        values = self.probabilities[..., 0] if self.values is None else self.values
        share = ((values[frame, :, :shown] - low) / (high - low)).clip(0, 1)
        fills = colour(share, self.colours, look.name)
        cells = [
            {
                "row": row,
                "column": column,
                "guess": visible(self.texts[self.places[frame, row, column, 0]]),
                "value": number(values[frame, row, column]),
                "ink": _ink(fills[row, column]),
            }
            for row in range(len(self.rows))
            for column in range(shown)
        ]
        tokens = self.tokens[:shown]
        base = alt.Chart({"values": cells}).encode(
            x=alt.X("column:O", axis=axis(tokens, "token"), scale=alt.Scale(padding=0)),
            y=alt.Y("row:O", axis=axis(self.rows, "layer"), scale=alt.Scale(padding=0)),
        )
        shades = ["#" + bytes(shade).hex() for shade in lookup(self.colours, look.name)[::8]]
        legend = alt.Legend(title=self.value_title, orient="right", direction="vertical", gradientLength=120)
        scale = alt.Scale(domain=[low, high], range=shades, clamp=True)
        cell = base.mark_rect().encode(color=alt.Color("value:Q", scale=scale, legend=legend))
        text = base.mark_text(fontSize=11, limit=CELL[0] - 4).encode(
            text="guess:N", color=alt.Color("ink:N", scale=None, legend=None)
        )
        left = f"the first {shown} of {len(self.tokens)} tokens" if shown < len(self.tokens) else ""
        heading = alt.TitleParams(self.title, subtitle=left) if left else alt.TitleParams(self.title)
        chart = alt.layer(cell, text).resolve_scale(color="independent")
        size = {"width": CELL[0] * shown, "height": CELL[1] * len(self.rows)}
        return chart.properties(title=heading, **size).configure(**look.config())


def _ink(fill: Array) -> str:
    """The colour of text that can be read on this fill: the contrast of WCAG 2 is at least 4.5 either way."""
    share = fill / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.18 else "#ffffff"


def _framed(array: ArrayLike, dimensions: int) -> np.ndarray[Any, Any]:
    """The array with a dimension of frames in front, which a single frame may leave out."""
    found = np.asarray(array)
    return found[None] if found.ndim == dimensions - 1 else found
