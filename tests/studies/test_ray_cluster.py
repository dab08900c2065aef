"""Runs on a Ray cluster: real nodes on this machine, each a process tree of its own, and one of them killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import torch

from glassformer.errors import ConfigError, DependencyError, RunError
from glassformer.runs.checkpoints import list_checkpoints
from glassformer.runs.folder import list_runs
from glassformer.runs.locks import FileLock
from glassformer.studies import ray_cluster
from glassformer.studies.checking import check
from glassformer.studies.local_processes import LocalProcesses
from glassformer.studies.ray_cluster import RayCluster
from glassformer.studies.ray_connection import check_address, connected, worker_limit
from glassformer.studies.remote_worker import WorkerInfo, versions
from glassformer.studies.runner import StudyRunner
from glassformer.studies.scheduler import Scheduler
from glassformer.studies.summary import summarise
from glassformer.studies.worker import train_run

try:
    from ray.cluster_utils import Cluster
except ImportError:
    Cluster = None

pytestmark = [
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning"),
    pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning"),  # Ray's own processes
    pytest.mark.filterwarnings("ignore:unclosed file .*/ray/session_:ResourceWarning"),  # their logs
]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "memory": 4 * 2**30, "include_dashboard": False}


@pytest.fixture
def cluster(monkeypatch):
    """``cluster(3)``: so many nodes of one CPU each, on this machine, which ``--on ray`` finds."""
    if Cluster is None:
        assert not os.environ.get("CI"), "CI has the extra [dev], and with it ray"
        pytest.skip("ray is not installed: pip install 'glassformer[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    made = Cluster()

    def cluster(nodes: int, **options) -> Cluster:
        for _ in range(nodes):
            made.add_node(**NODE, **options)
        monkeypatch.setenv("RAY_ADDRESS", made.address)
        return made

    yield cluster
    made.shutdown()


def descendants(pid: int) -> list[int]:
    """A process and all it has started, by /proc."""
    try:
        started = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended meanwhile
        return []
    return [pid, *(each for child in started for each in descendants(child))]


def table(study) -> str:
    """The study's numbers to the last bit, without what a clock says and without the runs' moments."""
    tree = summarise(study).to_dict()
    for arm in tree["arms"]:
        for outcome in arm["outcomes"]:
            outcome.pop("seconds")
            outcome.pop("run")
            outcome["curve"].pop("seconds")
    return json.dumps([tree["arms"], tree["comparison"]], indent=1)


@pytest.mark.slow(reason="a node, and two tuned studies")
def test_both_phases_of_a_tuned_study_run_on_a_cluster(cluster, create, design, tmp_path):
    tuned = {"tune": "training.optimizer.weight_decay=0|0.5", "selection_seeds": 1, "seeds": 1}
    config = design(["model.residual=none"], **tuned)
    cluster(1)
    places = {"runs": tmp_path / "runs", "studies": tmp_path / "studies", "workers": 1, "fresh": True}
    with connected("ray"):
        there = StudyRunner(on="ray", **places).run(create(config), check(config)).check()
    here = StudyRunner(**places).run(create(config), check(config)).check()
    assert there.config == here.config
    assert there.config.chosen
    assert (there.losses(), there.selection.losses()) == (here.losses(), here.selection.losses())


@pytest.mark.slow(reason="two nodes and 32 runs")
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the processes of a node are found in /proc")
def test_a_node_that_is_killed_changes_nothing_in_the_table(cluster, create, design):
    variants = ["model.residual=none", "model.norm.kind=none", "model.n_layers=1"]
    config = design(variants, seeds=4, set={"training.max_steps": 400, "training.checkpoints.every": 50})
    here, there = create(config), create(config)
    assert Scheduler(here, LocalProcesses(here, 2)).run() is None

    made = cluster(3)
    doomed = made.list_all_nodes()[2]
    messages, killed = [], []

    def kill_once(event):
        messages.append(event)
        ended = {each.message.run for each in messages if each.outcome}
        at_work = {each.message.run for each in messages if (each.message.step or 0) > 50} - ended
        if not killed and len(ended) >= 3 and len(at_work) == 3:
            killed.extend(descendants(doomed.all_processes["raylet"][0].process.pid))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with connected("ray"):
        assert worker_limit(None, n_runs=16, gpu=False, run_bytes=0) == 3
        assert Scheduler(there, RayCluster(there, 3), [kill_once]).run() is None
    lost = [event.message for event in messages if event.message.kind == "lost"]
    print(f"\nkilled a node of 3, {len(killed)} processes; lost: {[(each.run, each.detail) for each in lost]}")
    assert len(lost) == 1, lost
    ended = [event.message.run for event in messages if event.outcome]
    assert sorted(ended) == sorted(planned.run_key for planned in there.plan)
    assert len(list_runs(there.runs)) == len(there.plan) == 16
    assert "resumed" in [event["event"] for event in there.run_of(there.run_by_key[lost[0].run]).events()]
    assert table(there) == table(here)
    print(f"16 runs, the same table:\n{[outcome.loss for outcome in there.outcomes()]}")


@pytest.mark.slow(reason="another Ray server")
def test_a_cluster_is_reached_by_its_address_too(cluster, create, design):
    study, other = (create(design(["model.n_layers=1"], seeds=[0])) for _ in range(2))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster(1, ray_client_server_port=port)
    with connected(f"ray://127.0.0.1:{port}"):
        assert Scheduler(study, RayCluster(study, 1)).run() is None
    for planned in other.plan:
        make_with_one_thread(other, planned)
    assert table(study) == table(other)


def make_with_one_thread(study, planned) -> None:
    """A run made in this process, as workers make it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_run(study, planned)
    finally:
        torch.set_num_threads(threads)


