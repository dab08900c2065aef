"""Kills and full disks, with real processes and real disks."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glassformer.errors import GlassformerError
from glassformer.runs.checkpoints import latest_checkpoint, list_checkpoints
from glassformer.training import session

FAULTS = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.mark.slow(reason="half a minute of lives that end early; test_checkpoint_faults.py kills in seconds")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the experiment forks")
def test_a_run_killed_at_random_moments_ends_as_one_left_in_peace():
    if not FAULTS.is_file():
        pytest.skip(f"{FAULTS} is not here")
    command = [sys.executable, str(FAULTS), "--kills", "6"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 6 times" in done.stdout
    assert done.stdout.endswith("\nthe same\n")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here (it needs the rights of root)")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_ends_with_a_clear_message_and_the_run_goes_on_once_there_is_room(
    small_disk, configure, resume, runs, assert_same_end
):
    config = configure()
    whole = runs.train(config)
    trainer = session.start(config, root=small_disk, name="run", command=["test"])
    filler = small_disk / "filler"

    def fill(record):
        if record.get("step") == 5 and record.get("kind") == "train":
            leave = 24_000  # less than a checkpoint, more than a record
            free = shutil.disk_usage(small_disk).free
            filler.write_bytes(b"x" * (free - leave))

    trainer.observers = [fill]
    with pytest.raises(GlassformerError, match=os.strerror(errno.ENOSPC)) as caught:
        trainer.train()
    message = str(caught.value)
    assert re.search(r"It needs .*bytes\); .* are free. Checkpoints saved earlier are intact", message)
    checkpoint, warnings = latest_checkpoint(trainer.run.checkpoints)
    assert warnings == []
    assert checkpoint.step in (3, 4)
    assert not list(trainer.run.checkpoints.glob(".tmp-*"))
    filler.unlink()
    assert_same_end(resume(trainer.run)[0], whole)


def fill_up(file):
    """Take every byte that the disk has left."""
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 4096)


def test_metrics_on_a_full_disk_are_a_clear_message(small_disk, configure, resume, runs, assert_same_end):
    config = configure({"training.checkpoints.every": 100, "training.telemetry.validate_every": 100})
    whole = runs.train(config)
    trainer = session.start(config, root=small_disk, name="run", command=["test"])
    filler = small_disk / "filler"
    update = trainer._update

    def fill_then_update():
        if trainer.progress.step == 5:
            fill_up(filler)
        update()

    trainer._update = fill_then_update
    with pytest.raises(GlassformerError, match=os.strerror(errno.ENOSPC)):
        trainer.train()
    filler.unlink()
    assert list_checkpoints(trainer.run.checkpoints) == []
    assert_same_end(resume(trainer.run)[0], whole)
