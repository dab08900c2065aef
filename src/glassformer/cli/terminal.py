r"""Everything that a command prints goes through here, so that no text of a file, a model or an argument can act.

A name, a message or a sampled text may hold what moves a cursor, recolours or renames a terminal's window, or turns
the direction of writing: control characters (ESC among them, with which every such sequence begins) and bidirectional
overrides. They are printed as escapes that can be read: ``\x1b[31m``. Text is never read as markup: ``[bold]`` is
printed as it stands.

=========================  ==================================================================================
:class:`Terminal`          messages, tables and progress: escaped everywhere
:func:`emit`, `warn`       plain lines on standard output, warnings on standard error: the same
:func:`emit_json`          strict JSON, in which such characters are JSON's own escapes
:func:`emit_payload`       what a model wrote: escaped at a terminal, exact in a pipe or a file
=========================  ==================================================================================
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from glassformer.strict_json import finite

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
r"""C0 without ``\n`` and ``\t``, DEL, C1; bidirectional embeddings, overrides and isolates; lone surrogates."""


def escaped(text: str) -> str:
    r"""The text with every character that could act on a terminal as a visible escape.

    >>> escaped("a\x1b[2Jb\rc\u202ed")
    'a\\x1b[2Jb\\rc\\u202ed'
    """
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Terminal(Console):
    """Standard output or standard error, for text from anywhere: escaped, and free of markup."""

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = True) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Rich's own, with the text of every segment escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Leave it to ``main``, which does the same for every stream."""
        raise  # noqa: PLE0704 - rich calls this where it has caught the error


def emit(text: str = "") -> None:
    """A line on standard output, or several."""
    print(escaped(text))


def warn(message: str) -> None:
    """A line on standard error, which stays out of what is piped on."""
    Terminal(stderr=True).print(Text.assemble(("warning: ", "yellow"), message))


def emit_json(value: Any, *, indent: int | None = None, ascii_only: bool = True) -> None:
    """A value as strict JSON on standard output, where a number that is not finite is null."""
    text = json.dumps(finite(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    print(UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def emit_payload(text: str) -> None:
    """What a model wrote, at once: exact where it goes to a pipe or a file, escaped where it is looked at."""
    sys.stdout.write(escaped(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
