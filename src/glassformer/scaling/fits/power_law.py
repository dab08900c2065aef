"""y = k·x^a by least squares in logarithms, with what the points say of its errors.

    ln y = ln k + a·ln x + ε

Ordinary least squares takes every point to be off by the same share of its y; weighted least squares gives each the
weight 1/σ², σ the standard error of its ln y, as Porian et al. 2024 do for the exponents of their compute-optimal laws.
Of σ only the ratios matter: the level of the errors is always taken from the scatter about the line, so that errors
that were stated too small do not make an exponent look surer than its points are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glassformer.scaling.fits.points import Array, unusable
from glassformer.statistics.prediction import LEVEL, from_error

FEWEST = 3
"""Two points determine a line and say nothing of its error."""


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """y = k·x^a, fitted. Standard errors and intervals are Student's t with ``degrees`` degrees of freedom."""

    coefficient: float
    """k."""
    exponent: float
    """a."""
    exponent_error: float
    """Standard error of a."""
    coefficient_error: float
    """Standard error of ln k: k is off by about this share, where it is small."""
    r2: float
    """1 − Σ(ln y − ln ŷ)² / Σ(ln y − mean)², every point counted alike, also after a weighted fit."""
    scatter: float
    """Standard deviation of ln y about the line, for a point of mean weight."""
    degrees: int
    """Points − 2."""
    centre: float
    """Weighted mean of ln x: where the line is known best."""
    centre_error: float
    """Standard error of the line's ln y there."""
    fitted_range: tuple[float, float]
    """The least and the largest x."""

    def __call__(self, x: npt.ArrayLike) -> Any:
        """k·x^a: a float for a number, an array for an array."""
        y = np.exp(np.log(self.coefficient) + self.exponent * np.log(np.asarray(x, dtype=np.float64)))
        return float(y) if y.ndim == 0 else y

    def interval(self, confidence: float = LEVEL) -> tuple[float, float]:
        """The t interval of the exponent."""
        return from_error(self.exponent, self.exponent_error, confidence, degrees=self.degrees).interval

    def coefficient_interval(self, confidence: float = LEVEL) -> tuple[float, float]:
        """The t interval of k: symmetric in ln k."""
        found = from_error(self.coefficient, self.coefficient_error, confidence, degrees=self.degrees, logged=True)
        return float(found.low), float(found.high)

    def line_interval(self, x: npt.ArrayLike, confidence: float = LEVEL) -> tuple[Array, Array]:
        """Where the line itself may lie at each x: the t interval of ln y's mean, as y. Shaped as ``x``."""
        return self._around(x, self._line_error(x), confidence)

    def prediction_interval(self, x: npt.ArrayLike, confidence: float = LEVEL) -> tuple[Array, Array]:
        """Where one more point of mean weight may lie at each x: the line's error and the scatter together."""
        return self._around(x, np.hypot(self._line_error(x), self.scatter), confidence)

    def _line_error(self, x: npt.ArrayLike) -> Array:
        """Standard error of the line's ln y."""
        away = np.log(np.asarray(x, dtype=np.float64)) - self.centre
        return np.hypot(self.centre_error, away * self.exponent_error)

    def _around(self, x: npt.ArrayLike, error: Array, confidence: float) -> tuple[Array, Array]:
        return from_error(np.asarray(self(x)), error, confidence, degrees=self.degrees, logged=True).interval


def fit_power_law(
    x: npt.ArrayLike, y: npt.ArrayLike, *, errors: npt.ArrayLike | None = None, subject: str = "a power law"
) -> PowerLaw:
    """Fit y = k·x^a by least squares on ln y.

    Args:
        x, y: [n] above 0.
        errors: [n] standard errors of ln y (the share by which y may be off), for weights 1/errors²; every point counts
            alike unless given.
        subject: what is fitted, for messages.

    Raises:
        DataError: fewer than three points, all of one x, or a number that is not finite or not above 0, for every
            reason.

    >>> law = fit_power_law([1, 2, 4, 8], [3, 6, 12, 24])
    >>> round(law.coefficient, 12), round(law.exponent, 12)
    (3.0, 1.0)
    """
    columns = {"x": np.array(x, dtype=np.float64), "y": np.array(y, dtype=np.float64)}
    columns |= {} if errors is None else {"errors": np.array(errors, dtype=np.float64)}
    _check(columns, subject)
    u, v = np.log(columns["x"]), np.log(columns["y"])
    weights = np.ones_like(u) if errors is None else columns["errors"] ** -2.0
    weights *= len(u) / weights.sum()  # a mean of 1

    # 1. the line, about the weighted means
    u_mean, v_mean = np.average(u, weights=weights), np.average(v, weights=weights)
    spread = np.sum(weights * (u - u_mean) ** 2)
    exponent = np.sum(weights * (u - u_mean) * (v - v_mean)) / spread
    residuals = v - v_mean - exponent * (u - u_mean)

    # 2. its errors
    degrees = len(u) - 2
    scatter = np.sqrt(np.sum(weights * residuals**2) / degrees)
    exponent_error, centre_error = scatter / np.sqrt(spread), scatter / np.sqrt(len(u))
    total = np.sum((v - v.mean()) ** 2)
    return PowerLaw(
        coefficient=float(np.exp(v_mean - exponent * u_mean)),
        exponent=float(exponent),
        exponent_error=float(exponent_error),
        coefficient_error=float(np.hypot(centre_error, u_mean * exponent_error)),
        r2=float(1 - np.sum(residuals**2) / total) if total > 0 else 1.0,
        scatter=float(scatter),
        degrees=degrees,
        centre=float(u_mean),
        centre_error=float(centre_error),
        fitted_range=(float(columns["x"].min()), float(columns["x"].max())),
    )


def _check(columns: dict[str, Array], subject: str) -> None:
    sizes = {name: values.shape for name, values in columns.items()}
    if len(set(sizes.values())) > 1 or any(len(shape) != 1 for shape in sizes.values()):
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in sizes.items())
        raise unusable(subject, [f"x, y and errors need one number each a point; their shapes are {listed}."])
    complaints = [
        f"{name} of point {i + 1} is {value:g}; expected a finite number above 0."
        for name, values in columns.items()
        for i, value in enumerate(values)
        if not (np.isfinite(value) and value > 0)
    ]
    x = columns["x"]
    if len(x) < FEWEST:
        complaints.append(f"there are {len(x)} points; a line and its error take {FEWEST}.")
    elif not complaints and np.ptp(np.log(x)) <= 1e-9:
        complaints.append(f"every x is {x[0]:g}; an exponent takes at least two values of x.")
    if complaints:
        raise unusable(subject, complaints)
