"""The gradient of one batch, in as many forward passes as it is cut into."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value

from glassformer.data.batches import IGNORE, Batch
from glassformer.models.transformer import Transformer
from glassformer.parts.experts import layers_of_experts
from glassformer.parts.losses import (
    Losses,
    Routing,
    add_routings,
    detached,
    expert_losses,
    routing_of,
    scalars_of,
)
from glassformer.training.cross_entropy import head_cross_entropy
from glassformer.training.execution import ExecutionConfig
from glassformer.training.noise_scale import NoiseMeasurement, parts
from glassformer.training.objectives import summed_losses

Weights = dict[str, Tensor]
Arguments = tuple[Tensor | None, ...]
WholeRouting = tuple[Routing, ...] | None
AddGradient = Callable[..., "StepLosses"]
StepLosses = tuple[Tensor, Tensor, dict[str, Tensor], tuple[Routing, ...]]
"""Objective, plain negative log-likelihood, auxiliary losses: a piece's shares of the batch's means; and what its
experts did."""


@dataclass(frozen=True)
class StepLoss:
    """What a batch cost, in nats per counted token.

    Attributes:
        objective: what was minimised.
        nll: the plain negative log-likelihood: the same, where labels are not smoothed and no part has a loss.
        auxiliary: those losses, by name; they are in the objective.
        routing: what each layer of experts did with the whole batch, the first layer first.
    """

    objective: float
    nll: float
    auxiliary: dict[str, float] = field(default_factory=dict)
    routing: tuple[Routing, ...] = ()


class GradientStep:
    """Computes a batch's mean loss and leaves its gradient in ``parameter.grad``.

    The gradient is that of the mean over *all* the batch's tokens, however it is cut: each micro-batch adds its
    summed loss divided by the batch's number of tokens. The balance of experts is that of the whole batch too: of one
    that is cut, the loads are counted in a pass without gradients before the first. Dropout is drawn from a generator
    seeded anew for each (seed, step, micro-batch), so a resumed run draws what an uninterrupted one draws.

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
        self.has_experts = bool(layers_of_experts(model))
        self._takes_counted = self.has_experts and model.family.stack().causal
        self._add_gradient = self._backward
        if execution.compile:
            self._add_gradient = self._compiled_backward() if self.has_experts else self._compiled()

    def __call__(self, step: int, batch: Batch, *, noise: NoiseMeasurement | None = None) -> StepLoss:
        """The batch of update ``step`` → its mean losses; ``noise`` looks at the gradients in between, if given."""
        pieces = split_micro_batches(batch, self.micro_batch_tokens)
        if noise is not None and len(pieces) == 1:
            self._measure_in_parts(step, batch, noise)
            noise = None
        n_tokens = torch.tensor(max(1, batch.n_tokens), device=self.device)
        objective, nll = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        auxiliary: dict[str, Tensor] = {}
        whole = self._routing_of_all(step, pieces) if self.has_experts and len(pieces) > 1 else None
        routing: tuple[Routing, ...] = ()
        for index, piece in enumerate(pieces):
            torch.manual_seed(_dropout_seed(self.seed, step, index))
            losses = self._add_gradient(*self._placed(piece), n_tokens, whole)
            objective += losses[0]
            nll += losses[1]
            auxiliary |= {name: auxiliary.get(name, 0.0) + loss for name, loss in losses[2].items()}
            routing = add_routings(routing, losses[3])
            if noise is not None:
                noise.look(self.parameters, piece.n_tokens)
        return StepLoss(float(objective), float(nll), {name: float(loss) for name, loss in auxiliary.items()}, routing)

    @torch.no_grad()
    def _routing_of_all(self, step: int, pieces: Sequence[Batch]) -> tuple[Routing, ...] | None:
        """What the experts will do with all pieces, where a loss depends on it: no sum over pieces is their product."""
        found: tuple[Routing, ...] = ()
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        for index, piece in enumerate(pieces):
            torch.manual_seed(_dropout_seed(self.seed, step, index))
            arguments, targets = self._placed(piece)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                own = routing_of(self._hidden(arguments, targets)[1])
            if not expert_losses(own):
                break
            found = add_routings(found, own)
        for buffer, before in buffers:
            buffer.copy_(before)
        return found or None

    def _hidden(self, arguments: Arguments, targets: Tensor) -> tuple[Tensor, Losses]:
        """The model up to the head; its experts count the tokens on which a target depends, so no pads at the end."""
        counted = {"counted": (targets != IGNORE).flip(1).cummax(1).values.flip(1)} if self._takes_counted else {}
        return self.model.hidden_with_losses(*arguments, **counted)

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

    def _backward(
        self, arguments: Arguments, targets: Tensor, n_tokens: Tensor, whole: WholeRouting = None
    ) -> StepLosses:
        """Eager: autograd adds to the gradients."""
        model = self.model
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            hidden, losses = self._hidden(arguments, targets)
            if model.logits.watched or self.device.type != "cpu":  # somebody looks on, or there is memory to spare
                objective, nll = self._losses(model.unembed(hidden), targets, n_tokens)
            else:
                hidden = model.head_transform(hidden)
                objective, nll = head_cross_entropy(
                    hidden.to(torch.bfloat16) if self.bf16 else hidden,
                    model.head.weight[: model.config.vocab_size],
                    model.head.bias,
                    targets,
                    smoothing=self.label_smoothing,
                    scale=1 / n_tokens,
                )
            objective, auxiliary = _with_auxiliary(objective, losses, targets, n_tokens, whole)
        objective.backward()  # type: ignore[no-untyped-call]
        return objective.detach(), nll, auxiliary, detached(routing_of(losses))

    def _compiled_backward(self) -> AddGradient:
        """One program for the losses and one for autograd's backward pass: the grouped products of experts are
        operators that ``torch.func`` does not differentiate.
        """

        def losses_of(
            arguments: Arguments, targets: Tensor, n_tokens: Tensor, whole: WholeRouting
        ) -> tuple[Tensor, Tensor, dict[str, Tensor], tuple[Routing, ...]]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                hidden, losses = self._hidden(arguments, targets)
                objective, nll = self._losses(self.model.unembed(hidden), targets, n_tokens)
                objective, auxiliary = _with_auxiliary(objective, losses, targets, n_tokens, whole)
            return objective, nll, auxiliary, detached(routing_of(losses))

        program = torch.compile(losses_of, fullgraph=True, dynamic=False)

        def add_gradient(
            arguments: Arguments, targets: Tensor, n_tokens: Tensor, whole: WholeRouting = None
        ) -> StepLosses:
            try:
                objective, nll, auxiliary, routing = program(arguments, targets, n_tokens, whole)
                objective.backward()  # type: ignore[no-untyped-call]
            except Exception as error:  # whatever a part of the user's own does to the compiler
                if any(parameter.grad is not None for parameter in self.parameters.values()):
                    raise
                return self._fall_back(error, arguments, targets, n_tokens, whole)
            return objective.detach(), nll.detach(), auxiliary, routing

        return add_gradient

    def _fall_back(
        self, error: Exception, arguments: Arguments, targets: Tensor, n_tokens: Tensor, whole: WholeRouting
    ) -> StepLosses:
        """Eager steps from here on, since there is no compiled program."""
        self.fell_back = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        self._add_gradient = self._backward
        return self._backward(arguments, targets, n_tokens, whole)

    def _compiled(self) -> AddGradient:
        """Loss and gradients as one program: forward and backward are fused where they meet, and Python is left out."""

        def losses_of(
            weights: Weights, arguments: Arguments, targets: Tensor, n_tokens: Tensor
        ) -> tuple[Tensor, tuple[Tensor, dict[str, Tensor]]]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                logits, auxiliary = functional_call(self.model, weights, arguments, {"with_losses": True})
                objective, nll = self._losses(logits, targets, n_tokens)
                objective, auxiliary = _with_auxiliary(objective, auxiliary, targets, n_tokens, None)
                return objective, (nll, auxiliary)

        program = torch.compile(grad_and_value(losses_of, has_aux=True), fullgraph=True, dynamic=False)

        def add_gradient(
            arguments: Arguments, targets: Tensor, n_tokens: Tensor, whole: WholeRouting = None
        ) -> StepLosses:
            weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
            try:
                gradients, (objective, (nll, auxiliary)) = program(weights, arguments, targets, n_tokens)
            except Exception as error:  # whatever a part of the user's own does to the compiler
                if any(parameter.grad is not None for parameter in self.parameters.values()):
                    raise
                return self._fall_back(error, arguments, targets, n_tokens, whole)
            for name, parameter in self.parameters.items():
                gradient = gradients[name]
                if gradient.stride() != parameter.stride():  # fused optimizers go through both memories in step
                    gradient = torch.empty_like(parameter, requires_grad=False).copy_(gradient)
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            return objective, nll, auxiliary, ()

        return add_gradient


def _with_auxiliary(
    objective: Tensor, losses: Losses, targets: Tensor, n_tokens: Tensor, whole: WholeRouting
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective with the parts' own losses, each a mean over the piece and weighed by its share of the tokens.

    Experts' losses are of the whole batch, and the piece adds its share, where ``whole`` says what they did with it.
    """
    share = (targets != IGNORE).sum() / n_tokens
    of_experts = expert_losses(routing_of(losses), whole)
    weighed = {name: loss * share for name, loss in scalars_of(losses).items()}
    weighed |= of_experts if whole is not None else {name: loss * share for name, loss in of_experts.items()}
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
