"""Worker processes on this machine."""

from __future__ import annotations

import collections
import os
import queue
from typing import Any

from glassformer.errors import RunError
from glassformer.studies.execution import Report, progress
from glassformer.studies.folder import Study
from glassformer.studies.worker_process import Heard, Worker, worker_environment

STILLBORN = 5
"""Workers that may die in a row before they are ready: then something is wrong with all of them."""


class LocalProcesses:
    """An :class:`~glassformer.studies.execution.Executor`: processes on this machine, each making one run at a time.

    Args:
        count: of processes.
        threads: that torch may use in each; None leaves that to torch.
        spread: give each worker a GPU of its own.
    """

    def __init__(self, study: Study, count: int, *, threads: int | None = 1, spread: bool = False) -> None:
        self.study, self.count, self.spread = study, count, spread
        self.environment = worker_environment(threads)
        self.queue: collections.deque[str] = collections.deque()
        self.workers: dict[int, Worker] = {}  # by number, from 0
        self.heard: queue.Queue[Heard] = queue.Queue()
        self.stillborn = 0

    def submit(self, run: str) -> None:
        self.queue.append(run)
        self._employ()

    def next(self, timeout: float) -> Report | None:
        try:
            worker, told = self.heard.get(timeout=timeout)
        except queue.Empty:
            return None
        number = next((number for number, each in self.workers.items() if each is worker), None)
        if number is None:  # one that was let go
            return None
        report = self._hear(number, worker, told)
        self._employ()
        return report

    def _hear(self, number: int, worker: Worker, told: dict[str, Any]) -> Report | None:
        """What a worker said, as the driver wants to know it."""
        kind, run = told["kind"], str(told.get("slot", worker.run))
        if kind == "ready":
            worker.ready, self.stillborn = True, 0
        elif kind == "gone":
            worker.dismiss()
            del self.workers[number]
            if not worker.ready:
                self._refuse_stillborn(worker)
            if worker.run is not None:
                return Report(run, "lost", detail=worker.end())
        elif kind == "done":
            worker.run = None
            return Report(run, "done")
        elif kind == "progress":
            return progress(told)
        return None

    def _employ(self) -> None:
        """Give waiting runs to idle workers, and make workers while there are too few."""
        for worker in self.workers.values():
            if self.queue and worker.run is None:
                worker.give(self.queue.popleft())
        for number in range(self.count):
            if self.queue and number not in self.workers:
                self.workers[number] = self._worker(number)
                self.workers[number].give(self.queue.popleft())

    def _worker(self, number: int) -> Worker:
        own = {"CUDA_VISIBLE_DEVICES": _gpu(number)} if self.spread else {}
        return Worker(self.study.path, self.study.logs / f"worker-{number}.log", self.environment | own, self.heard)

    def _refuse_stillborn(self, worker: Worker) -> None:
        self.stillborn += 1
        if self.stillborn >= STILLBORN:
            raise RunError(
                f"{self.stillborn} workers in a row {worker.death()} before they were ready. "
                f"Their log, {worker.log}, ends: {worker.last_words() or 'without a word'}"
            )

    def stop(self) -> None:
        """Let every worker save and leave; kill what does not."""
        for worker in self.workers.values():
            worker.dismiss()
        for worker in self.workers.values():
            worker.await_end()
        self.workers.clear()


def _gpu(number: int) -> str:
    """The name of a GPU of those that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[number] if visible else str(number)
