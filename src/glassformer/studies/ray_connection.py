"""The Ray cluster that ``--on`` names: its address, the connection, and how many runs fit."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import warnings
from collections.abc import Iterator
from typing import Any

from glassformer.errors import ConfigError, DependencyError, RunError
from glassformer.studies.checking import WORKER_BYTES

ADDRESS = re.compile(r"ray(?:://(?P<host>[^/:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5}))?")

CONNECT_TIMEOUT = 10.0
"""Seconds that the cluster has to accept a connection."""


def check_address(on: str) -> None:
    """Raise :class:`ConfigError` unless ``on`` is ``ray`` or ``ray://HOST:PORT``."""
    match = ADDRESS.fullmatch(on)
    if match is None or not 0 < int(match["port"] or 1) < 65536:
        raise ConfigError(
            f"--on is {on!r}; expected ray (the cluster that this machine belongs to) or ray://HOST:PORT.",
            subject="command",
        )


@contextlib.contextmanager
def connected(on: str | None) -> Iterator[None]:
    """Be connected to the cluster inside the block.

    Args:
        on: ``ray``, the cluster of ``$RAY_ADDRESS`` or the one that this machine belongs to; or ``ray://HOST:PORT``,
            the address of a Ray client server (its port is 10001 unless the cluster was started with another); None:
            no cluster.

    Raises:
        ConfigError: none of these.
        DependencyError: Ray is not installed.
        RunError: there is no such cluster, or it does not fit this Python or Ray.
    """
    if on is None:
        yield
        return
    check_address(on)
    ray = import_ray()
    if ray.is_initialized():  # by the caller, who ends it
        yield
        return
    match = ADDRESS.fullmatch(on)
    assert match is not None
    if match["host"]:
        _check_reachable(on, match["host"].strip("[]"), int(match["port"]))
    address = on if match["host"] else os.environ.get("RAY_ADDRESS") or "auto"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about a coming default for GPUs
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises what it likes
        raise RunError(
            f"No Ray cluster can be used at {on}: {last_line(error)} "
            "Start one: ray start --head here, and ray start --address=HOST:6379 on the other machines."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def worker_limit(asked: int | None, *, n_runs: int, gpu: bool, run_bytes: int) -> int:
    """Runs at a time: one for each CPU (or GPU) of the connected cluster whose node has the memory for it.

    Raises:
        ConfigError: no node has, or more are asked for than there are.
    """
    kind, needed = ("GPU" if gpu else "CPU"), memory_per_worker(run_bytes, gpu=gpu)
    nodes = [each["Resources"] for each in import_ray().nodes() if each["Alive"]]
    there = sum(min(int(node.get(kind, 0)), int(node.get("memory", 0) // needed)) for node in nodes)
    if there < max(1, asked or 1):
        raise ConfigError(
            f"{asked or 1} at a time need as many {kind}s with {needed / 1e9:,.2f} GB of memory each, and the "
            f"{len(nodes)} nodes of the Ray cluster have {there}.",
            subject="study",
        )
    return min(asked or there, n_runs)


def memory_per_worker(run_bytes: int, *, gpu: bool) -> int:
    """Bytes of a node's memory, for one run."""
    return WORKER_BYTES + (0 if gpu else run_bytes)


def import_ray() -> Any:
    """The package. Raises :class:`DependencyError` where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise DependencyError("--on ray needs the package ray: pip install 'glassformer[ray]'") from error
    return ray


def last_line(error: Exception) -> str:
    """The message of an error of Ray's, without the traceback of another machine that may precede it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _check_reachable(on: str, host: str, port: int) -> None:
    """Raise :class:`RunError` at once if nothing listens there: Ray itself would try for half a minute."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT).close()
    except OSError as error:
        raise RunError(
            f"Nothing answers at {on}: {error}. The head of a Ray cluster takes ray:// on port 10001 unless it was "
            "started with another, and needs ray[client]."
        ) from error
