"""The data room: from a name of some text to batches of tokens.

=====================  ==========================================================================================
``config``             what the data are: text, tokenizer, split
``sources``            where text comes from, as a stream of pieces (``reading``: files; ``hub``: Hugging Face)
``tokenizers``         text to ids and back: characters and bytes (``byte_pairs``: the byte-pair encodings)
``preparation``        text to token files, once (``spool``: the text while it is split; ``token_files``: the ids)
``language_modeling``  the batches that a language model trains and is validated on
``entropy``            what a model that sees no context, or one token of it, can reach at best
=====================  ==========================================================================================

>>> data = prepare(DataConfig(source="tinyshakespeare"))  # doctest: +SKIP
>>> batch = data.batch(step=0, seed=1, batch_size=12, seq_len=64)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glassformer.data.config import DataConfig
    from glassformer.data.entropy import bigram_entropy, unigram_entropy
    from glassformer.data.language_modeling import LanguageModelingData, TokenBatch, prepare
    from glassformer.data.preparation import encode_source
    from glassformer.data.tokenizers import Tokenizer, load_tokenizer

_HOMES = {
    "DataConfig": "config",
    "LanguageModelingData": "language_modeling",
    "TokenBatch": "language_modeling",
    "Tokenizer": "tokenizers",
    "bigram_entropy": "entropy",
    "encode_source": "preparation",
    "load_tokenizer": "tokenizers",
    "prepare": "language_modeling",
    "unigram_entropy": "entropy",
}

__all__ = [
    "DataConfig",
    "LanguageModelingData",
    "TokenBatch",
    "Tokenizer",
    "bigram_entropy",
    "encode_source",
    "load_tokenizer",
    "prepare",
    "unigram_entropy",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that reading a configuration does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
