"""The heat map: a matrix of numbers as colours, for matrices from 2 × 2 to some hundred rows and columns.

In the page it is drawn on a canvas of one pixel a cell; as a file it is an Altair chart, with a rectangle a cell where
they are few, and one image with real axes where they are many.
"""

from __future__ import annotations

import base64
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from glassformer.charts.colours import Kind, colour, lookup
from glassformer.charts.figures import Figure
from glassformer.charts.packing import narrowest, pack
from glassformer.charts.theme import Theme, find_theme

if TYPE_CHECKING:
    import altair as alt

Array = np.ndarray[Any, Any]
Scale = Literal["linear", "log", "sqrt"]

RECTANGLES = 4_096  # more cells than this become one image
HALF_PAGE = 640  # CSS pixels; maps up to this width stand side by side
LONGEST_SIDE = 560  # of the static plot, in CSS pixels
SHADES = 32  # of the colours that a file's scale interpolates between
SHAPELESS = ("Cc", "Cf", "Zl", "Zp")  # Unicode's categories of control, format, line and paragraph separator
JOINER = "\u200d"
LABELS = 40  # along one axis of the static plot: more cannot be read


class HeatMap(Figure):
    r"""A matrix [R, C] as colours, one for each frame and each combination of choices.

    Args:
        values: [F, \*choices, R, C], without F for one frame. Cells that are not finite are drawn as "nothing here".
        title: the heading.
        rows: R labels, the first drawn at the top.
        columns: C labels.
        choices: a name (``"layer"``) -> the labels along one of the dimensions between F and R; the reader chooses.
        row_title: what the rows are.
        column_title: what the columns are.
        value_title: what the numbers are, with their unit.
        colours: ``"sequential"``, or ``"diverging"`` for values on both sides of zero.
        scale: ``"linear"``; ``"log"``, where values up to 0 are nothing; or ``"sqrt"``, from the domain's low end.
        domain: the values at the two ends of the colours; those of all frames and choices by default, symmetric around
            0 if the colours diverge.
        description: one or two sentences for readers and screen readers.
    """

    component: ClassVar[str] = "heat-map"

    def __init__(
        self,
        values: ArrayLike,
        *,
        title: str,
        rows: Sequence[str],
        columns: Sequence[str],
        choices: Mapping[str, Sequence[str]] | None = None,
        row_title: str = "",
        column_title: str = "",
        value_title: str = "",
        colours: Kind = "sequential",
        scale: Scale = "linear",
        domain: tuple[float, float] | None = None,
        description: str = "",
    ) -> None:
        self.choices = {name: list(options) for name, options in (choices or {}).items()}
        array = np.asarray(values, dtype=np.float32)
        self.values = array[None] if array.ndim == 2 + len(self.choices) else array
        self.rows, self.columns = list(rows), list(columns)
        self.title, self.description = title, description
        self.row_title, self.column_title, self.value_title = row_title, column_title, value_title
        self.colours, self.scale = colours, scale
        self.n_frames = len(self.values)
        expected = (self.n_frames, *map(len, self.choices.values()), len(self.rows), len(self.columns))
        assert self.values.shape == expected, f"{title!r}: values {self.values.shape}, labels {expected}"
        assert scale == "linear" or colours == "sequential", "a diverging scale is linear"
        self.domain = domain or spread(self.values, diverging=colours == "diverging", log=scale == "log")
        width, height = _drawn_size(len(self.rows), len(self.columns))
        self.height = height + (200 if self.choices else 160)
        self.narrow = width <= HALF_PAGE

    def data(self) -> dict[str, Any]:
        return {
            "values": pack(self.values, precision=narrowest(self.values)),
            "rows": self.rows,
            "columns": self.columns,
            "choices": list(self.choices.items()),
            "rowTitle": self.row_title,
            "columnTitle": self.column_title,
            "valueTitle": self.value_title,
            "label": self.title,
            "kind": self.colours,
            "scale": self.scale,
            "domain": list(self.domain),
        }

    def chart(
        self,
        *,
        theme: str = "light",
        frame: int = -1,
        chosen: Mapping[str, int] | None = None,
        longest_side: int = LONGEST_SIDE,
    ) -> Any:
        """One matrix as an Altair chart; of each choice, the option at index ``chosen[name]`` or the first.

        The plot's longer side has at most ``longest_side`` CSS pixels.

        Raises:
            ConfigError: there is no such theme.
        """
        import altair as alt

        look = find_theme(theme)
        picked = {name: (chosen or {}).get(name, 0) for name in self.choices}
        matrix = self.values[(frame, *picked.values())]
        width, height = _plot_size(len(self.rows), len(self.columns), longest_side)
        layer = self._rectangles if matrix.size <= RECTANGLES else self._image
        notes = [f"{name} {self.choices[name][index]}" for name, index in picked.items()]
        heading = alt.TitleParams(self.title, subtitle=", ".join(notes)) if notes else alt.TitleParams(self.title)
        chart = layer(matrix, look, width, height).properties(width=width, height=height, title=heading)
        return chart.configure(**look.config())

    def _rectangles(self, matrix: Array, look: Theme, width: int, height: int) -> alt.Chart:
        import altair as alt

        cells = [
            {
                "row": row,
                "column": column,
                "row name": visible(self.rows[row]),
                "column name": visible(self.columns[column]),
                "value": number(matrix[row, column], log=self.scale == "log"),
            }
            for row in range(len(self.rows))
            for column in range(len(self.columns))
        ]
        return (
            alt.Chart({"values": cells})
            .mark_rect()
            .encode(
                x=alt.X("column:O", axis=axis(self.columns, self.column_title), scale=alt.Scale(padding=0)),
                y=alt.Y("row:O", axis=axis(self.rows, self.row_title), scale=alt.Scale(padding=0)),
                color=self._colour(look),
                tooltip=[
                    alt.Tooltip("row name:N", title=self.row_title or "row"),
                    alt.Tooltip("column name:N", title=self.column_title or "column"),
                    alt.Tooltip("value:Q", title=self.value_title or "value", format=".4~g"),
                ],
            )
        )

    def _image(self, matrix: Array, look: Theme, width: int, height: int) -> Any:
        import altair as alt

        picture = alt.Chart({"values": [{"url": image(self.share(matrix), self.colours, look.name)}]}).mark_image(
            width=width, height=height, aspect=False, align="left", baseline="top"
        )
        # marks without area that carry the axes and the legend, since the cells themselves are in the image
        corners = [
            {"column": column, "row": row, "value": value}
            for column, row, value in zip((0, len(self.columns)), (0, len(self.rows)), self.domain, strict=True)
        ]
        edges = (
            alt.Chart({"values": corners})
            .mark_rect(opacity=0)
            .encode(
                x=alt.X(
                    "column:Q", axis=axis(self.columns, self.column_title, middle=0.5), scale=_exactly(self.columns)
                ),
                y=alt.Y(
                    "row:Q", axis=axis(self.rows, self.row_title, middle=0.5), scale=_exactly(self.rows, down=True)
                ),
                color=self._colour(look),
            )
        )
        return alt.layer(picture.encode(x=alt.value(0), y=alt.value(0), url="url:N"), edges)

    def share(self, matrix: Array) -> Array:
        """Where each value lies between the two ends of the colours, in [0, 1]; NaN where there is nothing."""
        low, high = self.domain
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.scale == "log":
                found = (np.log10(matrix) - np.log10(low)) / (np.log10(high) - np.log10(low))
            else:
                found = (matrix - low) / (high - low)
                found = np.sqrt(found.clip(0)) if self.scale == "sqrt" else found
        return np.where(np.isfinite(matrix) & np.isfinite(found), found, np.nan)

    def _colour(self, look: Theme) -> alt.Color:
        import altair as alt

        table = lookup(self.colours, look.name)
        shades = [
            "#" + bytes(table[index]).hex() for index in np.linspace(0, len(table) - 1, SHADES).round().astype(int)
        ]
        return alt.Color(
            "value:Q",
            scale=alt.Scale(type=self.scale, domain=list(self.domain), range=shades, clamp=True),
            legend=alt.Legend(
                title=self.value_title or None,
                orient="right",
                direction="vertical",
                gradientLength=160,
                format=".0e" if self.scale == "log" else ".3~g",
                values=_powers(self.domain) if self.scale == "log" else alt.Undefined,
            ),
        )


