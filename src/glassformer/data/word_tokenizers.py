"""Sentences by words and symbols, and by characters: what is rare is unknown."""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from glassformer.data.sentence_tokenizer import JOINER, SPACE, SPECIAL_TOKENS, SentenceTokenizer


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
