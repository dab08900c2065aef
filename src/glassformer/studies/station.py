"""What stands on a node of a cluster: a worker process, and the way to it. It imports nothing large.

A node that sees the study's folder, and whose locks hold there, works in that very folder, as a process of the driver's
own machine would. Any other gets a folder of its own: what a run needs is sent there, and what it made is sent back.
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
from glassformer.studies.worker_process import Heard, Worker, worker_environment


@dataclass(frozen=True)
class Order:
    """What a station is told when it is set up.

    Attributes:
        study: the study's folder, as the driver calls it.
        probe: a file in it, of which the driver holds the lock.
        bundle: what the study's folder must hold to begin with.
        folder: the driver's working folder, to which paths of data may be relative.
        data: paths of data that the runs read.
        variables: the driver's own settings, GLASSFORMER_….
        threads: of torch in the worker; None leaves them to torch.
        name: of the worker's log.
        trusted: what names the part files that the driver trusts, as an environment variable.
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
class Standing:
    """What a station answers.

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


class Station:
    """One worker process at a time, on this machine, for a driver on another. Its methods may be called at once."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.heard: queue.Queue[Heard] = queue.Queue()
        self.own: tempfile.TemporaryDirectory[str] | None = None
        self.changing = threading.Lock()

    def open(self, order: Order) -> Standing:
        """Find the study's folder, or make one."""
        self.order = order
        shared = _holds(Path(order.probe))
        self.environment = worker_environment(order.threads) | order.trusted
        if shared:
            self.study = Path(order.study)
            self.environment |= order.variables | order.trusted
        else:
            self.own = tempfile.TemporaryDirectory(prefix="glassformer-study-", ignore_cleanup_errors=True)
            self.study = Path(self.own.name)
            for name in FOLDERS:
                (self.study / name).mkdir()
            unpack(order.bundle, self.study)
        here = Path(order.folder)
        self.folder = here if here.is_dir() else self.study
        missing = tuple(path for path in order.data if not (self.folder / path).exists())
        return Standing(node(), shared, missing, versions())

    def give(self, run: str, bundle: bytes | None) -> None:
        """Have a run made. ``bundle`` holds what has been made of it, and what else it needs."""
        if bundle is not None:
            unpack(bundle, self.study)
        with self.changing:
            if self.worker is None:
                log = self.study / "logs" / f"{self.order.name}.log"
                self.worker = Worker(self.study, log, self.environment, self.heard, self.folder)
            self.worker.give(run)

    def hear(self, seconds: float) -> list[dict[str, Any]]:
        """What the worker has said, after so many seconds at the latest."""
        told = []
        try:
            worker, said = self.heard.get(timeout=seconds)
            while True:
                told.append(said | self._farewell(worker) if said["kind"] == "gone" else said)
                worker, said = self.heard.get_nowait()
        except queue.Empty:
            return told

    def _farewell(self, worker: Worker) -> dict[str, Any]:
        """How a worker died. The next run gets another."""
        with self.changing:
            worker.dismiss()
            if self.worker is worker:
                self.worker = None
        return {"slot": worker.run, "ready": worker.ready, "detail": worker.death(), "last": worker.last_words()}

    def fetch(self, run: str) -> bytes:
        """What has been made of a run."""
        made = [*run_folders(self.study / "runs", run), self.study / "outcomes" / f"{run}.json"]
        return pack(self.study, made)

    def leave(self, run: str | None) -> bytes | None:
        """Have the worker save and leave. Gives what has been made of ``run`` where the driver does not see it."""
        with self.changing:
            worker = self.worker
        if worker is not None:
            worker.dismiss()
            worker.await_end()
        if self.own is None:
            return None
        made = self.fetch(run) if run is not None else None
        self.own.cleanup()
        return made


def versions() -> dict[str, str]:
    """Of the packages that decide a run's numbers, on this machine."""
    return {"glassformer": glassformer.__version__, "torch": version("torch")}


def variables() -> dict[str, str]:
    """The settings of this process that its workers must share."""
    return {name: value for name, value in os.environ.items() if name.startswith("GLASSFORMER_")}


def _holds(probe: Path) -> bool:
    """Whether this machine sees the driver's file, and the lock on it."""
    if not probe.is_file():
        return False
    lock = FileLock(probe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no locks is the answer
        free = lock.acquire(wait=False)
    lock.release()
    return not free
