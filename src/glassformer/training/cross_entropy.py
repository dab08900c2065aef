"""Cross-entropy whose gradient is made on the way forward, a few rows at a time, while they are in the cache.

Over a large vocabulary the loss is most of what a step moves through memory: written as log-softmax, look-up, mean and
their backward passes, the logits are read and written a dozen times. Here each block of rows is read once and its
gradient written once: softmax(logits) − smoothed target, which is all that the backward pass needs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glassformer.data.batches import IGNORE

BLOCK = 2**18
"""Logits of a block: 1 MB in float32."""


class CrossEntropy(torch.autograd.Function):
    """(logits [N, vocab], targets [N], smoothing ε, scale) → scale · (objective, nll), both summed over what counts.

    The objective is (1 − ε) · −log p(target) + ε · mean over the vocabulary of −log p; the nll has no gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, smoothing: float, scale: Tensor) -> tuple[Tensor, Tensor]:
        gradient = torch.empty_like(logits) if logits.requires_grad else None
        vocabulary = logits.shape[1]
        totals = logits.new_zeros(2, dtype=torch.float32)  # of −log p(target), and of −mean log p
        size = max(1, BLOCK // vocabulary)
        for start in range(0, len(logits), size):
            rows = slice(start, start + size)
            wanted = targets[rows, None]
            counts = wanted != IGNORE
            wanted = wanted.clamp_min(0)
            log_p = torch.log_softmax(logits[rows].float(), dim=-1)
            totals[0] -= (log_p.gather(1, wanted) * counts).sum()
            if smoothing:
                totals[1] -= (log_p.mean(-1, keepdim=True) * counts).sum()
            if gradient is not None:
                weight = counts * scale
                rise = log_p.exp_().mul_(weight)
                if smoothing:
                    rise.sub_(weight * (smoothing / vocabulary))
                rise.scatter_add_(1, wanted, weight * (smoothing - 1))
                gradient[rows] = rise
        ctx.gradient = gradient  # made here and used once, so it needs no guard against changes
        nll = totals[0] * scale
        objective = nll if not smoothing else (1 - smoothing) * nll + smoothing * totals[1] * scale
        ctx.mark_non_differentiable(nll)
        return objective.clone(), nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, objective: Tensor, _nll: Tensor) -> tuple[Tensor | None, None, None, None]:
        gradient = ctx.gradient
        if gradient is not None and (objective.device.type != "cpu" or objective.item() != 1.0):
            gradient = gradient * objective
        return gradient, None, None, None
