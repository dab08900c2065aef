"""The one door to a model: the configuration says which family it is of."""

from __future__ import annotations

import torch

from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.size import check_memory, check_shape

Model = Decoder | EncoderDecoder


def build(config: ModelConfig) -> Model:
    """An :class:`EncoderDecoder` where ``config`` has an encoder, a :class:`Decoder` otherwise.

    Raises:
        ConfigError: a registered part refuses the options given for it, or the model is too large for this machine.
    """
    check_shape(config)
    if torch.get_default_device().type != "meta":  # there, shapes take no memory
        check_memory(config)
    return EncoderDecoder(config) if config.has_encoder else Decoder(config)
