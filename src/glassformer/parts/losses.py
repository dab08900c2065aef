"""Auxiliary losses: what a part wants to be small beside the objective, an expert's load balance for one.

A sublayer returns its output ``y``, or ``(y, {"balance": loss})`` with scalars that are means over the tokens it was
given, weighed as they shall be added. They are returned and never stored, so that the pass stays a function: under
``torch.func``, a compiler, and checkpointing alike. Losses of one name are added up over the layers.
"""

from __future__ import annotations

from torch import Tensor

Losses = dict[str, Tensor]
"""Scalars by name."""


def split_losses(returned: Tensor | tuple[Tensor, Losses]) -> tuple[Tensor, Losses]:
    """What a sublayer returned → its output and its losses."""
    return returned if isinstance(returned, tuple) else (returned, {})


def add_losses(first: Losses, second: Losses) -> Losses:
    """The sum of each name."""
    if not second:
        return first
    return first | {name: first[name] + loss if name in first else loss for name, loss in second.items()}
