"""What promises are checked with: random models, their logits and gradients, and how close is equal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from glassformer.models.build import Model, build
from glassformer.models.config import ModelConfig
from glassformer.testing.cases import Case

TOLERANCE = 1e-5  # of fp32 logits and gradients whose sums are in another order, over the largest value
IDENTICAL = 1e-6  # of what should be the same numbers


def random_model(config: ModelConfig, dtype: torch.dtype = torch.float32, *, seed: int = 0) -> Model:
    """A model in evaluation, its weights and running statistics moved away from where they started."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = build(config)
        with torch.no_grad():
            for value in model.named_weights().values():
                if value.is_floating_point():
                    fan_in = value.shape[1] if value.dim() > 1 else 50
                    value += 0.7 / math.sqrt(fan_in) * torch.randn_like(value)
    return model.to(dtype).eval()


def logits_and_gradients(model: Model, case: Case, *, read: slice = slice(None)) -> dict[str, Tensor]:
    """Logits, loss and every parameter's gradient, of the tokens that are read and no pads."""
    logits = case.run(model)[:, read]
    loss = case.loss(logits, read)
    return {"logits": logits.detach(), "loss": loss.detach(), **gradients(model, loss)}


def gradients(model: Model, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of every parameter that the loss depends on."""
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    names, values = zip(*trained, strict=True)
    found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, values, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, what: str) -> None:
    """Assert every value within ``tolerance`` of the largest expected one of its kind (of 1, where that is larger)."""
    assert found.keys() == expected.keys(), f"{what} changes which of these there are: {found.keys() ^ expected.keys()}"
    for name, value in found.items():
        got, wanted = (each.detach().double() for each in (value, expected[name]))  # of integers and booleans, too
        error = (got - wanted).abs().max().item() if value.numel() else 0.0
        scale = max(1.0, wanted.abs().max().item()) if value.numel() else 1.0
        assert error <= tolerance * scale, f"{what} changes {name} by {error:.1e} (allowed: {tolerance * scale:.0e})"