def spread(values: Array, *, diverging: bool = False, log: bool = False) -> tuple[float, float]:
    """The least and the largest finite value; symmetric around 0 if diverging, of the positive ones only if log."""
    found = values[np.isfinite(values) & (values > 0)] if log else values[np.isfinite(values)]
    if found.size == 0:
        return (0.1, 1.0) if log else (-1.0, 1.0) if diverging else (0.0, 1.0)
    low, high = float(found.min()), float(found.max())
    if diverging:
        high = max(-low, high) or 1.0
        return -high, high
    if low == high:  # one value only: the scale must have a length
        return (low / 10, high) if log else (low, high + (abs(high) or 1.0))
    return low, high


def axis(labels: Sequence[str], title: str, *, middle: float = 0.0) -> alt.Axis:
    """An axis whose ticks are indices and whose labels are these texts: texts may repeat, indices do not.

    Only every n-th label is written where there are many. ``middle`` is where in its cell an index is labelled.
    """
    import altair as alt

    step = -(-len(labels) // LABELS)
    texts = json.dumps([visible(label) for label in labels])
    return alt.Axis(
        title=title or None,
        values=[index + middle for index in range(0, len(labels), step)],
        labelExpr=f"{texts}[floor(datum.value)]",
        labelLimit=120,
        labelAngle=0 if max(map(len, labels), default=0) <= 2 else alt.Undefined,
        labelOverlap="parity",
        grid=False,
        domain=False,
        ticks=False,
    )


def image(share: Array, kind: Kind, theme: str, side: int = 2 * LONGEST_SIDE) -> str:
    """The matrix as a PNG in a data URI, each cell a square of pixels, up to ``side`` pixels in all: it stays sharp."""
    from PIL import Image

    pixels = colour(share, kind, theme)
    times = max(1, side // max(share.shape))
    picture = Image.fromarray(np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1)))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def visible(text: str) -> str:
    """A token's text with its line ends, its outer spaces, and what has no shape of its own to be seen.

    Characters that control or turn the text around them (U+0007, U+202E) are written as ``⟨202E⟩``, so that they do
    nothing to the page; the joiner inside an emoji stays.
    """
    shown = text.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")
    shown = re.sub(r"^ +| +$", lambda spaces: "␣" * len(spaces[0]), shown)
    return "".join(
        f"⟨{ord(character):04X}⟩"
        if unicodedata.category(character) in SHAPELESS and (character != JOINER or len(shown) == 1)
        else character
        for character in shown
    )


