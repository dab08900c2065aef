"""What promises are checked with: random models and tokens, their logits and gradients, and how close is equal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder

TOLERANCE = 1e-5  # of fp32 logits and gradients whose sums are in another order, over the largest value
IDENTICAL = 1e-6  # of what should be the same numbers


def random_model(config: ModelConfig, dtype: torch.dtype = torch.float32, *, seed: int = 0) -> Decoder:
    """A model in evaluation, its weights and running statistics moved away from where they started."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = Decoder(config)
        with torch.no_grad():
            for value in model.named_weights().values():
                if value.is_floating_point():
                    fan_in = value.shape[1] if value.dim() > 1 else 50
                    value += 0.7 / math.sqrt(fan_in) * torch.randn_like(value)
    return model.to(dtype).eval()


def random_tokens(config: ModelConfig, batch_size: int, length: int) -> Tensor:
    """Tokens [B, T], the same each time for one shape and vocabulary."""
    generator = torch.Generator().manual_seed(batch_size * 1000 + length)
    return torch.randint(config.vocab_size, (batch_size, length), generator=generator)


def padding_mask(tokens: Tensor, *, left: int = 0, right: int = 0) -> Tensor:
    """A mask: the last row has this many pads at its ends (as many as its length allows), the others have none."""
    padding = torch.zeros_like(tokens, dtype=torch.bool)
    padding[-1, : min(left, tokens.shape[1] - 1)] = True
    if right:
        padding[-1, -min(right, tokens.shape[1] - 1) or tokens.shape[1] :] = True
    return padding


def pad(tokens: Tensor, side: str, count: int, content: int) -> tuple[Tensor, Tensor]:
    """Tokens and mask with ``count`` pads more at one side of every row."""
    ends = (count, 0) if side == "left" else (0, count)
    padding = F.pad(torch.zeros_like(tokens, dtype=torch.bool), ends, value=True)
    return F.pad(tokens, ends, value=content), padding


def cross_entropy(logits: Tensor, tokens: Tensor) -> Tensor:
    """A loss with a gradient to every logit: the cross-entropy of some target per token."""
    targets = (tokens * 7 + 3) % logits.shape[-1]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def logits_and_gradients(
    model: Decoder, tokens: Tensor, padding: Tensor | None = None, *, read: slice = slice(None)
) -> dict[str, Tensor]:
    """Logits, loss and every parameter's gradient, of the tokens that are read and no pads."""
    real = torch.ones_like(tokens, dtype=torch.bool) if padding is None else ~padding
    logits = model(tokens, padding=padding)[:, read]
    kept = real[:, read]
    targets = (tokens * 7 + 3)[:, read] % logits.shape[-1]
    loss = F.cross_entropy(logits[kept], targets[kept])
    return {"logits": logits.detach(), "loss": loss.detach(), **gradients(model, loss)}


def gradients(model: Decoder, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of every parameter that the loss depends on."""
    names, values = zip(*model.named_parameters(), strict=True)
    found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, values, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, what: str) -> None:
    """Assert every value within ``tolerance`` of the largest expected one of its kind (of 1, where that is larger)."""
    assert found.keys() == expected.keys(), f"{what} changes which of these there are: {found.keys() ^ expected.keys()}"
    for name, value in found.items():
        error = (value.detach() - expected[name].detach()).abs().max().item() if value.numel() else 0.0
        scale = max(1.0, expected[name].detach().abs().max().item()) if value.numel() else 1.0
        assert error <= tolerance * scale, f"{what} changes {name} by {error:.1e} (allowed: {tolerance * scale:.0e})"
