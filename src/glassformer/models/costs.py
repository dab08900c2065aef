"""What a model costs: parameters, FLOPs and bytes in one record, with the circumstances they hold for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from glassformer.errors import DataError
from glassformer.models.config import ModelConfig
from glassformer.models.formulas import Flops, Parameters, flops_per_token, has_own_parts, parameters
from glassformer.models.memory import Optimizer, activation_bytes, kv_cache_bytes_per_token, optimizer_values


@dataclass(frozen=True)
class Costs:
    """Everything together, and the circumstances it holds for."""

    parameters: Parameters
    flops: Flops
    """Per token."""
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: dict[str, int]
    """What the backward pass needs, by part (see :func:`activation_bytes`)."""
    kv_cache_bytes_per_token: int
    kv_cache_bytes: int
    """Of ``batch_size`` sequences of ``seq_len``."""
    batch_size: int
    seq_len: int
    dtype: str
    optimizer: str
    path: str
    counted: bool
    """True where a part of the user's own made counting necessary."""

    @property
    def training_bytes(self) -> int:
        """Weights, gradients, optimizer state and activations."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + sum(self.activation_bytes.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, sums included."""
        tree = asdict(self)
        tree["parameters"]["total"] = self.parameters.total
        tree["flops"] |= {"forward": self.flops.forward, "training": self.flops.training}
        tree["training_bytes"] = self.training_bytes
        return tree


def costs(
    config: ModelConfig,
    *,
    batch_size: int = 1,
    seq_len: int | None = None,
    dtype: torch.dtype = torch.float32,
    optimizer: Optimizer = "adamw",
    momentum: bool = False,
    path: Literal["fused", "explicit"] = "fused",
) -> Costs:
    """What ``config`` costs at a batch size and a sequence length (the context unless given), all in one ``dtype``.

    Raises:
        DataError: ``seq_len`` is longer than the context.
    """
    seq_len = seq_len or config.max_seq_len
    if seq_len > config.max_seq_len:
        raise DataError(
            f"A sequence of {seq_len} tokens does not fit the model's context of {config.max_seq_len} (max_seq_len)."
        )
    counted = has_own_parts(config)
    size = dtype.itemsize
    count = parameters(config)
    per_token = kv_cache_bytes_per_token(config, size)
    return Costs(
        parameters=count,
        flops=flops_per_token(config, seq_len),
        weight_bytes=count.total * size,
        gradient_bytes=count.total * size,
        optimizer_bytes=optimizer_values(count, optimizer, momentum=momentum) * size,
        activation_bytes=activation_bytes(config, batch_size, seq_len, size, path=path),
        kv_cache_bytes_per_token=per_token,
        kv_cache_bytes=per_token * batch_size * seq_len,
        batch_size=batch_size,
        seq_len=seq_len,
        dtype=str(dtype).removeprefix("torch."),
        optimizer=optimizer,
        path="explicit" if counted else path,
        counted=counted,
    )
