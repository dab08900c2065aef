"""Runs on the nodes of a Ray cluster.

Each free CPU (or GPU) of the cluster gets a :class:`~glassformer.studies.remote_worker.RemoteWorker`, a Ray actor with
a worker process of its own. Ray only carries messages and reports lost nodes; no result is kept in it.

A run whose worker is lost is submitted again. Where the nodes see the study's folder, it resumes from its checkpoint; a
worker that Ray gave up and that lives on cannot spoil that, for it holds the run's lock until it has recorded the
outcome or died, and whoever comes after it waits. Other nodes work in folders of their own: what they make counts once
it has been fetched, and if such a worker is lost, its run starts again.
"""

from __future__ import annotations

import collections
import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glassformer import trust
from glassformer.errors import RunError
from glassformer.runs.locks import FileLock
from glassformer.runs.part_files import PARTS
from glassformer.studies.bundles import pack, run_folders
from glassformer.studies.folder import DATA, Study
from glassformer.studies.local_processes import MAX_FAILED_STARTS
from glassformer.studies.lookup import STUDY
from glassformer.studies.ray_connection import import_ray, last_line, memory_per_worker
from glassformer.studies.remote_worker import RemoteWorker, WorkerInfo, WorkerSetup, variables, versions
from glassformer.studies.scheduler import WorkerMessage
from glassformer.studies.worker_process import STOP_TIMEOUT

POLL_TIMEOUT = 5.0
"""Seconds after which a silent worker is polled again."""

Request = Literal["initialise", "assign", "poll", "fetch"]


@dataclass(eq=False)
class _WorkerHandle:
    """A remote worker as the scheduler knows it: one request at a time is open."""

    actor: Any
    reply: Any = None
    """The open request's future; None while idle."""
    request: Request = "initialise"
    info: WorkerInfo | None = None
    run: str | None = None

    def send(self, request: Request, *arguments: Any) -> None:
        self.request, self.reply = request, getattr(self.actor, request).remote(*arguments)


