"""The standard streams as a command finds them: closed, full, left by their reader, or of an encoding with few letters.

A stream that was closed (``>&-``) is written to nowhere, as if it were ``/dev/null``. A character that the encoding of
a stream lacks is written as an escape. What cannot be written because the disk is full, say, ends the command with
a message; a reader that leaves early (``| head``) ends it in silence.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True)
class Lost:
    """A standard stream that could not be written, and why."""

    name: str
    error: OSError

    @property
    def reader_left(self) -> bool:
        """Whether it is a pipe that nobody reads any more."""
        return isinstance(self.error, BrokenPipeError)

    def __str__(self) -> str:
        return f"{self.name.capitalize()} cannot be written: {self.error.strerror}. Send it somewhere else."


class _Watched(io.FileIO):
    """A descriptor that remembers that it could not be written: by whom this is noticed first is a matter of luck."""

    failed: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failed = error
            raise


def own_process() -> None:
    """For a process of ours alone: no descriptor below 3 is closed, and failures of the output are remembered.

    A descriptor that is closed would be that of the next file that is opened, and a library that prints would write
    into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    sys.stdout, sys.stderr = _watched(sys.stdout), _watched(sys.stderr)


def _watched(stream: TextIO | None) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper) or type(getattr(stream.buffer, "raw", stream.buffer)) is not io.FileIO:
        return stream  # a Windows console, for which Python has another class
    raw = _Watched(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding)


def prepare() -> None:
    """A log file shows each line when it is written, and no character is an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def lost_output() -> Lost | None:
    """What could not be written so far, standard output first; from then on it is written to nowhere.

    So Python's own flush at exit has nothing to complain about.
    """
    found = None
    for name, stream in (("standard error", sys.stderr), ("standard output", sys.stdout)):
        with contextlib.suppress(OSError):
            stream.flush()
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        if isinstance(raw, _Watched) and raw.failed is not None:
            found = Lost(name, raw.failed)
            raw.failed = None
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, raw.fileno())
            os.close(nowhere)
    return found


REFUSALS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.EACCES,
    errno.EPERM,
    errno.ENODEV,
    errno.ESTALE,
    errno.ENOLCK,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
"""What a system answers for want of room, rights or a working device, or to a path that none can have."""
