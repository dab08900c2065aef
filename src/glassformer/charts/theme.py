"""How our charts look: two themes, one palette that people with any colour vision can distinguish.

Colours are those of Okabe and Ito, *Color Universal Design* (2008), in an order that keeps neighbours apart, without
the ones too pale for the background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glassformer.errors import ConfigError, nearest

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
WIDTH, HEIGHT = 640, 360  # of the plot itself, in CSS pixels; titles, axes and legends come on top

# After the last colour the palette begins again with the next of these: dash and gap in pixels.
DASHES = ((1, 0), (7, 3), (2, 2))


@dataclass(frozen=True)
class Theme:
    """The colours of one background."""

    name: str
    background: str
    text: str
    muted: str  # axis labels, reference lines
    grid: str
    palette: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        """Vega-Lite's ``config``, for ``chart.configure(**theme.config())``."""
        labels = {"labelColor": self.muted, "titleColor": self.text, "labelFontSize": 12, "titleFontSize": 12}
        return {
            "background": self.background,
            "font": FONT,
            "padding": 16,
            "view": {"stroke": None},
            "title": {
                "color": self.text,
                "subtitleColor": self.muted,
                "fontSize": 16,
                "fontWeight": 600,
                "subtitleFontSize": 12,
                "anchor": "start",
                "frame": "group",
                "offset": 12,
                "subtitlePadding": 6,
            },
            "axis": {
                **labels,
                "titleFontWeight": "normal",
                "titlePadding": 10,
                "gridColor": self.grid,
                "domainColor": self.muted,
                "tickColor": self.muted,
                "labelPadding": 4,
            },
            "axisY": {"domain": False, "ticks": False},
            "axisX": {"grid": False},
            "legend": {
                **labels,
                "labelColor": self.text,
                "title": None,
                "orient": "top",
                "direction": "horizontal",
                "columns": 4,
                "labelLimit": 260,
                "symbolStrokeWidth": 2.5,
                "symbolSize": 160,
                "offset": 10,
            },
        }


LIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#1f2328",
    muted="#59636e",
    grid="#e6e9ed",
    palette=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
)
DARK = Theme(
    name="dark",
    background="#15181d",
    text="#e8eaed",
    muted="#a3adb8",
    grid="#2b3038",
    palette=("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#ffffff"),
)
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}


def find_theme(name: str) -> Theme:
    """The theme of this name; :class:`ConfigError` with the known ones if there is none."""
    if name not in THEMES:
        raise ConfigError(f"There is no theme named {name!r}. {nearest(name, THEMES)}", subject="chart")
    return THEMES[name]
