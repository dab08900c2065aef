"""Points that no fit can use: why, before any number is computed from them."""

from __future__ import annotations

import numpy as np

from glassformer.scaling.fits.fit_formula import VARIABLES, Formula
from glassformer.scaling.fits.points import Points, unusable
from glassformer.scaling.laws.formula import Array

SPARE_ROWS = 2
"""Rows beyond the number of parameters, at least: with fewer, a fit meets every point and says nothing of its error."""

MOST_ROWS = 5_000
"""Each row is left out once: n fits of n rows."""

TIED = 1e-3
"""Two variables are tied if a power of one gives the other to within this (root mean square of ln, by its spread)."""


def check_points(points: Points, formula: Formula, weights: Array) -> None:
    """Check that the formula's parameters can be estimated from the points.

    Raises:
        DataError: with every reason: too few rows, a number that is not finite, a variable or the loss that is the same
            in all rows, two variables that the rows do not vary apart, weights that are none.
    """
    complaints = list(_complaints(points, formula, weights))
    if complaints:
        raise unusable(points.source, complaints)


def _complaints(points: Points, formula: Formula, weights: Array) -> list[str]:
    complaints = []
    if weights.shape != (len(points),) or not np.isfinite(weights).all() or (weights < 0).any():
        return [f"weights must be {len(points)} numbers of 0 or above, one for each row."]
    if len(points) > MOST_ROWS:
        return [f"there are {len(points):,} rows; a fit takes {MOST_ROWS:,} at most. Choose some (--where)."]
    used = weights > 0
    needed = len(formula.names) + SPARE_ROWS
    if used.sum() < needed:
        complaints.append(
            f"there are {used.sum()} rows; {formula.text} has {len(formula.names)} parameters and needs {needed} at "
            f"least, or nothing can be said of its error."
        )
    if "U" in formula.variables and points.unique is None:
        complaints.append(
            f"{formula.name} needs the number of unique tokens: a column unique_tokens, or --columns U=NAME."
        )
        return complaints
    columns = formula.columns(points) | {"the loss": points.loss}
    varying = {}
    for name, values in columns.items():
        meaning = f"{name} ({VARIABLES[name]})" if name in VARIABLES else name
        bad = np.flatnonzero(used & ~(np.isfinite(values) & (values > 0)))
        if len(bad):
            rows = ", ".join(str(i + 1) for i in bad[:5]) + (", …" if len(bad) > 5 else "")
            complaints.append(f"{meaning} is not a finite number above 0 in {len(bad)} of the rows: {rows}.")
        elif used.any() and np.ptp(np.log(values[used])) < 1e-9:
            complaints.append(f"{meaning} is {values[used][0]:g} in every row: its effect cannot be estimated.")
        else:
            varying[name] = np.log(values[used])
    return complaints + _tied(varying)


def _tied(logs: dict[str, Array]) -> list[str]:
    """N and D of which one is a rising power of the other: their two falling terms can be exchanged."""
    if "N" not in logs or "D" not in logs or len(logs["N"]) < 3:
        return []
    n, d = logs["N"] - logs["N"].mean(), logs["D"] - logs["D"].mean()
    power = float(n @ d / (n @ n))
    apart = float(np.sqrt(((d - power * n) ** 2).mean() / (d * d).mean()))
    if power <= 0 or apart > TIED:
        return []
    factor = np.exp(logs["D"].mean() - power * logs["N"].mean())
    together = (
        f"D is always {factor:.3g}·N^{power:.3g}: N and D grow together in every row, so the points do not show which "
        "of them lowers the loss. Train some sizes for longer or shorter."
    )
    return [together]
