"""Positions whose target is −1: what they add to the loss and to the gradient."""

from __future__ import annotations

import torch

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import MODEL, build, random_tokens, relative, relative_measurement
from glassformer.data.batches import IGNORE
from glassformer.training.objectives import summed_losses

EQUAL = 1e-5
"""Largest relative difference of what is equal: the loss is summed in float32."""

SMOOTHING = (0.0, 0.1)


def measure(seed: int) -> tuple[float, float, float]:
    """How far loss and gradient are from those of the counted positions alone (the largest relative differences).

    Third, the largest gradient of a logit at an ignored position, over the largest anywhere.
    """
    model, tokens = build(MODEL, seed), random_tokens(MODEL, seed)
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    ignored = torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    targets[ignored] = IGNORE
    losses, gradients, leaks = [], [], []
    parameters = list(model.parameters())
    for smoothing in SMOOTHING:
        logits = model(inputs)
        loss, _ = summed_losses(logits, targets, smoothing)
        *by_model, by_logits = torch.autograd.grad(loss, [*parameters, logits])
        logits = model(inputs)
        alone, _ = summed_losses(logits[~ignored][None], targets[~ignored][None], smoothing)
        by_model_alone = torch.autograd.grad(alone, parameters)
        losses.append(relative(loss.detach(), alone.detach()))
        gradients.append(max(relative(a, b) for a, b in zip(by_model, by_model_alone, strict=True)))
        leaks.append(float(by_logits[ignored].abs().max() / by_logits.abs().max()))
    return max(losses), max(gradients), max(leaks)


def judge(loss: float, gradient: float, leak: float) -> ClaimResult:
    """Loss and gradient equal those of the other positions alone; the gradient at ignored positions is exactly 0."""
    return ClaimResult(
        {
            "they do not contribute to the loss": loss <= EQUAL,
            "they do not contribute to the gradient": gradient <= EQUAL and leak == 0.0,
        },
        f"With two of five targets ignored, loss and gradient equal those of the other positions alone (largest "
        f"relative difference {max(loss, gradient):.1e}), with and without label smoothing; the gradient of an ignored "
        f"position's logits is {'exactly 0' if leak == 0 else f'{leak:.1g} of the largest'}.",
        "The mean must be over the positions that count, as it is here; the *input* tokens at ignored positions still "
        "count as context of later ones, unless they are pads that the mask hides.",
        {
            "largest difference of the loss": relative_measurement(loss),
            "largest difference of the gradient": relative_measurement(gradient),
            "largest gradient of an ignored logit": relative_measurement(leak),
        },
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """The worst of all seeds."""
    found = [measure(seed) for seed in range(budget.seeds)]
    loss, gradient, leak = (max(values) for values in zip(*found, strict=True))
    return judge(loss, gradient, leak)


CLAIM = Claim(
    "ignore-index",
    "Positions with the target −1 (or padding) do not contribute to loss or gradient.",
    NOTES,
    "exact",
    "Loss and gradient with ignored targets, and of the other positions alone.",
    decide,
    quick=Budget(seeds=3),
    full=Budget(seeds=100),
)
