"""What happens to every parameter over a training run, in one picture: depth downwards, steps to the right.

Under it, on the same axis of steps, stand the loss and the line of one parameter, so that a spike in the one can be
seen in the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from glassformer.charts.colours import lookup
from glassformer.charts.figures import Figure
from glassformer.charts.heat_map import axis, image
from glassformer.charts.packing import pack
from glassformer.charts.theme import Theme, find_theme

if TYPE_CHECKING:
    import altair as alt

COLUMNS = 400  # steps drawn, and points of a loss: more cannot be distinguished at a page's width
TAILS = 0.005  # of the values at each end of the colours share the last colour, so that one outlier hides nothing
WIDTH, MAP_HEIGHT, LOSS_HEIGHT = 720, 420, 150  # of the static picture, in CSS pixels
SHADES = 16  # of the static picture's legend
Array = np.ndarray[Any, Any]


class DepthByStep(Figure):
    """Quantities of R parameters over N optimizer steps, as colours on a log scale, above the loss.

    Args:
        steps: N optimizer steps, rising.
        rows: R names of parameters, in the order of the forward pass: the first is drawn at the top.
        quantities: a name (``"gradient norm"``) -> its values [R, N]; the reader chooses one of them. What has no
            logarithm (zero, negative, infinite or not a number) is drawn as nothing, and said to be so.
        losses: a name -> its steps and its values (nats/token). One whose name contains "validation" is drawn as
            points, any other as a line.
        title: the heading.
        description: one or two sentences for readers and screen readers.
    """

    component: ClassVar[str] = "depth-by-step"
    scripts: ClassVar[tuple[str, ...]] = ("depth_by_step.js", "depth_by_step.css")

    def __init__(
        self,
        steps: ArrayLike,
        rows: Sequence[str],
        quantities: Mapping[str, ArrayLike],
        losses: Mapping[str, tuple[ArrayLike, ArrayLike]],
        *,
        title: str,
        description: str = "",
    ) -> None:
        recorded = np.asarray(steps, dtype=np.int64)
        self.rows = list(rows)
        self.title, self.description = title, description
        self.height = round(max(2.5 * len(rows), min(16 * len(rows), 460))) + 400  # as depth_by_step.js draws it
        self.recorded = len(recorded)
        assert quantities, "at least one quantity"
        assert len(recorded), "at least one step"

        kept = thinned(len(recorded))
        self.steps = recorded[kept]
        self.logarithms: dict[str, Array] = {}  # [R, at most COLUMNS] each
        for name, values in quantities.items():
            array = np.asarray(values, dtype=np.float64)
            assert array.shape == (len(rows), len(recorded)), f"{name}: {array.shape}, {len(rows)}, {len(recorded)}"
            self.logarithms[name] = _logarithms(array[:, kept])
        self.losses: dict[str, tuple[Array, Array]] = {}
        for name, (at, of) in losses.items():
            found = np.asarray(at, dtype=np.int64), np.asarray(of, dtype=np.float64)
            kept = thinned(len(found[0]))
            self.losses[name] = found[0][kept], found[1][kept]

    def caption(self) -> str:
        """The description, which steps are drawn, and how exact their values are."""
        drawn = f"{len(self.steps):,} of {self.recorded:,} recorded steps are drawn, evenly chosen; "
        thin = drawn if len(self.steps) < self.recorded else ""
        resolution = "values are stored to within 1 %."
        return f"{self.description} {(thin + resolution).capitalize()}".strip()

    def data(self) -> dict[str, Any]:
        return {
            "steps": self.steps.tolist(),
            "rows": self.rows,
            "quantities": {
                name: {"values": pack(values), "domain": list(ends(values))} for name, values in self.logarithms.items()
            },
            "losses": {
                name: {"steps": at.tolist(), "values": [float(f"{x:.6g}") if np.isfinite(x) else None for x in of]}
                for name, (at, of) in self.losses.items()
            },
            "label": self.title,
        }

    def chart(self, *, theme: str = "light", frame: int = -1, quantity: str | None = None) -> alt.VConcatChart:
        """The map of one quantity (the first by default) above the loss, on one axis of steps.

        Raises:
            ConfigError: there is no such theme.
        """
        import altair as alt

        look = find_theme(theme)
        name = next(iter(self.logarithms)) if quantity is None else quantity
        edges = column_edges(self.steps)
        step = alt.X(
            "step:Q",
            title="optimizer step",
            axis=alt.Axis(format=",d", tickMinStep=1, tickCount=8, labelFlush=False),
            scale=alt.Scale(domain=[float(edges[0]), float(edges[-1])], nice=False, zero=False),
        )
        panels: list[Any] = [self._map(name, edges, step, look)]
        if any(np.isfinite(of).any() for _, of in self.losses.values()):
            panels.append(self._loss(step, look))
        chart = alt.vconcat(*panels, spacing=14).resolve_scale(color="independent")
        heading = alt.TitleParams(self.title, subtitle=f"colour: {name}")
        return chart.properties(title=heading).configure(**look.config())

    def _map(self, name: str, edges: Array, step: alt.X, look: Theme) -> alt.LayerChart | alt.FacetChart:
        """An image of the cells, and marks without area that carry its axes and legend."""
        import altair as alt

        values = self.logarithms[name]
        low, high = ends(values)
        middles = np.linspace(edges[0], edges[-1], 2 * WIDTH, endpoint=False) + (edges[-1] - edges[0]) / (4 * WIDTH)
        column = (np.searchsorted(edges, middles, side="right") - 1).clip(0, values.shape[1] - 1)
        share = np.where(np.isfinite(values), (values - low) / (high - low), np.nan)[:, column]
        share = share.repeat(max(1, 2 * MAP_HEIGHT // len(self.rows)), axis=0)  # few rows would be blurred
        picture = (
            alt.Chart({"values": [{"url": image(share, "sequential", look.name)}]})
            .mark_image(width=WIDTH, height=MAP_HEIGHT, aspect=False, align="left", baseline="top")
            .encode(x=alt.value(0), y=alt.value(0), url="url:N")
        )
        corners = [
            {"step": float(at), "row": row, "value": 10**value}
            for at, row, value in zip(edges[[0, -1]], (0, len(self.rows)), (low, high), strict=True)
        ]
        table = lookup("sequential", look.name)
        shades = ["#" + bytes(table[at]).hex() for at in np.linspace(0, len(table) - 1, SHADES).round().astype(int)]
        names = axis(self.rows, "", middle=0.5)
        names.labelLimit = 280
        rows = alt.Scale(domain=[0, len(self.rows)], nice=False, zero=False, padding=0, reverse=True)
        colours = alt.Scale(type="log", domain=[10**low, 10**high], range=shades, clamp=True)
        legend = alt.Legend(title=name, orient="right", direction="vertical", gradientLength=160, format=".2~g")
        carrier = (
            alt.Chart({"values": corners})
            .mark_rect(opacity=0)
            .encode(
                x=step.copy().title(None).axis(alt.Axis(labels=False, ticks=False, domain=False)),
                y=alt.Y("row:Q", axis=names, scale=rows),
                color=alt.Color("value:Q", scale=colours, legend=legend),
            )
        )
        return alt.layer(picture, carrier).properties(width=WIDTH, height=MAP_HEIGHT)

    def _loss(self, step: alt.X, look: Theme) -> alt.LayerChart | alt.FacetChart:
        import altair as alt

        series = list(self.losses)
        layers = []
        for name, (at, of) in self.losses.items():
            values = [
                {"step": int(x), "loss": round(float(y), 5), "series": name}
                for x, y in zip(at, of, strict=True)
                if np.isfinite(y)
            ]
            base = alt.Chart({"values": values})
            drawn = base.mark_point(filled=True, size=36, opacity=1) if "validation" in name else base.mark_line()
            layers.append(
                drawn.encode(
                    x=step,
                    y=alt.Y("loss:Q", title="loss (nats/token)", scale=alt.Scale(zero=False)),
                    color=alt.Color(
                        "series:N", sort=series, scale=alt.Scale(domain=series, range=list(look.palette[: len(series)]))
                    ),
                )
            )
        return alt.layer(*layers).properties(width=WIDTH, height=LOSS_HEIGHT)


def thinned(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most COLUMNS indices below ``count``, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, COLUMNS)).round().astype(np.int64))


def ends(logarithms: Array) -> tuple[float, float]:
    """The values at the two ends of the colours: all but the TAILS of those that are finite lie between them."""
    found = logarithms[np.isfinite(logarithms)]
    if not found.size:
        return -1.0, 0.0
    low, high = (float(value) for value in np.quantile(found, (TAILS, 1 - TAILS)))
    return (low, high) if high - low > 1e-6 else (low - 0.5, low + 0.5)


def column_edges(steps: Array) -> Array:
    """The borders of N columns, N + 1 of them: halfway between neighbouring steps."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    between = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - between[0]], between, [2 * steps[-1] - between[-1]]])


def _logarithms(values: Array) -> Array:
    """log10; −∞ stands for zero and for what is negative, NaN for what is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log10(np.maximum(values, 0))
    return np.where(np.isfinite(values), found, np.nan)
