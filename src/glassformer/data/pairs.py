"""Where sentence pairs come from: a built-in task, a public corpus, or files of one's own.

================================  ===================================================================================
``dates``                         written dates → ISO 8601 (:mod:`glassformer.data.dates`); needs no file
``multi30k-en-de``, ``-de-en``    English and German image captions (Elliott et al., 2016): 29,000 for training, 1,014
                                  for validation, and test2016; downloaded at first use, or from ``$GLASSFORMER_DATA``
``pairs.tsv``                     a pair a line: source, TAB, target; no header
``train.en,train.de``             two files, one sentence a line
``pairs.jsonl``                   an object a line with two keys, or with ``{"translation": {"en": …, "de": …}}``
``hf:owner/name``                 a data set of the Hugging Face hub, its rows as in JSON lines
================================  ===================================================================================

:mod:`glassformer.data.pair_files` says what counts as a line and as a sentence. Sentences of any length are kept: what
is too long for a model is decided where they become tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import ClassVar

from glassformer.data.downloads import MULTI30K, obtain
from glassformer.data.pair_files import JsonLines, PairFile, ParallelFiles, find_pair_file
from glassformer.data.pair_source import SPLIT_RULE, Pair, PairSource, hold_out
from glassformer.errors import DataError

__all__ = [
    "BUILT_IN",
    "DATES",
    "VALIDATION_FRACTION",
    "Multi30k",
    "OwnPairs",
    "Pair",
    "PairSource",
    "hold_out",
    "open_pairs",
]

DATES = "dates"
BUILT_IN = (DATES, "multi30k-de-en", "multi30k-en-de")
VALIDATION_FRACTION = 0.1


def open_pairs(
    name: str,
    *,
    validation: str | None = None,
    test: str | None = None,
    reverse: bool = False,
    source_column: str | None = None,
    target_column: str | None = None,
    validation_fraction: float = VALIDATION_FRACTION,
    locales: Sequence[str] | None = None,
    n_pairs: int | None = None,
    seed: int = 0,
    normalise: Callable[[str], str] = str,
) -> PairSource:
    """The source of this name (see above).

    ``validation`` and ``test`` are files as ``name`` may be. Without ``validation``, about ``validation_fraction`` of
    the pairs are held out of training: those whose source text has the smallest hashes, so the choice is always the
    same and no source text stands on both sides, as ``normalise`` reads it. ``reverse`` swaps source and target. The
    columns are the keys of JSON lines: ``source`` and ``target``, unless there is a ``translation``, whose first
    language is the source. ``locales``, ``n_pairs`` and ``seed`` are those of :class:`~glassformer.data.dates.Dates`.

    Raises :class:`DataError` with every complaint if a file is missing or an option does not fit the source, and
    :class:`ConfigError` if an option of the dates cannot work.
    """
    columns = (source_column, target_column)
    complaints = []
    if name != DATES:
        given = {"locales": locales, "n_pairs": n_pairs}
        complaints += [f"{option} is for 'dates' only." for option, value in given.items() if value is not None]
    if name in BUILT_IN:
        given = {"validation": validation, "test": test, "source_column": source_column, "target_column": target_column}
        complaints += [f"{name!r} takes no {option}." for option, value in given.items() if value is not None]
        if name == DATES and reverse:
            complaints.append("'dates' cannot be reversed: an ISO date has many right writings, not one.")
        _check(complaints)
        if name == DATES:
            from glassformer.data.dates import LOCALES, N_PAIRS, Dates

            return Dates(locales=locales or LOCALES, n_pairs=N_PAIRS if n_pairs is None else n_pairs, seed=seed)
        languages = name.removeprefix("multi30k-").split("-")
        return Multi30k(name, *(reversed(languages) if reverse else languages))
    if not 0 < validation_fraction < 1:
        complaints.append(f"validation_fraction is {validation_fraction}; expected is a share between 0 and 1.")
    if name.startswith("hf:"):
        given = {"validation": validation, "test": test}
        complaints += [f"{name!r} has splits of its own; it takes no {o}." for o, v in given.items() if v is not None]
        _check(complaints)
        from glassformer.data.hub_pairs import HubPairs

        return HubPairs(name, columns, validation_fraction, reverse, normalise)
    files = {
        split: find_pair_file(file, columns, BUILT_IN, complaints)
        for split, file in (("train", name), ("validation", validation), ("test", test))
        if file is not None
    }
    if columns != (None, None) and not any(file is None or isinstance(file, JsonLines) for file in files.values()):
        complaints.append("source_column and target_column are for JSON lines only.")
    _check(complaints)
    given_files = {split: file for split, file in files.items() if file}
    return OwnPairs(name, given_files, validation_fraction, reverse, normalise)


class OwnPairs(PairSource):
    """Pairs of the user's own files, by split; ``validation`` is held out of ``train`` where it is not given."""

    def __init__(
        self,
        name: str,
        files: dict[str, PairFile],
        validation_fraction: float = VALIDATION_FRACTION,
        reverse: bool = False,
        normalise: Callable[[str], str] = str,
    ) -> None:
        super().__init__(name)
        self.files, self.validation_fraction, self.reverse = files, validation_fraction, reverse
        self.normalise = normalise
        self.holds_out = "validation" not in files

    def splits(self) -> dict[str, list[Pair]]:
        """The files' pairs in their own order."""
        self.notes = []
        splits = {split: _pairs(file, self.notes, keep_all=split == "test") for split, file in self.files.items()}
        if self.reverse:
            splits = {split: [Pair(pair.target, pair.source) for pair in pairs] for split, pairs in splits.items()}
        if "validation" not in splits:
            train, validation = hold_out(splits["train"], self.validation_fraction, self.normalise)
            if not train or not validation:
                raise DataError(
                    f"{self.name!r} has only one source text, so none can be held out for validation. "
                    "Give more pairs, or a file of pairs for validation."
                )
            splits = {**splits, "train": train, "validation": validation}
        return {split: splits[split] for split in ("train", "validation", "test") if split in splits}

    def fingerprint(self) -> str:
        """The content of every file, and what is done with them."""
        state = {split: (type(file).__name__, file.columns, file.contents()) for split, file in self.files.items()}
        return _digest((SPLIT_RULE, state, self.validation_fraction, self.reverse))


