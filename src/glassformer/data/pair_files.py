r"""Files of sentence pairs: two parallel ones, TAB-separated columns, or JSON lines.

:mod:`glassformer.data.reading` defines what is read as text, gzipped or not. Only ``\n`` and ``\r\n`` end a line:
U+2028, a form feed or a lone ``\r`` within a sentence are kept. In a JSON string line breaks become spaces, for a
sentence is a line everywhere else. A pair with an empty side (nothing, or only white space) is skipped and counted in
a note, except where it is to be scored. Everything wrong with a file is reported at once, with line numbers.
"""

from __future__ import annotations

import difflib
import json
import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.data.content import file_sha256
from glassformer.data.reading import read_text
from glassformer.errors import DataError

LINES_SHOWN = 5
LONGEST_SHOWN = 80  # characters of a name that names nothing
LINE_BREAKS = re.compile(r"[\r\n]+")
HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")


def one_line(text: str) -> str:
    """A sentence without line ends, which a model that knows bytes can write."""
    return LINE_BREAKS.sub(" ", text)


@dataclass(frozen=True, slots=True)
class PairFile(ABC):
    """One file of pairs, or two."""

    name: str
    paths: tuple[Path, ...]
    columns: tuple[str | None, str | None] = (None, None)

    @abstractmethod
    def rows(self) -> Iterator[tuple[int, str, str]]:
        """Line number, source and target. Raises :class:`DataError` with every line that is wrong."""

    def read(self, notes: list[str]) -> list[tuple[str, str]]:
        """The pairs with text on both sides; a note says what was skipped. :class:`DataError` if there is none."""
        pairs: list[tuple[str, str]] = []
        half: list[int] = []
        blank: list[int] = []
        for line, source, target in self.rows():
            if source.strip() and target.strip():
                pairs.append((source, target))
            else:
                (half if source.strip() or target.strip() else blank).append(line)
        for what, lines in (("one side is empty", half), ("both sides are empty", blank)):
            if lines:
                notes.append(f"{_n_pairs(lines)} of {self.name!r} skipped, for {what}: {_listed(lines)}")
        return self._checked(pairs)

    def read_all(self, notes: list[str]) -> list[tuple[str, str]]:
        """Every pair, to be scored as sacreBLEU scores the same lines: an empty reference is a reference.

        Only the blank lines of a file of pairs are left out, and counted in a note; of two parallel files every line is
        kept. Raises :class:`DataError` if no pair has text on both sides.
        """
        pairs: list[tuple[str, str]] = []
        blank: list[int] = []
        for line, source, target in self.rows():
            if len(self.paths) == 1 and not source.strip() and not target.strip():
                blank.append(line)
            else:
                pairs.append((source, target))
        if blank:
            notes.append(f"{_n_pairs(blank)} of {self.name!r} skipped, for both sides are empty: {_listed(blank)}")
        self._checked([pair for pair in pairs if pair[0].strip() and pair[1].strip()])
        return pairs

    def contents(self) -> list[str]:
        """The SHA-256 of each file: the same for the same bytes, whatever they are called and wherever they lie."""
        return [file_sha256(path) for path in self.paths]

    def _checked(self, whole: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if not whole:
            raise DataError(f"{self.name!r} holds no pair with text on both sides. Give a file with some.")
        return whole


class ParallelFiles(PairFile):
    """Two files with a sentence a line."""

    __slots__ = ()

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """The lines of the same number."""
        source, target = map(_lines, self.paths)
        if len(source) != len(target):
            raise DataError(
                f"{str(self.paths[0])!r} has {len(source):,} lines and {str(self.paths[1])!r} {len(target):,}. "
                "Expected is the translation of each line on the line of the same number: give two files of one length."
            )
        yield from zip(range(1, len(source) + 1), source, target, strict=True)


class TabSeparated(PairFile):
    """Source, TAB, target."""

    __slots__ = ()

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """A line each. A blank line is a pair of two empty sides."""
        rows = [(number, line.split("\t")) for number, line in enumerate(_lines(self.paths[0]), 1)]
        rows = [(number, cells if cells != [""] else ["", ""]) for number, cells in rows]
        _check_lines(
            self.paths[0],
            {
                "no TAB": [number for number, cells in rows if len(cells) < 2],
                "more than two columns": [number for number, cells in rows if len(cells) > 2],
            },
            "Expected is source, TAB, target, and no other TAB.",
        )
        for number, (source, target) in rows:
            yield number, source, target


class JsonLines(PairFile):
    """A JSON object a line, with the two texts under two keys, or in an object under ``translation``."""

    __slots__ = ()

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """An object each; blank lines are none."""
        columns = Columns(*self.columns)
        rows, problems = [], defaultdict[str, list[int]](list)
        for number, line in enumerate(_lines(self.paths[0]), 1):
            if line.strip():
                cells = columns.of(_from_json(line))
                if isinstance(cells, str):
                    problems[cells].append(number)
                else:
                    rows.append((number, *cells))
        advice = (
            "Expected is an object a line with the texts under two keys; source_column and target_column name them."
        )
        _check_lines(self.paths[0], problems, advice)
        yield from rows


class Columns:
    """Which two texts of an object are the pair: those named, or else those it is plain about."""

    def __init__(self, source: str | None = None, target: str | None = None) -> None:
        self.source, self.target = source, target
        self.languages: tuple[str, ...] | None = None  # of the first translation

    def of(self, row: Any) -> tuple[str, str] | str:
        """The two texts, each on one line, or what is wrong with the row, in some words."""
        if not isinstance(row, dict):
            return "not a JSON object"
        names = (self.source or "source", self.target or "target")
        inside = row.get("translation")
        if isinstance(inside, dict) and not any(name in row for name in names):
            row, names = inside, self._languages(inside)
        for name in names:
            if name not in row:
                return f"no key {name!r}"
            if not isinstance(row[name], str):
                return f"the value of {name!r} is not text"
            if HALF_A_CHARACTER.search(row[name]):
                return f"the value of {name!r} has half a surrogate pair in it"
        source, target = (one_line(row[name].strip("\r\n")) for name in names)
        return source, target

    def _languages(self, translation: dict[str, Any]) -> tuple[str, str]:
        """As named; with two languages, one that is not named is the other, and none means those of the first row."""
        self.languages = self.languages or tuple(translation)
        if len(self.languages) != 2:
            return self.source or "source", self.target or "target"
        first, second = self.languages
        source = self.source or (first if self.target != first else second)
        return source, self.target or (second if source != second else first)


def find_pair_file(
    name: str, columns: tuple[str | None, str | None], built_in: Sequence[str], complaints: list[str]
) -> PairFile | None:
    """The file or the two files of this name; None and a complaint, which knows ``built_in`` too, if there are none."""
    names = [name] if "," not in name or _exists(name, built_in, []) else [part.strip() for part in name.split(",")]
    if len(names) > 2:
        complaints.append(f"{name!r} names {len(names)} files; expected are two, with one comma: train.en,train.de.")
        return None
    before = len(complaints)
    paths = tuple(Path(part).expanduser() for part in names if _exists(part, built_in, complaints))
    if len(complaints) > before:
        return None
    if len(paths) == 2:
        return ParallelFiles(name, paths)
    ending = Path(paths[0].name.removesuffix(".gz")).suffix.lower()
    if ending == ".tsv":
        return TabSeparated(name, paths)
    if ending in {".jsonl", ".ndjson"}:
        return JsonLines(name, paths, columns)
    complaints.append(
        f"{name!r} does not say how pairs stand in it. Expected is a name in .tsv (source, TAB, target) or .jsonl, "
        "or two files with a comma between them: train.en,train.de."
    )
    return None


def _exists(name: str, built_in: Sequence[str], complaints: list[str]) -> bool:
    """Whether there is such a file; a complaint with the nearest name if not."""
    try:
        path = Path(name).expanduser()
        if path.is_file():
            return True
        if path.is_dir():
            complaints.append(f"{name!r} is a folder; expected is a file, or two with a comma between them.")
            return False
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, a NUL in it, '~nobody'
        complaints.append(f"{name[:LONGEST_SHOWN]!r} cannot be looked for: {getattr(error, 'strerror', 0) or error}.")
        return False
    match = difflib.get_close_matches(path.name, [*built_in, *beside], n=1, cutoff=0.6)
    near = [found if found in built_in else str(path.parent / found) for found in match]
    hint = f"Did you mean {near[0]!r}?" if near else f"Built in are {', '.join(built_in)}."
    complaints.append(f"There is no file or built-in task named {name!r}. {hint}")
    return False


def _lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends. :class:`DataError` if it is not one, or holds no text."""
    text = "".join(read_text(path))
    if not text.strip():
        raise DataError(f"{str(path)!r} is empty. Give a file with sentences in it.")
    return text.removesuffix("\n").split("\n")


def _from_json(line: str) -> Any:
    """What the line says, or None if it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _check_lines(path: Path, problems: Mapping[str, list[int]], advice: str) -> None:
    """Raise with every problem, and the first lines of each, if there are any."""
    found = [f"{problem}: {_listed(lines)}" for problem, lines in problems.items() if lines]
    if found:
        raise DataError(f"{str(path)!r} cannot be read as pairs ({'; '.join(found)}). {advice}")


def _listed(lines: list[int]) -> str:
    """``line 3``, or ``lines 3, 5 and 12 more``."""
    shown = ", ".join(f"{line:,}" for line in lines[:LINES_SHOWN])
    more = f" and {len(lines) - LINES_SHOWN:,} more" if len(lines) > LINES_SHOWN else ""
    return f"{'line' if len(lines) == 1 else 'lines'} {shown}{more}"


def _n_pairs(lines: list[int]) -> str:
    return f"{len(lines):,} {'pair' if len(lines) == 1 else 'pairs'}"
