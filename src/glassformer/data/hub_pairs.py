"""Sentence pairs of a data set of the Hugging Face hub, or of a local folder in its layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from glassformer.data.hub import HubDataset, import_datasets
from glassformer.data.pair_files import Columns
from glassformer.data.pair_source import SPLIT_RULE, Pair, PairSource, hold_out
from glassformer.errors import DataError

SPLITS = ("train", "validation", "test")


class HubPairs(PairSource):
    """The splits of ``hf:owner/name``, ``hf:owner/name:configuration`` or ``hf:path/to/a/folder``.

    Each row is a pair, with its texts under two columns or in a ``translation``, as in JSON lines. A data set without
    a validation split has a share of its training split held out.
    """

    def __init__(
        self,
        name: str,
        columns: tuple[str | None, str | None],
        validation_fraction: float,
        reverse: bool,
        normalise: Callable[[str], str] = str,
    ) -> None:
        super().__init__(name)
        self.columns, self.validation_fraction, self.reverse = columns, validation_fraction, reverse
        self.normalise = normalise
        self.hub = _Splits(name, repr((SPLIT_RULE, columns, validation_fraction, reverse)))

    def splits(self) -> dict[str, list[Pair]]:
        """``train``, ``validation`` and ``test`` where the data set has it."""
        self.notes = []
        rows = self.hub.rows()
        if "train" not in rows:
            raise DataError(f"{self.name!r} has no split 'train'; it has {', '.join(rows) or 'none'}.")
        splits = {split: self._pairs(split, of_split) for split, of_split in rows.items()}
        if "validation" not in splits:
            train, validation = hold_out(splits["train"], self.validation_fraction, self.normalise)
            self.holds_out = True
            splits |= {"train": train, "validation": validation}
        if empty := [split for split, pairs in splits.items() if not pairs]:
            raise DataError(f"{self.name!r} has no pairs for {' and '.join(empty)}.")
        return {split: splits[split] for split in SPLITS if split in splits}

    def fingerprint(self) -> str:
        """The content of the local files or the hub's commit, and the options."""
        return self.hub.fingerprint()

    def _pairs(self, split: str, rows: list[object]) -> list[Pair]:
        columns, pairs = Columns(*self.columns), []
        for number, row in enumerate(rows, 1):
            cells = columns.of(row)
            if isinstance(cells, str):
                raise DataError(
                    f"Row {number:,} of {split!r} in {self.name!r} cannot be read as a pair: {cells}. "
                    f"It has {', '.join(row) if isinstance(row, dict) else 'no columns'}; name two with source_column "
                    "and target_column."
                )
            if split == "test" or (cells[0].strip() and cells[1].strip()):
                pairs.append(Pair(*(reversed(cells) if self.reverse else cells)))
        if skipped := len(rows) - len(pairs):
            self.notes.append(f"{skipped:,} of the {len(rows):,} pairs for {split} skipped, for a side is empty")
        return pairs


class _Splits(HubDataset):
    """All splits of a data set, whole."""

    def rows(self) -> dict[str, list[object]]:
        """The rows of each split."""
        load_dataset = import_datasets().load_dataset
        path = str(Path(self.path).expanduser()) if self.local else self.path
        try:
            return {
                split: list(rows)
                for split, rows in load_dataset(path, self.configuration, streaming=True).items()
                if split in SPLITS
            }
        except Exception as error:  # the library raises whatever its file systems and parsers raise
            raise self._unusable(error) from error
