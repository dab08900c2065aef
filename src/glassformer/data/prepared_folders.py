"""A folder of prepared data that is there whole or not at all.

It is made under another name and renamed when it is whole, so a preparation that is killed leaves nothing that could
be taken for whole, and of two at once the first to finish wins.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from glassformer.errors import DataError


def prepared_folder(folder: Path, *, is_whole: Callable[[Path], bool], fill: Callable[[Path], None]) -> Path:
    """The folder itself, which ``fill`` made now, into an empty folder of another name, unless it is whole already.

    Raises :class:`DataError` for what is wrong with the disk, and whatever ``fill`` raises; then nothing is left.
    """
    if is_whole(folder):
        return folder
    cache = folder.parent
    try:
        _remove_abandoned(cache)
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{_unfinished_prefix()}{os.getpid()}-", dir=cache))
        try:
            fill(unfinished)
            _publish(unfinished, folder, is_whole)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, cache, "GLASSFORMER_CACHE") from error
    return folder


def write_durably(path: Path, text: str) -> None:
    """Write a text file that is on the disk, its name included, when this returns."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def disk_error(error: OSError, place: Path, variable: str) -> DataError:
    """What to tell the user of a write that failed; ``variable`` names the environment variable that moves it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(place).free
        problem = f"the disk is full ({free:,} bytes are free; needed are 3 to 5 times the bytes of the text)"
    else:
        problem = str(error)
    return DataError(
        f"The tokens cannot be written to {str(place)!r}: {problem}. "
        f"Free some space, or set {variable} to a folder that can be written to and has room."
    )


def _publish(unfinished: Path, folder: Path, is_whole: Callable[[Path], bool]) -> None:
    """Rename to the final name, durably. If another process was first, its folder stays."""
    if folder.exists() and not is_whole(folder):  # damaged since it was made
        damaged = unfinished.with_name(unfinished.name + "-damaged")
        folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        unfinished.rename(folder)
    except OSError:
        if not is_whole(folder):
            raise
    _sync_folder(folder.parent)


def _unfinished_prefix() -> str:
    """The host is named because a cache may be shared by several, and a process id says nothing on another."""
    return f".preparing-{platform.node()}-"


def _remove_abandoned(cache: Path) -> None:
    """Remove what killed preparations on this machine left."""
    for left in cache.glob(_unfinished_prefix() + "*"):
        pid = left.name.removeprefix(_unfinished_prefix()).partition("-")[0]
        if pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # signal 0 would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
