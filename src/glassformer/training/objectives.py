"""What is minimised: the mean negative log-likelihood of the next token, in nats per token."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IGNORE = -1
"""A target that is not counted: it adds nothing to the loss, the gradient or the number of tokens."""


class Batch(Protocol):
    """Inputs and the tokens to predict from them, both [B, T]."""

    @property
    def inputs(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...


def summed_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Σ −log p(target) over targets that are not :data:`IGNORE`: [B, T, vocab] and [B, T] → a scalar, in float32."""
    flat = logits.reshape(-1, logits.shape[-1]).float()
    return F.cross_entropy(flat, targets.reshape(-1), ignore_index=IGNORE, reduction="sum")


def language_modeling_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The summed negative log-likelihood of a batch under a model that maps tokens to logits."""
    return summed_nll(model(inputs), targets)


@dataclass(frozen=True)
class Evaluation:
    """The loss over fixed batches.

    Attributes:
        loss: nats per token.
        n_tokens: tokens predicted.
    """

    loss: float
    n_tokens: int

    @property
    def perplexity(self) -> float:
        """e^loss."""
        return math.inf if self.loss > 700 else math.exp(self.loss)

    def bits_per_byte(self, bytes_per_token: float) -> float:
        """The loss in bits per byte of text, which tokenizers cannot change by cutting text differently."""
        return self.loss / math.log(2) / bytes_per_token


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch], *, precision: str = "fp32") -> Evaluation:
    """The loss over all of ``batches``, each token counted once; the model's training mode is put back."""
    training = model.training
    device = next(model.parameters()).device
    model.eval()
    total, n_tokens = 0.0, 0
    try:
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = language_modeling_loss(model, batch.inputs.to(device), batch.targets.to(device))
            total += loss.item()
            n_tokens += int((batch.targets != IGNORE).sum())
    finally:
        model.train(training)
    return Evaluation(total / max(n_tokens, 1), n_tokens)
