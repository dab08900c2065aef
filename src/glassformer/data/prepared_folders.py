"""A folder of prepared data that is there whole or not at all, and is what it was when it was made.

It is made under another name and renamed when it is whole, so a preparation that is killed leaves nothing that could
be taken for whole, and of two at once the first to finish wins.

``manifest.json`` seals it: the size and SHA-256 of every other file, and a hash of the manifest itself. Whoever opens
the folder compares them (:func:`glassformer.data.content.file_sha256` remembers the hashes of large files that have not
changed), so that bytes which changed on the disk are never trained on: the data are prepared again, and a note says so.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from glassformer.data.content import file_sha256
from glassformer.errors import DataError

FORMAT = 2
MANIFEST = "manifest.json"
SEAL = "seal"


class DamagedError(DataError):
    """A prepared folder is not what it was when it was made. ``reason`` is short."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"The prepared data in {str(folder)!r} are damaged: {reason}. Delete the folder to have it prepared again."
        )


class OtherFormatError(DataError):
    """A prepared folder of another version of this package, which is prepared again."""


def prepared_folder(folder: Path, *, fill: Callable[[Path], None], notes: list[str] | None = None) -> Path:
    """The folder itself, which ``fill`` made now, into an empty folder of another name, unless it is whole already.

    A damaged folder is made again, which ``notes`` then says. Raises :class:`DataError` for what is wrong with the
    disk, and whatever ``fill`` raises; then nothing new is left.
    """
    if is_whole(folder, notes):
        return folder
    cache = folder.parent
    try:
        _remove_abandoned(cache)
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{_unfinished_prefix()}{os.getpid()}-", dir=cache))
        try:
            fill(unfinished)
            _publish(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, cache, "GLASSFORMER_CACHE") from error
    return folder


def is_whole(folder: Path, notes: list[str] | None = None) -> bool:
    """Whether the folder is as it was when it was made; ``notes`` gets what is damaged about one that is not."""
    if not folder.exists():
        return False
    try:
        open_manifest(folder)
    except DamagedError as error:
        if notes is not None:
            notes.append(f"the prepared data in {folder} were damaged ({error.reason}), and are prepared again")
        return False
    except DataError:
        return False
    return True


def write_manifest(folder: Path, manifest: Mapping[str, Any], hashes: Mapping[str, str] | None = None) -> None:
    """Seal a folder: all files in it are recorded, and nothing may be written to it any more.

    ``hashes``: the SHA-256 of files, by name, that are known already.
    """
    known = hashes or {}
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    body = {
        "format": FORMAT,
        **manifest,
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": known.get(path.name) or file_sha256(path)}
            for path in files
        },
    }
    sealed = {**body, SEAL: _seal(body)}
    write_durably(folder / MANIFEST, json.dumps(sealed, indent=2, ensure_ascii=False) + "\n")


def open_manifest(folder: Path, task: str | None = None) -> dict[str, Any]:
    """The manifest of a folder that is whole.

    Args:
        task: what the data must be for.

    Raises:
        DamagedError: a file is missing, or is not what the manifest says; or the manifest is damaged itself.
        OtherFormatError: another version of this package prepared it.
        DataError: there is no such folder, or it is of another task.
    """
    try:
        manifest: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        if not folder.is_dir():
            raise DataError(f"There are no prepared data at {str(folder)!r}: prepare them first.") from error
        raise DamagedError(folder, f"{MANIFEST} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(folder, f"{MANIFEST} is not JSON ({error})") from error
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise DamagedError(folder, f"{MANIFEST} does not say its format")
    if manifest["format"] != FORMAT:
        raise OtherFormatError(
            f"The prepared data in {str(folder)!r} are of format {manifest['format']}; this version reads format "
            f"{FORMAT}. Prepare them again."
        )
    if manifest.pop(SEAL, None) != _seal(manifest):
        raise DamagedError(folder, f"{MANIFEST} was changed after it was written")
    try:
        check_files(folder, manifest)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # sealed, but not by this package
        raise DamagedError(folder, f"{MANIFEST} lacks what it should say ({type(error).__name__}: {error})") from error
    if task is not None and manifest.get("task") != task:
        raise DataError(
            f"The prepared data in {str(folder)!r} are of the task {manifest.get('task')!r}; {task!r} is needed here."
        )
    return manifest


def check_files(folder: Path, manifest: Mapping[str, Any], *, sha256_of: Callable[[Path], str] = file_sha256) -> None:
    """Compare every file with what the manifest says. Raises :class:`DamagedError` for the first that differs."""
    for name, file in manifest["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DamagedError(folder, f"{name} cannot be read ({error.strerror or error})") from error
        if size != file["bytes"]:
            raise DamagedError(folder, f"{name} has {size:,} bytes, not {file['bytes']:,}")
        if sha256_of(path) != file["sha256"]:
            raise DamagedError(folder, f"{name} has another SHA-256 than it was written with")


class Fingerprinted(Protocol):
    """A source of text or of pairs."""

    name: str

    def fingerprint(self) -> str:
        """The identity of what it holds now."""


class Describable(Protocol):
    """A tokenizer."""

    def to_dict(self) -> dict[str, Any]:
        """It, as plain JSON values."""


def prepared_name(fingerprint: str, tokenizer: Describable | None) -> str:
    """The name of the folder of some data: their fingerprint, and which tokenizer, where it is not their own."""
    return fingerprint if tokenizer is None else f"{fingerprint}-{digest_of(tokenizer.to_dict())[:16]}"


def digest_of(tree: dict[str, Any]) -> str:
    """A hash of plain JSON values."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def check_unchanged(source: Fingerprinted, content: str) -> None:
    """Raise :class:`DataError` if a source holds something else than when its reading began."""
    if source.fingerprint() != content:
        raise DataError(f"The source '{source.name}' changed while it was read. Run again when it rests.")


def versions_for(source: str) -> dict[str, str]:
    """The versions that the tokens of a source depend on."""
    return versions("tokenizers", *(["datasets"] if source.startswith("hf:") else []))


def versions(*packages: str) -> dict[str, str]:
    """What prepared text may depend on besides the text: Python, its Unicode tables, and the packages there are."""
    found = {"python": platform.python_version(), "unicode": unicodedata.unidata_version}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


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


def _seal(manifest: Mapping[str, Any]) -> str:
    """A hash of the manifest's content, whatever its white space."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _publish(unfinished: Path, folder: Path) -> None:
    """Rename to the final name, durably. If another process was first, its folder stays."""
    if folder.exists() and not is_whole(folder):  # damaged since it was made, or of another format
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
