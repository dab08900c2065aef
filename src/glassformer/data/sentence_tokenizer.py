"""What every tokenizer of sentences is: sentences to token ids and back, for translation.

A vocabulary begins with four special tokens: ``<pad>`` (fills short rows of a batch), ``<unk>`` (stands for what the
vocabulary lacks), ``<s>`` (with which a translation starts) and ``</s>`` (with which every sentence ends). The other
tokens are learned from training sentences, and the same sentences give the same vocabulary.

Before anything else a sentence is normalised: composed Unicode (NFC), one space for any run of white space, none at
the ends, and lower case if asked for. ``decode(encode(text))`` is the normalised text, wherever nothing is unknown.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

from glassformer.data.tokenizer import utf8

SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
"""The first tokens of every vocabulary that is learned here, by id."""

JOINER = "￭"
"""In a word vocabulary: a symbol with it stands close to its neighbour on that side ("Hello￭," is two tokens)."""

SPACE = "▁"
"""How a space is shown in a token's readable form."""


class SentenceTokenizer(ABC):
    """Sentences of one language to ids in ``range(vocab_size)`` and back."""

    kind: ClassVar[str] = ""
    """The name in ``TranslationConfig.tokenizer`` and in the saved file."""

    stand_in: ClassVar[tuple[str, str]] = ("", "")
    """A character that the vocabulary uses as a mark of its own, and what it is read as in a text."""

    pad_id: int = 0
    unknown_id: int = 1
    start_id: int = 2
    end_id: int = 3

    def __init__(self, vocabulary: Sequence[str], *, lowercase: bool = False) -> None:
        self.vocabulary = list(vocabulary)
        """The tokens by id, each once."""
        self.lowercase = lowercase
        self.id_of = {token: index for index, token in enumerate(self.vocabulary)}
        assert len(self.id_of) == len(self.vocabulary), "a token stands twice in the vocabulary"
        special = (self.pad_id, self.unknown_id, self.start_id, self.end_id)
        assert all(0 <= token < len(self.vocabulary) for token in special), "a special token is not in the vocabulary"

    @classmethod
    def blank(cls, *, lowercase: bool = False) -> Self:
        """One that has learned nothing, for what it does before a vocabulary counts."""
        return cls(SPECIAL_TOKENS, lowercase=lowercase)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the special ones included."""
        return len(self.vocabulary)

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that stand for no text: pad, start and end. (<unk> stands for some text, though for an unknown one.)"""
        return frozenset((self.pad_id, self.start_id, self.end_id))

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a sentence, no special tokens added. Raises :class:`DataError` if it is not valid Unicode."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each sentence."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; pad, start and end are dropped, and an unknown word reads ``<unk>``."""
        return self.join([self.vocabulary[self.checked(token)] for token in ids if token not in self.special_ids])

    @abstractmethod
    def join(self, tokens: Sequence[str]) -> str:
        """The text of some tokens of the vocabulary, none of them pad, start or end."""

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each token in readable form, special ones included; where a space is part of it, it shows as ``▁``."""
        return [self.vocabulary[self.checked(token)] for token in ids]

    def normalise(self, text: str) -> str:
        """What the tokenizer sees of a text (see the module)."""
        if not text.isascii():
            utf8(text)  # raises for half surrogate pairs
            text = text.replace(*self.stand_in) if self.stand_in[0] else text
        if self.lowercase:
            text = text.lower()
        return " ".join(unicodedata.normalize("NFC", text).split())

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`from_dict` reads back, as plain JSON values."""
        return {"kind": self.kind, "lowercase": self.lowercase, "vocabulary": self.vocabulary}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`; any exception means that the tree is damaged."""
        return cls(tree["vocabulary"], lowercase=tree["lowercase"])

    def checked(self, token: int) -> int:
        """The id itself. One outside the vocabulary is a mistake of the caller's."""
        assert 0 <= token < self.vocab_size, f"id {token} is outside the vocabulary of {self.vocab_size} tokens"
        return token
