"""What every source of sentence pairs is, and how validation pairs are held out of training."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SPLIT_RULE = "sources by the smallest hash, alike where the tokenizer reads them alike"
"""What :func:`hold_out` does, for the identity of pairs: another rule makes other data of the same files."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence and its translation."""

    source: str
    target: str


class PairSource(ABC):
    """Sentence pairs in splits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []
        """What the user should know, such as pairs that were skipped and why; known once :meth:`splits` has run."""

    holds_out = False
    """Whether the validation pairs are chosen here, out of the training pairs."""

    @abstractmethod
    def splits(self) -> dict[str, list[Pair]]:
        """``train``, ``validation`` and any number of splits to test on. Raises :class:`DataError` for bad files."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The identity of the pairs: a hash of their content, the same whatever their files are called."""


def hold_out(
    pairs: Sequence[Pair], fraction: float, normalise: Callable[[str], str] = str
) -> tuple[list[Pair], list[Pair]]:
    """What stays and what is held out, in their order: about that share, by the hash of the source text.

    Pairs whose sources ``normalise`` makes one text of stay together: of these the smallest hash counts. Neither part
    is empty unless there is one source text only.
    """
    alike = {text: normalise(text) for text in {pair.source for pair in pairs}}
    hashes: dict[str, bytes] = {}
    for text, normal in alike.items():
        code = hashlib.sha256(text.encode()).digest()
        hashes[normal] = min(hashes.get(normal, code), code)
    count = Counter(alike[pair.source] for pair in pairs)
    chosen: set[str] = set()
    n_chosen, wanted = 0, max(1, round(fraction * len(pairs)))
    for normal in sorted(count, key=hashes.__getitem__)[:-1]:
        if n_chosen >= wanted:
            break
        chosen.add(normal)
        n_chosen += count[normal]
    train = [pair for pair in pairs if alike[pair.source] not in chosen]
    return train, [pair for pair in pairs if alike[pair.source] in chosen]
