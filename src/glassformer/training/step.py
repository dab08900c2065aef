"""The gradient of one batch, in as many forward passes as it is cut into."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value

from glassformer.models.decoder import Decoder
from glassformer.training.acceleration import Acceleration
from glassformer.training.objectives import IGNORE, summed_nll

Weights = dict[str, Tensor]


class GradientStep:
    """Computes a batch's mean loss and leaves its gradient in ``parameter.grad``.

    The gradient is that of the mean over *all* the batch's tokens, however it is cut: each micro-batch adds its
    summed loss divided by the batch's number of tokens. Dropout is drawn from a generator seeded anew for each
    (seed, step, micro-batch), so a resumed run draws what an uninterrupted one draws.

    Attributes:
        fell_back: why the compiled program could not be made and the steps are eager after all; None if all is well.
    """

    def __init__(self, model: Decoder, acceleration: Acceleration, *, precision: str, seed: int) -> None:
        self.model = model
        self.parameters = dict(model.named_parameters())
        self.micro_batch_size = acceleration.micro_batch_size
        self.device = torch.device(acceleration.device)
        self.bf16 = precision == "bf16"
        self.seed = seed
        self.fell_back: str | None = None  # whoever reads it sets it back to None
        self._add_gradient = self._compiled() if acceleration.compile else self._backward

    def __call__(self, step: int, inputs: Tensor, targets: Tensor) -> float:
        """Inputs and targets [B, T] of update ``step`` → the mean loss in nats per token."""
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        n_tokens = (targets != IGNORE).sum().clamp_min(1)
        total = torch.zeros((), device=self.device)
        for index, start in enumerate(range(0, len(inputs), self.micro_batch_size)):
            torch.manual_seed(_noise_seed(self.seed, step, index))
            rows = slice(start, start + self.micro_batch_size)
            total += self._add_gradient(inputs[rows], targets[rows], n_tokens)
        return float(total)

    def _loss(self, logits: Tensor, targets: Tensor, n_tokens: Tensor) -> Tensor:
        """The micro-batch's share of the batch's mean loss."""
        return summed_nll(logits, targets) / n_tokens

    def _backward(self, inputs: Tensor, targets: Tensor, n_tokens: Tensor) -> Tensor:
        """Eager: autograd adds to the gradients."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self._loss(self.model(inputs), targets, n_tokens)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _compiled(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Loss and gradients as one program: forward and backward are fused where they meet, and Python is left out."""

        def loss_of(weights: Weights, inputs: Tensor, targets: Tensor, n_tokens: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                return self._loss(functional_call(self.model, weights, (inputs,)), targets, n_tokens)

        program = torch.compile(grad_and_value(loss_of), fullgraph=True, dynamic=False)

        def add_gradient(inputs: Tensor, targets: Tensor, n_tokens: Tensor) -> Tensor:
            weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
            try:
                gradients, loss = program(weights, inputs, targets, n_tokens)
            except Exception as error:  # whatever a part of the user's own does to the compiler
                if any(parameter.grad is not None for parameter in self.parameters.values()):
                    raise
                self.fell_back = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                self._add_gradient = self._backward
                return self._backward(inputs, targets, n_tokens)
            for name, parameter in self.parameters.items():
                gradient = gradients[name]
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            return loss

        return add_gradient


def _noise_seed(seed: int, step: int, micro_batch: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{step}:{micro_batch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
