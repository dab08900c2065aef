"""Tasks whose right answers are known: how a problem is drawn, written down and answered.

A problem is a row of tokens: a prompt, a separator, the answer. Shapes: n problems, W tokens in a row.

==================  ===========================================================================  ==================
task                problem                                                                      example
==================  ===========================================================================  ==================
copy                give the symbols back                                                        ``c a b|c a b``
reverse             … in the reverse order                                                       ``c a b|b a c``
sort                … in their own order                                                         ``c a b|a b c``
addition            the sum of two numbers, its last digit first: minGPT's adder (A. Karpathy,   ``8 5+5 0=5 3 1``
                    github karpathy/minGPT, projects/adder), which leaves out the two signs
selective-copy      give back the symbols between blanks (Gu & Dao 2023, arXiv 2312.00752,       ``_ c _ _ a|c a``
                    §4.1)
associative-recall  the values of keys, given as pairs before: multi-query associative recall    ``a C b A|b A a C``
                    (Arora et al. 2023, arXiv 2312.04927, §3), its queries without gaps
induction           go on as it went on when the symbol after the separator stood there before   ``c a b d|a b d``
                    (Olsson et al. 2022, "In-context Learning and Induction Heads")
==================  ===========================================================================  ==================

What counts is the answer alone; in ``b A a C`` of associative recall the values, for the keys are the questions.
"""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Draws = npt.NDArray[np.uint64]

FILL = -1
"""What stands behind the end of a problem that is shorter than its row."""


@dataclass(frozen=True, slots=True)
class Problems:
    """Problems with their answers, a row each."""

    tokens: Ids
    """int64 [n, W]: prompt, separator, answer, then :data:`FILL`"""

    answered: Mask
    """bool [n, W]: where the tokens stand that are to be found out"""

    def __len__(self) -> int:
        """Number of problems."""
        return len(self.tokens)

    def __getitem__(self, rows: Any) -> Self:
        """Some of the problems, chosen as rows of an array are."""
        return type(self)(self.tokens[rows], self.answered[rows])

    def replaced(self, rows: Mask, others: Problems) -> Self:
        """The same problems, but those of ``rows`` [n] from ``others``."""
        chosen = rows[:, None]
        return type(self)(
            np.where(chosen, others.tokens, self.tokens), np.where(chosen, others.answered, self.answered)
        )


class Task(ABC):
    """One kind of problem over symbols 0 … ``n_symbols`` − 1, with the separator and other signs behind them.

    Args:
        n_symbols: how many symbols problems are made of.
        blanks: for each symbol, where a task has blanks.
    """

    usual_length: ClassVar[int] = 8
    least_length: ClassVar[int] = 1
    least_symbols: ClassVar[int] = 2

    def __init__(self, n_symbols: int, blanks: int) -> None:
        self.n_symbols = n_symbols
        self.blanks = blanks
        self.separator = n_symbols

    @property
    def names(self) -> list[str]:
        """What each token is called, by id."""
        return [*symbol_names(self.n_symbols), "|"]

    @abstractmethod
    def width(self, length: int) -> int:
        """Tokens of a problem, its answer included."""

    @abstractmethod
    def answered(self, length: int) -> range:
        """The places of the answer's tokens in the row."""

    @abstractmethod
    def n_draws(self, length: int) -> int:
        """Random numbers that a problem is made of. A longer problem takes no fewer."""

    @abstractmethod
    def generate(self, draws: Draws, length: int) -> Ids:
        """Problems of one length from random numbers: uint64 [n, n_draws(length)] → int64 [n, width(length)]."""

    def complaints(self, length: int) -> Iterator[str]:
        """Why there are no problems of this length."""
        if length < self.least_length:
            yield f"length is {length}, and a problem takes at least {self.least_length}."

    def _column(self, n: int, token: int) -> Ids:
        return np.full((n, 1), token)


class Copy(Task):
    """``length`` symbols, each drawn from all of them, and the same again."""

    usual_length = 12

    def width(self, length: int) -> int:
        return 2 * length + 1

    def answered(self, length: int) -> range:
        return range(length + 1, 2 * length + 1)

    def n_draws(self, length: int) -> int:
        return length

    def generate(self, draws: Draws, length: int) -> Ids:
        symbols = below(draws[:, :length], self.n_symbols)
        return np.hstack([symbols, self._column(len(draws), self.separator), self.rearranged(symbols)])

    def rearranged(self, symbols: Ids) -> Ids:
        """The answer: [n, length] → [n, length]."""
        return symbols


