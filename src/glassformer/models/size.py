"""Whether a model can be made on this machine: asked of its configuration, before anything of its size is made.

A configuration may come from anywhere. It bounds each of its numbers; what they come to together is compared here with
what torch can address and with the memory there is, counted without making anything of that size.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from glassformer import machine
from glassformer.errors import CheckpointError, ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.counting import buffer_bytes, parameters
from glassformer.models.limits import sides

VALUE = 4  # bytes of a float32, in which a model is made
AT_MOST = 4
"""Times the weights that are there, a model is made, to name what does not fit."""
TABLE = 5
"""Times its own bytes, a fixed table takes while it is made: in float64, and in parts."""
SMALL = 2**22
"""Values: a model whose widths allow no more, by far, fits everywhere and is not counted."""


def check_memory(config: ModelConfig) -> None:
    """Raise :class:`ConfigError` if the model's weights and tables alone need more memory than this machine has."""
    layers = 1 + config.n_layers + (config.n_encoder_layers or 0)
    if sum(sides(config).values()) * config.d_model * layers < SMALL:
        return
    there = machine.describe().memory
    needed = bytes_to_make(config)
    if there is not None and needed > there:
        raise ConfigError(
            f"its weights and tables of positions need {needed / 1e9:,.1f} GB of memory, and this machine has "
            f"{there / 1e9:,.1f} GB; make it smaller (vocab_size, pad_vocab_to, max_seq_len, d_model, n_layers).",
            subject="model",
        )


def bytes_to_make(config: ModelConfig) -> int:
    """Bytes of the weights in float32 and of the fixed tables, while they are made."""
    return parameters(config).total * VALUE + buffer_bytes(config) * TABLE


def check_held(config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Raise :class:`CheckpointError` if the model is far larger than the weights that are there, before it is made.

    What is missing of a model of about their size is named when they are put into it.
    """
    needed, held = parameters(config).total, sum(weight.numel() for weight in weights.values())
    if needed > AT_MOST * held:
        raise CheckpointError(
            f"The weights do not fit the model: its configuration asks for {needed:,} parameters, and {held:,} are "
            "there. The configuration or the weights are not those of the training."
        )
