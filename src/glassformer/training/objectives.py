"""What is minimised: the mean negative log-likelihood of the right token, in nats, its target smoothed where asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.data.batches import IGNORE, Batch


def summed_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Σ −log p(target) over targets that are not :data:`IGNORE`: [B, T, vocab] and [B, T] → a scalar, in float32."""
    flat = logits.reshape(-1, logits.shape[-1]).float()
    return F.cross_entropy(flat, targets.reshape(-1), ignore_index=IGNORE, reduction="sum")


def summed_losses(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """What is minimised, and the plain negative log-likelihood: two scalars, summed over targets that count.

    With smoothing ε the target is (1 − ε) on the right token and ε / vocab on every token (Szegedy et al. 2016, §7), so
    the loss is (1 − ε) · −log p(target) + ε · mean over the vocabulary of −log p: no dense target is made.
    """
    if smoothing == 0.0:
        nll = summed_nll(logits, targets)
        return nll, nll.detach()
    log_p = F.log_softmax(logits.reshape(-1, logits.shape[-1]).float(), dim=-1)
    wanted = targets.reshape(-1)
    nll = F.nll_loss(log_p, wanted, ignore_index=IGNORE, reduction="sum")
    uniform = -(log_p.mean(-1) * (wanted != IGNORE)).sum()
    return (1 - smoothing) * nll + smoothing * uniform, nll.detach()


def model_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The summed negative log-likelihood of a batch, on the model's device."""
    device = next(model.parameters()).device
    arguments = [None if each is None else each.to(device) for each in batch.arguments]
    return summed_nll(model(*arguments), batch.targets.to(device))


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
                total += model_loss(model, batch).item()
            n_tokens += batch.n_tokens
    finally:
        model.train(training)
    return Evaluation(total / max(n_tokens, 1), n_tokens)