@dataclass
class RayCluster:
    """An :class:`~glassformer.studies.scheduler.Executor`: workers on the connected cluster
    (:func:`~glassformer.studies.ray_connection.connected`).

    Args:
        count: of workers; those for which there is no room wait for a node to join.
        threads: torch threads of each; None leaves that to torch.
        gpu: give each a GPU of its own.
        run_bytes: memory that a run needs.
        report: gets what the user should know about the nodes.
    """

    study: Study
    count: int
    threads: int | None = 1
    gpu: bool = False
    run_bytes: int = 0
    report: Callable[[str], None] = field(default=lambda _: None)

    def __post_init__(self) -> None:
        self.ray = import_ray()
        self.queue: collections.deque[str] = collections.deque()
        self.messages: collections.deque[WorkerMessage] = collections.deque()
        self.workers: list[_WorkerHandle] = []
        self.started = self.failed_starts = 0
        self.reported: set[str] = set()
        self.probe: FileLock | None = None
        """Held while there are workers: it shows them whether the study's folder is theirs too."""

    def submit(self, run: str) -> None:
        self.queue.append(run)
        self._assign_runs()

    def next(self, timeout: float) -> WorkerMessage | None:
        if not self.messages:
            by_reply = {worker.reply: worker for worker in self.workers if worker.reply is not None}
            ready, _ = self.ray.wait(list(by_reply), num_returns=1, timeout=timeout)
            for reply in ready:
                self._receive(by_reply[reply])
            self._assign_runs()
        return self.messages.popleft() if self.messages else None

    def stop(self) -> None:
        """Let every worker save and exit, and fetch what those have made that have folders of their own."""
        closing = {worker.actor.close.remote(worker.run): worker for worker in self.workers if worker.info is not None}
        if closing:
            closed, _ = self.ray.wait(list(closing), num_returns=len(closing), timeout=STOP_TIMEOUT + POLL_TIMEOUT)
            for reply in closed:
                with contextlib.suppress(self.ray.exceptions.RayError):  # lost at this very moment
                    made, run = self.ray.get(reply), closing[reply].run
                    if made is not None and run is not None:
                        self.study.adopt(self.study.run_by_key[run], made)
        for worker in self.workers:
            self.ray.kill(worker.actor)
        self.workers.clear()
        if self.probe is not None:
            self.probe.release()
            self.probe.path.unlink(missing_ok=True)
            self.probe = None

    # -------------------------------------------------------------------------------------------------- one worker

    def _assign_runs(self) -> None:
        """Assign queued runs to idle workers, and start workers while there are too few."""
        for worker in self.workers:
            if self.queue and worker.reply is None:
                worker.run = self.queue.popleft()
                worker.send("assign", worker.run, self._bundle_for(worker))
        starting = sum(worker.request == "initialise" and worker.reply is not None for worker in self.workers)
        while len(self.queue) > starting and len(self.workers) < self.count:
            self._start_worker()
            starting += 1

    def _start_worker(self) -> None:
        """A new worker, wherever Ray has room."""
        if self.probe is None:
            self.probe = FileLock(self.study.path / "claims" / f"probe-{uuid.uuid4().hex}.lock")
            self.probe.acquire()
        options = {
            "num_cpus": 0 if self.gpu else 1,
            "num_gpus": 1 if self.gpu else 0,
            "memory": memory_per_worker(self.run_bytes, gpu=self.gpu),
            "max_concurrency": 4,  # it can be closed while it is polled
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
        }
        worker = _WorkerHandle(self.ray.remote(RemoteWorker).options(**options).remote())
        setup = WorkerSetup(
            study=str(self.study.path.absolute()),
            probe=str(self.probe.path.absolute()),
            bundle=pack(self.study.path, [self.study.path / name for name in (STUDY, DATA, PARTS)]),
            folder=str(Path.cwd()),
            data=_data_paths(self.study),
            variables=variables(),
            threads=self.threads,
            name=f"worker-{self.started}",
            trusted=trust.for_workers(),
        )
        worker.send("initialise", setup)
        self.started += 1
        self.workers.append(worker)

    def _bundle_for(self, worker: _WorkerHandle) -> bytes | None:
        """What a worker that does not see the study's folder needs for its run."""
        assert worker.info is not None
        assert worker.run is not None
        if worker.info.shared:
            return None
        return pack(self.study.path, run_folders(self.study.runs, worker.run))

    def _receive(self, worker: _WorkerHandle) -> None:
        """Take in the reply to a worker's open request, and send the next one."""
        reply, worker.reply = worker.reply, None
        try:
            answer = self.ray.get(reply)
        except self.ray.exceptions.RayError as error:
            self._on_lost(worker, error)
            return
        if worker.request == "initialise":
            self._on_ready(worker, answer)
        elif worker.request == "assign":
            worker.send("poll", POLL_TIMEOUT)
        elif worker.request == "poll":
            self._on_messages(worker, answer)
        else:
            assert worker.run is not None
            self.study.adopt(self.study.run_by_key[worker.run], answer)
            self._on_done(worker)

    def _on_ready(self, worker: _WorkerHandle, info: WorkerInfo) -> None:
        """A worker is ready, unless its node cannot train the runs of this study."""
        worker.info, self.failed_starts = info, 0
        if info.versions != versions():
            theirs, ours = (
                ", ".join(f"{name} {each}" for name, each in found.items()) for found in (info.versions, versions())
            )
            raise RunError(f"The node {info.host} has {theirs}, and this machine {ours}: install the same on both.")
        if info.missing:
            raise RunError(
                f"The node {info.host} does not see {', '.join(info.missing)}, which the runs read. Put the data there "
                "under the same path, or work in a folder that all nodes share."
            )
        if not info.shared and info.host not in self.reported:
            self.reported.add(info.host)
            self.report(
                f"{info.host} does not see {self.study.path}, or not its locks: its runs are copied to and fro, and "
                "one that is lost with it starts again"
            )

    def _on_messages(self, worker: _WorkerHandle, sent: list[dict[str, Any]]) -> None:
        assert worker.info is not None
        assert worker.run is not None
        for each in sent:
            if each["kind"] == "progress":
                self.messages.append(WorkerMessage(**each))
            elif each["kind"] == "ready":
                self.failed_starts = 0
            elif each["kind"] == "exited":
                if not each["ready"]:
                    self._count_failed_start(f"a worker on {worker.info.host} {each['detail']}: {each['tail']}")
                self._lose_run(worker, each["detail"])
                return
            elif each["kind"] == "done":
                if worker.info.shared:
                    self._on_done(worker)
                else:
                    worker.send("fetch", worker.run)
                return
        worker.send("poll", POLL_TIMEOUT)

    def _on_done(self, worker: _WorkerHandle) -> None:
        assert worker.run is not None
        self.messages.append(WorkerMessage(worker.run, "done"))
        worker.run = None

    def _on_lost(self, worker: _WorkerHandle, error: Exception) -> None:
        """A worker has died, is out of reach, or raised: its run goes to another."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(worker.actor)
        self.workers.remove(worker)
        reason = last_line(error)
        if worker.info is None:
            self._count_failed_start(reason)
        elif worker.run is not None:
            lost = "" if worker.info.shared else ", with what it had made"
            self._lose_run(worker, f"was lost{lost} ({reason})")

    def _lose_run(self, worker: _WorkerHandle, detail: str) -> None:
        assert worker.info is not None
        assert worker.run is not None
        self.messages.append(WorkerMessage(worker.run, "lost", detail=f"on {worker.info.host} {detail}"))
        worker.run = None

    def _count_failed_start(self, reason: str) -> None:
        self.failed_starts += 1
        if self.failed_starts >= MAX_FAILED_STARTS:
            raise RunError(
                f"{self.failed_starts} times in a row no worker could be started on the Ray cluster. The last time: "
                f"{reason}. glassformer must be installed on every node."
            )


def _data_paths(study: Study) -> tuple[str, ...]:
    """The files and folders that the runs read, as the configurations name them."""
    named = {
        value
        for name in study.config.arms
        for key, value in study.config.arm(name).data.to_dict().items()
        if key in ("source", "validation", "test") and isinstance(value, str)
    }
    return tuple(sorted(each for each in named if Path(each).exists()))
