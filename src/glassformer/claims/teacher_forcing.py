"""All positions trained in one pass, against one pass for each prefix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import MODEL, build, equal, random_tokens, relative, relative_measurement
from glassformer.models.decoder import Decoder
from glassformer.scoring.likelihood import summed_nll

LENGTH = 12


@contextmanager
def in_mask(model: Decoder, *, causal: bool) -> Iterator[None]:
    """The model with or without its mask."""
    before, model.causal = model.causal, causal
    try:
        yield
    finally:
        model.causal = before


def at_once(model: Decoder, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss and gradient of one pass over all positions."""
    return _with_gradient(model, summed_nll(model(inputs), targets))


def step_by_step(model: Decoder, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss and gradient of one pass for each prefix, of which the last prediction counts."""
    losses = [summed_nll(model(inputs[:, : at + 1])[:, -1:], targets[:, at : at + 1]) for at in range(inputs.shape[1])]
    return _with_gradient(model, torch.stack(losses).sum())


def measure(seed: int, *, causal: bool) -> float:
    """The largest relative difference of loss and gradient between the two ways."""
    model, tokens = build(MODEL, seed), random_tokens(MODEL, seed, LENGTH + 1)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    with in_mask(model, causal=causal):
        loss, gradient = at_once(model, inputs, targets)
        other_loss, other_gradient = step_by_step(model, inputs, targets)
    return max(relative(loss, other_loss), relative(gradient, other_gradient))


def _with_gradient(model: Decoder, loss: Tensor) -> tuple[Tensor, Tensor]:
    gradients = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True, allow_unused=True)
    return loss.detach(), torch.cat([each.flatten() for each in gradients])


# the loss is summed in float32, whatever the model computes in; so is what flows back through it
EQUAL = 1e-5
"""Largest relative difference of losses and gradients that are equal."""


def same(measured: float) -> bool | None:
    """As :func:`~glassformer.claims.exactness.equal`, for losses that are summed in float32."""
    return True if measured <= EQUAL else equal(measured)


def judge(masked: float, unmasked: float) -> ClaimResult:
    """Equal with the mask, and not equal without it."""
    without = same(unmasked)
    return ClaimResult(
        {
            "with the mask, one pass over all positions gives the loss and gradient of a pass for each prefix": same(
                masked
            ),
            "it takes the mask to do so": None if without is None else not without,
        },
        f"With the causal mask, loss and gradient of one pass over {LENGTH} positions equal those of {LENGTH} passes "
        f"over the prefixes (largest relative difference {masked:.1e}); without the mask they differ by "
        f"{unmasked:.2g} or more, for each position would see the token it is to predict.",
        "Dropout off: it draws anew in each pass. The prefixes are those of the text, not of the model's own tokens, "
        "and the gradients are added up before an update: it is not training with an update after every token.",
        {
            "largest difference with the mask": relative_measurement(masked),
            "smallest difference without the mask": relative_measurement(unmasked),
        },
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """The worst of all seeds."""
    return judge(
        max(measure(seed, causal=True) for seed in range(budget.seeds)),
        min(measure(seed, causal=False) for seed in range(budget.seeds)),
    )


CLAIM = Claim(
    "teacher-forcing",
    "With the mask, all positions train in parallel, and that equals training step by step.",
    NOTES,
    "exact",
    "Loss and gradient of one pass over all positions, and of a pass for each prefix.",
    decide,
    quick=Budget(seeds=3),
    full=Budget(seeds=30),
    could_be_wrong=(
        "Exact of one small architecture (pre-norm, learned positions); norms over the batch would mix the prefixes.",
        "The loss is summed in float32, so differences below 1e-5 would not be seen.",
        "Equal gradients, not equal models: training on a model's own tokens (free running) is another objective.",
    ),
)
