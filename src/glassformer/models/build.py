"""The one door to a model: the configuration says which family it is of."""

from __future__ import annotations

from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder

Model = Decoder | EncoderDecoder


def build(config: ModelConfig) -> Model:
    """An :class:`EncoderDecoder` where ``config`` has an encoder, a :class:`Decoder` otherwise.

    Raises:
        ConfigError: a registered part refuses the options given for it.
    """
    return EncoderDecoder(config) if config.has_encoder else Decoder(config)
