"""Worker processes on this machine."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import glassformer
from glassformer.errors import RunError
from glassformer.studies.execution import Report
from glassformer.studies.folder import Study

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
STILLBORN = 5
"""Workers that may die in a row before they are ready: then something is wrong with all of them."""

STOPPING = 60.0
"""Seconds that a worker has to save and leave before it is killed."""


class Worker:
    """One process, what it is at, and a thread that listens to it."""

    def __init__(self, study: Study, number: int, environment: dict[str, str], heard: queue.Queue[Heard]) -> None:
        self.run: str | None = None
        self.ready = False
        self.log = study.logs / f"worker-{number}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "glassformer.studies.worker", str(study.path.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is the driver's to hear, who lets its workers save
            )
        self.listener = threading.Thread(target=self._listen, args=(heard,), daemon=True)
        self.listener.start()

    def _listen(self, heard: queue.Queue[Heard]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as reports:
            for line in reports:
                with contextlib.suppress(ValueError):  # a line that a kill cut off
                    heard.put((self, json.loads(line)))
        self.process.wait()
        heard.put((self, {"kind": "gone"}))

    def give(self, run: str) -> None:
        """Have it make a run."""
        assert self.process.stdin is not None
        self.run = run
        with contextlib.suppress(OSError):  # it has died, which will be heard
            self.process.stdin.write(run + "\n")
            self.process.stdin.flush()

    def dismiss(self) -> None:
        """Let it go: at once if it is idle, and after saving if it trains."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def death(self) -> str:
        """How it died, for a message."""
        status = self.process.returncode
        if status is not None and status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"


Heard = tuple[Worker, dict[str, Any]]


class LocalProcesses:
    """An :class:`~glassformer.studies.execution.Executor`: processes on this machine, each making one run at a time.

    Args:
        count: of processes.
        threads: that torch may use in each; None leaves that to torch.
        spread: give each worker a GPU of its own.
    """

    def __init__(self, study: Study, count: int, *, threads: int | None = 1, spread: bool = False) -> None:
        self.study, self.count, self.spread = study, count, spread
        self.environment = _environment(threads)
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
                return Report(run, "lost", detail=worker.death())
        elif kind == "done":
            worker.run = None
            return Report(run, "done")
        elif kind == "progress":
            step, total, train, validation = map(told.get, ("step", "total", "train", "validation"))
            return Report(run, "progress", step=step, total=total, train=train, validation=validation)
        return None

    def _employ(self) -> None:
        """Give waiting runs to idle workers, and make workers while there are too few."""
        for worker in self.workers.values():
            if self.queue and worker.run is None:
                worker.give(self.queue.popleft())
        for number in range(self.count):
            if self.queue and number not in self.workers:
                own = {"CUDA_VISIBLE_DEVICES": _gpu(number)} if self.spread else {}
                worker = self.workers[number] = Worker(self.study, number, self.environment | own, self.heard)
                worker.give(self.queue.popleft())

    def _refuse_stillborn(self, worker: Worker) -> None:
        self.stillborn += 1
        if self.stillborn >= STILLBORN:
            last = worker.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise RunError(
                f"{self.stillborn} workers in a row {worker.death()} before they were ready. "
                f"Their log, {worker.log}, ends: {''.join(last) or 'without a word'}"
            )

    def stop(self) -> None:
        """Let every worker save and leave; kill what does not."""
        for worker in self.workers.values():
            worker.dismiss()
        for worker in self.workers.values():
            try:
                worker.process.wait(STOPPING)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.listener.join()
        self.workers.clear()


def _environment(threads: int | None) -> dict[str, str]:
    """This process's, with the threads of torch limited and this very package to import."""
    here = str(Path(glassformer.__file__).parents[1])
    path = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    limits = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | limits


def _gpu(number: int) -> str:
    """The name of a GPU of those that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[number] if visible else str(number)
