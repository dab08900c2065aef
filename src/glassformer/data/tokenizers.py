"""Text to token ids and back: the interface, and the two tokenizers that need no training of merges.

Every token here stands for a fixed sequence of bytes, so decoding, streaming and bits per byte are the same for all:
join the tokens' bytes and read them as UTF-8. Bytes that are not valid UTF-8 (a model may produce any sequence)
become U+FFFD, the replacement character.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from glassformer.data.tokenizer import FILE_NAME, OWN_FOLDER, PAIR, Ids, StreamDecoder, Tokenizer, read_tokenizer, utf8
from glassformer.errors import DataError, nearest

__all__ = [
    "FILE_NAME",
    "OWN_FOLDER",
    "PAIR",
    "ByteTokenizer",
    "CharacterTokenizer",
    "Ids",
    "StreamDecoder",
    "Tokenizer",
    "load_tokenizer",
    "read_tokenizer",
    "tokenizer_from_dict",
    "utf8",
]


class CharacterTokenizer(Tokenizer):
    """One token per character (Unicode code point) of the training text, in the order of their code points.

    With ``replaces_unknown`` the last id is <unk>, which stands for every other character.
    """

    kind = "characters"

    def __init__(self, characters: str, *, replaces_unknown: bool = False) -> None:
        self.characters = "".join(sorted(set(characters)))
        self.replaces_unknown = replaces_unknown
        codes = _code_points(self.characters).astype(np.int64)
        fallback = len(codes) if replaces_unknown else -1
        self._id_of_code = np.full(int(codes.max(initial=0)) + 2, fallback, dtype=np.int64)  # the last: beyond all
        self._id_of_code[codes] = np.arange(len(codes))

    @classmethod
    def train(cls, texts: Iterable[str], *, replaces_unknown: bool = False) -> CharacterTokenizer:
        """The tokenizer of the characters that occur in the texts."""
        seen = np.zeros(0x110000, dtype=np.bool_)
        for text in texts:
            seen[_code_points(text)] = True
        return cls("".join(map(chr, np.flatnonzero(seen))), replaces_unknown=replaces_unknown)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """Each character's UTF-8."""
        known = [character.encode() for character in self.characters]
        return [*known, "\ufffd".encode()] if self.replaces_unknown else known

    @property
    def unknown_id(self) -> int | None:
        """The id of <unk>, or None if an unknown character is an error."""
        return len(self.characters) if self.replaces_unknown else None

    def encode(self, text: str) -> Ids:
        """One id a character; an unknown one is <unk> or a :class:`DataError` that names it."""
        return self._encode(text, start=0)

    def encode_stream(self, texts: Iterable[str]) -> Iterator[Ids]:
        """The ids piece by piece; positions in messages count from the beginning of the first."""
        start = 0
        for text in texts:
            yield self._encode(text, start)
            start += len(text)

    def token_text(self, token: int) -> str:
        """The character itself, or ``<unk>``."""
        return "<unk>" if token == self.unknown_id else super().token_text(token)

    def to_dict(self) -> dict[str, Any]:
        """The characters in the order of their ids."""
        return {"kind": self.kind, "characters": self.characters, "replaces_unknown": self.replaces_unknown}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`."""
        tokenizer = cls(tree["characters"], replaces_unknown=tree["replaces_unknown"])
        assert tokenizer.characters == tree["characters"], "the characters are not in order"
        return tokenizer

    def _encode(self, text: str, start: int) -> Ids:
        table = self._id_of_code
        ids: Ids = table[np.minimum(_code_points(text), np.uint32(len(table) - 1))]
        if not self.replaces_unknown and (unknown := np.flatnonzero(ids < 0)).size:
            raise DataError(self._describe_unknown(text, unknown, start))
        return ids

    def _describe_unknown(self, text: str, positions: npt.NDArray[np.intp], start: int) -> str:
        first: dict[str, int] = {}
        for position in positions.tolist():
            first.setdefault(text[position], position)
            if len(first) > 10:
                break
        named = [f"{c!r} (U+{ord(c):04X}) at position {start + at:,}" for c, at in list(first.items())[:10]]
        more = ", and more" if len(first) > 10 else ""
        return (
            f"The text has characters outside the vocabulary of {self.vocab_size}: {', '.join(named)}{more}. "
            "The vocabulary holds the characters of the training text. Remove them, or train with "
            "data.unknown=replace, which reads them as <unk>, or with data.tokenizer=bpe or bytes, which know every "
            "text."
        )


class ByteTokenizer(Tokenizer):
    """One token per byte of the text's UTF-8: 256 tokens, every text."""

    kind = "bytes"

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The byte itself."""
        return [bytes([value]) for value in range(256)]

    def encode(self, text: str) -> Ids:
        """The UTF-8 bytes."""
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Nothing but the kind."""
        return {"kind": self.kind}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`."""
        assert tree["kind"] == cls.kind, "a byte tokenizer has no other settings"
        return cls()


def tokenizer_from_dict(tree: dict[str, Any]) -> Tokenizer:
    """The tokenizer that ``to_dict`` described. Raises :class:`DataError` for an unknown kind."""
    from glassformer.data.byte_pairs import Gpt2Tokenizer, TrainedBytePairTokenizer
    from glassformer.data.synthetic_tokenizer import SymbolTokenizer

    kinds: list[type[Tokenizer]] = [CharacterTokenizer, ByteTokenizer, TrainedBytePairTokenizer, Gpt2Tokenizer]
    kinds.append(SymbolTokenizer)
    by_kind = {each.kind: each for each in kinds}
    kind = str(tree.get("kind"))
    if kind == PAIR:
        raise DataError(
            "This is the pair of tokenizers of a translator, and a language model's is expected here. "
            "Name a run or prepared data of a language model."
        )
    if kind not in by_kind:
        raise DataError(f"There is no tokenizer of kind {kind!r}. {nearest(kind, by_kind)}")
    return by_kind[kind].from_dict(tree)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer saved in a folder. Raises :class:`DataError` if it is missing or damaged."""
    return read_tokenizer(folder, tokenizer_from_dict)


def _code_points(text: str) -> npt.NDArray[np.uint32] | npt.NDArray[np.uint8]:
    """The characters as numbers; a byte each where the text is ASCII, which is a quarter of the memory."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
