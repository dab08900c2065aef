"""What a model costs: parameters, FLOPs and bytes in one record, with the circumstances they hold for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from glassformer.errors import DataError
from glassformer.models.config import ModelConfig
from glassformer.models.cost_records import Flops, Parameters
from glassformer.models.counting import (
    AttentionPath,
    activation_bytes,
    active_parameters,
    cache_bytes,
    flops_per_token,
    parameters,
)
from glassformer.models.family import family_of

Optimizer = Literal["adamw", "adam", "muon", "sgd"]


@dataclass(frozen=True)
class Costs:
    """Everything together, and the circumstances it holds for."""

    parameters: Parameters
    active_parameters: int
    """Those that a token meets: all, unless there are experts."""
    flops: Flops
    """Per token (an encoder-decoder's: per target token, the encoder's work for its source included)."""
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: dict[str, int]
    """What the backward pass needs, by part (see :func:`activation_bytes`)."""
    kv_cache_bytes_per_token: int
    """Of the first token; where layers have windows, a later one takes the place of one that they no longer reach."""
    cross_cache_bytes_per_token: int
    """Keys and values of a source token, to which the decoder attends; 0 without an encoder."""
    kv_cache_bytes: int
    """Of ``batch_size`` sequences of ``seq_len``, and of their sources."""
    batch_size: int
    seq_len: int
    source_len: int | None
    """None without an encoder."""
    dtype: str
    optimizer: str
    path: str

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
        tree["counted"] = True  # for readers of an earlier format, in which some costs were by formula
        return tree


def costs(
    config: ModelConfig,
    *,
    batch_size: int = 1,
    seq_len: int | None = None,
    source_len: int | None = None,
    dtype: torch.dtype = torch.float32,
    optimizer: Optimizer = "adamw",
    momentum: bool = False,
    path: AttentionPath = "fused",
) -> Costs:
    """What ``config`` costs at a batch size and a sequence length (the context unless given), all in one ``dtype``.

    Args:
        source_len: of an encoder-decoder's sources; None means ``seq_len``.

    Raises:
        DataError: a sequence is longer than the context, or has a source and the model no encoder.
    """
    seq_len = seq_len or config.max_seq_len
    if len(family_of(config).inputs(config)) > 1:
        source_len = source_len or seq_len
    elif source_len is not None:
        raise DataError(f"A source of {source_len} tokens is an encoder's, and this model has none (n_encoder_layers).")
    for what, length in (("sequence", seq_len), ("source", source_len or 0)):
        if length > config.max_seq_len:
            raise DataError(
                f"A {what} of {length} tokens does not fit the model's context of {config.max_seq_len} (max_seq_len)."
            )
    size = dtype.itemsize
    count = parameters(config)
    cached, per_source_token = cache_bytes(config, seq_len, size)
    return Costs(
        parameters=count,
        active_parameters=active_parameters(config),
        flops=flops_per_token(config, seq_len, source_len),
        weight_bytes=count.total * size,
        gradient_bytes=count.total * size,
        optimizer_bytes=optimizer_values(count, optimizer, momentum=momentum) * size,
        activation_bytes=activation_bytes(config, batch_size, seq_len, size, source_len=source_len, path=path),
        kv_cache_bytes_per_token=cache_bytes(config, 1, size)[0],
        cross_cache_bytes_per_token=per_source_token,
        kv_cache_bytes=batch_size * (cached + (source_len or 0) * per_source_token),
        batch_size=batch_size,
        seq_len=seq_len,
        source_len=source_len,
        dtype=str(dtype).removeprefix("torch."),
        optimizer=optimizer,
        path=path,
    )


def optimizer_values(count: Parameters, optimizer: Optimizer, *, momentum: bool = False) -> int:
    """Values that an optimizer keeps beside the weights (a step counter per tensor left out).

    Adam and AdamW keep two moments; Muon one momentum for the blocks' matrices, with AdamW for everything else (Jordan
    et al. 2024); SGD one momentum or nothing.
    """
    if optimizer == "muon":
        return count.matrices + 2 * (count.total - count.matrices)
    if optimizer == "sgd":
        return count.total if momentum else 0
    return 2 * count.total
