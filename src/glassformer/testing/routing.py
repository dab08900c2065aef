"""Promises about routers: the loss reaches them, and a bias that balances loads does nothing else."""

from __future__ import annotations

import torch

from glassformer.models.config import ModelConfig
from glassformer.parts.experts import layers_of_experts
from glassformer.testing.cases import longest, random_case
from glassformer.testing.comparing import TOLERANCE, assert_close, logits_and_gradients, random_model
from glassformer.testing.configs import without_dropout

LEARNS = 1e-6
"""A gradient above rounding: weights that always sum to 1 leave 1e-10."""
SHIFT = 0.37


def routers_learn(config: ModelConfig) -> None:
    """The likelihood alone, without any auxiliary loss, gives every router a gradient.

    Where the weight of a token's only expert is renormalised to 1, it gives none.
    """
    model = random_model(without_dropout(config))
    found = logits_and_gradients(model, random_case(config, 2, longest(config)))
    for name in layers_of_experts(model):
        gradients = [each for key, each in found.items() if key.startswith(f"{name}.router.")]
        largest = max((float(each.abs().max()) for each in gradients), default=0.0)
        assert largest > LEARNS, f"the loss gives {name}.router a gradient of {largest:.0e}: it never learns"


@torch.no_grad()
def selection_biases_only_select(config: ModelConfig) -> None:
    """The same added to the selection biases of all experts changes nothing: they are compared with each other only."""
    model = random_model(without_dropout(config))
    case = random_case(config, 2, longest(config))
    before = case.run(model)
    for layer in layers_of_experts(model).values():
        if layer.router.selection_bias:
            layer.router.get_buffer("bias").add_(SHIFT)
    assert_close({"logits": case.run(model)}, {"logits": before}, TOLERANCE, "a shift of all selection biases")
