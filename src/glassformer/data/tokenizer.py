"""What every tokenizer of texts is: the interface, and the file that holds one."""

from __future__ import annotations

import codecs
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt

from glassformer.errors import DataError
from glassformer.untrusted import TOKENIZER_LIMIT, read_json

Ids = npt.NDArray[np.int64]
Read = TypeVar("Read")
FILE_NAME = "tokenizer.json"
PAIR = "pair"  # the kind that a saved PairTokenizer says it is: the two of a translator
OWN_FOLDER = "glassformer-tokenizer"  # in a Hugging Face folder: a tokenizer that its own formats cannot hold


class Tokenizer(ABC):
    """Text to ids in ``range(vocab_size)`` and back."""

    kind: ClassVar[str] = ""
    """The name in ``DataConfig.tokenizer`` and in the saved file."""

    @cached_property
    @abstractmethod
    def token_bytes(self) -> list[bytes]:
        """The bytes each token stands for, by id."""

    @abstractmethod
    def encode(self, text: str) -> Ids:
        """The ids of a text, int64 [n]. Raises :class:`DataError` for what cannot be encoded, saying where."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """What :func:`tokenizer_from_dict` reads back, as plain JSON values."""

    @classmethod
    @abstractmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`; any exception means that the tree is damaged."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.token_bytes)

    @property
    def unknown_id(self) -> int | None:
        """The id of <unk>, or None where every text has its own tokens."""
        return None

    @cached_property
    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """UTF-8 bytes of each token, int64 [vocab_size]; for bits per byte. <unk> counts as U+FFFD: 3."""
        return np.array([len(token) for token in self.token_bytes], dtype=np.int64)

    def encode_stream(self, texts: Iterable[str]) -> Iterator[Ids]:
        """The ids of the concatenated texts, piece by piece: the same as encoding the whole at once."""
        for text in texts:
            yield self.encode(text)

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> str:
        """The text of the ids."""
        table = self.token_bytes
        return b"".join([table[self.checked(token)] for token in _as_ints(ids)]).decode("utf-8", errors="replace")

    def stream_decoder(self) -> StreamDecoder:
        """A decoder that is fed one id at a time."""
        return StreamDecoder(self)

    def token_text(self, token: int) -> str:
        r"""One token for display; bytes that are no whole character are written as ``\xe3``."""
        return self.token_bytes[self.checked(token)].decode("utf-8", errors="backslashreplace")

    def save(self, folder: Path) -> Path:
        """Write ``tokenizer.json`` into the folder, whole or not at all, and return its path."""
        return write_tokenizer(self.to_dict(), folder)

    def checked(self, token: int) -> int:
        """The id itself. One outside the vocabulary is a mistake of the caller's."""
        assert 0 <= token < self.vocab_size, f"id {token} is outside the vocabulary of {self.vocab_size} tokens"
        return token


class StreamDecoder:
    """Ids in, printable text out; a character whose bytes span several tokens comes with its last one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The text that is complete now; it may be empty."""
        return self._utf8.decode(self._tokenizer.token_bytes[self._tokenizer.checked(token)])

    def finish(self) -> str:
        """What an unfinished character at the end leaves: U+FFFD or nothing."""
        return self._utf8.decode(b"", final=True)


def write_tokenizer(tree: dict[str, Any], folder: Path) -> Path:
    """Write ``tokenizer.json`` into a folder, whole or not at all, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path, unfinished = folder / FILE_NAME, folder / f".{FILE_NAME}.{os.getpid()}"
    unfinished.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)
    return path


def read_tokenizer(folder: Path, from_dict: Callable[[dict[str, Any]], Read]) -> Read:
    """What ``from_dict`` makes of a folder's ``tokenizer.json``; any exception of its but a DataError means damage.

    Raises :class:`DataError` if the file is missing or damaged.
    """
    path = folder / FILE_NAME
    try:
        return from_dict(read_json(path, limit=TOKENIZER_LIMIT))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"There is no tokenizer to read at {str(path)!r}: {error.strerror or error}.") from error
    except Exception as error:  # JSON, UTF-8, a missing key, a wrong type: all of them mean a damaged file
        raise DataError(
            f"The tokenizer file {str(path)!r} is damaged ({type(error).__name__}: {error}). "
            "Restore it from where the run or the prepared data came from."
        ) from error


def utf8(text: str) -> bytes:
    """The text's UTF-8. Raises :class:`DataError` if it holds half a surrogate pair, which no UTF-8 text can."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"The text is not valid Unicode: {text[error.start]!r} at position {error.start:,} is half of a surrogate "
            "pair, so it has no UTF-8. It often comes from undecodable bytes of a command line; give UTF-8 text."
        ) from None


def _as_ints(ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> list[int]:
    return np.asarray(ids, dtype=np.int64).ravel().tolist()
