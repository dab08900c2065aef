"""Where text comes from: each source is a stream of pieces whose concatenation is the text.

Documents (the files of a folder, the rows of a data set) follow one another directly; a document that does not end
with a newline gets one. The files of a folder and of the standard library come in the order of a hash of their
paths: always the same, and the tail that becomes the validation split is not merely the last letters of the alphabet.
"""

from __future__ import annotations

import difflib
import hashlib
import string
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from glassformer.data.content import file_sha256
from glassformer.data.downloads import TINY_SHAKESPEARE, obtain
from glassformer.data.folder_files import shuffled, visible_files
from glassformer.data.reading import ending_with_newline, read_text
from glassformer.data.source import Source
from glassformer.errors import DataError

__all__ = ["BUILT_IN", "STANDARD_LIBRARY", "File", "Source", "StandardLibrary", "TinyShakespeare", "open_source"]

STANDARD_LIBRARY = "python-stdlib"
BUILT_IN = (STANDARD_LIBRARY, "tinyshakespeare")
LONGEST_SHOWN = 80  # characters of a name that names nothing


def open_source(name: str, *, text_column: str | None = None) -> Source:
    """The source of this name (see ``DataConfig.source``). Raises :class:`DataError` if there is none."""
    if name.startswith("hf:"):
        from glassformer.data.hub import HubDataset

        return HubDataset(name, text_column)
    if name == STANDARD_LIBRARY:
        return StandardLibrary()
    if name == "tinyshakespeare":
        return TinyShakespeare()
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            from glassformer.data.folders import Folder

            return Folder(name, path)
        if path.is_file():
            return File(name, path)
        if path.exists():
            raise DataError(
                f"{name!r} is not a regular file (a pipe, a socket or a device), and a text is read more than once. "
                "Write it to a file, and give that."
            )
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, a NUL in it, '~nobody'
        shown = name if len(name) <= LONGEST_SHOWN else name[:LONGEST_SHOWN] + "…"
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"The text {shown!r} cannot be looked for: {reason}. Give a path that can exist.") from error
    raise DataError(
        f"There is no file, folder or built-in text named {name!r}.{_nearest_path(path)} "
        f"Built in are {' and '.join(BUILT_IN)}; 'hf:owner/name' names a data set of the Hugging Face hub."
    )


class File(Source):
    """One file of text, exactly as it is but for what :mod:`glassformer.data.reading` says."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self.path = path

    def texts(self) -> Iterator[str]:
        """The file's text."""
        empty = True
        for piece in read_text(self.path):
            empty = False
            yield piece
        if empty:
            raise DataError(f"{str(self.path)!r} is empty. Give a file with text in it.")

    def fingerprint(self) -> str:
        """The SHA-256 of the file."""
        return file_sha256(self.path)


class TinyShakespeare(Source):
    """Karpathy's 1,115,394 characters of Shakespeare (char-rnn, 2015)."""

    def __init__(self) -> None:
        super().__init__("tinyshakespeare")

    def texts(self) -> Iterator[str]:
        """The text, downloaded at first use."""
        yield from read_text(obtain(TINY_SHAKESPEARE))

    def fingerprint(self) -> str:
        """The published file's SHA-256."""
        return TINY_SHAKESPEARE.sha256


class StandardLibrary(Source):
    """The source of this Python's standard library, without its tests: about 11 MB of text.

    Only files of printable ASCII and newlines: so the vocabulary is the same 96 characters for every version of
    Python, and no rare character can turn up in the validation split alone.
    """

    LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})
    ALPHABET = f"{string.ascii_letters}{string.digits}{string.punctuation} \n".encode()

    def __init__(self) -> None:
        super().__init__(STANDARD_LIBRARY)

    def texts(self) -> Iterator[str]:
        """The files' text."""
        for content in self._contents():
            yield from ending_with_newline([content.decode("ascii")])

    def fingerprint(self) -> str:
        """A hash of the text itself."""
        digest = hashlib.sha256()
        for content in self._contents():
            digest.update(content)
        return digest.hexdigest()

    def _contents(self) -> Iterator[bytes]:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = False
        for path in shuffled(root, visible_files(root, self.LEFT_OUT, ending=".py")):
            content = path.read_bytes().replace(b"\r\n", b"\n")
            if content and not content.translate(None, self.ALPHABET):
                found = True
                yield content
        if not found:
            raise DataError(
                f"This Python ({sys.executable}) has no source of its standard library at {str(root)!r}. "
                "Use another text: --data tinyshakespeare, or a file of your own."
            )


def _nearest_path(path: Path) -> str:
    """`` Did you mean ...?`` from the built-in names and what stands beside the missing path."""
    try:
        beside = {str(path.parent / other.name): other.name for other in path.parent.iterdir()}
    except (OSError, ValueError):
        beside = {}
    candidates = {built_in: built_in for built_in in BUILT_IN} | beside
    match = difflib.get_close_matches(path.name, candidates.values(), n=1, cutoff=0.6)
    return next((f" Did you mean {whole!r}?" for whole, last in candidates.items() if last in match), "")
