"""Sensitivity to the learning rate: how much loss is given up, on average, by not knowing the best one.

Wortsman et al. 2023, "Small-scale proxies for large-scale Transformer training instabilities" (arXiv 2309.14322): with
the final loss ℓ(η) of a run trained at the learning rate η, the loss ℓ₀ at initialisation, and ℓ* the lowest loss over
the grid of learning rates,

    sensitivity  =  mean over the grid of  min(ℓ(η), ℓ₀) − ℓ*

A run that diverged counts as ℓ₀. The number is of one seed; here it is averaged over seeds, with a t interval from
three on. It depends on the grid: two arms can only be compared over the same one. Any other tuned setting has it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glassformer.statistics.comparison import FEWEST_PAIRS, Difference, Losses, check_confidence, compare
from glassformer.statistics.paired import paired_t


def sensitivity_of(losses: Sequence[float | None], initial: float) -> float | None:
    """Of one seed: the mean of min(loss, ``initial``) − the lowest loss, nats per token, at least 0.

    Args:
        losses: final loss at each value of the grid; None, NaN or an infinity where the run diverged.
        initial: the loss at initialisation.

    Returns:
        None if no loss is below ``initial``: where nothing was learned at any value, 0 would look like robustness.

    >>> round(sensitivity_of([2.5, 2.0, None], 4.0), 3)
    0.833
    """
    assert losses, "a grid has values"
    capped = [loss if loss is not None and loss < initial else initial for loss in losses]  # NaN < x is False
    best = min(capped)
    return None if best >= initial or not math.isfinite(initial) else float(np.mean(capped)) - best


@dataclass(frozen=True)
class Sensitivity:
    """The sensitivity of one arm, nats per token."""

    by_seed: Mapping[int, float]
    """Of every seed with a run at each value of the grid, and something learned at one of them."""
    mean: float | None
    interval: tuple[float, float] | None
    """A t interval over seeds; None below three seeds, or where all are equal."""

    @property
    def n(self) -> int:
        """How many seeds it is the mean of."""
        return len(self.by_seed)


def sensitivity(
    grid: Sequence[Losses], initial: Mapping[int, float | None], *, confidence: float = 0.95
) -> Sensitivity:
    """The sensitivity of one arm over its seeds.

    Args:
        grid: for each value, the final loss of every seed, None where the run diverged. A seed that is missing at a
            value (its run failed, or has not ended) is left out.
        initial: the loss at initialisation by seed; a seed without one is left out.

    Raises:
        ConfigError: ``confidence`` is not between 0 and 1.
    """
    check_confidence(confidence)
    by_seed = {}
    for seed in sorted(set.intersection(*(set(losses) for losses in grid)) if grid else ()):
        start = initial.get(seed)
        found = None if start is None else sensitivity_of([losses[seed] for losses in grid], start)
        if found is not None:
            by_seed[seed] = found
    values = list(by_seed.values())
    mean = float(np.mean(values)) if values else None
    if len(values) < FEWEST_PAIRS or np.ptp(values) == 0:
        return Sensitivity(by_seed, mean, None)
    test = paired_t(values, confidence)
    return Sensitivity(by_seed, mean, (float(test.low), float(test.high)))


def sensitivity_difference(
    variant: str, base: Sensitivity, other: Sensitivity, *, confidence: float = 0.95
) -> Difference:
    """Variant − baseline, paired by seed, with a t interval of its own (adjusted for nothing).

    Raises:
        ConfigError: ``confidence`` is not between 0 and 1.
    """
    (row,) = compare(base.by_seed, {variant: other.by_seed}, confidence=confidence).rows
    return row
