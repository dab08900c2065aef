"""What a claim is, what deciding it finds, and how the verdict follows.

A claim has *parts*, each an assertion that numbers can contradict: "at 1 layer it costs 0.39 nats or more". The claim's
file says, before anything is measured, which number decides each part and where its threshold lies. A part holds, does
not hold, or is inconclusive (None: its interval contains the threshold). The verdict follows from the parts by one rule
for all claims, :func:`verdict_of`. A claim about circumstances that the runs did not reach is not tested, whatever its
parts: it names the circumstances, and the reason is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from glassformer.claims.budget import Budget, BudgetName
from glassformer.claims.claim_studies import ClaimStudies

Kind = Literal["exact", "measured", "study"]
"""exact: mathematics, computed to rounding; measured: untrained models; study: models are trained, paired by seed."""

Verdict = Literal["supported", "refuted", "depends", "undecided", "not tested"]

NOTES = "the study notes behind this project"
"""The source of most claims."""


@dataclass(frozen=True)
class Measurement:
    """A measured number with its unit, and its 95 % interval over seeds where it has one.

    The value is None where there is none to give (every run diverged, say).
    """

    value: float | None
    unit: str = ""
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for each in (self.value, *(self.interval or ())):
            assert each is None or math.isfinite(each), self

    def __str__(self) -> str:
        if self.value is None:
            return "none"
        unit = f" {self.unit}" if self.unit else ""
        if self.interval is None:
            return f"{self.value:.4g}{unit}"
        low, high = self.interval
        return f"{self.value:.4g}{unit} (95 % interval {low:.4g} to {high:.4g})"


def measurement(value: float, unit: str = "", interval: tuple[float, float] | None = None) -> Measurement:
    """A :class:`Measurement`; what is not finite becomes None, and an interval that is not is left out."""
    if interval is not None and not all(math.isfinite(each) for each in interval):
        interval = None
    return Measurement(value if math.isfinite(value) else None, unit, interval)


@dataclass(frozen=True)
class ClaimResult:
    """What deciding a claim found.

    Attributes:
        parts: what the claim asserts, each part in words, and whether the numbers bear it out.
        sentence: what is true, with the numbers that show it.
        condition: under which circumstances, or what it depends on.
        numbers: everything that was measured for it, by name.
        evidence: the folders of the studies.
        not_tested: why the claim is not tested, if the runs did not reach the circumstances that it is about.
    """

    parts: Mapping[str, bool | None]
    sentence: str
    condition: str
    numbers: Mapping[str, Measurement]
    evidence: tuple[Path, ...] = ()
    not_tested: str = ""

    @property
    def verdict(self) -> Verdict:
        """The verdict that follows from the parts; "not tested" where there is a reason for that."""
        return "not tested" if self.not_tested else verdict_of(self.parts)


def verdict_of(parts: Mapping[str, bool | None]) -> Verdict:
    """Supported if every part holds, refuted if none does, depends if some do and some do not; undecided if parts
    that are inconclusive leave it open.

    >>> verdict_of({"at 1 layer": False, "at 16 layers": True})
    'depends'
    """
    assert parts, "a claim asserts something"
    found = set(parts.values())
    if {True, False} <= found:
        return "depends"
    if None in found:
        return "undecided"
    return "supported" if found == {True} else "refuted"


Decide = Callable[[Budget, ClaimStudies], ClaimResult]


@dataclass(frozen=True)
class Claim:
    """A claim and what decides it.

    Attributes:
        id: what the command line calls it.
        statement: as its source makes it.
        source: where it is from.
        decided_by: the experiment or computation, in a sentence.
        decide: does it.
        could_be_wrong: what could still be wrong with the verdict, in concrete sentences: the grid of rates, the number
            of seeds, short trainings, one text, small widths.
    """

    id: str
    statement: str
    source: str
    kind: Kind
    decided_by: str
    decide: Decide = field(repr=False)
    quick: Budget = field(default_factory=Budget)
    full: Budget = field(default_factory=Budget)
    could_be_wrong: tuple[str, ...] = ()

    def budget(self, name: BudgetName) -> Budget:
        """The budget of this name."""
        return self.full if name == "full" else self.quick
