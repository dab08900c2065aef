"""Files of token ids: little-endian unsigned integers, two bytes each up to 65,536 tokens of vocabulary, else four."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from glassformer.errors import DataError

CHUNK_TOKENS = 1 << 22
_MAY_STAY_BYTES = 1 << 26  # a file up to this size may stay in memory whole
_RELEASE_AFTER_WINDOWS = 128  # a window needs one or two pages, but Linux may map the 2 MB around them: 256 MB


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The type of a file's ids."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class TokenFile:
    """The ids of a file, mapped into memory: reading a slice touches only its pages.

    Pages that were touched count as this process's resident memory although the system can drop them; they are
    given back every now and then, so that a file larger than memory can be read at random for ever.
    """

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any]) -> None:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._ids: npt.NDArray[Any] = np.frombuffer(self._map, dtype=dtype)
        self._windows_read = 0

    @classmethod
    def open(cls, path: Path, dtype: np.dtype[Any]) -> Self:
        """Map a file that :class:`TokenWriter` wrote."""
        try:
            with path.open("rb") as file:
                return cls(file, dtype)
        except (OSError, ValueError) as error:
            raise DataError(
                f"The token file {str(path)!r} cannot be read: {error}. Delete its folder to have it prepared again."
            ) from error

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the ids in the file."""
        return self._ids.dtype

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, where: slice) -> npt.NDArray[np.int64]:
        """A copy of some consecutive ids, int64."""
        return self._ids[where].astype(np.int64)

    def windows(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """The ids ``starts[i] … starts[i] + length - 1`` as row i: int64 [len(starts), length]."""
        rows = np.empty((len(starts), length), dtype=np.int64)
        for first in range(0, len(starts), _RELEASE_AFTER_WINDOWS):
            group = slice(first, first + _RELEASE_AFTER_WINDOWS)
            rows[group] = self._ids[starts[group, None] + np.arange(length)]
            self._windows_read += len(rows[group])
            if self._windows_read >= _RELEASE_AFTER_WINDOWS:
                self._windows_read = 0
                self._release()
        return rows

    def chunks(self, size: int = CHUNK_TOKENS, *, overlap: int = 0) -> Iterator[npt.NDArray[np.int64]]:
        """All ids in order, ``size`` at a time; each chunk begins with the last ``overlap`` ids of the one before."""
        for start in range(0, max(len(self) - overlap, 0), size):
            yield self[start : start + size + overlap]
            self._release()

    def _release(self) -> None:
        if len(self._map) > _MAY_STAY_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


class TokenWriter:
    """Writes ids to a file as they come, and counts and hashes them."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any]) -> None:
        self._file, self._dtype = file, dtype
        self._digest = hashlib.sha256()
        self.tokens = 0

    def write(self, ids: npt.NDArray[np.int64]) -> None:
        """Append some ids."""
        content = ids.astype(self._dtype).tobytes()
        self._digest.update(content)
        self._file.write(content)
        self.tokens += len(ids)

    @property
    def sha256(self) -> str:
        """Of everything written so far, in hexadecimal."""
        return self._digest.hexdigest()


def temporary_token_file(pieces: Iterable[npt.NDArray[np.int64]], vocab_size: int) -> TokenFile:
    """Ids in a file without a name, which is gone when nobody uses it any more. At least one id must come."""
    with tempfile.TemporaryFile() as file:
        writer = TokenWriter(file, token_dtype(vocab_size))
        for ids in pieces:
            writer.write(ids)
        file.flush()
        assert writer.tokens, "a token file holds at least one token"
        return TokenFile(file, token_dtype(vocab_size))
