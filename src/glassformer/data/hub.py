"""Data sets of the Hugging Face hub, or a local folder in its layout, streamed with the ``datasets`` library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassformer.data.folders import Folder
from glassformer.data.reading import ending_with_newline
from glassformer.data.source import Source
from glassformer.errors import DataError, DependencyError


class HubDataset(Source):
    """The training split of ``hf:owner/name``, ``hf:owner/name:configuration`` or ``hf:path/to/a/folder``.

    Each row's text is a document. Nothing is downloaded ahead: rows are streamed.
    """

    def __init__(self, name: str, text_column: str | None = None) -> None:
        super().__init__(name)
        wanted = name.removeprefix("hf:")
        self.local = Path(wanted).expanduser().is_dir()
        self.path, _, configuration = (wanted, "", "") if self.local else wanted.partition(":")
        self.configuration = configuration or None
        self.text_column = text_column

    def texts(self) -> Iterator[str]:
        """The rows' text in the data set's own order."""
        column, found = self.text_column, False
        for row in self._rows():
            if column is None or column not in row:
                column = self._column_of(row)
            if not isinstance(row[column], str):
                raise DataError(
                    f"The column {column!r} of {self.name!r} holds {type(row[column]).__name__}, not text. "
                    f"Name a column of text: --set data.text_column=NAME. It has {', '.join(row)}."
                )
            found = found or bool(row[column])
            yield from ending_with_newline([row[column].replace("\r\n", "\n")])
        if not found:
            raise DataError(f"The training split of {self.name!r} holds no text.")

    def fingerprint(self) -> str:
        """The content of the local files, or the name and the hub's commit; and the options."""
        if self.local:
            state = ("", Folder(self.name, Path(self.path).expanduser()).fingerprint())
        else:
            state = (self.path, self._commit())
        return hashlib.sha256(repr((*state, self.configuration, self.text_column)).encode()).hexdigest()

    def _rows(self) -> Iterator[dict[str, Any]]:
        load_dataset = import_datasets().load_dataset
        try:
            path = str(Path(self.path).expanduser()) if self.local else self.path
            yield from load_dataset(path, self.configuration, split="train", streaming=True)
        except Exception as error:  # the library raises whatever its file systems and parsers raise
            raise self._unusable(error) from error

    def _commit(self) -> str:
        import_datasets()
        from huggingface_hub import HfApi

        try:
            return str(HfApi().dataset_info(self.path).sha)
        except Exception as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> DataError:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return DataError(
            f"The data set {self.name!r} cannot be read: {reason} "
            "Expected is hf:owner/name, or hf:owner/name:configuration if it has several; the hub must be reachable."
        )

    def _column_of(self, row: dict[str, Any]) -> str:
        texts = [name for name, value in row.items() if isinstance(value, str)]
        if self.text_column is None and "text" in texts:
            return "text"
        if self.text_column is None and len(texts) == 1:
            return texts[0]
        problem = f"has no column {self.text_column!r}" if self.text_column else "does not say which column is the text"
        raise DataError(
            f"The data set {self.name!r} {problem}. Set data.text_column to one of: {', '.join(texts) or '(none)'}."
        )


def import_datasets() -> Any:
    """The package ``datasets``. Raises :class:`DependencyError` if it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise DependencyError(
            "'hf:' sources need the package 'datasets', which is not installed: pip install 'glassformer[hf]'"
        ) from error
    return datasets