class Multi30k(PairSource):
    """Captions of photographs, each in English and translated into German (Elliott et al., 2016, task 1)."""

    FILES: ClassVar = {"train": "train", "validation": "val", "test": "test_2016_flickr"}

    def __init__(self, name: str, source: str, target: str) -> None:
        super().__init__(name)
        self.languages = (source, target)

    def splits(self) -> dict[str, list[Pair]]:
        """29,000, 1,014 and 1,000 pairs, downloaded at first use."""
        self.notes = []
        paths = {
            split: tuple(obtain(MULTI30K[f"{file}.{language}"]) for language in self.languages)
            for split, file in self.FILES.items()
        }
        return {split: _pairs(ParallelFiles(self.name, two), self.notes) for split, two in paths.items()}

    def fingerprint(self) -> str:
        """The published files' SHA-256."""
        return _digest((self.languages, [file.sha256 for file in MULTI30K.values()]))


def _pairs(file: PairFile, notes: list[str], *, keep_all: bool = False) -> list[Pair]:
    """The pairs of a file; all of them, with an empty side too, where they are to be scored."""
    return [Pair(source, target) for source, target in (file.read_all(notes) if keep_all else file.read(notes))]


def _check(complaints: list[str]) -> None:
    if len(complaints) > 1:
        listed = "\n".join(f"  - {complaint}" for complaint in complaints)
        raise DataError(f"These pairs cannot be had, for {len(complaints)} reasons:\n{listed}")
    if complaints:
        raise DataError(complaints[0])


def _digest(state: object) -> str:
    return hashlib.sha256(repr(state).encode()).hexdigest()
