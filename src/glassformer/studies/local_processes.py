"""Worker processes on this machine."""

from __future__ import annotations

import collections
import os
import queue
from typing import Any

from glassformer.errors import RunError
from glassformer.studies.folder import Study
from glassformer.studies.scheduler import WorkerMessage
from glassformer.studies.worker_process import Received, Worker, worker_environment

MAX_FAILED_STARTS = 5
"""Workers that may exit in a row before they are ready; then the cause is common to all of them."""


class LocalProcesses:
    """An :class:`~glassformer.studies.scheduler.Executor`: processes on this machine, each training one run at a time.

    Args:
        count: number of processes.
        threads: torch threads of each; None leaves that to torch.
        spread: give each worker a GPU of its own.
    """

    def __init__(self, study: Study, count: int, *, threads: int | None = 1, spread: bool = False) -> None:
        self.study, self.count, self.spread = study, count, spread
        self.environment = worker_environment(threads)
        self.queue: collections.deque[str] = collections.deque()
        self.workers: dict[int, Worker] = {}  # by number, from 0
        self.messages: queue.Queue[Received] = queue.Queue()
        self.failed_starts = 0

    def submit(self, run: str) -> None:
        self.queue.append(run)
        self._assign_runs()

    def next(self, timeout: float) -> WorkerMessage | None:
        try:
            worker, sent = self.messages.get(timeout=timeout)
        except queue.Empty:
            return None
        number = next((number for number, each in self.workers.items() if each is worker), None)
        if number is None:  # one that was stopped
            return None
        message = self._receive(number, worker, sent)
        self._assign_runs()
        return message

    def _receive(self, number: int, worker: Worker, sent: dict[str, Any]) -> WorkerMessage | None:
        """Act on a worker's message; gives what the scheduler needs to know of it."""
        if sent["kind"] == "ready":
            worker.ready, self.failed_starts = True, 0
        elif sent["kind"] == "exited":
            worker.close()
            del self.workers[number]
            if not worker.ready:
                self._count_failed_start(worker)
            if worker.run is not None:
                return WorkerMessage(worker.run, "lost", detail=worker.exit_summary())
        else:
            if sent["kind"] == "done":
                worker.run = None
            return WorkerMessage(**sent)
        return None

    def _assign_runs(self) -> None:
        """Assign queued runs to idle workers, and start workers while there are too few."""
        for worker in self.workers.values():
            if self.queue and worker.run is None:
                worker.assign(self.queue.popleft())
        for number in range(self.count):
            if self.queue and number not in self.workers:
                self.workers[number] = self._worker(number)
                self.workers[number].assign(self.queue.popleft())

    def _worker(self, number: int) -> Worker:
        own = {"CUDA_VISIBLE_DEVICES": _gpu(number)} if self.spread else {}
        return Worker(self.study.path, self.study.logs / f"worker-{number}.log", self.environment | own, self.messages)

    def _count_failed_start(self, worker: Worker) -> None:
        self.failed_starts += 1
        if self.failed_starts >= MAX_FAILED_STARTS:
            raise RunError(
                f"{self.failed_starts} workers in a row {worker.exit_reason()} before they were ready. "
                f"The log {worker.log} ends: {worker.log_tail() or '(empty)'}"
            )

    def stop(self) -> None:
        """Let every worker save and exit; kill those that do not."""
        for worker in self.workers.values():
            worker.close()
        for worker in self.workers.values():
            worker.wait_or_kill()
        self.workers.clear()


def _gpu(number: int) -> str:
    """The name of a GPU of those that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[number] if visible else str(number)