def number(value: float, *, log: bool = False) -> float | None:
    """A value for JSON: None where there is none, or no logarithm of it."""
    return float(f"{value:.6g}") if np.isfinite(value) and (value > 0 or not log) else None


def _powers(domain: tuple[float, float]) -> list[float]:
    """The powers of ten in a domain, at most six of them; the domain's ends if there are fewer than two."""
    first, last = int(np.ceil(np.log10(domain[0]) - 1e-9)), int(np.floor(np.log10(domain[1]) + 1e-9))
    return [10.0**power for power in range(first, last + 1, (last - first) // 6 + 1)] if last > first else list(domain)


def _exactly(labels: Sequence[str], *, down: bool = False) -> alt.Scale:
    """A scale of indices without any room at the ends."""
    import altair as alt

    return alt.Scale(domain=[0, len(labels)], nice=False, zero=False, padding=0, reverse=down)


def _plot_size(rows: int, columns: int, longest: int) -> tuple[int, int]:
    """Width and height of the static plot: square cells where both are many, else as large as each side allows."""
    sides = [min(36.0, longest / many) for many in (columns, rows)]
    if min(rows, columns) > 24:
        sides = [min(sides)] * 2
    return round(sides[0] * columns), round(sides[1] * rows)


def _drawn_size(rows: int, columns: int) -> tuple[int, int]:
    """About the width and height of the cells in the page, in CSS pixels: see cellSize in heat_map.js."""
    if rows > 24 and columns > 24:
        side = min(44.0, 900 / columns, 640 / rows)
        return round(side * columns), round(side * rows)
    width = min(44.0 if rows == columns else 60.0, 1100 / columns)
    height = max(640.0 / rows, 2.0) if rows > 24 else max(width, 20.0)
    return round(width * columns), round(min(18.0 if rows > 24 else 44.0, height) * rows)
