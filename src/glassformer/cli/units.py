"""Quantities as the command line says them."""

from __future__ import annotations


def readable_bytes(count: float) -> str:
    """Decimal units, three significant digits at most: 25.3 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
