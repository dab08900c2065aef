"""What the charts of a fit share: logarithmic axes with short numbers, colours for what is continuous, legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glassformer.charts.colours import lookup
from glassformer.charts.theme import Theme
from glassformer.scaling.wording import budget

if TYPE_CHECKING:
    from glassformer.scaling.fits.findings import Findings

Rows = list[dict[str, Any]]
Array = npt.NDArray[np.float64]

SHADES = 24  # of a colour scale
SPARED = 0.28  # of a colour scale, at its pale end, which is too close to the background
SAMPLES = 60  # points of a drawn curve
COUNT, COMPUTE = "replace(datum.label, 'G', 'B')", "replace(datum.label, 'e+', 'e')"
COMPUTE_TITLE = "training compute C (FLOP)"
LOSS = "loss (nats/token)"


def rounded(value: float) -> float:
    """Six significant digits: enough for a pixel, and short in a page."""
    return float(f"{value:.6g}")


def shades(look: Theme) -> list[str]:
    """The sequential scale without its palest end, for points and lines."""
    table = lookup("sequential", look.name)
    places = np.linspace(SPARED * (len(table) - 1), len(table) - 1, SHADES).round().astype(int)
    return ["#" + bytes(table[at]).hex() for at in places]


def logarithmic(field: str, title: str | None, low: float, high: float, *, compute: bool = False) -> Any:
    """Keywords of an axis over powers of ten: ``alt.X(**...)``. Parameters and tokens in k, M, B; compute as 1e21."""
    import altair as alt

    decades = [10.0**power for power in range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1)]
    wide = len(decades) >= 3
    axis = alt.Axis(
        values=decades if wide else alt.Undefined,
        tickCount=alt.Undefined if wide else 5,
        format="~s" if not compute else ".0e" if wide else ".1e",
        labelExpr=COMPUTE if compute else COUNT,
        labelOverlap=True,
    )
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return {"shorthand": f"{field}:Q", "title": title, "axis": axis, "scale": scale}


def linear(field: str, title: str | None, low: float, high: float, room: float = 0.05) -> Any:
    """Keywords of an axis that need not begin at 0, with some room at both ends."""
    import altair as alt

    margin = room * (high - low)
    scale = alt.Scale(domain=[low - margin, high + margin], nice=False, zero=False)
    return {"shorthand": f"{field}:Q", "title": title, "scale": scale}


def over_compute(compute: Sequence[float] | Array, room: float = 0.02, *, title: str = COMPUTE_TITLE) -> Any:
    """The horizontal axis of a chart over "C"."""
    import altair as alt

    return alt.X(**logarithmic("C", title, *around(np.asarray(compute), room), compute=True))


def tooltip(titles: Mapping[str, str] | None = None, **formats: str) -> list[Any]:
    """What is shown of a mark: each field by its format, texts by none; ``titles`` where the name is not enough."""
    import altair as alt

    named = titles or {}
    return [
        alt.Tooltip(f"{name}:Q", format=how, title=named.get(name, alt.Undefined))
        if how
        else alt.Tooltip(f"{name}:N", title=named.get(name, alt.Undefined))
        for name, how in formats.items()
    ]


def gradient(title: str, **further: Any) -> Any:
    """The legend of a continuous scale."""
    import altair as alt

    return alt.Legend(type="gradient", title=title, gradientLength=220, **further)


def one_legend(layers: Any) -> Any:
    """Layers that share a scale of colours, of which only one has its legend: shared by dots and lines, Vega would draw
    it as a list of symbols.
    """
    return layers.resolve_legend(color="independent")


def around(values: Array, room: float = 0.06) -> tuple[float, float]:
    """The range of positive values with some room at both ends, on a logarithmic axis."""
    low, high = np.log(values.min()), np.log(values.max())
    margin = max(room * (high - low), 0.05)
    return float(np.exp(low - margin)), float(np.exp(high + margin))


def end_of_data(found: Findings, look: Theme, x: Any) -> Any:
    """Where the data end."""
    import altair as alt

    last = float(found.fit.points.c.max())
    return (
        alt.Chart({"values": [{"C": rounded(last)}]})
        .mark_rule(strokeDash=[3, 3], color=look.muted, strokeWidth=1.2)
        .encode(x=x, tooltip=alt.value(f"the largest budget of the data: {budget(last)} FLOP"))
    )
