"""What stands in two splits at once: a model that has seen a sentence in training knows more than its loss on it says.

A pair is compared by its source, which is what the model is given. *The same* means after the tokenizer's own
normalisation (for sentences: :meth:`SentenceTokenizer.normalise
<glassformer.data.sentence_tokenizers.SentenceTokenizer.normalise>`). *Nearly the same* means the same but for case,
compatibility forms (full width, ligatures), punctuation and white space; rewordings are not looked for. Lines of a text
are compared as they are.
"""

from __future__ import annotations

import hashlib
import heapq
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from glassformer.data.pair_source import Pair

Normalise = Callable[[str], str]

LONG_LINE = 40
"""Characters from which on a line says enough to be looked for in training: shorter ones repeat by nature."""

LONGEST_LINE = 1 << 16

LINES_KEPT = 50_000
"""Distinct validation lines that are looked for, those with the smallest hashes: memory does not grow with the text."""


@dataclass(frozen=True)
class PairOverlap:
    """How many of ``n`` pairs have a source that stands in training.

    Attributes:
        same: sources that are the same as the tokenizer reads them.
        same_target: of these, pairs whose target is the same too.
        near: further sources that are nearly the same.
    """

    n: int
    same: int
    same_target: int
    near: int


def pair_overlap(
    train: Sequence[Pair], others: Sequence[Pair], source: Normalise, target: Normalise | None = None
) -> PairOverlap:
    """Compare every pair of another split with all training pairs.

    Args:
        source, target: what the tokenizers make of a sentence before they cut it; one for both unless two are given.
    """
    target = target or source
    targets: dict[str, set[str]] = {}
    for pair in train:
        targets.setdefault(source(pair.source), set()).add(target(pair.target))
    near = {near_form(text) for text in targets}
    same = same_target = similar = 0
    for pair in others:
        text = source(pair.source)
        if text in targets:
            same += 1
            same_target += target(pair.target) in targets[text]
        elif near_form(text) in near:
            similar += 1
    return PairOverlap(len(others), same, same_target, similar)


def overlap_notes(split: str, found: PairOverlap) -> list[str]:
    """What the user should know, in words."""
    notes = []
    if found.same:
        notes.append(
            f"{split}: {found.same:,} of {found.n:,} pairs ({found.same / found.n:.1%}) have a source that stands in "
            f"training too, as the tokenizer reads it; {found.same_target:,} of them with the same target"
        )
    if found.near:
        notes.append(
            f"{split}: {found.near:,} of {found.n:,} pairs ({found.near / found.n:.1%}) have a source that differs "
            "from one in training in nothing but case, punctuation and white space"
        )
    return notes


def near_form(text: str) -> str:
    """The text in compatibility form without case, punctuation and superfluous white space.

    A text of punctuation alone is compared as it is.

    >>> near_form("It's  “FINE”!") == near_form("its fine")
    True
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_WITHOUT_PUNCTUATION).split()) or text


class _PunctuationTable(dict[int, int | None]):
    """For ``str.translate``: None for characters of Unicode's categories P (punctuation), found out at first use."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code)).startswith("P") else code
        return self[code]


_WITHOUT_PUNCTUATION = _PunctuationTable()


def repeated_lines(train: Iterable[str], validation: Iterable[str]) -> tuple[int, int]:
    """How many distinct validation lines of at least 40 characters stand in training, and how many were looked for.

    Both texts are pieces whose concatenation is the text; of each, only a piece and the chosen lines are in memory.
    """
    chosen = _smallest_hashes(line for lines in _lines(validation) for line in lines if len(line) >= LONG_LINE)
    found: set[str] = set()
    for lines in _lines(train) if chosen else ():
        found |= chosen.intersection(lines)
    return len(found), len(chosen)


def _lines(pieces: Iterable[str]) -> Iterator[list[str]]:
    """The lines, a list for each piece; one that several pieces share comes with the last of them.

    Of a line that does not end for so long that it would fill memory, the beginning stands for the whole.
    """
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        rest = rest[:LONGEST_LINE]
        yield lines
    yield [rest]


def _smallest_hashes(lines: Iterable[str]) -> set[str]:
    """All distinct lines, or the :data:`LINES_KEPT` of them with the smallest hashes: a sample by content alone."""
    kept: dict[str, int] = {}
    limit = 1 << 64
    for line in lines:
        if line in kept:
            continue
        code = int.from_bytes(hashlib.blake2b(line.encode(), digest_size=8).digest())
        if code < limit:
            kept[line] = code
        if len(kept) >= 2 * LINES_KEPT:
            smallest = heapq.nsmallest(LINES_KEPT, kept.items(), key=lambda item: item[1])
            kept, limit = dict(smallest), smallest[-1][1]
    return set(heapq.nsmallest(LINES_KEPT, kept, key=kept.__getitem__))