class Unheld(FileLock):
    """A lock as on a file system without locks: it is nobody's."""

    def acquire(self, *, wait: bool = True) -> bool:
        self.path.touch()
        return True


@pytest.mark.slow(reason="a Ray cluster: fifteen seconds until its processes have begun")
def test_nodes_without_the_folder_send_back_what_they_made(cluster, create, design, monkeypatch):
    study, other = (create(design(["model.n_layers=1"], seeds=[0], set={"training.max_steps": 60})) for _ in range(2))
    monkeypatch.setattr(ray_cluster, "FileLock", Unheld)
    cluster(1)
    told: list[str] = []
    stopped: list[str] = []

    def stop(event):
        """Ctrl-C, in the middle of the second run."""
        if not stopped and study.outcomes() and event.message.step:
            stopped.append(event.message.run)
            signal.raise_signal(signal.SIGINT)

    with connected("ray"):
        with pytest.raises(ConfigError, match="2 at a time need as many CPUs .* 1 nodes of the Ray cluster have 1"):
            worker_limit(2, n_runs=16, gpu=False, run_bytes=0)
        with pytest.raises(ConfigError, match="1,000.* GB of memory each"):
            worker_limit(None, n_runs=16, gpu=False, run_bytes=10**12)
        assert Scheduler(study, RayCluster(study, 1, report=told.append), [stop]).run() == "SIGINT"
        assert [outcome.status for outcome in study.outcomes()] == ["finished"]
        (half,) = (study.run_of(planned) for planned in study.pending())
        assert list_checkpoints(half.checkpoints)
        assert Scheduler(study, RayCluster(study, 1, report=told.append)).run() is None
    assert len(told) == 2
    assert "its runs are copied to and fro" in told[0]
    assert [outcome.status for outcome in study.outcomes()] == ["finished", "finished"]
    assert all(outcome.run.parent == study.runs for outcome in study.outcomes())
    assert "resumed" in [event["event"] for event in half.events()]
    assert not list(study.path.glob("arriving-*"))
    assert not list((study.path / "claims").glob("probe-*"))
    for planned in other.plan:
        make_with_one_thread(other, planned)
    assert table(study) == table(other)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (
            WorkerInfo("far", True, (), {"glassformer": "0.0", "torch": "2.0"}),
            "far has glassformer 0.0, torch 2.0, and",
        ),
        (WorkerInfo("far", False, ("words.txt",), versions()), "far does not see words.txt, which the runs read"),
    ],
)
def test_a_node_that_cannot_make_the_runs_is_named(create, design, info, message):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'glassformer[ray]'")
    executor = RayCluster(create(design(["model.n_layers=1"], seeds=[0])), 1)
    with pytest.raises(RunError, match=message):
        executor._on_ready(ray_cluster._WorkerHandle(None), info)


@pytest.mark.parametrize(
    "on", ["", "Ray", "ray:", "ray://", "ray://host", "ray://host:", "ray://:1", "ray://a:0", "ray://a:99999", "dask"]
)
def test_a_wrong_address_is_refused(on):
    with pytest.raises(ConfigError, match="expected ray .* or ray://HOST:PORT"):
        check_address(on)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r"pip install 'glassformer\[ray\]'"), connected("ray"):
        pass


@pytest.mark.parametrize("on", ["ray", "ray://localhost:10001", "ray://10.0.0.1:6379", "ray://[::1]:10001"])
def test_an_address_is_accepted(on):
    check_address(on)


def test_a_cluster_that_does_not_answer_is_said_so_at_once():
    if Cluster is None:
        pytest.skip("ray is not installed: pip install 'glassformer[ray]'")
    with pytest.raises(RunError, match="Nothing answers at ray://127.0.0.1:1: "), connected("ray://127.0.0.1:1"):
        pass
