"""Measuring side by side: everyone takes turns in one process, so that a machine's moods fall on all alike."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from glassformer import machine


@dataclass(frozen=True)
class Timing:
    """Seconds per call, one figure for each round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.seconds)

    def ratio_to(self, other: Timing) -> float:
        """How many times faster this is than ``other``: the ratio of the medians."""
        return other.median / self.median

    def ratio_spread(self, other: Timing) -> tuple[float, float]:
        """The middle half of the ratios round by round."""
        ratios = sorted(theirs / ours for ours, theirs in zip(self.seconds, other.seconds, strict=True))
        quarter = len(ratios) // 4
        return ratios[quarter], ratios[-1 - quarter]


def alternate(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, per_round: int = 1, warm_up: int = 2
) -> dict[str, Timing]:
    """Time every call in turn, ``rounds`` times over, after some calls of warm-up each (which pay for compiling)."""
    for call in calls.values():
        for _ in range(warm_up):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(per_round):
                call()
            seconds[name].append((time.perf_counter() - start) / per_round)
    return {name: Timing(each) for name, each in seconds.items()}


def circumstances() -> str:
    """The machine and the command, without which a figure means nothing."""
    here = machine.describe()
    return (
        f"{here.cpu}, {here.cores} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}\n$ python {' '.join(sys.argv)}"
    )
