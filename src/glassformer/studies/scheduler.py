"""The queue of a study's runs: an executor trains them, observers follow, Ctrl-C stops it, the same call resumes it.

All state is in the study's folder. The scheduler only decides what to submit next; whoever trains a run records its
outcome, so a scheduler that is killed loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome, failed
from glassformer.training.signals import SignalHandler

MAX_ATTEMPTS = 10
"""Times that a run's process may be lost without further progress before the run counts as failed."""

POLL = 0.2  # seconds between two checks for Ctrl-C


@dataclass(frozen=True)
class WorkerMessage:
    """What an executor reports on a run.

    Attributes:
        run: its key in the study.
        kind: "progress"; "done": its outcome is in the folder; "lost": its process has ended without an outcome.
        step, total: updates made and to be made (None: a time budget).
        train, validation: the loss, as text (it may be nan).
        detail: how its process ended.
    """

    run: str
    kind: Literal["progress", "done", "lost"]
    step: int | None = None
    total: int | None = None
    train: str | None = None
    validation: str | None = None
    detail: str = ""


class Executor(Protocol):
    """Trains runs somewhere, by :func:`glassformer.studies.worker.train_run`: in local processes, or on a cluster."""

    count: int
    """Runs at a time."""

    def submit(self, run: str) -> None:
        """Put a run, by its key, at the end of the queue."""

    def next(self, timeout: float) -> WorkerMessage | None:
        """The next message; None if there is none within so many seconds."""

    def stop(self) -> None:
        """Save and stop all runs. What was submitted and is not done is forgotten."""


@dataclass(frozen=True)
class Event:
    """What observers get: a message, and with "done" the outcome."""

    message: WorkerMessage
    outcome: RunOutcome | None = None


Observer = Callable[[Event], None]


@dataclass
class Scheduler:
    """Trains the pending runs of a study. Only one process may at a time."""

    study: Study
    executor: Executor
    observers: Sequence[Observer] = ()

    def __post_init__(self) -> None:
        self._open: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._furthest: dict[str, int] = {}

    def run(self) -> str | None:
        """Train every run that has no outcome yet. Returns the signal that stopped it, or None when all have ended.

        Raises:
            RunError: another process runs this study, or no worker can be started.
        """
        with self.study.lock_study(), SignalHandler() as signals:
            try:
                for planned in self.study.pending():
                    self._open.add(planned.run_key)
                    self.executor.submit(planned.run_key)
                while self._open and signals.requested is None:
                    message = self.executor.next(POLL)
                    if message is not None and message.run in self._open:
                        self._receive(message)
            finally:
                self.executor.stop()
        return signals.requested

    def _receive(self, message: WorkerMessage) -> None:
        outcome = None
        if message.kind == "progress":
            self._note_progress(message)
        else:
            outcome = self.study.outcome(self.study.run_by_key[message.run])
            assert outcome is not None or message.kind == "lost", f"{message.run} is done, and has no outcome"
            if outcome is None:
                outcome = self._retry(message)
            if outcome is not None:
                self._open.discard(message.run)
                message = WorkerMessage(message.run, "done")
        for observer in self.observers:
            observer(Event(message, outcome))

    def _note_progress(self, message: WorkerMessage) -> None:
        if (message.step or 0) > self._furthest.get(message.run, -1):
            self._furthest[message.run] = message.step or 0
            self._lost[message.run] = 0

    def _retry(self, message: WorkerMessage) -> RunOutcome | None:
        """Submit a run whose process was lost again; one that keeps losing its process has failed."""
        planned = self.study.run_by_key[message.run]
        self._lost[message.run] += 1
        if self._lost[message.run] < MAX_ATTEMPTS:
            self.executor.submit(message.run)
            return None
        reason = f"its process {message.detail}, {MAX_ATTEMPTS} times in a row without further progress"
        outcome = failed(planned.variant, planned.seed, reason, self.study.run_of(planned))
        with self.study.lock_run(planned):  # a process that was taken for lost may have ended it meanwhile
            ended = self.study.outcome(planned)
            if ended is None:
                self.study.record(planned, outcome)
        return ended or outcome
