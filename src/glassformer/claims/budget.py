"""How much may be spent on deciding a claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BudgetName = Literal["quick", "full"]


@dataclass(frozen=True)
class Budget:
    """How much may be spent on a claim.

    Attributes:
        seeds: runs of each arm of a study, or random draws of what is measured.
        steps: updates of each run; 0 where nothing is trained.
        levels: of the claim's factor (depths, head widths, lengths), as its file says.
    """

    seeds: int = 1
    steps: int = 0
    levels: tuple[int, ...] = ()