class Reverse(Copy):
    """The symbols, the last one first."""

    def rearranged(self, symbols: Ids) -> Ids:
        return symbols[:, ::-1]


class Sort(Copy):
    """The symbols in the order of their ids; equal ones stand side by side."""

    def rearranged(self, symbols: Ids) -> Ids:
        return np.sort(symbols, axis=1)


class SelectiveCopy(Task):
    """``length`` symbols at random places among ``blanks`` blanks for each, and the symbols in their order."""

    def __init__(self, n_symbols: int, blanks: int) -> None:
        super().__init__(n_symbols, blanks)
        self.blank = n_symbols + 1

    @property
    def names(self) -> list[str]:
        return [*super().names, "_"]

    def context(self, length: int) -> int:
        """Symbols and blanks."""
        return length * (1 + self.blanks)

    def width(self, length: int) -> int:
        return self.context(length) + 1 + length

    def answered(self, length: int) -> range:
        return range(self.context(length) + 1, self.width(length))

    def n_draws(self, length: int) -> int:
        return 2 * length

    def generate(self, draws: Draws, length: int) -> Ids:
        symbols = below(draws[:, :length], self.n_symbols)
        places = np.sort(distinct(draws[:, length : 2 * length], self.context(length)), axis=1)
        context = np.full((len(draws), self.context(length)), self.blank)
        np.put_along_axis(context, places, symbols, axis=1)
        return np.hstack([context, self._column(len(draws), self.separator), symbols])


class Addition(Task):
    """Two numbers of ``length`` digits, zeros in front where they are smaller, and the length + 1 digits of their sum.

    The sum's last digit comes first, for so each digit follows from what stands before it.
    """

    usual_length = 2
    base: ClassVar[int] = 10

    def __init__(self, n_symbols: int, blanks: int) -> None:
        super().__init__(self.base, blanks)
        self.plus = self.base + 1

    @property
    def names(self) -> list[str]:
        return [*string.digits, "=", "+"]

    def width(self, length: int) -> int:
        return 3 * length + 3

    def answered(self, length: int) -> range:
        return range(2 * length + 2, 3 * length + 3)

    def n_draws(self, length: int) -> int:
        return 2 * length

    def generate(self, draws: Draws, length: int) -> Ids:
        digits = below(draws[:, : 2 * length], self.base)
        a, b = digits[:, :length], digits[:, length:]
        total, carry = np.empty((len(draws), length + 1), dtype=np.int64), np.zeros(len(draws), dtype=np.int64)
        for place in range(length):  # from the last digit on
            carry, total[:, place] = np.divmod(a[:, -1 - place] + b[:, -1 - place] + carry, self.base)
        total[:, length] = carry
        n = len(draws)
        return np.hstack([a, self._column(n, self.plus), b, self._column(n, self.separator), total])


class AssociativeRecall(Task):
    """``length`` pairs of a key and a value; then keys of them, as many and any of them, each before its value.

    The first half of the symbols are keys, all different among the pairs; the others are values. Which key is asked
    for does not depend on those before, so that no value can be guessed from what is left over.
    """

    least_symbols = 4

    @property
    def n_keys(self) -> int:
        """How many symbols are keys."""
        return self.n_symbols // 2

    @property
    def names(self) -> list[str]:
        n_values = self.n_symbols - self.n_keys
        if n_values <= len(string.ascii_lowercase):
            symbols = [*string.ascii_lowercase[: self.n_keys], *string.ascii_uppercase[:n_values]]
        else:
            symbols = [*(f"k{key}" for key in range(self.n_keys)), *(f"v{value}" for value in range(n_values))]
        return [*symbols, "|"]

    def complaints(self, length: int) -> Iterator[str]:
        yield from super().complaints(length)
        if length > self.n_keys:
            yield (
                f"associative-recall of length={length} pairs needs as many different keys, and half of "
                f"vocab_size={self.n_symbols} symbols are keys: set vocab_size to at least {2 * length}, or length to "
                f"at most {self.n_keys}."
            )

    def width(self, length: int) -> int:
        return 4 * length + 1

    def answered(self, length: int) -> range:
        return range(2 * length + 2, 4 * length + 1, 2)

    def n_draws(self, length: int) -> int:
        return 3 * length

    def generate(self, draws: Draws, length: int) -> Ids:
        keys = distinct(draws[:, :length], self.n_keys)
        values = self.n_keys + below(draws[:, length : 2 * length], self.n_symbols - self.n_keys)
        asked = below(draws[:, 2 * length : 3 * length], length)
        pairs = np.stack([keys, values], axis=-1)  # [n, length, 2]
        questions = np.take_along_axis(pairs, asked[:, :, None], axis=1)
        n = len(draws)
        return np.hstack([pairs.reshape(n, -1), self._column(n, self.separator), questions.reshape(n, -1)])


