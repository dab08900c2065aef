"""What is left when something goes wrong that is no mistake of the user's: a report in a file, and what to say.

``GLASSFORMER_DEBUG=1`` shows the traceback as well.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from glassformer import __version__, places
from glassformer.cli.terminal import Terminal, warn

STATUS = 70
"""The exit status: EX_SOFTWARE of sysexits.h."""

DEBUG = "GLASSFORMER_DEBUG"
LONGEST = 300
"""Characters of an error's own message that are repeated in ours."""


def describe(error: BaseException, command: Sequence[str]) -> str:
    """Write the report, and give the message: that it is a bug, where the report is, and what is safe."""
    message = f"{type(error).__name__}: {error}".rstrip(": ")
    if len(message) > LONGEST:
        message = message[:LONGEST] + " …"
    written = _write(_report(error, command))
    where = (
        f"Details: {written}; please report the bug with that file."
        if written
        else f"No report of it could be written; {DEBUG}=1 before the command shows the traceback."
    )
    return (
        f"This is a bug in glassformer, not in your input: {message}\n{where}\n"
        "Runs and checkpoints that were saved before are intact; glassformer resume RUN continues from the last one."
    )


def watch_process() -> None:
    """Whatever goes wrong beside the command itself, in a thread or when an object goes away, shows no traceback."""
    threading.excepthook = _of_a_thread
    if not debugging():
        sys.unraisablehook = lambda _: None
    warnings.showwarning = _show_warning


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get(DEBUG, "0") not in ("", "0")


def show_traceback(error: BaseException) -> None:
    """On standard error."""
    Terminal(stderr=True).print("".join(traceback.format_exception(error)))


def _of_a_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit | BrokenPipeError):
        warn(f"a thread of the program ended. {describe(failed.exc_value, sys.argv)}")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    warn(str(message))


def _report(error: BaseException, command: Sequence[str]) -> str:
    torch = getattr(sys.modules.get("torch"), "__version__", "not imported")
    about = {
        "command": shlex.join(command),
        "glassformer": __version__,
        "Python": sys.version.replace("\n", " "),
        "torch": torch,
        "system": platform.platform(),
        "moment": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    lines = [f"{name}: {value}" for name, value in about.items()]
    return "\n".join(lines) + "\n\n" + "".join(traceback.format_exception(error))


def _write(report: str) -> Path | None:
    """Where it was written: the folder for reports, else the one for temporary files, else nowhere."""
    name = f"crash-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}-{os.urandom(2).hex()}.txt"
    for folder in (places.reports_folder, lambda: Path(tempfile.gettempdir())):
        try:
            path = folder() / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(report, encoding="utf-8", errors="backslashreplace")
        except (OSError, RuntimeError, ValueError):  # full, forbidden, no home folder, no such path
            continue
        return path
    return None
