"""How much may be spent on deciding a claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

BudgetName = Literal["quick", "full"]

LEARNING_RATE = "training.optimizer.learning_rate"
"""The setting over which a claim's studies are tuned."""


@dataclass(frozen=True)
class Budget:
    """How much may be spent on a claim.

    Attributes:
        seeds: runs of each arm of a study, or random draws of what is measured.
        steps: updates of each run; 0 where nothing is trained.
        levels: of the claim's factor (depths, head widths, lengths), as its file says.
        rates: learning rates, ascending. With them every study of the claim is tuned: each arm's best rate is chosen
            on selection seeds, and the arms are compared at their own best on ``seeds`` fresh ones. Empty: one rate.
        selection_seeds: runs of each arm at each rate, to choose the best.
        selection_steps: updates of those runs; None: as many as ``steps``.
        seeds_at: seeds at a level, where they are not ``seeds``.
        controls: whether each variant is trained at the baseline's best rate too.
    """

    seeds: int = 1
    steps: int = 0
    levels: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    selection_seeds: int = 2
    selection_steps: int | None = None
    seeds_at: Mapping[int, int] = field(default_factory=dict)
    controls: bool = True

    def __post_init__(self) -> None:
        assert len(self.rates) != 1, "a grid has two rates or more"
        assert list(self.rates) == sorted(set(self.rates)), self.rates
        assert set(self.seeds_at) <= set(self.levels), self.seeds_at

    def seeds_for(self, level: int | None) -> int:
        """Seeds of the comparison at a level, or where there is none."""
        return self.seeds if level is None else self.seeds_at.get(level, self.seeds)

    def tuning(self) -> dict[str, Any]:
        """The options of :func:`~glassformer.studies.design.study` that tune it; none without ``rates``."""
        if not self.rates:
            return {}
        return {
            "learning_rates": list(self.rates),
            "selection_seeds": self.selection_seeds,
            "selection_steps": self.selection_steps,
            "controls": self.controls,
        }
