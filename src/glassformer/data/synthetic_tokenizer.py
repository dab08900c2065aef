"""The tokens of a task as text: a sign for each, so that a problem can be typed and an answer read."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Self

import numpy as np

from glassformer.data.tokenizer import Ids, Tokenizer
from glassformer.errors import DataError


class SymbolTokenizer(Tokenizer):
    """One token for each name. White space between names is left out; names of one character need none.

    Args:
        names: by id, each once, without white space.
    """

    kind = "symbols"

    def __init__(self, names: list[str]) -> None:
        self.names = list(names)
        self._ids = {name: number for number, name in enumerate(self.names)}
        self._name = re.compile(r"\S" if self.is_compact else r"\S+")

    @property
    def is_compact(self) -> bool:
        """Whether every name is one character."""
        return all(len(name) == 1 for name in self.names)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """Each name's UTF-8, a space before it where names are longer than a character."""
        return [(name if self.is_compact else f" {name}").encode() for name in self.names]

    def encode(self, text: str) -> Ids:
        """The ids of the names.

        Raises:
            DataError: there is no name in the text, or one that is not of the task.
        """
        found = [(match.group(), match.start()) for match in self._name.finditer(text)]
        unknown = dict(reversed([each for each in found if each[0] not in self._ids]))
        if unknown:
            named = ", ".join(f"{name!r} at position {at:,}" for name, at in sorted(unknown.items())[:10])
            more = ", and more" if len(unknown) > 10 else ""
            raise DataError(
                f"The text has signs that the task does not have: {named}{more}. Its signs are {self._shown()}."
            )
        if not found:
            raise DataError(f"The text has no sign of the task in it; give some of {self._shown()}.")
        return np.array([self._ids[name] for name, _ in found], dtype=np.int64)

    def token_text(self, token: int) -> str:
        """The name alone."""
        return self.names[self.checked(token)]

    def to_dict(self) -> dict[str, Any]:
        """The names in the order of their ids."""
        return {"kind": self.kind, "names": self.names}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`."""
        tokenizer = cls(tree["names"])
        assert all(re.fullmatch(r"\S+", name) for name in tokenizer.names), "a name has white space in it"
        assert len(tokenizer._ids) == len(tokenizer.names) > 0, "a name stands there twice, or there is none"
        return tokenizer

    def _shown(self) -> str:
        names = self.names if len(self.names) <= 60 else [*self.names[:20], "…", *self.names[-20:]]
        return " ".join(names)
