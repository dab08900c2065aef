"""A worker on a node of a cluster, and the way to it. It imports nothing large.

A node that sees the study's folder, and its locks, works in that very folder, as a local process would. Any other gets
a folder of its own: what a run needs is sent there, and what it made is sent back.
"""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import node
from typing import Any

import glassformer
from glassformer.runs.locks import FileLock
from glassformer.studies.bundles import FOLDERS, pack, run_folders, unpack
from glassformer.studies.worker_process import Received, Worker, worker_environment


@dataclass(frozen=True)
class WorkerSetup:
    """What a remote worker needs to begin.

    Attributes:
        study: the study's folder, as the scheduler's machine calls it.
        probe: a file in it whose lock the scheduler holds.
        bundle: what the study's folder must contain to begin with.
        folder: the scheduler's working folder, to which paths of data may be relative.
        data: paths of data that the runs read.
        variables: the scheduler's own settings, GLASSFORMER_….
        threads: of torch; None leaves them to torch.
        name: of the worker's log.
        trusted: an environment variable that names the part files that are trusted.
    """

    study: str
    probe: str
    bundle: bytes
    folder: str
    data: tuple[str, ...]
    variables: dict[str, str]
    threads: int | None
    name: str
    trusted: dict[str, str]


@dataclass(frozen=True)
class WorkerInfo:
    """What a remote worker found on its node.

    Attributes:
        host: the machine's name.
        shared: whether it works in the study's own folder.
        missing: paths of data that are not there.
        versions: of what the numbers of a run depend on.
    """

    host: str
    shared: bool
    missing: tuple[str, ...]
    versions: dict[str, str]


class RemoteWorker:
    """One worker process at a time, on this node, for a scheduler on another. Its methods may run concurrently."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.messages: queue.Queue[Received] = queue.Queue()
        self.own: tempfile.TemporaryDirectory[str] | None = None
        self.changing = threading.Lock()

    def initialise(self, setup: WorkerSetup) -> WorkerInfo:
        """Find the study's folder, or make one."""
        self.setup = setup
        shared = _sees_lock(Path(setup.probe))
        self.environment = worker_environment(setup.threads) | setup.trusted
        if shared:
            self.study = Path(setup.study)
            self.environment |= setup.variables | setup.trusted
        else:
            self.own = tempfile.TemporaryDirectory(prefix="glassformer-study-", ignore_cleanup_errors=True)
            self.study = Path(self.own.name)
            for name in FOLDERS:
                (self.study / name).mkdir()
            unpack(setup.bundle, self.study)
        here = Path(setup.folder)
        self.folder = here if here.is_dir() else self.study
        missing = tuple(path for path in setup.data if not (self.folder / path).exists())
        return WorkerInfo(node(), shared, missing, versions())

    def assign(self, run: str, bundle: bytes | None) -> None:
        """Have a run trained. ``bundle`` holds what has been made of it, and what else it needs."""
        if bundle is not None:
            unpack(bundle, self.study)
        with self.changing:
            if self.worker is None:
                log = self.study / "logs" / f"{self.setup.name}.log"
                self.worker = Worker(self.study, log, self.environment, self.messages, self.folder)
            self.worker.assign(run)

    def poll(self, timeout: float) -> list[dict[str, Any]]:
        """The worker's messages since the last call; waits for the first, at most ``timeout`` seconds."""
        found = []
        try:
            worker, sent = self.messages.get(timeout=timeout)
            while True:
                found.append(sent | self._on_exit(worker) if sent["kind"] == "exited" else sent)
                worker, sent = self.messages.get_nowait()
        except queue.Empty:
            return found

    def _on_exit(self, worker: Worker) -> dict[str, Any]:
        """How a worker's process ended. The next run gets another."""
        with self.changing:
            worker.close()
            if self.worker is worker:
                self.worker = None
        return {"ready": worker.ready, "detail": worker.exit_reason(), "tail": worker.log_tail()}

    def fetch(self, run: str) -> bytes:
        """The files that have been made of a run."""
        made = [*run_folders(self.study / "runs", run), self.study / "outcomes" / f"{run}.json"]
        return pack(self.study, made)

    def close(self, run: str | None) -> bytes | None:
        """Let the worker save and exit. Gives what has been made of ``run`` where the scheduler does not see it."""
        with self.changing:
            worker = self.worker
        if worker is not None:
            worker.close()
            worker.wait_or_kill()
        if self.own is None:
            return None
        made = self.fetch(run) if run is not None else None
        self.own.cleanup()
        return made


def versions() -> dict[str, str]:
    """Versions of the packages that decide a run's numbers, on this machine."""
    return {"glassformer": glassformer.__version__, "torch": version("torch")}


def variables() -> dict[str, str]:
    """The settings of this process that its workers must share."""
    return {name: value for name, value in os.environ.items() if name.startswith("GLASSFORMER_")}


def _sees_lock(probe: Path) -> bool:
    """Whether this machine sees the scheduler's file, and the lock on it."""
    if not probe.is_file():
        return False
    lock = FileLock(probe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no locks is the answer
        free = lock.acquire(wait=False)
    lock.release()
    return not free
