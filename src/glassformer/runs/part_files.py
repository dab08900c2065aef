"""A run's or a study's own copies of the user's part files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from glassformer import trust
from glassformer.errors import RunError
from glassformer.registry import part_file_content
from glassformer.runs.files import replace_durably

PARTS = "parts"
"""The folder of the copies, in the run's or the study's."""


def check_part_names(paths: Iterable[str]) -> None:
    """Raise :class:`RunError` if two part files have one name: the copies stand in one folder."""
    names = [Path(path).name for path in dict.fromkeys(paths)]
    if len(set(names)) < len(names):
        raise RunError(f"Two part files have the same name ({', '.join(sorted(names))}); rename one.")


def keep_part_files(paths: Iterable[str], folder: Path) -> None:
    """Copy the part files that this process has executed into ``folder/parts``: the user's own may change.

    The contents are remembered as used here (:mod:`glassformer.trust`), so that the folder opens again without a
    question.

    Raises:
        ConfigError: a file has changed since it was executed.
        RunError: a copy cannot be written.
    """
    for path in map(Path, paths):
        content = part_file_content(path)
        kept = folder / PARTS / path.name
        try:
            kept.parent.mkdir(exist_ok=True)
            if not kept.exists():
                replace_durably(kept, content)
        except OSError as error:
            raise RunError(f"The part file {str(path)!r} cannot be copied to {kept}: {error.strerror}.") from error
        trust.remember(hashlib.sha256(content).hexdigest())


def part_digests(paths: Iterable[Path]) -> list[str]:
    """The SHA-256 of each file's content. Nothing is executed."""
    return [trust.sha256_of(path) for path in paths]
