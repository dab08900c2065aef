"""Generation: sampling, beam search and translation, the decoding engine, quantised weights, streams of text."""

from __future__ import annotations

from glassformer.generation.alignment import align
from glassformer.generation.beam_search import Hypothesis, beam_search
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.decoding import DecodingConfig, DecodingEngine
from glassformer.generation.generate import GeneratedSequence, GeneratedToken, generate, stream
from glassformer.generation.quantization import QuantizationLoss, decoding_copy, quantization_loss
from glassformer.generation.sampling import SamplingConfig
from glassformer.generation.translation import TranslatedHypothesis, Translation, Translator, translate

__all__ = [
    "BeamSearchConfig",
    "DecodingConfig",
    "DecodingEngine",
    "GeneratedSequence",
    "GeneratedToken",
    "Hypothesis",
    "QuantizationLoss",
    "SamplingConfig",
    "TranslatedHypothesis",
    "Translation",
    "Translator",
    "align",
    "beam_search",
    "decoding_copy",
    "generate",
    "quantization_loss",
    "stream",
    "translate",
]
