"""Runs on the nodes of a Ray cluster.

On each CPU (or GPU) that the cluster has free stands a :class:`~glassformer.studies.station.Station`, an actor of Ray's
with a worker process of its own. Ray only carries messages and says who has died; nothing that counts is kept in it.

A run whose station is lost is submitted again. Where the nodes see the study's folder, it goes on from its checkpoint;
a station that Ray gave up and that lives on cannot spoil that, for it holds the run's claim, a lock, until it has
recorded the outcome or died, and whoever comes after it waits. Other nodes work in folders of their own: what they make
counts once the driver has taken it in, and with such a station is lost what it had made of its run.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import re
import socket
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glassformer import trust
from glassformer.errors import ConfigError, DependencyError, RunError
from glassformer.runs.locks import FileLock
from glassformer.runs.part_files import PARTS
from glassformer.studies.bundles import pack, run_folders
from glassformer.studies.checking import WORKER_BYTES
from glassformer.studies.design import BASE
from glassformer.studies.execution import Report, progress
from glassformer.studies.folder import DATA, STUDY, Study
from glassformer.studies.processes import STILLBORN
from glassformer.studies.station import Order, Standing, Station, variables, versions
from glassformer.studies.worker_process import STOPPING

ADDRESS = re.compile(r"ray(?:://(?P<host>[^/:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5}))?")
HEARING = 5.0
"""Seconds after which a silent station is asked again."""

REACHING = 10.0
"""Seconds that the cluster has to accept a connection."""

Doing = Literal["opening", "giving", "hearing", "fetching"]


def check_address(on: str) -> None:
    """Raise :class:`ConfigError` unless ``on`` is ``ray`` or ``ray://HOST:PORT``."""
    match = ADDRESS.fullmatch(on)
    if match is None or not 0 < int(match["port"] or 1) < 65536:
        raise ConfigError(
            f"--on is {on!r}; expected ray (the cluster that this machine belongs to) or ray://HOST:PORT.",
            subject="command",
        )


