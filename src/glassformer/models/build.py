"""The one door to a model: the configuration says which family it is of."""

from __future__ import annotations

import torch

from glassformer.models.classes import MODELS, Model
from glassformer.models.config import ModelConfig
from glassformer.models.limits import check_shape
from glassformer.models.size import check_memory

__all__ = ["Model", "build"]


def build(config: ModelConfig) -> Model:
    """A model of the configuration's family, its starting weights drawn from torch's default generator.

    Raises:
        ConfigError: a registered part does not take its options, or the model is too large for this machine.
    """
    check_shape(config)
    if torch.get_default_device().type != "meta":  # there, shapes take no memory
        check_memory(config)
    return MODELS[config.family](config)
