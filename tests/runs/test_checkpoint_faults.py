from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

from glassformer.errors import CheckpointError
from glassformer.runs.checkpoints import latest_checkpoint, list_checkpoints, load_checkpoint, prune, save_checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, mounts and limits of POSIX")


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".tmp")]


# --------------------------------------------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB and 40 files."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=40", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_leaves_older_checkpoints_and_says_what_is_needed_and_free(small_disk):
    tensors = {"model": {"weight": torch.arange(2**19).float()}}  # 2 MiB
    for step in (1, 2, 3):
        save_checkpoint(small_disk, step, tensors, {})
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    with pytest.raises(CheckpointError) as raised:
        save_checkpoint(small_disk, 4, tensors, {})
    message = str(raised.value)
    needed = 2**21 + 3 * 4096  # the tensors' file with its header, the state, the manifest
    assert "no room to save" in message
    assert "step-00000004" in message
    assert f"({needed:,} bytes)" in message
    assert f"({free:,} bytes) are free" in message
    assert leftovers(small_disk) == []
    assert [load_checkpoint(path).step for path in list_checkpoints(small_disk)] == [1, 2, 3]
    prune(small_disk, keep_last=1)
    assert load_checkpoint(save_checkpoint(small_disk, 4, tensors, {})).step == 4


def test_a_disk_that_fills_up_during_a_save_leaves_older_checkpoints(small_disk):
    save_checkpoint(small_disk, 1, {"model": {"weight": torch.ones(9)}}, {})
    many_files = {f"group{index}": {"weight": torch.ones(9)} for index in range(60)}  # bytes suffice, files do not
    with pytest.raises(CheckpointError, match=r"no room to save .*Checkpoints saved earlier are intact"):
        save_checkpoint(small_disk, 2, many_files, {})
    assert leftovers(small_disk) == []
    checkpoint, warnings = latest_checkpoint(small_disk)
    assert (checkpoint.step, warnings) == (1, [])


FILE_LIMIT = """
import resource, sys
from pathlib import Path
import torch
from glassformer.errors import CheckpointError
from glassformer.runs.checkpoints import latest_checkpoint, save_checkpoint
folder = Path(sys.argv[1])
save_checkpoint(folder, 1, {"model": {"weight": torch.ones(1000)}}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # a write stops in the middle of a tensor
try:
    save_checkpoint(folder, 2, {"model": {"weight": torch.ones(100_000)}}, {})
except CheckpointError as error:
    print(error)
checkpoint, warnings = latest_checkpoint(folder)
assert (checkpoint.step, warnings) == (1, [])
assert sorted(path.name for path in folder.iterdir()) == [".lock", "step-00000001"]
"""


def test_a_write_that_stops_in_the_middle_of_a_tensor_leaves_nothing_behind(tmp_path):
    done = subprocess.run([sys.executable, "-c", FILE_LIMIT, tmp_path], capture_output=True, text=True, check=True)
    assert "no room to save" in done.stdout
    assert "File too large" in done.stdout


def test_a_folder_that_cannot_be_written_is_a_clear_message(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"cannot be written: File exists.*resume"):
        save_checkpoint(tmp_path / "checkpoints", 1, {}, {})
    with pytest.raises(CheckpointError, match="cannot be listed: Not a directory"):
        latest_checkpoint(tmp_path / "checkpoints")


def test_ctrl_c_in_the_middle_of_a_save_leaves_nothing_behind(tmp_path):
    class Interrupting(dict):
        def items(self):
            yield from super().items()
            raise KeyboardInterrupt

    save_checkpoint(tmp_path, 1, {}, {})
    with pytest.raises(KeyboardInterrupt):
        # sizes come from values(); items() is what the writing walks over, after the first file is written
        save_checkpoint(tmp_path, 2, Interrupting(model={"weight": torch.ones(5)}), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "step-00000001"]


# -------------------------------------------------------------------------------------------------------- kills

# Imports torch once, then forks a process for each line it reads: one that saves and prunes until it is killed.
NURSERY = """
import os, sys
from pathlib import Path
import torch
from glassformer.runs.checkpoints import prune, save_checkpoint
exec(sys.argv[2])
folder = Path(sys.argv[1])
for line in sys.stdin:
    step = int(line)
    child = os.fork()
    if child == 0:
        while True:
            save_checkpoint(folder, step, tensors(step), {"step": step}, is_best=step % 4 == 0)
            prune(folder, keep_last=2)
            step += 1
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""

CONTENT = """
def tensors(step):
    weight = torch.arange(150_000, dtype=torch.int32) * (step + 1)
    return {"model": {"weight": weight}, "optimizer": {"moment": weight.view(torch.float32)[:50_000], "s": weight[7]}}
"""


def content(step: int) -> dict[str, dict[str, torch.Tensor]]:
    scope: dict = {"torch": torch}
    exec(CONTENT, scope)
    return scope["tensors"](step)


def test_kills_at_random_moments_lose_no_finished_checkpoint_and_leave_no_rubbish(tmp_path):
    rng = random.Random(7)
    first = save_checkpoint(tmp_path, 0, content(0), {"step": 0})
    assert load_checkpoint(first).step == 0
    command = [sys.executable, "-c", textwrap.dedent(NURSERY), str(tmp_path), CONTENT]
    reached = kills = inside_a_save = inside_a_removal = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as nursery:
        while inside_a_save < 10 and kills < 150:
            nursery.stdin.write(f"{reached + 1}\n")
            child = int(nursery.stdout.readline())
            time.sleep(rng.uniform(0.002, 0.08))
            os.kill(child, signal.SIGKILL)
            assert nursery.stdout.readline() == "dead\n"
            kills += 1
            left = leftovers(tmp_path)
            assert len({name.split("-")[3] for name in left}) <= 1, "each writer removes what the killed ones left"
            inside_a_save += any(int(name.split("-")[2]) > reached for name in left)
            inside_a_removal += any(int(name.split("-")[2]) <= reached for name in left)
            checkpoint, warnings = latest_checkpoint(tmp_path)
            assert warnings == []
            assert checkpoint.step >= reached
            assert checkpoint.state == {"step": checkpoint.step}
            for group, named in content(checkpoint.step).items():
                for name, tensor in named.items():
                    assert bits(checkpoint.tensors[group][name]) == bits(tensor)
            reached = checkpoint.step
    print(f"{kills} kills, {inside_a_save} inside a save, {inside_a_removal} inside a removal, {reached} steps")
    assert inside_a_save, "none of the kills came inside a save"
    save_checkpoint(tmp_path, reached + 1, content(reached + 1), {})
    assert leftovers(tmp_path) == []


# ------------------------------------------------------------------------------------------------ other writers

HOLDER = """
import sys
from pathlib import Path
from glassformer.runs.locks import FileLock
folder = Path(sys.argv[1])
with FileLock(folder / ".lock"):
    (folder / ".tmp-step-00000009-being-written").mkdir()
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_a_living_writers_unfinished_checkpoint_is_left_alone(tmp_path):
    save_checkpoint(tmp_path, 1, {}, {})
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "ready\n"
        saving = threading.Thread(target=save_checkpoint, args=(tmp_path, 2, {}, {}))
        saving.start()
        saving.join(0.3)
        assert saving.is_alive(), "the second writer waits for the first"
        assert leftovers(tmp_path) == [".tmp-step-00000009-being-written"]
        assert latest_checkpoint(tmp_path)[0].step == 1, "a reader does not wait"
        holder.communicate("go on\n")
    saving.join(10)
    assert latest_checkpoint(tmp_path)[0].step == 2
    assert leftovers(tmp_path) == [], "once its writer is gone it is rubbish"
