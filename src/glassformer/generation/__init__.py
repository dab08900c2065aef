"""Generation: sampling, the decoding engine, quantised weights, streams of text."""

from __future__ import annotations

from glassformer.generation.decoding import DecodingConfig, DecodingEngine
from glassformer.generation.generate import GeneratedSequence, GeneratedToken, generate, stream
from glassformer.generation.quantization import QuantizationLoss, decoding_copy, quantization_loss
from glassformer.generation.sampling import SamplingConfig

__all__ = [
    "DecodingConfig",
    "DecodingEngine",
    "GeneratedSequence",
    "GeneratedToken",
    "QuantizationLoss",
    "SamplingConfig",
    "decoding_copy",
    "generate",
    "quantization_loss",
    "stream",
]
