"""The gradient of one batch, in as many forward passes as it is cut into."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from glassformer.models.decoder import Decoder
from glassformer.training.acceleration import Acceleration
from glassformer.training.objectives import IGNORE, language_modeling_loss


class GradientStep:
    """Computes a batch's mean loss and leaves its gradient in ``parameter.grad``.

    The gradient is that of the mean over *all* the batch's tokens, however it is cut: each micro-batch adds its
    summed loss divided by the batch's number of tokens. Dropout is drawn from a generator seeded anew for each
    (seed, step, micro-batch), so a resumed run draws what an uninterrupted one draws.
    """

    def __init__(self, model: Decoder, acceleration: Acceleration, *, precision: str, seed: int) -> None:
        self.model = model
        self.micro_batch_size = acceleration.micro_batch_size
        self.device = torch.device(acceleration.device)
        self.bf16 = precision == "bf16"
        self.seed = seed
        self._loss = torch.compile(self._loss_of) if acceleration.compile else self._loss_of

    def _loss_of(self, inputs: Tensor, targets: Tensor, n_tokens: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return language_modeling_loss(self.model, inputs, targets) / n_tokens

    def __call__(self, step: int, inputs: Tensor, targets: Tensor) -> float:
        """Inputs and targets [B, T] of update ``step`` → the mean loss in nats per token."""
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        n_tokens = (targets != IGNORE).sum().clamp_min(1)
        total = torch.zeros((), device=self.device)
        for index, start in enumerate(range(0, len(inputs), self.micro_batch_size)):
            torch.manual_seed(_noise_seed(self.seed, step, index))
            rows = slice(start, start + self.micro_batch_size)
            loss = self._loss(inputs[rows], targets[rows], n_tokens)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return float(total)


def _noise_seed(seed: int, step: int, micro_batch: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{step}:{micro_batch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
