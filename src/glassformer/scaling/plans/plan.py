"""What a plan is: a run's configuration, and where each of its numbers comes from.

No number stands alone: a :class:`Traced` value carries its unit, the equation it was computed with and the law or the
measurement behind that equation. What the laws disagree about is part of the plan, not left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from glassformer.scaling.plans.disagreement import Opinion
from glassformer.scaling.plans.shapes import Shape
from glassformer.training.config import RunConfig


@dataclass(frozen=True)
class Traced:
    """A number that says where it is from.

    Attributes:
        equation: how it was computed, with the numbers that went in.
        source: the law (its name and paper), the measurement, or the setting.
        interval: 95 %, or what ``note`` says; None where nothing is known.
        note: what to beware of.
    """

    value: float
    unit: str
    equation: str
    source: str
    interval: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Off:
    """What it would cost to be off by a factor.

    Attributes:
        what: "N/2 at the same compute", say.
        loss: nats per token, by the plan's law.
        difference: to the plan's loss.
        wasted: the share of the compute that the optimum on fresh tokens would not have needed for this loss.
    """

    what: str
    parameters: float
    tokens: float
    loss: float
    difference: float
    wasted: float


@dataclass(frozen=True)
class Plan:
    """A run that can be started, traced number by number.

    Attributes:
        config: of the run; with the vocabulary that the plan counted.
        preset: whose architecture and recipe it has.
        recipe: the preset's own configuration, from which ``config`` differs.
        shape: the model's, and how near it comes to the law's target.
        numbers: by name, in the order in which they are shown.
        off: the cost of being off by two.
        opinions: what each law says at this budget.
        warnings: what to beware of, a sentence each.
    """

    config: RunConfig
    preset: str
    recipe: RunConfig
    law: str
    shape: Shape
    numbers: Mapping[str, Traced]
    off: tuple[Off, ...]
    opinions: tuple[Opinion, ...]
    warnings: tuple[str, ...]

    def __getitem__(self, name: str) -> Traced:
        return self.numbers[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "preset": self.preset,
            "law": self.law,
            "shape": {"words": self.shape.words, "target": self.shape.target, "counting": self.shape.counting},
            "numbers": {name: asdict(number) for name, number in self.numbers.items()},
            "off": [asdict(each) for each in self.off],
            "disagreement": [asdict(each) for each in self.opinions],
            "warnings": list(self.warnings),
            "config": self.config.to_dict(),
        }
