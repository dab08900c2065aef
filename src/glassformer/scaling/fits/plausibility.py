"""Numbers of a table that no training run has: a unit left out (18.79 parameters), another quantity, mixed scales.

A fit on them runs through and means nothing, so they are errors that name the rows and say how a unit is given. Whoever
knows that they are right says so (``implausible=True``, ``--implausible``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from glassformer.scaling.fits.points import MEANING, Array, Points
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN
from glassformer.scaling.laws.units import UNITS
from glassformer.scaling.wording import digits, large

LEAST_COUNT = 1_000
"""Parameters of a model, tokens of a training: fewer are given in another unit."""

MOST_PARAMETERS, MOST_TOKENS = 1e15, 1e17
"""A thousand times the largest of any published training."""

MOST_LOSS = 20.0
"""Nats per token: guessing among 256,000 tokens costs 12.5."""

LEAST_RATIO, MOST_RATIO = 1e-4, 1e6
"""Tokens per parameter: outside, N and D are given in different units."""

MOST_OFF = 100.0
"""Times 6·N·D, or as much below, that FLOPs may be; without embeddings, which a small model mostly is, 100 times more.
"""

APART = 100.0
"""Times the largest of the numbers that are too small, from which on others are in another unit."""

LISTED = 5
WORDS = {"n": ("M", "millions"), "d": ("B", "billions"), "unique": ("B", "billions")}
TRUST = "If it is right, say so: glassformer scale fit --implausible."


def implausible(points: Points, rows: Sequence[str], headers: Mapping[str, str]) -> list[str]:
    """Complaints about numbers that cannot be what their column is taken for.

    Args:
        rows: what complaints call the rows.
        headers: the column of each quantity that the table has.
    """
    found = [*_counts(points, rows, headers), *_losses(points, rows)]
    if found:
        return found  # what follows compares the quantities, and would only say it again
    return [*_ratios(points, rows), *_compute(points, rows, headers)]


def _counts(points: Points, rows: Sequence[str], headers: Mapping[str, str]) -> list[str]:
    """N, D and U below 1,000, or beyond every training."""
    complaints = []
    for what, most in (("n", MOST_PARAMETERS), ("d", MOST_TOKENS), ("unique", MOST_TOKENS)):
        values: Array | None = getattr(points, what)
        if values is None:
            continue
        name = MEANING[what] if what in headers else f"{MEANING[what]} = C/(6·{'N' if what == 'd' else 'D'})"
        few = values < LEAST_COUNT
        if few.any():
            two_units = not few.all() and values[~few].min() > APART * values[few].max()
            if what not in headers:
                advice = "Check the units. "
            elif two_units:
                advice = "Other rows seem to be in another unit: write all in one. "
            else:
                advice = _with_unit(what, headers[what], *WORDS[what])
            complaints.append(f"{name} {_are(values, few, rows, digits)} No training has so few. {advice}{TRUST}")
        if (values > most).any():
            complaints.append(f"{name} {_are(values, values > most, rows, large)} No training has so many: is the unit "
                              f"given twice? {TRUST}")  # fmt: skip
    return complaints


def _losses(points: Points, rows: Sequence[str]) -> list[str]:
    """Losses that guessing does not have."""
    high = points.loss > MOST_LOSS
    if not high.any():
        return []
    complaint = (
        f"the loss {_are(points.loss, high, rows, digits)} Guessing among 256,000 tokens costs 12.5 nats. A perplexity "
        f"(the loss is its logarithm), a loss per sequence, or a decimal mark read as a thousands mark? {TRUST}"
    )
    return [complaint]


def _ratios(points: Points, rows: Sequence[str]) -> list[str]:
    """Tokens per parameter that no training has."""
    ratio = points.d / points.n
    off = (ratio < LEAST_RATIO) | (ratio > MOST_RATIO)
    if not off.any():
        return []
    different = "N and D seem to be in different units, at least there."
    return [f"tokens per parameter, D/N, {_are(ratio, off, rows, digits)} {different} {TRUST}"]


def _compute(points: Points, rows: Sequence[str], headers: Mapping[str, str]) -> list[str]:
    """FLOPs far from 6·N·D."""
    if not headers.keys() >= {"n", "d", "c"}:
        return []
    ratio = points.c / (FLOPS_PER_PARAMETER_AND_TOKEN * points.n * points.d)
    most = MOST_OFF if points.counting == "total" else MOST_OFF**2
    off = (ratio < 1 / MOST_OFF) | (ratio > most)
    if not off.any():
        return []
    middle = float(np.median(ratio[off]))
    near = [unit for unit, flop in UNITS.items() if unit and 1 / 10 < middle * flop < 10 and flop > 1]
    advice = _with_unit("c", headers["c"], near[0], f"{near[0]}s".removesuffix("ss")) if near and off.all() else (
        "Is it in another unit, or of another quantity? ")  # fmt: skip
    return [f"training FLOPs C by 6·N·D {_are(ratio, off, rows, digits)} It should be about 1. {advice}{TRUST}"]


def _are(values: Array, chosen: npt.NDArray[np.bool_], rows: Sequence[str], write: Callable[[float], str]) -> str:
    """``is 18.8 to 74.2 in 24 of 24 rows (line 2, line 3, …).``"""
    at = np.flatnonzero(chosen)
    low, high = (write(float(end)) for end in (values[at].min(), values[at].max()))
    listed = ", ".join(rows[i] for i in at[:LISTED]) + (", …" if len(at) > LISTED else "")
    return f"is {low}{f' to {high}' if high != low else ''} in {len(at)} of {len(values)} rows ({listed})."


def _with_unit(what: str, header: str, unit: str, word: str) -> str:
    """How a unit is given."""
    symbol = {"n": "N", "d": "D", "c": "C", "unique": "U"}[what]
    return f"In {word}? Name the column '{header} ({unit})', or give --columns '{symbol}={header} ({unit})'. "
