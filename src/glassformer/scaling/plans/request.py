"""The request for a plan: one budget and its limits, validated with every complaint at once."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from glassformer.errors import ConfigError
from glassformer.scaling.laws.units import COUNTS, PF_DAY, amount, flops

MOST_FLOPS = 1e30
"""Ten thousand times the largest known training; a larger budget is a typing error."""

LEAST_FLOPS = 1e9
"""Some milliseconds of one core."""

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
"""Names on the command line."""

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
"""Minimum, maximum and unit."""

PLACEHOLDER = 1e9
"""For a number that cannot be read, so that every other complaint is reported too."""


@dataclass(frozen=True)
class PlanRequest:
    """A budget and its limits; None means not given. Raises :class:`ConfigError` with every complaint.

    Attributes:
        compute: FLOPs, 6 · N · D in the law's own counting.
        hours: of training on this machine.
        parameters: N in the law's counting.
        tokens: to train on.
        data_limit: unique tokens available; more than these are repeated.
        vocabulary: assumed size; no data are prepared.
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
                yield f"{option} is {value:.3g} {unit}; the minimum is {least:g}."
            elif value > most:
                scale = f" ({value / PF_DAY:.1e} PF-days)" if option == "--compute" else ""
                yield f"{option} is {value:.3g} {unit}{scale}; the maximum is {most:g}."
        given = [OPTIONS[name] for name in BUDGETS if getattr(self, name) is not None]
        if not given:
            yield "no budget is given: set --compute 1e18, --hours 8, --params 1e7 or --tokens 1e9."
        if "--compute" in given and "--hours" in given:
            yield "--compute and --hours both set the budget and may conflict: give one of them."
        elif len(given) > 2:
            yield f"{', '.join(given)}: two of them determine the third (C = 6·N·D); leave one out."

    @property
    def flops_given(self) -> float | None:
        """The compute, if given or implied by parameters and tokens."""
        if self.parameters is not None and self.tokens is not None:
            return 6 * self.parameters * self.tokens
        return self.compute


def quantity(text: str) -> float:
    """A number of parameters or tokens, with or without a unit.

    >>> quantity("1e7"), quantity("10M"), quantity("1.5 billion")
    (10000000.0, 10000000.0, 1500000000.0)

    Raises:
        ConfigError: it is not a number, is ambiguous, or its unit is unknown.
    """
    return amount(text, COUNTS, subject="plan", what="a unit of a count", example="1e7, 10M or 1.5B")


def read_request(
    options: Mapping[str, str | None], *, hours: float | None, vocabulary: int | None, aspect: float | None
) -> PlanRequest:
    """The command line's request; ``options`` are the fields of a :class:`PlanRequest` that are written as text.

    Raises:
        ConfigError: with every complaint, including numbers that cannot be read.
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
            found[name] = PLACEHOLDER
    try:
        request = PlanRequest(**found, hours=hours, vocabulary=vocabulary, aspect=aspect)
    except ConfigError as error:
        complaints += error.complaints
    if complaints:
        raise ConfigError(complaints, subject="plan")
    return request
