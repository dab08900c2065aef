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
from typing import TextIO


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


class LostOutputError(Exception):
    """Standard output could not be written, at a place where only the writer can know that it was that."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.lost = Lost("standard output", error)


def occupy() -> None:
    """Open what is closed of the descriptors 0, 1 and 2: else the next file that is opened would get its number.

    A library that prints there would write into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def prepare() -> None:
    """A log file shows each line when it is written, and no character is an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def write_bytes(content: bytes) -> None:
    """Bytes on standard output. Raises :class:`LostOutputError`."""
    sys.stdout.flush()
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise LostOutputError(error) from error


def lost_output() -> Lost | None:
    """What could not be written so far, standard output first; from then on it is written to nowhere.

    A stream keeps what it could not write, and fails again when it is flushed: so it is known which one failed,
    wherever that was noticed, and Python's own flush at exit has nothing to complain about.
    """
    found = None
    for name, stream in (("standard error", sys.stderr), ("standard output", sys.stdout)):
        try:
            stream.flush()
        except OSError as error:
            found = Lost(name, error)
            _silence(stream)
    return found


def _silence(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # a stream of memory has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


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
}
"""What a system answers for want of room, rights or a working device: no fault of the program."""
