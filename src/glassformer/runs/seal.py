"""The seal of a run: what its configuration, tokenizer and parts were when a checkpoint was saved.

Weights mean nothing without the configuration that builds their model and the tokenizer that reads their text. Each
checkpoint's manifest therefore holds the SHA-256 of these files, and a run whose files are not those is not opened:
with half as many heads the same weights compute another function, and nothing else would say so.

Of ``config.json`` the content is hashed (its JSON, keys sorted), so that reformatting it changes nothing; of the
others the bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glassformer.errors import CheckpointError, RunError
from glassformer.runs.files import hash_file
from glassformer.runs.manifest import STEP_FOLDER, read_manifest, step_of

CONFIG = "config.json"
SEALED_FOLDERS = ("tokenizer", "parts")


def seal_of(run: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of everything in a run's folder that its weights depend on, by the file's path in it.

    Args:
        config: what ``config.json`` holds.

    Raises:
        RunError: a file cannot be read.
    """
    seal = {CONFIG: hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()}
    try:
        for folder in SEALED_FOLDERS:
            for path in sorted((run / folder).glob("*")):
                if path.is_file() and not path.name.startswith("."):
                    seal[f"{folder}/{path.name}"] = hash_file(path).sha256
    except OSError as error:
        raise RunError(f"The files of the run {run} cannot be read: {error}.") from error
    return seal


def check_seal(run: Path, config: Mapping[str, Any]) -> None:
    """Compare a run's files with what its newest whole manifest says of them. Without one there is nothing to compare.

    Raises:
        RunError: naming every file that has changed, is missing, or was added.
    """
    sealed, checkpoint = _newest_seal(run / "checkpoints")
    if not sealed:
        return
    found = seal_of(run, config)
    changed = [f"{name} has changed" for name in sealed if name in found and found[name] != sealed[name]]
    changed += [f"{name} is missing" for name in sealed if name not in found]
    changed += [f"{name} was added" for name in found if name not in sealed]
    if changed:
        raise RunError(
            f"The run {run.name} is not what it was when its checkpoint {checkpoint} was saved: {'; '.join(changed)}. "
            "Restore the folder from a copy; for other settings train a run of its own."
        )


def _newest_seal(checkpoints: Path) -> tuple[dict[str, str], str]:
    """The seal of the newest checkpoint whose manifest can be read and has one, and the checkpoint's name."""
    try:
        paths = sorted((path for path in checkpoints.iterdir() if STEP_FOLDER.fullmatch(path.name)), key=step_of)
    except OSError:
        return {}, ""
    for path in reversed(paths):
        try:
            if seal := read_manifest(path).seal:
                return seal, path.name
        except (ValueError, CheckpointError):  # whoever loads it reports it
            continue
    return {}, ""
