"""Colour scales that people with any colour vision can read, for light and dark backgrounds.

Sequential: from the background to deep blue or, on a dark one, to pale yellow, by way of the blue-greens that every
eye distinguishes by their lightness (the manner of ColorBrewer's YlGnBu; Harrower & Brewer, *ColorBrewer.org*, 2003).
Diverging: blue below, orange above, the background in the middle. Lightness rises
or falls evenly along each branch, so that the scales survive a black-and-white printer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

Kind = Literal["sequential", "diverging"]
Array = np.ndarray[Any, Any]

SIZE = 256
NOTHING = {"light": "#eceef1", "dark": "#262a31"}  # a cell without a value

STOPS: dict[str, dict[Kind, Sequence[str]]] = {
    "light": {
        "sequential": ("#fdfcf4", "#e3efc4", "#a3d5c0", "#52a8bf", "#2a6ca8", "#122c5e"),
        "diverging": ("#08407a", "#3b82bd", "#a3c8e4", "#f7f6f3", "#f6c08c", "#d9772a", "#8a3a00"),
    },
    "dark": {
        "sequential": ("#181c23", "#1c3864", "#2a6a92", "#56a3a8", "#a9d49a", "#fdf5a2"),
        "diverging": ("#a8d8ff", "#4fa3e3", "#25598a", "#1d2127", "#85491a", "#e08a3c", "#ffd3a0"),
    },
}

# Björn Ottosson, "A perceptual color space for image processing" (2020): linear sRGB -> LMS -> Lab
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@cache
def lookup(kind: Kind, theme: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """256 colours [256, 3] from the low to the high end of a scale, evenly spaced to the eye."""
    stops = to_lab(np.array([_rgb(stop) for stop in STOPS[theme][kind]]))
    # the place of each stop is its share of the lightness travelled, so that lightness is linear along a branch
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(stops[:, 0])))])
    half = len(stops) // 2
    if kind == "diverging":  # each branch takes one half
        low, high = travelled[: half + 1] / travelled[half], travelled[half:] - travelled[half]
        travelled = np.concatenate([low / 2, (0.5 + high / high[-1] / 2)[1:]])
    else:
        travelled /= travelled[-1]
    at = np.linspace(0, 1, SIZE)
    table = from_lab(np.stack([np.interp(at, travelled, stops[:, axis]) for axis in range(3)], axis=1))
    table.flags.writeable = False
    return table


def colour(values: Array, kind: Kind, theme: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The colours [..., 3] of values in [0, 1]; what is not a number gets the colour of nothing."""
    places = np.nan_to_num(values).clip(0, 1) * (SIZE - 1)
    pixels = lookup(kind, theme)[np.rint(places).astype(np.int64)]
    return np.where(np.isfinite(values)[..., None], pixels, np.array(_rgb(NOTHING[theme]), dtype=np.uint8))


def to_lab(rgb: Array) -> Array:
    """From sRGB in 0..255 [..., 3] to Oklab (lightness in 0..1, green–red, blue–yellow) [..., 3]."""
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T)


def from_lab(lab: Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """From Oklab [..., 3] to sRGB in 0..255 [..., 3]; colours outside sRGB are clipped."""
    linear = ((lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T).clip(0, 1)
    share = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(share * 255), dtype=np.uint8)


def _rgb(text: str) -> tuple[int, int, int]:
    """``"#0072b2"`` -> (0, 114, 178)."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
