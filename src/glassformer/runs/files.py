"""Files and folders that survive a crash: durable writes, removal, and the record of what was written.

A file is durable once its bytes *and* the folder entry that names it have been flushed to the disk. A folder of files
appears as a whole or not at all when it is written under another name, flushed, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from glassformer.untrusted import open_regular

CHUNK = 16 * 2**20  # bytes hashed and moved at a time: large enough to be fast, small enough to answer Ctrl-C
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class FileRecord:
    """What a file held when it was written: its length in bytes and the SHA-256 of them, in hexadecimal."""

    bytes: int
    sha256: str


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
    draft = temporary(path)
    try:
        write_durably(draft, data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    fsync_folder(path.parent)


def temporary(path: Path) -> Path:
    """A name beside ``path``, for what is not there yet or is about to go; :func:`remove_leftovers` knows it."""
    return path.with_name(f".tmp-{path.name}-{os.getpid()}-{os.urandom(4).hex()}")


def remove_folders(paths: Collection[Path]) -> None:
    """Remove folders. Each is renamed first: killed half-way, none is left half-deleted under
    its own name.
    """
    hidden = [path.rename(temporary(path)) for path in paths]
    for parent in {path.parent for path in hidden}:
        fsync_folder(parent)
    for path in hidden:
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the folders that killed writers left. The caller holds a lock, so no living one is at work on any."""
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def need_room(folder: Path, needed: int) -> None:
    """Fail before the first byte, as the disk would after many: ``OSError`` when fewer bytes are free than needed."""
    if needed > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def hash_file(path: Path) -> FileRecord:
    """The length and hash of a file as it is now."""
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it has a readinto
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
