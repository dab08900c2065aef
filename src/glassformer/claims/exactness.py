"""What claims that are mathematics have in common: models in float64, and when two results count as equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from glassformer.claims.claim import Measurement, measurement
from glassformer.models.config import AttentionConfig, HeadConfig, ModelConfig, NormConfig
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder

AnyModel = TypeVar("AnyModel", Decoder, EncoderDecoder)

EQUAL = 1e-10
"""Largest difference, relative to the largest number compared, of results that are equal: they are computed in float64,
whose rounding is 2e-16, in another order."""

DIFFERENT = 1e-4
"""Least relative difference of results that are not equal: far above every rounding."""

MODEL = ModelConfig(
    vocab_size=29,
    max_seq_len=24,
    d_model=32,
    n_layers=3,
    attention=AttentionConfig(n_heads=4, projection="separate"),
    norm=NormConfig(placement="pre"),
    head=HeadConfig(tied=False),
)
"""A small GPT."""


def build(config: ModelConfig, seed: int) -> Decoder:
    """A language model in float64 and in evaluation, its weights (biases and norms too) random: none is 0 by chance."""
    return _random(Decoder, config, seed)


def build_translator(config: ModelConfig, seed: int) -> EncoderDecoder:
    """The same of an encoder-decoder."""
    return _random(EncoderDecoder, config, seed)


def _random(family: Callable[[ModelConfig], AnyModel], config: ModelConfig, seed: int) -> AnyModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family(config).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def random_tokens(config: ModelConfig, seed: int, length: int | None = None, rows: int = 3) -> Tensor:
    """int64 [rows, length], as long as the context unless given."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (rows, length or config.max_seq_len), generator=generator)


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference of two results over the largest number in them."""
    return float((a - b).abs().max() / torch.maximum(a.abs().max(), b.abs().max()))


def equal(measured: float) -> bool | None:
    """Whether a relative difference is none: None between :data:`EQUAL` and :data:`DIFFERENT`."""
    return True if measured <= EQUAL else False if measured >= DIFFERENT else None


def relative_measurement(measured: float) -> Measurement:
    """A relative difference for the record."""
    return measurement(measured, "of the largest")
