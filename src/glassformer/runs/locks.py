"""A lock between processes that dies with its process, so that a crash leaves nothing stale."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from glassformer.untrusted import read_text

NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class FileLock:
    """A lock between processes, and between two of its own kind in one process, that ends when its holder does.

    The kernel holds it (``flock``; ``msvcrt.locking`` on Windows), not the file's existence: after a SIGKILL there is
    nothing stale. Children made by ``fork`` do not keep it. Where the file system has no locks, a warning says so and
    the work continues.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; with ``wait=False``, False at once when another has it."""
        assert self._descriptor is None, "this lock is held already"
        # a stranger's folder may hold a link in the lock's place, and what it points to would be written over
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
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
            return f"process {int(read_text(self.path, limit=64))}"
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
