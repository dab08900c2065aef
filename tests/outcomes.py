"""One command line tried in this process, and what is wrong with how it ended.

    from outcomes import attempt, counts, faults

    outcome = attempt(["train", "gpt2", "--steps", "0"], watched=[folder])
    assert faults(outcome) == []       # every broken promise in a sentence; [] where all were kept
    print(counts(outcomes))            # refused (2) 812 · accepted (0) 103 · ...

``attempt`` runs ``glassformer.cli.main.main`` with standard streams of its own: standard input is empty, output goes
to no terminal. It stops after ``limit`` seconds of processor time, or ten times as long on the wall. ``watched`` are
folders (the working directory, the folder of runs, ...) whose files are compared before and after. It changes neither
the working directory nor the environment: that is the test's part (the fixtures ``place`` and ``run`` do it).
A command that is refused must leave no file behind, and print one message; one that is accepted may write, and so may
a training that began and whose loss was no number then.
"""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glassformer.cli.main import main

LIMIT = 20.0
"""Seconds for one command."""

KINDS = {0: "accepted (0)", 2: "refused (2)", 70: "crashed (70)", 124: "hung (124)"}
SAVED = "the state before it is saved in"
"""Said where a training that had begun was stopped by what it computed; its run is kept."""
MESSAGE = re.compile(r"^error: |─ Error ─", re.MULTILINE)


class _TooLongError(BaseException):
    """Raised by the alarm; no Exception, so that nothing inside takes it for a mistake of its own."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: the exit status; 124 where it ran past the limit, 1 where an exception escaped ``main``.
        left: files below the watched folders that are new, gone or of another size.
    """

    command: tuple[str, ...]
    status: int
    out: str
    err: str
    seconds: float
    left: tuple[str, ...] = field(default=())

    @property
    def kind(self) -> str:
        """For counting: accepted, refused, crashed, hung, or another status."""
        return KINDS.get(self.status, f"status {self.status}")


def attempt(command: Sequence[object], *, watched: Iterable[Path] = (), limit: float = LIMIT) -> Outcome:
    """Run a command line in this process; it never raises."""
    words, folders = tuple(map(str, command)), list(watched)
    before = _files(folders)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2))
    began = time.perf_counter()
    with _streams(out, err):
        try:
            with _alarm(limit):
                status = main(list(words))
        except _TooLongError:
            status = 124
        except BaseException as error:  # noqa: BLE001 - nothing may escape main, so whatever does is the finding
            status = 1
            err.write(f"Traceback: {type(error).__name__}: {error}")
    seconds = time.perf_counter() - began
    after = _files(folders)
    left = sorted({path for path in before.keys() | after.keys() if before.get(path) != after.get(path)})
    return Outcome(words, status, _content(out), _content(err), seconds, tuple(left))


def faults(outcome: Outcome, *, accepted: bool = True) -> list[str]:
    """Every promise that the outcome breaks, a sentence each.

    Args:
        accepted: whether exit status 0 is fine too.
    """
    found = []
    if outcome.status not in ({0, 2} if accepted else {2}):
        found.append(f"it ended with status {outcome.status} after {outcome.seconds:.1f} s")
    if "Traceback" in outcome.out + outcome.err:
        found.append("it shows a traceback")
    messages = len(MESSAGE.findall(outcome.err))
    if messages != (outcome.status != 0):
        found.append(f"it shows {messages} messages")
    if raw := sorted({hex(ord(each)) for each in outcome.err if each != "\n" and not each.isprintable()} - {"0x9"}):
        found.append(f"its messages hold control characters: {', '.join(raw)}")
    if outcome.status != 0 and outcome.left and SAVED not in outcome.err:
        found.append(f"it left behind or changed {', '.join(outcome.left)}")
    return found


def counts(outcomes: Iterable[Outcome]) -> str:
    """How many of each kind: ``refused (2) 812 · accepted (0) 103``."""
    return " · ".join(f"{kind} {n:,}" for kind, n in Counter(each.kind for each in outcomes).most_common())


def _files(folders: Iterable[Path]) -> dict[str, int]:
    """Files below the folders and their sizes, locks apart."""
    return {
        str(path): path.lstat().st_size if not path.is_dir() else -1
        for folder in folders
        for path in folder.rglob("*")
        if path.name != ".lock" and not path.name.endswith(".lock")
    }


@contextlib.contextmanager
def _streams(out: io.TextIOWrapper, err: io.TextIOWrapper) -> Iterator[None]:
    kept = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), out, err
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _TooLongError

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, seconds), signal.SIGALRM: (signal.ITIMER_REAL, 10 * seconds)}
    kept = {number: signal.signal(number, ring) for number in timers}
    try:
        for timer, most in timers.values():
            signal.setitimer(timer, most)
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, kept[number])


def _content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer
    assert isinstance(content, io.BytesIO)
    return content.getvalue().decode("utf-8", "backslashreplace")
