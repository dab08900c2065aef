"""The manifest of a checkpoint: what was written, sealed with a hash of its own, and compared with what is there.

``manifest.json`` holds the step, whether it was the best so far, the length and SHA-256 of every file beside it, and
the seal of the run's own files (``seal.py``). Its last entry is the SHA-256 of the rest, so that a change of any byte
of the checkpoint, its own included, is noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from glassformer import untrusted
from glassformer.errors import CheckpointError, shown
from glassformer.runs.files import FileRecord, hash_file, write_durably

FORMAT = 1
MANIFEST = "manifest.json"
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
STEP_FOLDER = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint held when it was written."""

    step: int
    is_best: bool
    files: dict[str, FileRecord]
    """By name; all the folder holds but the manifest itself."""
    seal: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of the run's configuration, tokenizer and parts; empty in checkpoints of before there were seals."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of the files in ``folder`` into it, and flush it."""
    records = {name: asdict(record) for name, record in sorted(manifest.files.items())}
    seal = {"seal": dict(sorted(manifest.seal.items()))} if manifest.seal else {}
    body = {"format": FORMAT, "step": manifest.step, "is_best": manifest.is_best, "files": records, **seal}
    write_durably(folder / MANIFEST, _sealed(body))


def _sealed(body: Mapping[str, Any]) -> bytes:
    """The manifest's one and only spelling: its body with the SHA-256 of the body's JSON as the last entry."""
    digest = hashlib.sha256(json.dumps(body, indent=2).encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}, indent=2).encode() + b"\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest in folder ``path``.

    ``ValueError``, half a sentence, if it is not exactly what was written; :class:`CheckpointError` if it was written
    by another version.
    """
    try:
        content = untrusted.read_bytes(path / MANIFEST)
    except FileNotFoundError:
        raise ValueError(f"{MANIFEST} is missing") from None
    except OSError as error:
        raise ValueError(f"{MANIFEST} cannot be read ({error.strerror})") from None
    try:
        body = untrusted.parse_json(content)
        body.pop("sha256")
        intact = _sealed(body) == content  # any change of a byte changes the text, or the hash that it must hold
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise ValueError(f"{MANIFEST} is not what was written")
    if body.get("format") != FORMAT:
        written = shown(body.get("format"))
        raise CheckpointError(
            f"The checkpoint {path} has format {written}, and this version of glassformer reads "
            f"format {FORMAT}. Install the version that wrote it, or a newer one."
        )
    step, is_best, files, seal = (body.get(name) for name in ("step", "is_best", "files", "seal"))
    # Who makes a folder can seal what they like: the hash says that it is what was written, not that it makes sense.
    if type(step) is not int or step < 0 or type(is_best) is not bool or not isinstance(files, dict):
        raise ValueError(f"{MANIFEST} does not say the step, whether it is the best, and the files")
    if seal is not None and not (isinstance(seal, dict) and all(isinstance(each, str) for each in seal.values())):
        raise ValueError(f"{MANIFEST} has a seal that is {shown(seal)}")
    return Manifest(step, is_best, {name: _file_record(name, record) for name, record in files.items()}, seal or {})


def _file_record(name: str, record: Any) -> FileRecord:
    """The record of a file beside the manifest. ``ValueError``, half a sentence, if it is no such thing."""
    if not FILE_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"{MANIFEST} names {shown(name)}, which is not the name of a file beside it")
    size, digest = (record.get(key) for key in ("bytes", "sha256")) if isinstance(record, dict) else (None, None)
    if type(size) is not int or size < 0 or not isinstance(digest, str):
        raise ValueError(f"{MANIFEST} does not say the length and SHA-256 of {name}")
    return FileRecord(size, digest)


def _complaints(path: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the folder at a glance: its name, missing and extra files, lengths."""
    found = []
    present = {entry.name: entry for entry in path.iterdir() if entry.name != MANIFEST}
    if STEP_FOLDER.fullmatch(path.name) and step_of(path) != manifest.step:
        found.append(f"it holds step {manifest.step}, which is not the step of its name")
    for name, record in manifest.files.items():
        if name not in present:
            found.append(f"{name} is missing")
        elif not present[name].is_file():
            found.append(f"{name} is not a file")
        elif (size := present[name].stat().st_size) != record.bytes:
            found.append(f"{name} has {size} bytes and was written with {record.bytes}")
    found += [f"{name} does not belong to it" for name in sorted(present.keys() - manifest.files.keys())]
    return found


def verify(path: Path, read: Callable[[Path], FileRecord] = hash_file) -> Manifest:
    """Compare everything in folder ``path`` with its manifest; ``read`` reads one file and says what it read.

    Raises :class:`CheckpointError` naming everything that is wrong.
    """
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    try:
        manifest = read_manifest(path)
        wrong = _complaints(path, manifest)
        if not wrong:
            reasons = (_compare(path / name, record, read) for name, record in manifest.files.items())
            wrong = [reason for reason in reasons if reason]
    except (ValueError, OSError) as error:
        wrong = [str(error)]
    if wrong:
        raise CheckpointError(f"The checkpoint {path} is damaged: {'; '.join(wrong)}.")
    return manifest


def _compare(file: Path, record: FileRecord, read: Callable[[Path], FileRecord]) -> str | None:
    try:
        if read(file) == record:
            return None
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"
    except (ValueError, RecursionError) as error:
        return f"{file.name} is not what was written ({error})"
    return f"{file.name} is not what was written (its SHA-256 differs)"


def is_whole(path: Path) -> bool:
    """Whether every byte verifies."""
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def glance(path: Path) -> Manifest | None:
    """The manifest of a checkpoint that has nothing wrong at a glance."""
    try:
        manifest = read_manifest(path)
        return None if _complaints(path, manifest) else manifest
    except (ValueError, OSError, CheckpointError):
        return None


def step_of(path: Path) -> int:
    """The step in the name of a checkpoint's folder."""
    return int(path.name.removeprefix("step-"))
