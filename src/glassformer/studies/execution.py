"""The queue of a study's runs: worked off by an executor, watched by observers, stopped by Ctrl-C, resumed at any time.

All state is in the study's folder. The driver here only decides what to submit next; whoever makes a run records how
it ended, so a driver that is killed loses nothing but its view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from glassformer.studies.design import BASE
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import Outcome, failed
from glassformer.training.signals import SignalHandler

LOST_IN_A_ROW = 10
"""Times that a run may take its process with it, without getting further, before it counts as failed."""

POLL = 0.2  # seconds between two looks for Ctrl-C


@dataclass(frozen=True)
class Report:
    """What an executor says of a run, by the run's name in the study.

    Attributes:
        kind: "progress"; "done": its outcome is in the folder; "lost": its process has gone, and it has none.
        step, total: updates made and to make (None: a time budget).
        train, validation: the loss, as text (it may be nan).
        detail: how its process went.
    """

    run: str
    kind: Literal["progress", "done", "lost"]
    step: int | None = None
    total: int | None = None
    train: str | None = None
    validation: str | None = None
    detail: str = ""


def progress(told: Mapping[str, Any]) -> Report:
    """A worker's own words on how its run goes, as a report."""
    step, total, train, validation = map(told.get, ("step", "total", "train", "validation"))
    return Report(told["slot"], "progress", step=step, total=total, train=train, validation=validation)


class Executor(Protocol):
    """Makes runs somewhere: in processes here, or on other machines that see the study's folder.

    To make a run is :func:`glassformer.studies.worker.make`.
    """

    count: int
    """Runs at a time."""

    def submit(self, run: str) -> None:
        """Put a run, by its name in the study, at the end of the queue."""

    def next(self, timeout: float) -> Report | None:
        """Wait so many seconds for something to be said; None if nothing was."""

    def stop(self) -> None:
        """Have all runs saved and stopped. What was submitted and not done is forgotten."""


@dataclass(frozen=True)
class Event:
    """What observers are told: a report, and with "done" the outcome."""

    report: Report
    outcome: Outcome | None = None


Observer = Callable[[Event], None]


@dataclass
class Driver:
    """Works off the queue of a study. One process may, at a time."""

    study: Study
    executor: Executor
    observers: Sequence[Observer] = ()

    def __post_init__(self) -> None:
        self._submitted: set[str] = set()
        self._open: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._furthest: dict[str, int] = {}

    def run(self) -> str | None:
        """Make every run that has no outcome yet. Returns the signal that stopped it, or None when all is done.

        Raises:
            RunError: another process runs this study, or no worker can be started.
        """
        with self.study.driving(), SignalHandler() as interruption:
            try:
                self._submit()
                while self._open and interruption.requested is None:
                    report = self.executor.next(POLL)
                    if report is not None and report.run in self._open:
                        self._hear(report)
            finally:
                self.executor.stop()
        return interruption.requested

    def _submit(self) -> None:
        """Submit what can be made now: of a study matched in seconds, first the base's runs, which set the time."""
        waiting = self.study.waiting()
        if self.study.config.matched == "seconds" and any(planned.variant == BASE for planned in waiting):
            waiting = [planned for planned in waiting if planned.variant == BASE]
        for planned in waiting:
            if planned.slot not in self._submitted:
                self._submitted.add(planned.slot)
                self._open.add(planned.slot)
                self.executor.submit(planned.slot)

    def _hear(self, report: Report) -> None:
        outcome = None
        if report.kind == "progress":
            self._note_progress(report)
        else:
            outcome = self.study.outcome(self.study.by_slot[report.run])
            assert outcome is not None or report.kind == "lost", f"{report.run} is done, and has no outcome"
            if outcome is None:
                outcome = self._try_again(report)
            if outcome is not None:
                self._open.discard(report.run)
                report = Report(report.run, "done")
        for observer in self.observers:
            observer(Event(report, outcome))
        if outcome is not None and not self._open:
            self._submit()

    def _note_progress(self, report: Report) -> None:
        if (report.step or 0) > self._furthest.get(report.run, -1):
            self._furthest[report.run] = report.step or 0
            self._lost[report.run] = 0

    def _try_again(self, report: Report) -> Outcome | None:
        """Submit a run whose process has gone once more; one that keeps killing its process has failed."""
        planned = self.study.by_slot[report.run]
        self._lost[report.run] += 1
        if self._lost[report.run] < LOST_IN_A_ROW:
            self.executor.submit(report.run)
            return None
        reason = f"its process {report.detail}, {LOST_IN_A_ROW} times in a row without getting further"
        outcome = failed(planned.variant, planned.seed, reason, self.study.run_of(planned))
        with self.study.claim(planned):  # whoever was given up for dead may have ended it meanwhile
            ended = self.study.outcome(planned)
            if ended is None:
                self.study.record(planned, outcome)
        return ended or outcome
