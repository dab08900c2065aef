from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from glassformer.runs.locks import FileLock

LOCKER = """
import sys, time
from pathlib import Path
from glassformer.runs.locks import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(wait=False), flush=True)
{then}
"""


def locker(path, then="sys.stdin.readline()"):
    command = [sys.executable, "-c", LOCKER.format(then=then), str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_lock_keeps_another_process_out_until_it_ends(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with locker(lock.path) as other:
        assert other.stdout.readline() == "True\n"
        assert lock.acquire(wait=False) is False
        assert lock.holder() == f"process {other.pid}"
        other.communicate("done\n")
    assert lock.acquire(wait=False) is True
    with locker(lock.path) as other:
        assert other.communicate()[0] == "False\n"
    lock.release()


def test_a_killed_process_leaves_no_stale_lock(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with locker(lock.path) as other:
        assert other.stdout.readline() == "True\n"
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert lock.path.exists()
    assert lock.acquire(wait=False) is True
    lock.release()


FORKING = """
import os
child = os.fork()
if child == 0:
    time.sleep(60)  # as the worker of a data loader that outlives its parent
print(child, flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with locker(lock.path, FORKING) as parent:
        assert parent.stdout.readline() == "True\n"
        child = int(parent.stdout.readline())
        assert lock.acquire(wait=False) is False, "the child's closing must not unlock the parent"
        parent.kill()
        parent.wait()
        try:
            deadline = time.monotonic() + 10  # the child may not have come to close its copy yet
            while not (acquired := lock.acquire(wait=False)) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert acquired
        finally:
            os.kill(child, signal.SIGKILL)
    lock.release()


def test_two_locks_on_one_file_exclude_each_other_within_a_process(tmp_path):
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    with one:
        assert other.acquire(wait=False) is False
    assert other.acquire(wait=False) is True
    other.release()
    other.release()  # without effect


def test_waiting_for_a_lock_ends_when_it_is_given_back(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with locker(lock.path, "time.sleep(0.3)") as other:
        assert other.stdout.readline() == "True\n"
        start = time.monotonic()
        assert lock.acquire() is True
        assert time.monotonic() - start > 0.1
    lock.release()