class Induction(Task):
    """``length`` different symbols; then one of them, the trigger, and what had followed it.

    What had followed it is half as many tokens as there are symbols, so that it stands there whole. No symbol stands
    there twice, so that the one before an answer determines the answer: an induction head is all that is needed.
    """

    usual_length = 12
    least_length = 2

    def complaints(self, length: int) -> Iterator[str]:
        yield from super().complaints(length)
        if length > self.n_symbols:
            yield (
                f"induction of length={length} needs as many different symbols: set vocab_size to at least {length}, "
                f"or length to at most {self.n_symbols}."
            )

    def continued(self, length: int) -> int:
        """Tokens to go on for."""
        return length // 2

    def width(self, length: int) -> int:
        return length + 2 + self.continued(length)

    def answered(self, length: int) -> range:
        return range(length + 2, self.width(length))

    def n_draws(self, length: int) -> int:
        return length + 1

    def generate(self, draws: Draws, length: int) -> Ids:
        k = self.continued(length)
        symbols, place = distinct(draws[:, 1 : length + 1], self.n_symbols), below(draws[:, :1], length - k)
        repeated = np.take_along_axis(symbols, place + np.arange(k + 1), axis=1)  # the trigger, then the answer
        return np.hstack([symbols, self._column(len(draws), self.separator), repeated])


TASKS: dict[str, type[Task]] = {
    "copy": Copy,
    "reverse": Reverse,
    "sort": Sort,
    "addition": Addition,
    "selective-copy": SelectiveCopy,
    "associative-recall": AssociativeRecall,
    "induction": Induction,
}


def problems(task: Task, draws: Draws, shortest: int, longest: int) -> Problems:
    """A problem for each row of random numbers, its length drawn evenly from ``shortest`` to ``longest``.

    Args:
        draws: uint64 [n, at least 1 + n_draws(longest)]
    """
    lengths = shortest + below(draws[:, :1], longest - shortest + 1)[:, 0]
    tokens = np.full((len(draws), task.width(longest)), FILL)
    answered = np.zeros(tokens.shape, dtype=np.bool_)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        tokens[rows, : task.width(length)] = task.generate(draws[rows, 1:], length)
        answered[np.ix_(rows, np.array(task.answered(length)))] = True
    return Problems(tokens, answered)


def below(draws: Draws, n: int) -> Ids:
    """Uniform draws from ``range(n)``: the upper 53 bits, scaled. (The bias is below n / 2⁵³.)"""
    return ((draws >> np.uint64(11)) * 2.0**-53 * n).astype(np.int64)


def distinct(draws: Draws, n: int) -> Ids:
    """Some different numbers of ``range(n)`` in a random order, for each row: [n rows, k] → [n rows, k].

    The first k steps of the Fisher–Yates shuffle (Durstenfeld 1964).
    """
    rows, k = np.arange(len(draws)), draws.shape[1]
    left = np.tile(np.arange(n), (len(draws), 1))
    for place in range(k):
        other = place + below(draws[:, place], n - place)
        left[rows, other], left[rows, place] = left[rows, place], left[rows, other]
    return left[:, :k]


def symbol_names(n: int) -> list[str]:
    """The first letters where there are enough of them, else numbers."""
    return list(string.ascii_letters[:n]) if n <= len(string.ascii_letters) else [str(each) for each in range(n)]
