"""What a fit makes small: a function of each residual, summed over the points.

    Huber(1e-3)         ½·r² up to δ, then δ·(|r| − δ/2), on ln L: Hoffmann et al. 2022, appendix D.3
    Absolute()          |r| on ln L: what Huber tends to as δ → 0 (divided by δ)
    Squares()           r² on ln L
    asymmetric()        10·r where the law lies above the point, |r| below, on L itself: the default of kyo-takano's
                        package `chinchilla`; a quantile regression at 1/11, which fits the lower edge of the points

The residual is r = ln L(law) − ln L(measured), or L(law) − L(measured) where ``of`` is "loss". The sum over the points
is what Hoffmann and Besiroglu et al. report, the mean what kyo-takano does; a fit gives both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError, nearest

Array = npt.NDArray[np.float64]

DELTA = 1e-3
"""The δ of Hoffmann et al. 2022."""


@dataclass(frozen=True)
class Objective(ABC):
    """A convex function of a residual. One of your own gives the three methods, all elementwise."""

    of: Literal["ln L", "L"] = field(default="ln L", kw_only=True)
    """What the residual is the difference of."""
    name: ClassVar[str] = "own"

    @abstractmethod
    def value(self, r: Array) -> Array:
        """The penalty of each residual, 0 at 0."""

    @abstractmethod
    def derivative(self, r: Array) -> Array:
        """Its slope."""

    @abstractmethod
    def curvature(self, r: Array) -> Array:
        """Its second derivative, where it has one."""

    @property
    def width(self) -> float:
        """How far from 0 it is curved: δ. Infinite for one that is smooth, 0 for one with a kink at 0."""
        return np.inf

    def widened(self, width: float) -> Objective:
        """The same one, curved over ``width``: a way towards it that a Newton method can follow."""
        assert width > 0
        return self

    def describe(self) -> str:
        """In words."""
        return f"{self.name} on {self.of}"


@dataclass(frozen=True)
class Squares(Objective):
    """r²."""

    name: ClassVar[str] = "squares"

    def value(self, r: Array) -> Array:
        return r * r

    def derivative(self, r: Array) -> Array:
        return 2 * r

    def curvature(self, r: Array) -> Array:
        return np.full_like(r, 2.0)


@dataclass(frozen=True)
class Huber(Objective):
    """½·r² for abs(r) ≤ δ, δ·(abs(r) − δ/2) beyond."""

    name: ClassVar[str] = "huber"
    delta: float = DELTA

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise ConfigError(
                f"delta must be above 0, such as 1e-3; it is {self.delta:g}. Its limit at 0 is 'absolute'.",
                subject="objective",
            )

    def value(self, r: Array) -> Array:
        inside = np.minimum(np.abs(r), self.delta)
        return inside * (np.abs(r) - 0.5 * inside)

    def derivative(self, r: Array) -> Array:
        return np.clip(r, -self.delta, self.delta)

    def curvature(self, r: Array) -> Array:
        return (np.abs(r) <= self.delta).astype(np.float64)

    @property
    def width(self) -> float:
        return self.delta

    def widened(self, width: float) -> Huber:
        return replace(self, delta=max(width, self.delta))

    def describe(self) -> str:
        return f"Huber with δ = {self.delta:g} on {self.of}"


@dataclass(frozen=True)
class Absolute(Objective):
    """over·r for r > 0, under·abs(r) for r < 0: least absolute deviations if both are 1.

    ``smooth`` = ε replaces abs(r) by √(r² + ε²) − ε; it is for the way to the minimum only.
    """

    name: ClassVar[str] = "absolute"
    over: float = 1.0
    under: float = 1.0
    smooth: float = 0.0

    def __post_init__(self) -> None:
        if not (self.over > 0 and self.under > 0):
            raise ConfigError(
                f"over and under must be above 0; they are {self.over:g} and {self.under:g}.", subject="objective"
            )

    @property
    def _tilt(self) -> float:
        return (self.over - self.under) / 2

    @property
    def _opening(self) -> float:
        return (self.over + self.under) / 2

    def value(self, r: Array) -> Array:
        return self._tilt * r + self._opening * (np.hypot(r, self.smooth) - self.smooth)

    def derivative(self, r: Array) -> Array:
        slope = r / np.hypot(r, self.smooth) if self.smooth else np.sign(r)
        return self._tilt + self._opening * slope

    def curvature(self, r: Array) -> Array:
        if not self.smooth:
            return np.zeros_like(r)
        return self._opening * self.smooth**2 / np.hypot(r, self.smooth) ** 3

    @property
    def width(self) -> float:
        return self.smooth

    def widened(self, width: float) -> Self:
        return replace(self, smooth=max(width, self.smooth))

    def describe(self) -> str:
        if self.over == self.under:
            return f"least absolute deviation on {self.of}"
        return f"absolute deviation on {self.of}, {self.over:g} above and {self.under:g} below the point"


def asymmetric(weight: float = 10.0) -> Absolute:
    """The default of kyo-takano's package `chinchilla` (``asymmetric_mae``, w = 10), on L itself."""
    return Absolute(of="L", over=weight)


OBJECTIVES = ("huber", "absolute", "squares", "asymmetric")


def objective(named: str | Objective, delta: float = DELTA) -> Objective:
    """The objective of that name; one that is an object already is returned as it is.

    Raises:
        ConfigError: there is none of that name, or δ is not above 0.
    """
    if isinstance(named, Objective):
        return named
    if named == "huber":
        return Huber(delta=delta)
    if named == "absolute":
        return Absolute()
    if named == "squares":
        return Squares()
    if named == "asymmetric":
        return asymmetric()
    raise ConfigError(f"there is no {named!r}. {nearest(named, OBJECTIVES)}", subject="objective")
