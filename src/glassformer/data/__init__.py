"""The data room: from a name of some text to batches of tokens.

=======================  ===========================================================================================
``config``               what the data are: text, tokenizer, split
``content``              the identity of files: their content
``sources``              where text comes from, as a stream of pieces (``reading``: files; ``folders``; ``hub``)
``tokenizers``           text to ids and back: characters and bytes (``byte_pairs``: the byte-pair encodings)
``preparation``          text to token files, once (``spool``: the text while it is split; ``token_files``: the ids)
``prepared_folders``     a folder that is whole or not there, and is what it was when it was made
``overlap``              what stands in two splits at once
``language_modeling``    the batches that a language model trains and is validated on
``pairs``                where sentence pairs come from (``dates``: made here; ``pair_files``, ``hub_pairs``: your own)
``sentence_tokenizers``  a sentence to ids and back, with its special tokens (``sentence_bpe``: byte pairs)
``pair_preparation``     pairs to token files, once
``translation``          the batches that a translator trains and is validated on (``pair_batching``: which go together)
``synthetic_tasks``      tasks whose right answers are known: how problems are drawn and answered
``synthetic``            the problems that a model trains and is validated on (``synthetic_tokenizer``: as text)
``entropy``              what a model that sees no context, or one token of it, can reach at best
=======================  ===========================================================================================

>>> data = prepare(DataConfig(source="tinyshakespeare"))  # doctest: +SKIP
>>> batch = data.batch(step=0, seed=1, batch_size=12, seq_len=64)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glassformer.data.config import DataConfig
    from glassformer.data.entropy import bigram_entropy, unigram_entropy
    from glassformer.data.language_modeling import LanguageModelingData, TokenBatch, prepare
    from glassformer.data.pair_batching import PairBatch
    from glassformer.data.preparation import encode_source
    from glassformer.data.sentence_tokenizers import PairTokenizer, encode_sentences, load_pair_tokenizer
    from glassformer.data.synthetic import SyntheticBatch, SyntheticData
    from glassformer.data.synthetic_config import SyntheticConfig
    from glassformer.data.tokenizers import Tokenizer, load_tokenizer
    from glassformer.data.translation import TranslationData, prepare_translation
    from glassformer.data.translation_config import TranslationConfig

_HOMES = {
    "DataConfig": "config",
    "LanguageModelingData": "language_modeling",
    "PairBatch": "pair_batching",
    "PairTokenizer": "sentence_tokenizers",
    "SyntheticBatch": "synthetic",
    "SyntheticConfig": "synthetic_config",
    "SyntheticData": "synthetic",
    "TokenBatch": "language_modeling",
    "Tokenizer": "tokenizers",
    "TranslationConfig": "translation_config",
    "TranslationData": "translation",
    "bigram_entropy": "entropy",
    "encode_sentences": "sentence_tokenizers",
    "encode_source": "preparation",
    "load_pair_tokenizer": "sentence_tokenizers",
    "load_tokenizer": "tokenizers",
    "prepare": "language_modeling",
    "prepare_translation": "translation",
    "unigram_entropy": "entropy",
}

__all__ = [
    "DataConfig",
    "LanguageModelingData",
    "PairBatch",
    "PairTokenizer",
    "SyntheticBatch",
    "SyntheticConfig",
    "SyntheticData",
    "TokenBatch",
    "Tokenizer",
    "TranslationConfig",
    "TranslationData",
    "bigram_entropy",
    "encode_sentences",
    "encode_source",
    "load_pair_tokenizer",
    "load_tokenizer",
    "prepare",
    "prepare_translation",
    "unigram_entropy",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that reading a configuration does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
