"""The tokenizers of sentences by kind, and those that a folder holds.

=================  ==============================================================================================
``words``          words and symbols; rare ones are unknown (:mod:`word_tokenizers`)
``characters``     one token a character; rare ones are unknown
``bpe``            byte-pair encoding with bytes to fall back on: nothing is unknown (:mod:`sentence_bpe`)
=================  ==============================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glassformer.data.pair_tokenizer import EncodedSentences, PairTokenizer, encode_sentences
from glassformer.data.sentence_tokenizer import JOINER, SPACE, SPECIAL_TOKENS, SentenceTokenizer
from glassformer.data.tokenizer import FILE_NAME, PAIR, read_tokenizer
from glassformer.data.word_tokenizers import SentenceCharacterTokenizer, WordTokenizer
from glassformer.errors import DataError, nearest

__all__ = [
    "JOINER",
    "SPACE",
    "SPECIAL_TOKENS",
    "EncodedSentences",
    "PairTokenizer",
    "SentenceCharacterTokenizer",
    "SentenceTokenizer",
    "WordTokenizer",
    "encode_sentences",
    "load_pair_tokenizer",
    "sentence_tokenizer_from_dict",
]


def load_pair_tokenizer(folder: Path) -> PairTokenizer:
    """The tokenizers saved in a folder. Raises :class:`DataError` if they are missing, damaged or of another task."""

    def from_dict(tree: dict[str, Any]) -> PairTokenizer:
        if tree["kind"] != PAIR:
            raise DataError(
                f"{str(folder / FILE_NAME)!r} holds the '{tree['kind']}' tokenizer of a language model, not the two of "
                "a translator. Name a run or prepared data of the translation task."
            )
        source = sentence_tokenizer_from_dict(tree["source"])
        target = tree["target"]
        return PairTokenizer(source, source if target is None else sentence_tokenizer_from_dict(target))

    return read_tokenizer(folder, from_dict)


def sentence_tokenizer_from_dict(tree: dict[str, Any]) -> SentenceTokenizer:
    """The tokenizer that ``to_dict`` described. Raises :class:`DataError` for an unknown kind."""
    from glassformer.data.marian_tokenizers import MarianSentenceTokenizer
    from glassformer.data.sentence_bpe import SentenceBytePairTokenizer

    kinds: list[type[SentenceTokenizer]] = [
        WordTokenizer,
        SentenceCharacterTokenizer,
        SentenceBytePairTokenizer,
        MarianSentenceTokenizer,
    ]
    by_kind = {each.kind: each for each in kinds}
    kind = str(tree["kind"])
    if kind not in by_kind:
        raise DataError(f"There is no tokenizer of sentences of kind {kind!r}. {nearest(kind, by_kind)}")
    return by_kind[kind].from_dict(tree)
