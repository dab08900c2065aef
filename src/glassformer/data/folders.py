"""A folder of text files as one text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from glassformer.data.content import file_sha256
from glassformer.data.folder_files import Found, shown_below, shuffled, walk
from glassformer.data.reading import ending_with_newline, read_text, why_not_text
from glassformer.data.source import Source
from glassformer.errors import DataError


class Folder(Source):
    """Every text file below a folder, whatever its name ends in, linked ones too; what is hidden is left out."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self.path = path

    def texts(self) -> Iterator[str]:
        """The files' text. What does not decode is listed in ``skipped``."""
        found = walk(self.path)
        self.skipped = _left_out(found)
        any_text = False
        for path in shuffled(self.path, found.files):
            if reason := why_not_text(path):
                self.skipped.append(f"{shown_below(self.path, path)} {reason}")
                continue
            any_text = True
            yield from ending_with_newline(read_text(path))
        if not any_text:
            count = len(found.files) + len(found.skipped)
            seen = f"all {count} files were skipped: {'; '.join(self.skipped[:5])}"
            raise DataError(
                f"The folder {str(self.path)!r} holds no text ({seen if self.skipped else 'it has no files'}). "
                "Give a folder with text files in it; hidden files are not read."
            )

    def fingerprint(self) -> str:
        """A hash of every file's path below the folder and of its content."""
        files = []
        for path in walk(self.path).files:
            try:
                content = file_sha256(path)
            except DataError:  # it is skipped, and comes to count when it can be read
                content = "unreadable"
            files.append([shown_below(self.path, path), content])
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _left_out(found: Found) -> list[str]:
    hidden = f"{found.hidden:,} hidden {'file or folder' if found.hidden == 1 else 'files and folders'}"
    return [*found.skipped, *([f"{hidden} (the name begins with a dot)"] if found.hidden else [])]
