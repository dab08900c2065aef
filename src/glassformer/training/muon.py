"""Muon for the weights of experts: torch's own takes matrices only, and these are stacks of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton–Schulz iteration (Jordan et al. 2024)."""
STEPS = 5
EPS = 1e-7


class StackedMuon(torch.optim.Optimizer):
    """For parameters [E, m, n], what ``torch.optim.Muon`` does to E matrices: the update of each is orthogonalised.

    Nesterov momentum, decoupled weight decay, and steps of AdamW's size, 0.2 · √max(m, n) (Liu et al. 2025, arXiv
    2502.16982).
    """

    def __init__(self, parameters: Sequence[Tensor], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "the gradients are there"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["momentum"], group["weight_decay"])

    def _update(self, parameter: Tensor, rate: float, momentum: float, weight_decay: float) -> None:
        gradient = parameter.grad
        assert gradient is not None, "its caller has looked"
        kept = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(gradient))
        kept.lerp_(gradient, 1 - momentum)
        update = orthogonalised(gradient.lerp(kept, momentum))
        parameter.mul_(1 - rate * weight_decay)
        parameter.add_(update.to(parameter.dtype), alpha=-rate * 0.2 * math.sqrt(max(parameter.shape[-2:])))


def orthogonalised(matrices: Tensor) -> Tensor:
    """[..., m, n] → matrices of the same singular vectors, whose singular values are near 1; in bf16."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=EPS)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
