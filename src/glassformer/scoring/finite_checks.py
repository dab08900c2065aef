"""A number that is not finite measures nothing: checks for what is about to be used or reported."""

from __future__ import annotations

import math

import torch
from torch import nn

from glassformer.errors import CheckpointError, TrainingError
from glassformer.scoring.likelihood import Evaluation


def check_finite_weights(model: nn.Module, name: str, step: int) -> None:
    """Raise :class:`CheckpointError` if a weight of the run ``name`` at ``step`` is NaN or infinite."""
    bad = [
        f"{key} ({int((~torch.isfinite(value)).sum()):,} of {value.numel():,})"
        for key, value in (*model.named_parameters(), *model.named_buffers())
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if bad:
        more = f" and {len(bad) - 3} more tensors" if len(bad) > 3 else ""
        raise CheckpointError(
            f"The weights of {name} at step {step:,} are not finite: NaN or infinity in {', '.join(bad[:3])}{more}. "
            "Nothing can be computed with them; choose an earlier checkpoint with --checkpoint."
        )


def check_finite_loss(result: Evaluation, name: str, step: int) -> None:
    """Raise :class:`TrainingError` if finite weights gave a loss that is not: numbers overflowed on the way."""
    if not math.isfinite(result.loss):
        raise TrainingError(
            f"The loss of {name} at step {step:,} is not finite ({result.loss}), although its weights are: numbers "
            "overflow in the forward pass. Choose an earlier checkpoint with --checkpoint."
        )
