"""What is asked of a plan: one budget, and what limits it. Everything that is wrong with it is said at once."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from glassformer.errors import ConfigError
from glassformer.scaling.laws.units import COUNTS, PF_DAY, amount, flops

MOST_FLOPS = 1e30
"""Ten thousand times the largest training known of; a larger budget is a slip of the keyboard."""

LEAST_FLOPS = 1e9
"""Some milliseconds of one core: fewer are no training."""

MOST_PARAMETERS, MOST_TOKENS = 1e16, 1e18
MOST_HOURS = 24 * 365 * 100

OPTIONS = {
    "compute": "--compute",
    "hours": "--hours",
    "parameters": "--params",
    "tokens": "--tokens",
    "data_limit": "--data-limit",
    "vocabulary": "--vocab",
    "aspect": "--aspect",
}
"""What the command line calls them."""

BUDGETS = ("compute", "hours", "parameters", "tokens")

LIMITS = {
    "compute": (LEAST_FLOPS, MOST_FLOPS, "FLOP"),
    "hours": (0.0, MOST_HOURS, "hours"),
    "parameters": (1.0, MOST_PARAMETERS, "parameters"),
    "tokens": (1.0, MOST_TOKENS, "tokens"),
    "data_limit": (1.0, MOST_TOKENS, "tokens"),
    "vocabulary": (2.0, 1e8, "tokens"),
    "aspect": (0.0, 1e6, "features a layer"),
}
"""The least, the most, and the unit."""

STANDING_IN = 1e9
"""In place of a number that cannot be read, so that what else is wrong is said too."""


@dataclass(frozen=True)
class PlanRequest:
    """A budget, and what limits it; None is not given. Raises :class:`ConfigError` with every complaint.

    Attributes:
        compute: FLOPs, 6 · N · D in the law's own counting.
        hours: of training on this machine.
        parameters: all of them, as the law counts.
        tokens: to train on.
        data_limit: different tokens there are; more than these are repeated.
        vocabulary: of a plan on paper, for which no data are prepared.
        aspect: the wanted d_model / n_layers.
    """

    compute: float | None = None
    hours: float | None = None
    parameters: float | None = None
    tokens: float | None = None
    data_limit: float | None = None
    vocabulary: int | None = None
    aspect: float | None = None

    def __post_init__(self) -> None:
        complaints = list(self._complaints())
        if complaints:
            raise ConfigError(complaints, subject="plan")

    def _complaints(self) -> Iterator[str]:
        for name, (least, most, unit) in LIMITS.items():
            option, value = OPTIONS[name], getattr(self, name)
            if value is None:
                continue
            value = math.inf if value > sys.float_info.max else float(value)
            if not math.isfinite(value) or value <= 0:
                yield f"{option} is {value:g} {unit}; it must be a finite number above 0."
            elif value < least:
                yield f"{option} is {value:.3g} {unit}, and {least:g} is the least that makes sense."
            elif value > most:
                scale = f" ({value / PF_DAY:.1e} PF-days)" if option == "--compute" else ""
                yield f"{option} is {value:.3g} {unit}{scale}, and {most:g} is the most that makes sense."
        given = [OPTIONS[name] for name in BUDGETS if getattr(self, name) is not None]
        if not given:
            yield "no budget is given: set --compute 1e18, --hours 8, --params 1e7 or --tokens 1e9."
        if "--compute" in given and "--hours" in given:
            yield "--compute and --hours are two ways to give one budget, and may conflict: give one of them."
        elif len(given) > 2:
            yield f"{', '.join(given)}: two of them settle the third (C = 6·N·D); leave one out."

    @property
    def flops_given(self) -> float | None:
        """The compute, if it was given or follows from parameters and tokens."""
        if self.parameters is not None and self.tokens is not None:
            return 6 * self.parameters * self.tokens
        return self.compute


def quantity(text: str) -> float:
    """A number of parameters or tokens, as people write it.

    >>> quantity("1e7"), quantity("10M"), quantity("1.5 billion")
    (10000000.0, 10000000.0, 1500000000.0)

    Raises:
        ConfigError: it is not a number or could be two, or its unit is unknown.
    """
    return amount(text, COUNTS, subject="plan", what="a unit of a count", example="1e7, 10M or 1.5B")


def read_request(
    options: Mapping[str, str | None], *, hours: float | None, vocabulary: int | None, aspect: float | None
) -> PlanRequest:
    """What the command line asks for; ``options`` are the fields of a :class:`PlanRequest` that are written as text.

    Raises:
        ConfigError: with every complaint, also about numbers that cannot be read.
    """
    found: dict[str, float] = {}
    complaints = []
    for name, text in options.items():
        if text is None:
            continue
        try:
            found[name] = flops(text) if name == "compute" else quantity(text)
        except ConfigError as error:
            complaints += [f"{OPTIONS[name]}: {each}" for each in error.complaints]
            found[name] = STANDING_IN
    try:
        request = PlanRequest(**found, hours=hours, vocabulary=vocabulary, aspect=aspect)
    except ConfigError as error:
        complaints += error.complaints
    if complaints:
        raise ConfigError(complaints, subject="plan")
    return request
