"""Finding a study's folder: by its path, its name, the beginning of its name, or as ``latest``."""

from __future__ import annotations

from pathlib import Path

from glassformer.errors import RunError

STUDY = "study.json"
"""Without this file a folder is not a study."""


def list_studies(root: Path) -> list[Path]:
    """The folders of the studies in ``root``, by name. Folders without ``study.json`` are left out."""
    try:
        return sorted(path for path in root.iterdir() if _is_study(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"The studies in {root} cannot be listed: {error.strerror}.") from error


def _is_study(path: Path) -> bool:
    try:
        return (path / STUDY).is_file()
    except OSError:  # a folder that may not be looked into is nobody's business here
        return False


def find_study(text: str, root: Path) -> Path | None:
    """The folder meant by a path, a name, the beginning of a name, or ``latest``; None if there is none.

    Raises:
        RunError: several are meant, or it cannot be looked for.
    """
    studies = {path.name: path for path in list_studies(root)}
    try:
        if text and (Path(text) / STUDY).is_file():
            return Path(text)
    except OSError as error:  # too long a name, a folder that may not be read
        raise RunError(f"The study {text!r} cannot be looked for: {error}.") from error
    if text == "latest":
        return max(studies.values(), key=lambda path: (path / STUDY).stat().st_mtime, default=None)
    if text in studies:
        return studies[text]
    meant = [name for name in studies if text and name.startswith(text)]
    if len(meant) > 1:
        raise RunError(f"{text!r} begins the name of {len(meant)} studies: {', '.join(meant)}. Give more of the name.")
    return studies[meant[0]] if meant else None
