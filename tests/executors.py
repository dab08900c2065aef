"""An executor without processes, for tests of what stands above executors."""

from __future__ import annotations

from collections import Counter

from glassformer.studies.folder import Study
from glassformer.studies.scheduler import WorkerMessage
from glassformer.studies.worker import train_run


class InThisProcess:
    """Trains one run after the other here, without the seconds that a process takes to start.

    Args:
        losses: times that each run is reported lost before it is trained.
    """

    count = 1

    def __init__(self, study: Study, losses: int = 0) -> None:
        self.study, self.losses = study, losses
        self.queue: list[str] = []
        self.submitted: Counter[str] = Counter()
        self.stopped = False

    def submit(self, run: str) -> None:
        self.queue.append(run)
        self.submitted[run] += 1

    def next(self, timeout: float) -> WorkerMessage | None:
        run = self.queue.pop(0)
        if self.submitted[run] <= self.losses:
            return WorkerMessage(run, "lost", detail="was killed by SIGKILL")
        train_run(self.study, self.study.run_by_key[run])
        return WorkerMessage(run, "done")

    def stop(self) -> None:
        self.stopped = True
