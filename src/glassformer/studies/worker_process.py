"""A worker as the process that started it sees it: the child process, its current run, and a thread that reads it.

It imports nothing large: a cluster node, too, only forwards the messages of its worker.
"""

from __future__ import annotations

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
from glassformer import trust
from glassformer.untrusted import open_to_append

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")

STOP_TIMEOUT = 60.0
"""Seconds that a worker has to save and exit before it is killed."""


class Worker:
    """A process of :mod:`glassformer.studies.worker`.

    Args:
        study: the study's folder.
        log: a file for everything the worker prints besides its messages.
        environment: its variables: :func:`worker_environment`, and what else it needs.
        messages: where its messages are put, each with this worker; the last is ``{"kind": "exited"}``.
        folder: its working folder; this process's unless given.
    """

    def __init__(
        self,
        study: Path,
        log: Path,
        environment: dict[str, str],
        messages: queue.Queue[Received],
        folder: Path | None = None,
    ) -> None:
        self.run: str | None = None
        self.ready = False
        self.log = log
        with open_to_append(log) as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "glassformer.studies.worker", str(study.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                cwd=folder,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C goes to the scheduler alone, which lets its workers save
            )
        self.reader = threading.Thread(target=self._read, args=(messages,), daemon=True)
        self.reader.start()

    def _read(self, messages: queue.Queue[Received]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # a line that a kill cut off
                    messages.put((self, json.loads(line)))
        self.process.wait()
        messages.put((self, {"kind": "exited"}))

    def assign(self, run: str) -> None:
        """Have it train a run."""
        assert self.process.stdin is not None
        self.run = run
        with contextlib.suppress(OSError):  # it has died: "exited" will follow
            self.process.stdin.write(run + "\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """End its input: it exits at once if idle, and after saving if it trains."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def wait_or_kill(self) -> None:
        """Wait until it has exited; kill it if it does not."""
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()

    def exit_reason(self) -> str:
        """How its process ended: ``was killed by SIGKILL``."""
        status = self.process.returncode
        if status is not None and status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def exit_summary(self) -> str:
        """The exit reason and, after an error, the last line of the log."""
        tail = self.log_tail() if (self.process.returncode or 0) > 0 else ""
        return f"{self.exit_reason()} ({tail})" if tail else self.exit_reason()

    def log_tail(self) -> str:
        """The last line of its log."""
        return "".join(self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:])


Received = tuple[Worker, dict[str, Any]]
"""A message and the worker that sent it."""


def worker_environment(threads: int | None) -> dict[str, str]:
    """This process's environment, with torch's threads limited (unless None), this package importable, and the part
    files that are trusted here.
    """
    here = str(Path(glassformer.__file__).parents[1])
    path = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    limits = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | trust.for_workers() | limits
