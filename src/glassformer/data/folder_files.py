"""The files below a folder: found in the same order on every machine, with what was left out and why."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Found:
    """What a walk through a folder found.

    Attributes:
        files: regular files, each once, sorted by path.
        skipped: what cannot or should not be read, one entry a path below the folder, with the reason.
        hidden: files and folders whose names begin with a dot.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    hidden: int = 0


def walk(root: Path) -> Found:
    """Every visible file below ``root``. Links are followed, and what they lead to is taken once.

    The folder's own files come first, then what links lead to, in the order of the links' paths: so a link never takes
    the place of the file that it names, and links in a circle come to an end.
    """
    found = Found()
    seen: set[tuple[int, int]] = set()  # device and inode of what has been taken
    links: list[Path] = []
    _walk_into(root, root, found, seen, links)
    while links:
        links.sort()
        pending, links = links, []
        for link in pending:
            shown = shown_below(root, link)
            try:
                status = link.stat()
                key = (status.st_dev, status.st_ino)
                if key in seen:
                    found.skipped.append(f"{shown} is a link to what is read already")
                elif link.is_dir():
                    _walk_into(root, link, found, seen, links)
                else:
                    _take(root, link, found, seen)
            except OSError as error:
                found.skipped.append(f"{shown} is a link that leads nowhere ({error.strerror or error})")
    found.files.sort()
    found.skipped.sort()
    return found


def visible_files(root: Path, left_out: frozenset[str] = frozenset(), ending: str = "") -> list[Path]:
    """Regular files below ``root``, sorted by path; nothing whose name begins with a dot, no linked folders."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in left_out]
        found += [Path(folder, name) for name in files if not name.startswith(".") and name.endswith(ending)]
    return sorted(path for path in found if path.is_file())


def shuffled(root: Path, paths: list[Path]) -> list[Path]:
    """The paths in the order of the SHA-256 of their path below ``root``."""
    return sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(path.relative_to(root).as_posix())).digest())


def shown_below(root: Path, path: Path) -> str:
    """The path below ``root`` as text that can be written: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", errors="backslashreplace")


def _walk_into(root: Path, folder: Path, found: Found, seen: set[tuple[int, int]], links: list[Path]) -> None:
    """Take the files below ``folder``, and keep the links for later."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:  # a link led here before
                continue
            with os.scandir(place) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            shown = "." if place == root else shown_below(root, place)
            found.skipped.append(f"{shown} is a folder that cannot be read ({error.strerror or error})")
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in inside:
            path = Path(entry.path)
            if entry.name.startswith("."):
                found.hidden += 1
            elif entry.is_symlink():
                links.append(path)
            elif entry.is_dir():
                waiting.append(path)
            else:
                _take(root, path, found, seen)


def _take(root: Path, path: Path, found: Found, seen: set[tuple[int, int]]) -> None:
    """A regular file is kept; a pipe, a socket or a device would never end, and is skipped."""
    try:
        status = path.stat()
    except OSError as error:
        found.skipped.append(f"{shown_below(root, path)} cannot be read ({error.strerror or error})")
        return
    if not path.is_file():
        found.skipped.append(f"{shown_below(root, path)} is not a regular file (a pipe, a socket or a device)")
        return
    seen.add((status.st_dev, status.st_ino))
    found.files.append(path)
