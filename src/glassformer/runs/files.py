"""Files that survive a crash: durable writes, locks that die with their process, and tensors as a hashed stream.

A file is durable once its bytes *and* the folder entry that names it have been flushed to the disk. A folder of files
appears as a whole or not at all when it is written under another name, flushed, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import sys
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

CHUNK = 16 * 2**20  # bytes hashed and moved at a time: large enough to be fast, small enough to answer Ctrl-C
NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

# The format's names of the types of numbers, https://github.com/huggingface/safetensors#format
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class FileRecord:
    """What a file held when it was written: its length in bytes and the SHA-256 of them, in hexadecimal."""

    bytes: int
    sha256: str


# ---------------------------------------------------------------------------------------------- durable writes


def fsync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a file created or renamed in it is still there after a power cut."""
    if os.name == "nt":  # Windows has no such call; NTFS journals its entries
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems do not know it for folders
            raise
    finally:
        os.close(descriptor)


class HashingWriter:
    """A file being written, and the hash of what went in, so that nothing has to be read back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append to the file. ``data`` is made of single bytes."""
        view = memoryview(data)
        for start in range(0, len(view), CHUNK):
            piece = view[start : start + CHUNK]
            self._file.write(piece)
            self._hash.update(piece)
            self._bytes += len(piece)

    def record(self) -> FileRecord:
        """What has been written so far."""
        return FileRecord(self._bytes, self._hash.hexdigest())


@contextlib.contextmanager
def durable_file(path: Path) -> Iterator[HashingWriter]:
    """A new file to write into; on leaving, its bytes are on the disk. Its folder's entry is the caller's to flush."""
    with path.open("xb") as file:
        yield HashingWriter(file)
        file.flush()
        os.fsync(file.fileno())


def write_durably(path: Path, data: bytes) -> FileRecord:
    """Write one new file and flush it."""
    with durable_file(path) as file:
        file.write(data)
    return file.record()


def replace_durably(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: another process, or a crash, sees the old content or the new, whole."""
    draft = path.with_name(f".tmp-{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        write_durably(draft, data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    fsync_folder(path.parent)


def hash_file(path: Path) -> FileRecord:
    """The length and hash of a file as it is now."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(file.tell(), digest)


def readable_bytes(count: int) -> str:
    """A number of bytes, for people and exactly.

    >>> readable_bytes(12_345_678)
    '12.3 MB (12,345,678 bytes)'
    """
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit} ({count:,} bytes)"


# ------------------------------------------------------------------------- tensors, in the safetensors format
#
# The file is: 8 bytes, the length of the header (little-endian); the header, JSON padded with spaces to a multiple of
# 8; the tensors' bytes, without gaps. The `safetensors` package reads it. It is written and read here, tensor by tensor
# with the hash beside it, because the package copies the whole model once on the way out and once on the way in, and
# because what is handed back must be the very bytes that were hashed.


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileRecord:
    """Write a new safetensors file, holding at most one tensor's copy at a time (none for a contiguous CPU tensor)."""
    header, order = _header(tensors)
    with durable_file(path) as file:
        file.write(header)
        for name in order:
            file.write(_bytes_of(tensors[name].detach().cpu().contiguous()))
    return file.record()


