"""Parts of a report that could not be made: named in their place on the page, with the whole error in a file beside it.

A report runs the user's own parts, on data that may have changed since. Whatever they raise, the numbers are written.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from glassformer.errors import GlassformerError
from glassformer.untrusted import open_to_append
from glassformer.wording import counted

FILE = "report-errors.txt"

T = TypeVar("T")


@dataclass
class Failures:
    """What could not be made of the report in a folder, and why.

    Attributes:
        reasons: by what it is, the error in a line.
    """

    folder: Path | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path | None:
        """The file with the tracebacks."""
        return None if self.folder is None else self.folder / FILE

    def begin(self, folder: Path) -> None:
        """Forget those of a report that was written there before."""
        self.folder = folder
        with contextlib.suppress(OSError):
            (folder / FILE).unlink(missing_ok=True)

    def attempt(self, what: str, make: Callable[[], T], otherwise: Callable[[str], T]) -> T:
        """What ``make`` makes, or ``otherwise`` of the reason; a :class:`GlassformerError` is raised as it is."""
        try:
            return make()
        except GlassformerError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a part of the user's own may raise anything
            return otherwise(self.note(what, error))

    def note(self, what: str, error: BaseException) -> str:
        """Keep an error; the sentence to be read in place of what it prevented."""
        reason = f"{type(error).__name__}: {error}".strip().removesuffix(":").splitlines()[0]
        self.reasons[what] = reason
        if self.file is not None:
            with contextlib.suppress(OSError), open_to_append(self.file) as file:
                file.write(f"{what}\n{''.join(traceback.format_exception(error))}\n".encode(errors="backslashreplace"))
        return f"This part could not be created ({reason}). {FILE}, beside this report, has the full error."

    def sentence(self) -> str:
        """All failures as text for the terminal; empty if there are none."""
        if not self.reasons:
            return ""
        listed = "\n".join(f"  - {what}: {reason}" for what, reason in self.reasons.items())
        return (
            f"{counted(len(self.reasons), 'part')} of the report could not be created; the tables, results.csv and "
            f"runs.csv are complete, and the runs are unaffected:\n{listed}\nFull errors: {self.file}"
        )
