"""Sentences to token ids and back, for translation: the interface, words, characters, and the two of a pair.

A vocabulary begins with four special tokens: ``<pad>`` (fills short rows of a batch), ``<unk>`` (stands for what the
vocabulary lacks), ``<s>`` (with which a translation starts) and ``</s>`` (with which every sentence ends). The other
tokens are learned from training sentences, and the same sentences give the same vocabulary.

Before anything else a sentence is normalised: composed Unicode (NFC), one space for any run of white space, none at
the ends, and lower case if asked for. ``decode(encode(text))`` is the normalised text, wherever nothing is unknown.

=================  ==============================================================================================
``words``          words and symbols; rare ones are unknown
``characters``     one token a character; rare ones are unknown
``bpe``            byte-pair encoding with bytes to fall back on: nothing is unknown (:mod:`sentence_bpe`)
=================  ==============================================================================================
"""

from __future__ import annotations

import itertools
import json
import os
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

from glassformer.data.tokenizers import FILE_NAME, PAIR, read_tokenizer, utf8
from glassformer.errors import DataError, nearest

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
            utf8(text)  # refuses half surrogate pairs
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


class WordTokenizer(SentenceTokenizer):
    """A token for each word and each symbol that is seen often enough.

    A word is a run of letters, marks and digits (any script; invisible format characters belong to it); a symbol is
    any other visible character, and the same one repeated (``...``) is one symbol. Where a symbol stands close to what
    is before or after it, its token bears a :data:`JOINER` on that side, so that the text can be put together again:
    ``He said, "go".`` is ``He said ￭, "￭ go ￭" ￭.``.
    """

    kind = "words"
    stand_in = (JOINER, "■")

    @classmethod
    def train(cls, texts: Iterable[str], *, min_count: int = 1, lowercase: bool = False) -> WordTokenizer:
        """The tokens seen at least ``min_count`` times, the most frequent first, equals in the order of Unicode."""
        blank = cls.blank(lowercase=lowercase)
        counts = Counter(token for text in texts for token in blank.split(text))
        return cls([*SPECIAL_TOKENS, *_most_frequent(counts, min_count)], lowercase=lowercase)

    def split(self, text: str) -> list[str]:
        """The words and symbols of a text, known or not."""
        return [token for chunk in self.normalise(text).split(" ") if chunk for token in _words_and_symbols(chunk)]

    def encode(self, text: str) -> list[int]:
        """An id for each word and symbol."""
        return [self.id_of.get(token, self.unknown_id) for token in self.split(text)]

    def join(self, tokens: Sequence[str]) -> str:
        """The tokens with spaces between them, except where a joiner says that there is none."""
        text = " ".join(tokens).replace(" " + JOINER, "").replace(JOINER + " ", "")
        return text.replace(JOINER, "")

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The words and symbols without their joiners."""
        return [piece.strip(JOINER) for piece in super().pieces(ids)]


class SentenceCharacterTokenizer(SentenceTokenizer):
    """A token for each character (Unicode code point) that is seen often enough."""

    kind = "characters"

    @classmethod
    def train(cls, texts: Iterable[str], *, min_count: int = 1, lowercase: bool = False) -> SentenceCharacterTokenizer:
        """The characters seen at least ``min_count`` times, the most frequent first, equals in the order of Unicode."""
        blank = cls.blank(lowercase=lowercase)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(blank.normalise(text))
        return cls([*SPECIAL_TOKENS, *_most_frequent(counts, min_count)], lowercase=lowercase)

    def encode(self, text: str) -> list[int]:
        """An id a character."""
        return [self.id_of.get(character, self.unknown_id) for character in self.normalise(text)]

    def join(self, tokens: Sequence[str]) -> str:
        """The characters one after another."""
        return "".join(tokens)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The characters; a space shows as ``▁``."""
        return [SPACE if piece == " " else piece for piece in super().pieces(ids)]


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

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`."""
        source = sentence_tokenizer_from_dict(tree["source"])
        return cls(source, source if tree["target"] is None else sentence_tokenizer_from_dict(tree["target"]))

    def save(self, folder: Path) -> Path:
        """Write ``tokenizer.json`` into the folder, whole or not at all, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path, unfinished = folder / FILE_NAME, folder / f".{FILE_NAME}.{os.getpid()}"
        unfinished.write_text(json.dumps(self.to_dict(), ensure_ascii=False), encoding="utf-8")
        unfinished.replace(path)
        return path


def load_pair_tokenizer(folder: Path) -> PairTokenizer:
    """The tokenizers saved in a folder. Raises :class:`DataError` if they are missing, damaged or of another task."""

    def from_dict(tree: dict[str, Any]) -> PairTokenizer:
        if tree["kind"] != PAIR:
            raise DataError(
                f"{str(folder / FILE_NAME)!r} holds the '{tree['kind']}' tokenizer of a language model, not the two of "
                "a translator. Name a run or prepared data of the translation task."
            )
        return PairTokenizer.from_dict(tree)

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


def _most_frequent(counts: Counter[str], min_count: int) -> list[str]:
    kept = (token for token, count in counts.items() if count >= min_count)
    return sorted(kept, key=lambda token: (-counts[token], token))


@lru_cache(maxsize=1 << 16)
def _words_and_symbols(chunk: str) -> tuple[str, ...]:
    """The tokens of a text without white space, symbols marked where they touch a neighbour."""
    runs = [(key, "".join(run)) for key, run in itertools.groupby(chunk, key=_word_or_symbol)]
    tokens = []
    for place, (key, run) in enumerate(runs):
        before = JOINER if key and place > 0 else ""
        after = JOINER if key and place + 1 < len(runs) and not runs[place + 1][0] else ""
        tokens.append(before + run + after)
    return tuple(tokens)


def _word_or_symbol(character: str) -> str:
    """Empty for a character of a word; a symbol is itself, so that only equal ones run together."""
    category = unicodedata.category(character)
    return "" if category[0] in "LMN" or category == "Cf" else character
