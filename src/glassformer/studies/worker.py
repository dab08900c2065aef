"""A worker: a process of its own that makes one run of a study after the other.

    python -m glassformer.studies.worker STUDY

It reads the names of runs, a line each, from standard input, and says in lines of JSON what becomes of them. At the
end of its input it leaves: at once if it is idle, and after saving if it is training (so do SIGTERM and SIGINT). So no
worker outlives its driver, and whatever moment it dies at, what it leaves can be gone on with.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glassformer.errors import DataError, GlassformerError, TrainingError
from glassformer.studies.design import PlannedRun
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import Outcome, failed, read_outcome
from glassformer.studies.same_data import began_with
from glassformer.training import session
from glassformer.training.telemetry import Observer, Record
from glassformer.training.trainer import Trainer

Say = Callable[[dict[str, Any]], None]

OFTEN = 0.25
"""Seconds between two reports of how a run goes."""


def make(study: Study, planned: PlannedRun, observer: Observer) -> Outcome | None:
    """Make a run, or go on with it; how it ended is kept in the study. None: a signal stopped it, and it is saved.

    It waits while another process makes the same run. Whatever error ends the run is its outcome.
    """
    with study.claim(planned):
        outcome = study.outcome(planned)
        if outcome is None:
            outcome = _train(study, planned, observer)
            if outcome is not None:
                study.record(planned, outcome)
        return outcome


def _train(study: Study, planned: PlannedRun, observer: Observer) -> Outcome | None:
    variant, seed = planned.variant, planned.seed
    try:
        run = study.run_of(planned)
        if run is not None and (outcome := read_outcome(run, variant, seed)) is not None:
            return outcome  # a kill came between the run's end and its outcome
        if run is None:
            study.clear_half_begun(planned)
            command = ["glassformer", "study", study.name]
            config = study.config_of(planned)
            trainer = session.start(config, root=study.runs, name=planned.slot, command=command, observers=[observer])
        else:
            trainer, warnings = session.resume(run, observers=[observer])
            for warning in warnings:
                sys.stderr.write(f"{planned.slot}: {warning}\n")
        _refuse_other_data(study, planned, trainer)
        if trainer.train().interrupted:
            return None
    except Exception as error:  # noqa: BLE001 - the other runs go on, and this one's outcome says what was wrong
        run = study.run_of(planned)
        outcome = read_outcome(run, variant, seed) if run is not None and isinstance(error, TrainingError) else None
        if outcome is None:
            traceback.print_exc()
            reason = str(error) if isinstance(error, GlassformerError) else f"{type(error).__name__}: {error}"
            outcome = failed(variant, seed, reason, run)
        return outcome
    outcome = read_outcome(trainer.run, variant, seed)
    assert outcome is not None, f"{trainer.run.path} has ended, and does not say so"
    return outcome


def _refuse_other_data(study: Study, planned: PlannedRun, trainer: Trainer) -> None:
    """A pair is only one on the same data: they may change while a study runs, or differ between machines."""
    if not began_with(study, planned.variant, trainer.samples.fingerprint):
        begun = study.data().get(planned.variant)
        raise DataError(
            f"its data are not those that the study began with (their fingerprint is {trainer.samples.fingerprint}, "
            f"and was {begun}). Put them back, on {platform.node()} too."
        )


class _Progress:
    """An observer that says a run's step and loss now and then."""

    def __init__(self, slot: str, say: Say) -> None:
        self.slot, self.say = slot, say
        self.total: int | None = None
        self.said = 0.0

    def __call__(self, record: Record) -> None:
        if record.get("event") == "start":
            self.total = record["total_steps"]
            self.say({"slot": self.slot, "kind": "progress", "step": record["step"], "total": self.total})
        elif record.get("kind") == "validation" or (
            record.get("kind") == "train" and time.monotonic() - self.said > OFTEN
        ):
            self.said = time.monotonic()
            report = {"slot": self.slot, "kind": "progress", "step": record["step"], "total": self.total}
            self.say(report | {record["kind"]: repr(record["loss"])})


class _Orders:
    """The runs that standard input names. At its end a training worker gets a SIGTERM, which saves and leaves."""

    def __init__(self) -> None:
        self.busy = threading.Event()
        self.given: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with open(0, "rb", buffering=0, closefd=False) as orders:  # unbuffered: no lock is held at exit
            for line in orders:
                self.given.put(line.decode().strip())
        self.given.put(None)
        if self.busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Work until standard input ends."""
    say = _own_output()
    study = Study.open(Path(arguments[0]))
    orders = _Orders()
    say({"kind": "ready"})
    while (slot := orders.given.get()) is not None:
        orders.busy.set()
        outcome = make(study, study.by_slot[slot], _Progress(slot, say))
        orders.busy.clear()
        if outcome is None:
            return 0
        say({"slot": slot, "kind": "done"})
    return 0


def _own_output() -> Say:
    """Standard output for reports alone: what else is printed goes where errors go."""
    sys.stdout.flush()
    reports = os.dup(1)
    os.dup2(2, 1)

    def say(report: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: the end of the input says so too
            os.write(reports, (json.dumps(report) + "\n").encode())

    return say


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
