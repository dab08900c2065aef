"""A worker seen from outside: its process, what it is at, and a thread that listens to it.

It imports nothing large: a node of a cluster, too, only passes on what its workers say.
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

STOPPING = 60.0
"""Seconds that a worker has to save and leave before it is killed."""


class Worker:
    """A process of :mod:`glassformer.studies.worker`.

    Args:
        study: the study's folder.
        log: a file that gets what it says besides its reports.
        environment: its variables: :func:`worker_environment`, and what else it needs.
        heard: where its reports go, each with this worker; the last is ``{"kind": "gone"}``.
        folder: its working folder; this process's unless given.
    """

    def __init__(
        self,
        study: Path,
        log: Path,
        environment: dict[str, str],
        heard: queue.Queue[Heard],
        folder: Path | None = None,
    ) -> None:
        self.run: str | None = None
        self.ready = False
        self.log = log
        with open_to_append(log) as said:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "glassformer.studies.worker", str(study.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
                cwd=folder,
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

    def await_end(self) -> None:
        """Wait until it has left; kill it if it does not."""
        try:
            self.process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.listener.join()

    def death(self) -> str:
        """How it died, for a message."""
        status = self.process.returncode
        if status is not None and status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def end(self) -> str:
        """How it died; of an error, also what it said last."""
        said = self.last_words() if (self.process.returncode or 0) > 0 else ""
        return f"{self.death()} ({said})" if said else self.death()

    def last_words(self) -> str:
        """The last line of its log."""
        return "".join(self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:])


Heard = tuple[Worker, dict[str, Any]]


def worker_environment(threads: int | None) -> dict[str, str]:
    """This process's, with the threads of torch limited (None leaves them), this very package to import, and the part
    files that are trusted here.
    """
    here = str(Path(glassformer.__file__).parents[1])
    path = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    limits = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | trust.for_workers() | limits
