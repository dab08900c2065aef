"""The head and its cross-entropy as one operation, whose gradient is made on the way forward, some rows at a time.

Over a large vocabulary the logits are most of what a step moves through memory: written out, they are read and written
a dozen times by log-softmax, look-up, mean and their backward passes. Here they never exist as a whole. For each group
of rows the logits are made, become their own gradient softmax(logits) − smoothed target in the cache, and are
multiplied into the gradients of the hidden vectors and of the head; rows without a target are left out altogether.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glassformer.data.batches import IGNORE

ROWS = 512
"""Rows of a group: enough for a fast matrix product."""

BLOCK = 2**18
"""Logits that are turned into their gradient at a time: 1 MB in float32, which the second-level cache holds."""


def head_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, smoothing: float, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Scale times the objective and the plain negative log-likelihood, both summed over the targets that count.

    The objective is (1 − ε) · −log p(target) + ε · mean over the vocabulary of −log p, with smoothing ε; the negative
    log-likelihood has no gradient. Products are made in the type of ``hidden``, sums in float32.

    Args:
        hidden: [B, T, d], what the head reads.
        weight: [vocab, d]; a bias may have more entries, of a padded vocabulary.
        targets: [B, T], IGNORE where nothing counts.
    """
    bias = None if bias is None else bias[: len(weight)]
    losses: tuple[Tensor, Tensor] = _HeadCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden.flatten(0, 1), weight, bias, targets.flatten(), smoothing, scale
    )
    return losses


class _HeadCrossEntropy(torch.autograd.Function):
    """(hidden [N, d], weight [vocab, d], bias [vocab] or None, targets [N], ε, scale) → (objective, nll)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        scale: Tensor,
    ) -> tuple[Tensor, Tensor]:
        chosen = (targets != IGNORE).nonzero().flatten()
        h, wanted, w = hidden[chosen], targets[chosen, None], weight.to(hidden.dtype)
        d_h = torch.empty_like(h)
        d_w = torch.zeros_like(weight, dtype=torch.float32)
        d_b = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        terms = hidden.new_zeros(2, dtype=torch.float32)  # Σ −log p(target), Σ −mean log p
        buffer = h.new_empty((min(ROWS, len(h)), len(w)))
        for start in range(0, len(h), ROWS):
            rows = slice(start, start + ROWS)
            logits = torch.mm(h[rows], w.t(), out=buffer[: len(h[rows])])
            if bias is not None:
                logits += bias.to(logits.dtype)
            terms += _into_gradient(logits, wanted[rows], smoothing, scale)
            torch.mm(logits, w, out=d_h[rows])
            if logits.dtype == torch.float32:
                d_w.addmm_(logits.t(), h[rows])
            else:
                d_w += logits.t() @ h[rows]
            if d_b is not None:
                d_b += logits.sum(0, dtype=torch.float32)
        d_hidden = torch.zeros_like(hidden)
        d_hidden[chosen] = d_h
        ctx.gradients = (d_hidden, d_w.to(weight.dtype), None if bias is None or d_b is None else d_b.to(bias.dtype))
        nll = terms[0] * scale
        objective = (1 - smoothing) * nll + smoothing * terms[1] * scale
        ctx.mark_non_differentiable(nll)
        return objective, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, objective: Tensor, _nll: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients  # made forward and used once, so they need no guard against changes
        if objective.device.type != "cpu" or objective.item() != 1.0:
            gradients = tuple(None if each is None else each * objective for each in gradients)
        return (*gradients, None, None, None)


def _into_gradient(logits: Tensor, wanted: Tensor, smoothing: float, scale: Tensor) -> Tensor:
    """Turn logits [n, vocab] in place into the gradient of the scaled objective.

    Returns:
        [2]: Σ −log p(wanted), and Σ −mean over the vocabulary of log p (0 without smoothing).
    """
    n_rows, vocabulary = logits.shape
    at_wanted = logits.gather(1, wanted).float()
    log_z = torch.empty_like(at_wanted)  # log Σ exp(logits)
    mean = torch.zeros_like(at_wanted)
    size = max(1, BLOCK // vocabulary)
    block = logits.new_empty((min(size, n_rows), vocabulary), dtype=torch.float32)
    for start in range(0, n_rows, size):
        rows = slice(start, start + size)
        x = block[: len(logits[rows])].copy_(logits[rows])
        largest = x.amax(1, keepdim=True)
        if smoothing:
            mean[rows] = x.mean(1, keepdim=True)
        z = x.sub_(largest).exp_().sum(1, keepdim=True)
        log_z[rows] = z.log() + largest
        x.mul_(scale / z)
        if smoothing:
            x.sub_(scale * (smoothing / vocabulary))
        logits[rows] = x
    logits.scatter_add_(1, wanted, (scale * (smoothing - 1)).to(logits.dtype).expand_as(wanted))
    uniform = (log_z - mean).sum() if smoothing else log_z.new_zeros(())
    return torch.stack(((log_z - at_wanted).sum(), uniform))