@contextlib.contextmanager
def connected(on: str) -> Iterator[None]:
    """Be a driver of the cluster inside the block.

    Args:
        on: ``ray``, the cluster of ``$RAY_ADDRESS`` or the one that this machine belongs to; or ``ray://HOST:PORT``,
            the address of a Ray client server (its port is 10001 unless the cluster was started with another).

    Raises:
        ConfigError: neither of the two.
        DependencyError: Ray is not installed.
        RunError: there is no such cluster, or it does not fit this Python or Ray.
    """
    check_address(on)
    ray = _ray()
    if ray.is_initialized():  # by whoever calls: theirs to end
        yield
        return
    match = ADDRESS.fullmatch(on)
    assert match is not None
    if match["host"]:
        _refuse_silent(on, match["host"].strip("[]"), int(match["port"]))
    address = on if match["host"] else os.environ.get("RAY_ADDRESS") or "auto"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what Ray will one day do with GPUs
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises what it likes
        raise RunError(
            f"No Ray cluster can be used at {on}: {_last_line(error)} "
            "Start one: ray start --head here, and ray start --address=HOST:6379 on the other machines."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def places(asked: int | None, *, n_runs: int, gpu: bool, run_bytes: int) -> int:
    """Runs at a time: one for each CPU (or GPU) of the connected cluster whose node has the memory for it.

    Raises:
        ConfigError: no node has, or more are asked for than there are.
    """
    kind, needed = ("GPU" if gpu else "CPU"), _memory(run_bytes, gpu=gpu)
    nodes = [each["Resources"] for each in _ray().nodes() if each["Alive"]]
    there = sum(min(int(node.get(kind, 0)), int(node.get("memory", 0) // needed)) for node in nodes)
    if there < max(1, asked or 1):
        raise ConfigError(
            f"{asked or 1} at a time need as many {kind}s with {needed / 1e9:,.2f} GB of memory each, and the "
            f"{len(nodes)} nodes of the Ray cluster have {there}.",
            subject="study",
        )
    return min(asked or there, n_runs)


@dataclass(eq=False)
class _Place:
    """A station as the driver knows it: one question at a time is open."""

    actor: Any
    question: Any = None
    doing: Doing = "opening"
    standing: Standing | None = None
    run: str | None = None

    def ask(self, doing: Doing, question: Any) -> None:
        self.doing, self.question = doing, question

    @property
    def idle(self) -> bool:
        return self.question is None


@dataclass
class RayCluster:
    """An :class:`~glassformer.studies.execution.Executor`: stations on the connected cluster (:func:`connected`).

    Args:
        count: of stations; those for which there is no room wait for a node to join.
        threads: that torch may use in each; None leaves that to torch.
        gpu: give each a GPU of its own.
        run_bytes: memory that a run needs.
        tell: is called with what the user should know about the nodes.
    """

    study: Study
    count: int
    threads: int | None = 1
    gpu: bool = False
    run_bytes: int = 0
    tell: Callable[[str], None] = field(default=lambda _: None)

    def __post_init__(self) -> None:
        self.ray = _ray()
        self.queue: collections.deque[str] = collections.deque()
        self.said: collections.deque[Report] = collections.deque()
        self.stations: list[_Place] = []
        self.made = self.stillborn = 0
        self.told: set[str] = set()
        self.probe: FileLock | None = None
        """Held while there are stations: they see by it whether the study's folder is theirs too."""

    def submit(self, run: str) -> None:
        self.queue.append(run)
        self._employ()

    def next(self, timeout: float) -> Report | None:
        if not self.said:
            open_ones = {place.question: place for place in self.stations if place.question is not None}
            answered, _ = self.ray.wait(list(open_ones), num_returns=1, timeout=timeout)
            for question in answered:
                self._hear(open_ones[question])
            self._employ()
        return self.said.popleft() if self.said else None

    def stop(self) -> None:
        """Let every station save and leave, and take in what those have made that have folders of their own."""
        leaving = {place.actor.leave.remote(place.run): place for place in self.stations if place.standing is not None}
        if leaving:
            gone, _ = self.ray.wait(list(leaving), num_returns=len(leaving), timeout=STOPPING + HEARING)
            for question in gone:
                with contextlib.suppress(self.ray.exceptions.RayError):  # lost now, of all times
                    made, run = self.ray.get(question), leaving[question].run
                    if made is not None and run is not None:
                        self.study.adopt(self.study.by_slot[run], made)
        for place in self.stations:
            self.ray.kill(place.actor)
        self.stations.clear()
        if self.probe is not None:
            self.probe.release()
            self.probe.path.unlink(missing_ok=True)
            self.probe = None

    # ------------------------------------------------------------------------------------------------- one station

    def _employ(self) -> None:
        """Give waiting runs to idle stations, and set up stations while there are too few."""
        for place in self.stations:
            if self.queue and place.idle:
                place.run = self.queue.popleft()
                place.ask("giving", place.actor.give.remote(place.run, self._luggage(place)))
        coming = sum(place.doing == "opening" and not place.idle for place in self.stations)
        while len(self.queue) > coming and len(self.stations) < self.count:
            self._set_up()
            coming += 1

    def _set_up(self) -> None:
        """A new station, wherever Ray has room."""
        if self.probe is None:
            self.probe = FileLock(self.study.path / "claims" / f"probe-{uuid.uuid4().hex}.lock")
            self.probe.acquire()
        options = {
            "num_cpus": 0 if self.gpu else 1,
            "num_gpus": 1 if self.gpu else 0,
            "memory": _memory(self.run_bytes, gpu=self.gpu),
            "max_concurrency": 4,  # it can be told to leave while it listens
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
        }
        actor = self.ray.remote(Station).options(**options).remote()
        order = Order(
            study=str(self.study.path.absolute()),
            probe=str(self.probe.path.absolute()),
            bundle=pack(self.study.path, [self.study.path / name for name in (STUDY, DATA, PARTS)]),
            folder=str(Path.cwd()),
            data=_data_paths(self.study),
            variables=variables(),
            threads=self.threads,
            name=f"worker-{self.made}",
            trusted=trust.for_workers(),
        )
        self.made += 1
        self.stations.append(_Place(actor, actor.open.remote(order)))

    def _luggage(self, place: _Place) -> bytes | None:
        """What a station that does not see the study's folder needs for its run."""
        assert place.standing is not None
        assert place.run is not None
        if place.standing.shared:
            return None
        base = [self.study.path / "outcomes" / f"{each.slot}.json" for each in self.study.plan if each.variant == BASE]
        begun = run_folders(self.study.runs, place.run)
        return pack(self.study.path, [*begun, *(base if self.study.config.matched == "seconds" else [])])

    def _hear(self, place: _Place) -> None:
        """Take in a station's answer, and ask the next question."""
        question, place.question = place.question, None
        try:
            answer = self.ray.get(question)
        except self.ray.exceptions.RayError as error:
            self._bury(place, error)
            return
        if place.doing == "opening":
            self._welcome(place, answer)
        elif place.doing == "giving":
            self._listen(place)
        elif place.doing == "hearing":
            self._take(place, answer)
        else:
            assert place.run is not None
            self.study.adopt(self.study.by_slot[place.run], answer)
            self._done(place)

    def _welcome(self, place: _Place, standing: Standing) -> None:
        """A station is ready, unless it cannot make the runs of this study."""
        place.standing, self.stillborn = standing, 0
        if standing.versions != versions():
            theirs, ours = (
                ", ".join(f"{name} {each}" for name, each in found.items()) for found in (standing.versions, versions())
            )
            raise RunError(f"The node {standing.host} has {theirs}, and this machine {ours}: install the same on both.")
        if standing.missing:
            raise RunError(
                f"The node {standing.host} does not see {', '.join(standing.missing)}, which the runs read. Put the "
                "data there under the same path, or work in a folder that all nodes share."
            )
        if not standing.shared and standing.host not in self.told:
            self.told.add(standing.host)
            self.tell(
                f"{standing.host} does not see {self.study.path}, or not its locks: its runs are sent to and fro, and "
                "one that is lost with it begins anew"
            )

    def _listen(self, place: _Place) -> None:
        place.ask("hearing", place.actor.hear.remote(HEARING))

    def _take(self, place: _Place, told: list[dict[str, Any]]) -> None:
        """What a station's worker has said."""
        assert place.standing is not None
        assert place.run is not None
        for each in told:
            if each["kind"] == "progress":
                self.said.append(progress(each))
            elif each["kind"] == "ready":
                self.stillborn = 0
            elif each["kind"] == "gone":
                if not each["ready"]:
                    self._refuse_stillborn(f"a worker on {place.standing.host} {each['detail']}: {each['last']}")
                self.said.append(Report(place.run, "lost", detail=f"on {place.standing.host} {each['detail']}"))
                place.run = None
                return
            elif each["kind"] == "done":
                if place.standing.shared:
                    self._done(place)
                else:
                    place.ask("fetching", place.actor.fetch.remote(place.run))
                return
        self._listen(place)

    def _done(self, place: _Place) -> None:
        assert place.run is not None
        self.said.append(Report(place.run, "done"))
        place.run = None

    def _bury(self, place: _Place, error: Exception) -> None:
        """A station has died, or is out of reach, or cannot do what it should: its run goes to another."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(place.actor)
        self.stations.remove(place)
        reason = _last_line(error)
        if place.standing is None:
            self._refuse_stillborn(reason)
        elif place.run is not None:
            anew = "" if place.standing.shared else ", with what it had made"
            self.said.append(Report(place.run, "lost", detail=f"on {place.standing.host} was lost{anew} ({reason})"))

    def _refuse_stillborn(self, reason: str) -> None:
        self.stillborn += 1
        if self.stillborn >= STILLBORN:
            raise RunError(
                f"{self.stillborn} times in a row no worker could be started on the Ray cluster. The last time: "
                f"{reason}. glassformer must be installed on every node."
            )


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise DependencyError("--on ray needs the package ray: pip install 'glassformer[ray]'") from error
    return ray


def _last_line(error: Exception) -> str:
    """What an error of Ray's comes down to: before it there may be a traceback of another machine."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _memory(run_bytes: int, *, gpu: bool) -> int:
    """Of a node, for one run."""
    return WORKER_BYTES + (0 if gpu else run_bytes)


def _refuse_silent(on: str, host: str, port: int) -> None:
    """Ray itself would try for half a minute."""
    try:
        socket.create_connection((host, port), timeout=REACHING).close()
    except OSError as error:
        raise RunError(
            f"Nothing answers at {on}: {error}. The head of a Ray cluster takes ray:// on port 10001 unless it was "
            "started with another, and needs ray[client]."
        ) from error


def _data_paths(study: Study) -> tuple[str, ...]:
    """The files and folders that the runs read, as the configurations name them."""
    named = {
        value
        for name in study.config.arms
        for key, value in study.config.arm(name).data.to_dict().items()
        if key in ("source", "validation", "test") and isinstance(value, str)
    }
    return tuple(sorted(each for each in named if Path(each).exists()))
