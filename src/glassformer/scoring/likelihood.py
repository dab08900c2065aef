"""How well a model predicts: the negative log-likelihood of fixed batches, and the share of right predictions."""

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


def model_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The summed negative log-likelihood of a batch, on the model's device."""
    logits, targets = _predictions(model, batch)
    return summed_nll(logits, targets)


def count_right(logits: Tensor, targets: Tensor) -> tuple[int, int]:
    """How many counted targets have the largest logit, and how many rows have all of theirs so.

    The second is also how many answers a greedy decoding gets wholly right: it meets, up to its first mistake, what
    the model is given here.
    """
    counted = targets != IGNORE
    right = logits.argmax(-1) == targets  # never where nothing counts: no logit has the index IGNORE
    return int(right.sum()), int((right | ~counted).all(-1).sum())


@dataclass(frozen=True)
class Evaluation:
    """The loss over fixed batches.

    Attributes:
        loss: nats per token.
        n_tokens: tokens predicted.
        accuracy: share of the tokens that are the most probable by the model; None where it was not asked for.
        exact: share of the samples whose tokens it all does.
    """

    loss: float
    n_tokens: int
    accuracy: float | None = None
    exact: float | None = None

    @property
    def perplexity(self) -> float:
        """e^loss."""
        return math.inf if self.loss > 700 else math.exp(self.loss)

    def bits_per_byte(self, bytes_per_token: float) -> float:
        """The loss in bits per byte of text, which tokenizers cannot change by cutting text differently."""
        return self.loss / math.log(2) / bytes_per_token


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, precision: str = "fp32", accuracy: bool = False
) -> Evaluation:
    """The loss over all of ``batches``, each token counted once; the model's training mode is put back.

    With ``accuracy``, also how many tokens and samples are right.
    """
    training = model.training
    device = next(model.parameters()).device
    model.eval()
    total, n_tokens, n_samples, right, exact = 0.0, 0, 0, 0, 0
    try:
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits, targets = _predictions(model, batch)
                total += summed_nll(logits, targets).item()
            n_tokens += batch.n_tokens
            n_samples += len(targets)
            if accuracy:
                of_batch = count_right(logits, targets)
                right, exact = right + of_batch[0], exact + of_batch[1]
    finally:
        model.train(training)
    shares = (right / max(n_tokens, 1), exact / max(n_samples, 1)) if accuracy else (None, None)
    return Evaluation(total / max(n_tokens, 1), n_tokens, *shares)


def _predictions(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits [B, T, vocab] and targets [B, T], on the model's device."""
    device = next(model.parameters()).device
    arguments = [None if each is None else each.to(device) for each in batch.arguments]
    return model(*arguments), batch.targets.to(device)
