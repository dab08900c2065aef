"""Files of a study in one piece, for the way to a machine that does not see the study's folder, and back."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from glassformer.errors import RunError

FOLDERS = ("runs", "outcomes", "claims", "logs")
"""The folders that a study's folder has."""

_MOMENT = r"-\d{8}-\d{6}(-\d+)?"


def pack(folder: Path, files: Iterable[Path]) -> bytes:
    """Files and folders in ``folder``, those that there are, under their names there."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:  # weights hardly shrink
        for each in files:
            for path in [each, *sorted(each.rglob("*"))]:
                if path.is_file():
                    bundle.write(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()


def unpack(bundle: bytes, folder: Path) -> None:
    """Put what :func:`pack` gave into ``folder``."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as files:
        files.extractall(folder)


def run_folders(runs: Path, run_key: str) -> list[Path]:
    """The folders in ``runs`` of the planned run that is called so."""
    mine = re.compile(re.escape(run_key) + _MOMENT)
    try:
        return sorted(path for path in runs.iterdir() if mine.fullmatch(path.name))
    except OSError as error:
        raise RunError(f"The runs in {runs} cannot be listed: {error.strerror}.") from error
