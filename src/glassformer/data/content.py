"""The identity of a file is its content: a SHA-256, which does not depend on its path, its name or its times.

A large file is not hashed again while nothing says that it changed: its hash is remembered in the cache with the
file's size, its times of modification and of change, its inode and its device. ``touch`` costs another hash and changes
nothing; an edit that keeps the size and puts the old modification time back still moves the time of change, which no
program can set.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from glassformer.errors import DataError
from glassformer.places import cache_folder

REMEMBERED_BYTES = 1 << 20
"""Files from this size on are remembered; smaller ones are hashed faster than a memory of them is read."""

SETTLED_NS = 2_000_000_000
"""Clocks of file systems are coarse (FAT counts in 2 s): a file that changed less than this ago may change once more
without another time, so it is not remembered yet (git calls such an entry racily clean)."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises :class:`DataError` if it cannot be read."""
    try:
        before = _stamp(path)
        if before[0] < REMEMBERED_BYTES:
            return _hashed(path)
        if (known := _recall(path, before)) is not None:
            return known
        sha256 = _hashed(path)
        if _stamp(path) == before and time.time_ns() - max(before[1:3]) > SETTLED_NS:
            _remember(path, before, sha256)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    return sha256


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _recall(path: Path, stamp: list[int]) -> str | None:
    """The hash that was remembered of the file as it is now; None if there is none, or it cannot be read."""
    try:
        entry = json.loads(_entry(path).read_text(encoding="utf-8"))
        sha256 = entry["sha256"]
        return sha256 if entry["stamp"] == stamp and isinstance(sha256, str) and len(sha256) == 64 else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _remember(path: Path, stamp: list[int], sha256: str) -> None:
    """Write the entry in one step. A cache that cannot be written costs time, and nothing else."""
    entry = _entry(path)
    draft = entry.with_name(f"{entry.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(json.dumps({"stamp": stamp, "sha256": sha256}), encoding="utf-8")
            draft.replace(entry)
        finally:
            draft.unlink(missing_ok=True)


def _entry(path: Path) -> Path:
    """Where the hash of the file at this path is remembered: one entry a path, which a changed file overwrites."""
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
    return cache_folder() / "hashes" / f"{name}.json"
