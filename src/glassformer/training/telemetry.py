"""What a training says about itself while it runs: records for the terminal, ``metrics.jsonl`` and TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glassformer.errors import DependencyError
from glassformer.parts.probes import watch

Record = dict[str, Any]
Observer = Callable[[Record], None]
Parameters = Mapping[str, nn.Parameter]


def gradient_norm(parameters: Parameters) -> Tensor:
    """The 2-norm of the whole gradient, a scalar."""
    gradients = [p.grad for p in parameters.values() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def clip_gradients(parameters: Parameters, norm: Tensor, limit: float) -> None:
    """Scale the gradient in place so that its norm is at most ``limit``."""
    torch.nn.utils.clip_grads_with_norm_(list(parameters.values()), limit, norm)


def without_gradient(parameters: Parameters) -> list[str]:
    """Names of parameters that the loss does not depend on: no gradient, or one that is exactly zero everywhere."""
    return [name for name, p in parameters.items() if p.grad is None or not p.grad.any()]


class ParameterTelemetry:
    """Gradient norm, update-to-weight ratio and weight norm of every parameter, around one update."""

    def __init__(self, parameters: Parameters) -> None:
        """Before the update: the gradients (not yet clipped) and the weights."""
        self.parameters = parameters
        self.gradient_norms = {
            name: math.nan if p.grad is None else float(p.grad.norm()) for name, p in parameters.items()
        }
        self.before = {name: p.detach().clone() for name, p in parameters.items()}

    def after_update(self) -> dict[str, dict[str, float]]:
        """``{name: {gradient_norm, update_ratio, weight_norm}}``; ‖Δw‖/‖w‖ is relative to the weight before."""
        result = {}
        for name, parameter in self.parameters.items():
            before = self.before[name]
            norm, change = float(before.norm()), float((parameter.detach() - before).norm())
            result[name] = {
                "gradient_norm": self.gradient_norms[name],
                "update_ratio": change / norm if norm else math.inf if change else 0.0,
                "weight_norm": float(parameter.detach().norm()),
            }
        return result


def first_bad_module(model: nn.Module, arguments: Sequence[Tensor | None]) -> str:
    """Where a number first stops being finite, by name: in the weights, the forward pass, or the gradients."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the weights of {name}"
    bad: list[str] = []

    def look(name: str, activation: Tensor) -> None:
        good = torch.isfinite(activation)
        if name.endswith(".masked_scores"):
            good |= activation == -math.inf  # which hides a key; NaN and +∞ are as bad there as anywhere
        if not bad and not good.all():
            bad.append(name)

    with torch.no_grad(), watch(model, look):
        model(*arguments)
    if bad:
        return f"the activation {bad[0]}"
    for name, parameter in reversed(list(model.named_parameters())):  # the backward pass meets the last one first
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"the gradient of {name}"
    return "the loss itself"


def tensorboard(folder: Path) -> Observer:
    """An observer that writes TensorBoard event files. Raises :class:`DependencyError` without the package."""
    writer = summary_writer()(str(folder))

    def write(record: Record) -> None:
        about, step = record.get("kind") or record["event"], record.get("step", 0)
        for key, value in record.items():
            if isinstance(value, float) and key != "seconds":
                writer.add_scalar(f"{about}/{key}", value, step)
        for name, values in record.get("parameters", {}).items():
            for quantity, value in values.items():
                writer.add_scalar(f"{quantity}/{name}", value, step)
        if about in ("end", "not finite"):
            writer.close()

    return write


def summary_writer() -> Any:
    """TensorBoard's class for event files. Raises :class:`DependencyError` without the package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DependencyError(
            "training.telemetry.tensorboard needs the package tensorboard: pip install 'glassformer[tensorboard]'"
        ) from error
    return SummaryWriter
