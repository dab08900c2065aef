"""Which part files may be executed: those that this user has had executed here before, and those they vouch for.

A part file is Python, so to read it is to run it, and a configuration that names one may be a stranger's. What is
trusted is a content, by its SHA-256, never a path:

* what the user named: on a command line (``--set model.part_files=mine.py``), or in Python by
  :func:`glassformer.registry.load_part_file` or ``check_part(part_files=...)``; it is remembered on this machine;
* the parts of a run or a study that was made here, which are remembered as it is made;
* everything that is opened under ``--trust-parts``, or in Python with ``trust_parts=True``; this is not remembered.

The memory is a folder of empty files, ``trusted-parts`` in :func:`glassformer.places.state_folder`, each named by a
hash. Worker processes inherit what their parent trusts by ``GLASSFORMER_TRUSTED_PARTS``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path

from glassformer import places

VARIABLE = "GLASSFORMER_TRUSTED_PARTS"
"""Hashes, separated by commas, that a worker process trusts from its start."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(r"\bpart_files=(.*?)(?=,[\w.]+=|$)", re.DOTALL)

_in_this_process: set[str] = set()
_everything: ContextVar[bool] = ContextVar("trusts everything that is opened", default=False)


def is_trusted(digest: str) -> bool:
    """Whether the content with this SHA-256 may be executed."""
    if _DIGEST.fullmatch(digest) is None:
        return False
    return _everything.get() or digest in _in_this_process or digest in _inherited() or (_memory() / digest).is_file()


def remember(digest: str) -> None:
    """Trust a content in this process and, where the state folder can be written, in later ones."""
    _in_this_process.add(digest)
    with contextlib.suppress(OSError):
        _memory().mkdir(parents=True, exist_ok=True)
        (_memory() / digest).touch()


def note_executed(digest: str) -> None:
    """Trust a content for the rest of this process, and in its workers: it has run already."""
    _in_this_process.add(digest)


@contextlib.contextmanager
def trusting_parts(yes: bool = True) -> Iterator[None]:
    """Inside the block, trust every part file that is opened. ``yes=False`` changes nothing."""
    if not yes:
        yield
        return
    token = _everything.set(True)
    try:
        yield
    finally:
        _everything.reset(token)


def vouch_for_named(arguments: Iterable[str]) -> None:
    """Trust the part files that a command line names: ``model.part_files=a.py,b.py``, also among other settings.

    What is not a file is left to whoever opens it.
    """
    for argument in arguments:
        for paths in _NAMED.findall(argument):
            for path in re.split(r"[|,]", paths.strip("[]()")):
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    if Path(path.strip()).is_file():
                        remember(sha256_of(Path(path.strip())))


def for_workers() -> dict[str, str]:
    """The environment variable with which a worker process trusts what this one does."""
    return {VARIABLE: ",".join(sorted(_in_this_process | _inherited()))}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _inherited() -> set[str]:
    return set(filter(None, os.environ.get(VARIABLE, "").split(",")))


def _memory() -> Path:
    return places.state_folder() / "trusted-parts"