def tensors_size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the file that :func:`write_tensors` makes."""
    header, _ = _header(tensors)
    return len(header) + sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def read_tensors(path: Path) -> tuple[dict[str, Tensor], FileRecord]:
    """Read a safetensors file onto the CPU, each byte once, and hash what was read.

    Each tensor gets memory of its own, aligned as torch aligns any other, so that sums over it come out the same.
    Raises ``ValueError`` where the file is not in the format; a hash that differs is for the caller to notice.
    """
    size = path.stat().st_size
    digest, tensors = hashlib.sha256(), {}
    with path.open("rb", buffering=0) as file:
        length = file.read(8)
        if len(length) != 8 or (count := int.from_bytes(length, "little")) > size - 8:
            raise ValueError("its header is cut short")
        header = file.read(count)
        digest.update(length + header)
        position = 8 + count
        for name, dtype, shape, start, end in _layout(header, data_bytes=size - position):
            if math.prod(shape) * dtype.itemsize != end - start:
                raise ValueError(f"the shape of '{name}' does not fit its bytes")
            tensor = torch.empty(shape, dtype=dtype)
            position += _read_into(file, _bytes_of(tensor), digest)
            tensors[name] = tensor
        return tensors, FileRecord(position, digest.hexdigest())


def _header(tensors: Mapping[str, Tensor]) -> tuple[bytes, list[str]]:
    """The header with its length, and the order of the tensors: wide types first, so that each stays aligned."""
    assert sys.byteorder == "little", "safetensors files are little-endian, and so far so is every machine we run on"
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers asks for this mark
    start = 0
    for name in order:
        tensor = tensors[name]
        assert name != "__metadata__", "the format keeps this name for itself"
        assert tensor.dtype in DTYPE_NAMES, f"{name}: {tensor.dtype} cannot be stored"
        end = start + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end],
        }  # fmt: skip
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order


def _layout(header: bytes, data_bytes: int) -> Iterator[tuple[str, torch.dtype, list[int], int, int]]:
    """(name, dtype, shape, start, end) in the order of the file; ``ValueError`` unless they cover the data exactly."""
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        rows = [
            (name, DTYPES[entry["dtype"]], list(entry["shape"]), *entry["data_offsets"])
            for name, entry in entries.items()
        ]
        rows.sort(key=lambda row: (row[3], row[4]))
        ends = [0, *(row[4] for row in rows)]
        covered = all(row[3] == end <= row[4] for row, end in zip(rows, ends, strict=False)) and ends[-1] == data_bytes
        plain = all(type(size) is int and size >= 0 for row in rows for size in (*row[2], row[3], row[4]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError("its header cannot be read") from error
    if not covered or not plain:
        raise ValueError("its header does not fit its length")
    yield from rows


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, as bytes; writing into it writes into the tensor."""
    array: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _read_into(file: Any, target: memoryview, digest: Any) -> int:
    """Fill ``target`` from the file, hashing as it comes; the number of bytes read."""
    position = 0
    while position < len(target):
        count = file.readinto(target[position : position + CHUNK])
        if not count:
            raise ValueError("it ended while being read")
        digest.update(target[position : position + count])
        position += count
    return position


# ------------------------------------------------------------------------------------------------------- locks


class FileLock:
    """A lock between processes, and between two of its own kind in one process, that ends when its holder does.

    The kernel holds it (``flock``; ``msvcrt.locking`` on Windows), not the file's existence: after a SIGKILL there is
    nothing stale. Children made by ``fork`` do not keep it. Where the file system has no locks, a warning says so and
    the work goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; with ``wait=False``, False at once when another has it."""
        assert self._descriptor is None, "this lock is held already"
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, wait)
        except OSError as error:
            if error.errno not in NO_LOCKS_HERE:
                os.close(descriptor)
                if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                    return False
                raise
            warnings.warn(
                f"The file system of {self.path.parent} has no locks: keep other processes from writing here.",
                stacklevel=2,
            )
        self._descriptor = descriptor
        _held.add(self)
        with contextlib.suppress(OSError):  # a hint for messages; a full disk must not stop the lock
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        return True

    def release(self) -> None:
        """Give the lock back. Without effect when it is not held."""
        if self._descriptor is not None:
            _held.discard(self)
            descriptor, self._descriptor = self._descriptor, None
            _unlock(descriptor)
            os.close(descriptor)

    def holder(self) -> str:
        """The process that took the lock last, for a message: ``process 1234``."""
        try:
            return f"process {int(self.path.read_text())}"
        except (OSError, ValueError):
            return "another process"

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def forget_in_child(self) -> None:
        """Close the descriptor that a forked child inherited: else the child would keep the lock after its parent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


if sys.platform == "win32":
    import msvcrt

    _FAR = 2**30  # the byte that is locked, beyond the content, which stays readable

    def _lock(descriptor: int, wait: bool) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        while True:
            try:  # LK_LOCK gives up after ten tries of a second each
                msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError as error:
                if not wait or error.errno not in (errno.EACCES, errno.EDEADLK):
                    raise
            else:
                break
        os.lseek(descriptor, 0, os.SEEK_SET)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int, wait: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

    def _unlock(descriptor: int) -> None:
        with contextlib.suppress(OSError):  # closing gives it back in any case
            fcntl.flock(descriptor, fcntl.LOCK_UN)


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()

if hasattr(os, "register_at_fork"):

    def _forget_all_in_child() -> None:
        for lock in list(_held):
            lock.forget_in_child()
        _held.clear()

    os.register_at_fork(after_in_child=_forget_all_in_child)
