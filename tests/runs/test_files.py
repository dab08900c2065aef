from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from glassformer.runs.files import FileLock, FileRecord, hash_file, readable_bytes, replace_durably, write_durably

LOCKER = """
import sys, time
from pathlib import Path
from glassformer.runs.files import FileLock
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
            assert lock.acquire(wait=False) is True
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


def test_what_is_written_is_what_its_record_says(tmp_path):
    data = os.urandom(100_000)
    record = write_durably(tmp_path / "file", data)
    assert record == FileRecord(100_000, hashlib.sha256(data).hexdigest()) == hash_file(tmp_path / "file")
    with pytest.raises(FileExistsError):
        write_durably(tmp_path / "file", b"never over another")


def test_replacing_is_all_or_nothing(tmp_path):
    replace_durably(tmp_path / "file", b"old")
    replace_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_durably(tmp_path / "folder", b"cannot be")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB (1,000 bytes)"), (3 * 10**15, "3000.0 TB ({:,} bytes)")],
)
def test_bytes_are_readable_and_exact(count, text):
    assert readable_bytes(count) == text.format(count)
