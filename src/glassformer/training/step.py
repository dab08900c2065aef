"""The gradient of one batch, in as many forward passes as it is cut into."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value

from glassformer.data.batches import IGNORE, Batch
from glassformer.models.transformer import Transformer
from glassformer.parts.losses import Losses, add_losses
from glassformer.training.cross_entropy import head_cross_entropy
from glassformer.training.execution import ExecutionConfig
from glassformer.training.noise_scale import NoiseMeasurement, parts
from glassformer.training.objectives import summed_losses

Weights = dict[str, Tensor]
Arguments = tuple[Tensor | None, ...]
StepLosses = tuple[Tensor, Tensor, Losses]
"""Objective, plain negative log-likelihood, auxiliary losses: a piece's shares of the batch's means."""


@dataclass(frozen=True)
class StepLoss:
    """What a batch cost, in nats per counted token.

    Attributes:
        objective: what was minimised.
        nll: the plain negative log-likelihood: the same, where labels are not smoothed and no part has a loss.
        auxiliary: those losses, by name; they are in the objective.
    """

    objective: float
    nll: float
    auxiliary: dict[str, float] = field(default_factory=dict)


class GradientStep:
    """Computes a batch's mean loss and leaves its gradient in ``parameter.grad``.

    The gradient is that of the mean over *all* the batch's tokens, however it is cut: each micro-batch adds its
    summed loss divided by the batch's number of tokens. Dropout is drawn from a generator seeded anew for each
    (seed, step, micro-batch), so a resumed run draws what an uninterrupted one draws.

    Attributes:
        fell_back: why the compiled program could not be made and the steps are eager after all; None if all is well.
    """

    def __init__(
        self,
        model: Transformer,
        execution: ExecutionConfig,
        *,
        precision: str,
        seed: int,
        label_smoothing: float = 0.0,
    ) -> None:
        self.model = model
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.micro_batch_tokens = execution.micro_batch_tokens
        self.device = torch.device(execution.device)
        self.bf16 = precision == "bf16"
        self.label_smoothing = label_smoothing
        self.seed = seed
        self.fell_back: str | None = None  # whoever reads it sets it back to None
        self._add_gradient = self._compiled() if execution.compile else self._backward

    def __call__(self, step: int, batch: Batch, *, noise: NoiseMeasurement | None = None) -> StepLoss:
        """The batch of update ``step`` → its mean losses; ``noise`` looks at the gradients in between, if given."""
        pieces = split_micro_batches(batch, self.micro_batch_tokens)
        if noise is not None and len(pieces) == 1:
            self._measure_in_parts(step, batch, noise)
            noise = None
        n_tokens = torch.tensor(max(1, batch.n_tokens), device=self.device)
        objective, nll = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        auxiliary: Losses = {}
        for index, piece in enumerate(pieces):
            torch.manual_seed(_dropout_seed(self.seed, step, index))
            losses = self._add_gradient(*self._placed(piece), n_tokens)
            objective += losses[0]
            nll += losses[1]
            auxiliary = add_losses(auxiliary, losses[2])
            if noise is not None:
                noise.look(self.parameters, piece.n_tokens)
        return StepLoss(float(objective), float(nll), {name: float(loss) for name, loss in auxiliary.items()})

    def _placed(self, batch: Batch) -> tuple[Arguments, Tensor]:
        """The model's arguments and the targets, on the device."""
        arguments = tuple(None if each is None else each.to(self.device) for each in batch.arguments)
        return arguments, batch.targets.to(self.device)

    def _measure_in_parts(self, step: int, batch: Batch, noise: NoiseMeasurement) -> None:
        """Take the gradients of a batch that is trained on whole in parts, and leave no trace of it.

        Always eager: a compiler would need as long for parts of another size as for the steps' own.
        """
        assert all(parameter.grad is None for parameter in self.parameters.values())
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        n_tokens = torch.tensor(max(1, batch.n_tokens), device=self.device)
        for index, part in enumerate(parts(batch)):
            torch.manual_seed(_dropout_seed(self.seed, step, index))
            self._backward(*self._placed(part), n_tokens)
            noise.look(self.parameters, part.n_tokens)
        for parameter in self.parameters.values():
            parameter.grad = None
        for buffer, before in buffers:
            buffer.copy_(before)

    def _losses(self, logits: Tensor, targets: Tensor, n_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The micro-batch's share of the batch's mean losses, from full logits: for torch.compile and probes."""
        objective, nll = summed_losses(logits, targets, self.label_smoothing)
        return objective / n_tokens, nll / n_tokens

    def _backward(self, arguments: Arguments, targets: Tensor, n_tokens: Tensor) -> StepLosses:
        """Eager: autograd adds to the gradients."""
        model = self.model
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if model.logits.watched or self.device.type != "cpu":  # somebody looks on, or there is memory to spare
                logits, auxiliary = model(*arguments, with_losses=True)
                objective, nll = self._losses(logits, targets, n_tokens)
            else:
                hidden, auxiliary = model.hidden_with_losses(*arguments)
                hidden = model.head_transform(hidden)
                objective, nll = head_cross_entropy(
                    hidden.to(torch.bfloat16) if self.bf16 else hidden,
                    model.head.weight[: model.config.vocab_size],
                    model.head.bias,
                    targets,
                    smoothing=self.label_smoothing,
                    scale=1 / n_tokens,
                )
            objective, auxiliary = _with_auxiliary(objective, auxiliary, targets, n_tokens)
        objective.backward()  # type: ignore[no-untyped-call]
        return objective.detach(), nll, auxiliary

    def _compiled(self) -> Callable[[Arguments, Tensor, Tensor], StepLosses]:
        """Loss and gradients as one program: forward and backward are fused where they meet, and Python is left out."""

        def losses_of(
            weights: Weights, arguments: Arguments, targets: Tensor, n_tokens: Tensor
        ) -> tuple[Tensor, tuple[Tensor, Losses]]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                logits, auxiliary = functional_call(self.model, weights, arguments, {"with_losses": True})
                objective, nll = self._losses(logits, targets, n_tokens)
                objective, auxiliary = _with_auxiliary(objective, auxiliary, targets, n_tokens)
                return objective, (nll, auxiliary)

        program = torch.compile(grad_and_value(losses_of, has_aux=True), fullgraph=True, dynamic=False)

        def add_gradient(arguments: Arguments, targets: Tensor, n_tokens: Tensor) -> StepLosses:
            weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
            try:
                gradients, (objective, (nll, auxiliary)) = program(weights, arguments, targets, n_tokens)
            except Exception as error:  # whatever a part of the user's own does to the compiler
                if any(parameter.grad is not None for parameter in self.parameters.values()):
                    raise
                self.fell_back = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                self._add_gradient = self._backward
                return self._backward(arguments, targets, n_tokens)
            for name, parameter in self.parameters.items():
                gradient = gradients[name]
                if gradient.stride() != parameter.stride():  # fused optimizers go through both memories in step
                    gradient = torch.empty_like(parameter, requires_grad=False).copy_(gradient)
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            return objective, nll, auxiliary

        return add_gradient


def _with_auxiliary(objective: Tensor, auxiliary: Losses, targets: Tensor, n_tokens: Tensor) -> tuple[Tensor, Losses]:
    """The objective with the parts' own losses, each a mean over the piece and weighed by its share of the tokens."""
    share = (targets != IGNORE).sum() / n_tokens
    weighed = {name: loss * share for name, loss in auxiliary.items()}
    for loss in weighed.values():
        objective = objective + loss
    return objective, {name: loss.detach() for name, loss in weighed.items()}


def split_micro_batches(batch: Batch, tokens: int) -> list[Batch]:
    """A batch in the fewest pieces of at most ``tokens`` positions each (but at least a row), as even as can be.

    A sequence counts by its longest side, source or target.
    """
    n_rows = len(batch.targets)
    positions = max(each.shape[1] for each in (batch.targets, *batch.arguments) if each is not None)
    n_pieces = -(-n_rows // max(1, tokens // positions))
    size = -(-n_rows // max(1, n_pieces))
    return [batch] if n_pieces <= 1 else [batch.rows(start, start + size) for start in range(0, n_rows, size)]


def _dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{step}:{micro_batch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
