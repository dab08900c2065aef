"""A worker: a process that trains the runs of a study one after the other.

    python -m glassformer.studies.worker STUDY

It reads the keys of runs, one a line, from standard input, and reports on them in lines of JSON, the fields of
:class:`~glassformer.studies.scheduler.WorkerMessage`. At the end of its input it exits: at once if it is idle, and
after saving if it trains (as on SIGTERM and SIGINT). So no worker outlives its scheduler, and whenever it is killed,
its run can be resumed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glassformer.errors import DataError, GlassformerError, TrainingError
from glassformer.studies.design import PlannedRun
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome, failed, read_outcome
from glassformer.studies.same_data import began_with
from glassformer.training import session
from glassformer.training.telemetry import Observer, Record
from glassformer.training.trainer import Trainer

Emit = Callable[[dict[str, Any]], None]

PROGRESS_INTERVAL = 0.25
"""Least number of seconds between two messages on a run's training loss."""


def train_run(study: Study, planned: PlannedRun, observers: Sequence[Observer] = ()) -> RunOutcome | None:
    """Train a run, or resume it, and record its outcome in the study. None: a signal stopped it, and it is saved.

    Waits while another process trains the same run. Whatever error ends the run is its outcome.
    """
    with study.lock_run(planned):
        outcome = study.outcome(planned)
        if outcome is None:
            outcome = _train(study, planned, observers)
            if outcome is not None:
                study.record(planned, outcome)
        return outcome


def _train(study: Study, planned: PlannedRun, observers: Sequence[Observer]) -> RunOutcome | None:
    variant, seed = planned.variant, planned.seed
    try:
        run = study.run_of(planned)
        if run is not None and (outcome := read_outcome(run, variant, seed)) is not None:
            return outcome  # killed between the run's end and the record of its outcome
        if run is None:
            study.clear_half_begun(planned)
            command = ["glassformer", "study", study.name]
            trainer = session.start(
                planned.config, root=study.runs, name=planned.run_key, command=command, observers=observers
            )
        else:
            trainer, warnings = session.resume(run, observers=observers)
            for warning in warnings:
                sys.stderr.write(f"{planned.run_key}: {warning}\n")
        _check_data(study, planned, trainer)
        if trainer.train().interrupted:
            return None
    except Exception as error:  # noqa: BLE001 - the other runs go on, and this one's outcome holds the error
        run = study.run_of(planned)
        outcome = read_outcome(run, variant, seed) if run is not None and isinstance(error, TrainingError) else None
        if outcome is None:
            traceback.print_exc()
            reason = str(error) if isinstance(error, GlassformerError) else f"{type(error).__name__}: {error}"
            outcome = failed(variant, seed, reason, run)
        return outcome
    outcome = read_outcome(trainer.run, variant, seed)
    assert outcome is not None, f"{trainer.run.path} has ended, and has no record of it"
    return outcome


def _check_data(study: Study, planned: PlannedRun, trainer: Trainer) -> None:
    """Raise :class:`DataError` for other data than the study's: they may change meanwhile, or differ by machine."""
    if not began_with(study, planned.variant, trainer.samples.fingerprint):
        begun = study.data().get(planned.variant)
        raise DataError(
            f"its data are not those that the study began with (their fingerprint is {trainer.samples.fingerprint}, "
            f"and was {begun}). Restore them, on {platform.node()} too."
        )


class _Progress:
    """An observer that emits a run's step and loss now and then."""

    def __init__(self, run_key: str, emit: Emit) -> None:
        self.run_key, self.emit = run_key, emit
        self.total: int | None = None
        self.emitted = 0.0

    def __call__(self, record: Record) -> None:
        if record.get("event") == "start":
            self.total = record["total_steps"]
            self._emit(record["step"])
        elif record.get("kind") == "validation" or (
            record.get("kind") == "train" and time.monotonic() - self.emitted > PROGRESS_INTERVAL
        ):
            self.emitted = time.monotonic()
            self._emit(record["step"], **{record["kind"]: repr(record["loss"])})

    def _emit(self, step: int, **losses: str) -> None:
        self.emit({"run": self.run_key, "kind": "progress", "step": step, "total": self.total, **losses})


class _Assignments:
    """The runs that standard input names. At its end a training worker gets a SIGTERM: it saves and exits."""

    def __init__(self) -> None:
        self.busy = threading.Event()
        self.runs: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with open(0, "rb", buffering=0, closefd=False) as lines:  # unbuffered: no lock is held at exit
            for line in lines:
                self.runs.put(line.decode().strip())
        self.runs.put(None)
        if self.busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Train the assigned runs until standard input ends."""
    emit = _message_output()
    study = Study.open(Path(arguments[0]))
    assignments = _Assignments()
    emit({"kind": "ready"})
    while (run_key := assignments.runs.get()) is not None:
        assignments.busy.set()
        outcome = train_run(study, study.run_by_key[run_key], [_Progress(run_key, emit)])
        assignments.busy.clear()
        if outcome is None:
            return 0
        emit({"run": run_key, "kind": "done"})
    return 0


def _message_output() -> Emit:
    """Keep standard output for messages alone: whatever else is printed goes to standard error."""
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)

    def emit(message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # nobody reads any more: the end of the input follows
            os.write(output, (json.dumps(message) + "\n").encode())

    return emit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
