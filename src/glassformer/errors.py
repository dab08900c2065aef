"""Every error a user can cause, in one tree.

    GlassformerError            something the user can fix; the command line prints it and exits 2
    ├── ConfigError             a configuration that cannot work, with every reason at once
    ├── DataError               text, files or tokens that cannot be used as asked
    ├── RunError                a run's folder is missing, in use, or not what it should be
    │   └── CheckpointError     a checkpoint is missing, damaged, or does not fit the model
    ├── TrainingError           training had to stop (a loss that is not finite, say); the run is safe
    └── DependencyError         an optional package is needed and not installed

A mistake of ours is never one of these: it is an ``AssertionError`` or whatever Python raised, and the command line
ends with status 70 and a report of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_LISTED = 50
"""Complaints that one message lists."""


LONGEST_SHOWN = 200
"""Characters of a wrong value that a message repeats."""


class GlassformerError(Exception):
    """Something the user can fix. The message says what was given, what was expected and what to do."""


class ConfigError(GlassformerError):
    """A configuration that cannot work.

    ``complaints`` holds every reason, one sentence each; the message lists them all.
    """

    def __init__(self, complaints: str | Iterable[str], *, subject: str = "configuration") -> None:
        self.complaints = [complaints] if isinstance(complaints, str) else list(complaints)
        self.subject = subject
        if len(self.complaints) == 1:
            message = f"The {subject} cannot work: {self.complaints[0]}"
        else:
            lines = "\n".join(f"  - {complaint}" for complaint in self.complaints[:MOST_LISTED])
            if len(self.complaints) > MOST_LISTED:
                lines += f"\n  and {len(self.complaints) - MOST_LISTED:,} more."
            message = f"The {subject} cannot work, for {len(self.complaints)} reasons:\n{lines}"
        super().__init__(message)


class DataError(GlassformerError):
    """Text, files or tokens that cannot be used as asked."""


class RunError(GlassformerError):
    """A run's folder is missing, in use, or not what it should be."""


class CheckpointError(RunError):
    """A checkpoint is missing, damaged, or does not fit the model."""


class TrainingError(GlassformerError):
    """Training had to stop; what had been saved before is safe."""


class DependencyError(GlassformerError):
    """An optional package is needed and is not installed."""


def shown(value: object, longest: int = LONGEST_SHOWN) -> str:
    """A value as a message repeats it: its ``repr``, and of a very long one the beginning.

    >>> shown("a" * 5000, 10)
    "'aaaaaaaaa … (5,000 characters)"
    """
    text = repr(value[: longest + 1]) if isinstance(value, str | bytes) else repr(value)
    if len(text) <= longest:
        return text
    length = len(value) if isinstance(value, str | bytes) else len(text)
    return f"{text[:longest]} … ({length:,} characters)"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: ``Did you mean 'x'?``, or what there is to choose from.

    >>> nearest("layernrm", ["layernorm", "rmsnorm"])
    "Did you mean 'layernorm'?"
    >>> nearest("zzz", ["a", "b"])
    'Known: a, b.'
    """
    names = sorted({name[:LONGEST_SHOWN] for name in known})  # to compare longer ones takes minutes
    folded = {name.casefold(): name for name in names}
    match = difflib.get_close_matches(word[:LONGEST_SHOWN].casefold(), folded, n=1, cutoff=0.6)
    listed = ", ".join(names[:MOST_LISTED]) + (f" and {len(names) - MOST_LISTED:,} more" * (len(names) > MOST_LISTED))
    return f"Did you mean '{folded[match[0]]}'?" if match else f"Known: {listed or 'none'}."
