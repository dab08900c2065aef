"""Starting values of the weights."""

from __future__ import annotations

import math

from torch import nn

from glassformer.models.config import ModelConfig

FEEDS_A_SKIP = ("attention.w_o", "feedforward.w_2")


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Set all weights in place, drawing from torch's default generator.

    - ``gpt2``: every matrix and embedding normal(0, std), biases 0; the two projections that feed a skip connection
      normal(0, std/√(number of skips)) (Radford et al. 2019, §2.3).
    - ``xavier``: every matrix and embedding Xavier-uniform, biases as the layer made them.
    - ``torch``: as each layer made them: uniform ±1/√d_in for linear layers, normal(0, 1) for embeddings.
    """
    scheme = config.initialisation
    if scheme.scheme == "torch":
        return
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d):
            continue
        if scheme.scheme == "xavier":
            nn.init.xavier_uniform_(module.weight)
            continue
        std = scheme.std
        if scheme.scale_residual and config.n_skips and name.endswith(FEEDS_A_SKIP):
            std /= math.sqrt(config.n_skips)
        nn.init.normal_(module.weight, mean=0.0, std=std)
        bias = getattr(module, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)
