"""The two tokenizers of a translator, and sentences as its encoder takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.data.sentence_tokenizer import SentenceTokenizer
from glassformer.data.tokenizer import PAIR, write_tokenizer


class PairTokenizer:
    """The tokenizers of a source and a target language; one and the same if their vocabulary is joint."""

    def __init__(self, source: SentenceTokenizer, target: SentenceTokenizer) -> None:
        self.source = source
        self.target = target

    @property
    def joint(self) -> bool:
        """Whether both languages share one vocabulary."""
        return self.source is self.target

    def to_dict(self) -> dict[str, Any]:
        """Both, or one if it serves both, as plain JSON values."""
        return {
            "kind": PAIR,
            "source": self.source.to_dict(),
            "target": None if self.joint else self.target.to_dict(),
        }

    def save(self, folder: Path) -> Path:
        """Write ``tokenizer.json`` into the folder, whole or not at all, and return its path."""
        return write_tokenizer(self.to_dict(), folder)


@dataclass(frozen=True, slots=True)
class EncodedSentences:
    """Sentences to translate, as the encoder takes them."""

    ids: list[list[int]]
    """For each sentence its tokens and the end token; an empty sentence is the end token alone."""

    shortened: list[int]
    """The numbers, from 0, of sentences that were too long and lost their end."""


def encode_sentences(tokenizer: PairTokenizer, sentences: Sequence[str], max_length: int) -> EncodedSentences:
    """Source sentences as ids; of one with more than ``max_length`` tokens, end token included, the first are kept."""
    assert max_length >= 2, "a token and the end token"
    source = tokenizer.source
    encoded = source.encode_all(sentences)
    return EncodedSentences(
        ids=[[*ids[: max_length - 1], source.end_id] for ids in encoded],
        shortened=[number for number, ids in enumerate(encoded) if len(ids) >= max_length],
    )
