"""Numbers in a page: arrays as short text that a browser turns back into numbers.

The bytes of an array are deflated (RFC 1950) and written as base64. Three precisions: 32 and 16 bits of IEEE 754, and
8 bits on a square-root scale for values of a known range, such as attention weights, of which most are small.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

Precision = Literal["float32", "float16", "8-bit"]

LEVEL = 6  # of deflate: higher ones take longer and save next to nothing here
STEPS = 255  # of the 8-bit scale
LARGEST = float(np.finfo(np.float16).max)  # 65504

RESOLUTION = {
    "float32": "values are stored to 7 significant digits",
    "float16": "values are stored to 3 significant digits",
    "8-bit": "values are stored in 256 steps, finer towards zero",
}


def pack(
    array: ArrayLike, *, precision: Precision = "float16", domain: tuple[float, float] = (0.0, 1.0)
) -> dict[str, Any]:
    """The array as values that JSON can hold.

    Args:
        array: numbers in any shape. 16 and 32 bits keep NaN and the infinities; 8 bits take finite values only.
        precision: ``"float32"``; ``"float16"``, for values up to ±65504, with a relative error of at most 2⁻¹¹ from
            6.1e-5 up; or ``"8-bit"``: v = low + (high - low)·(q/255)², whose error is at most
            (high - low)·(s + 1/1020)/255, where s = √((v - low)/(high - low)).
        domain: (low, high), the range of the 8-bit scale.

    Returns:
        ``dtype`` (the precision), ``shape``, ``data`` (base64 of the deflated little-endian bytes, in C order) and, at
        8 bits, ``domain``.
    """
    values = np.asarray(array)
    packed: dict[str, Any] = {"dtype": precision, "shape": list(values.shape)}
    if precision == "8-bit":
        low, high = domain
        assert low < high, domain
        assert np.isfinite(values).all(), "8-bit values are finite"
        share = (values.astype(np.float64) - low) / (high - low)
        assert share.size == 0 or (share.min() > -1e-4 and share.max() < 1 + 1e-4), "8-bit values lie in the domain"
        numbers = np.rint(np.sqrt(share.clip(0, 1)) * STEPS).astype(np.uint8)
        packed["domain"] = [float(low), float(high)]
    elif precision == "float16":
        largest = np.abs(values[np.isfinite(values)]).max(initial=0)
        assert largest <= LARGEST, f"{largest} is too large for 16 bits"
        numbers = values.astype("<f2")
    else:
        assert precision == "float32", precision
        numbers = values.astype("<f4")
    packed["data"] = base64.b64encode(zlib.compress(numbers.tobytes(), LEVEL)).decode("ascii")
    return packed


def unpack(packed: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The array that a page's script reads back from :func:`pack`'s values: float32, in the packed shape."""
    raw = zlib.decompress(base64.b64decode(packed["data"]))
    numbers = np.frombuffer(raw, {"8-bit": "u1", "float16": "<f2", "float32": "<f4"}[packed["dtype"]])
    if packed["dtype"] == "8-bit":
        low, high = packed["domain"]
        numbers = low + (high - low) * (numbers.astype(np.float64) / STEPS) ** 2
    return numbers.astype(np.float32).reshape(packed["shape"])


def narrowest(values: np.ndarray[Any, Any]) -> Precision:
    """``"float16"`` where that loses no value to overflow or underflow, else ``"float32"``."""
    sizes = np.abs(values[np.isfinite(values)])
    sizes = sizes[sizes > 0]
    fits = sizes.size == 0 or (sizes.max() <= LARGEST and np.quantile(sizes, 0.02) >= np.finfo(np.float16).tiny)
    return "float16" if fits else "float32"
