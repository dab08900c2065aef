"""The class of each family of models."""

from __future__ import annotations

from glassformer.models.decoder import Decoder
from glassformer.models.encoder import Encoder
from glassformer.models.encoder_decoder import EncoderDecoder

Model = Decoder | Encoder | EncoderDecoder
MODELS: dict[str, type[Model]] = {"decoder": Decoder, "encoder": Encoder, "encoder-decoder": EncoderDecoder}
