"""What the machine is read as."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from glassformer import machine


def test_the_description_agrees_with_the_system():
    here = machine.describe()
    assert 1 <= here.cores <= os.cpu_count()
    assert here.threads == torch.get_num_threads()
    assert here.torch == torch.__version__
    assert here.cpu
    assert here.memory is None or here.memory > 1e8
    assert set(here.instructions) <= set(machine.MATRIX_INSTRUCTIONS)
    assert len(here.gpus) == torch.cuda.device_count() or torch.backends.mps.is_available()


def test_the_description_is_plain_json():
    here = machine.describe()
    assert json.loads(json.dumps(here.to_dict()))["cores"] == here.cores


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is set the Linux way")
def test_cores_are_those_the_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from glassformer.machine import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_is_read_in_both_forms(tmp_path, files, cores):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert machine._cpu_quota(tmp_path) == cores


def test_the_fingerprint_changes_with_the_threads():
    before = machine.describe()
    torch.set_num_threads(before.threads + 1)
    try:
        assert machine.describe().fingerprint != before.fingerprint
    finally:
        torch.set_num_threads(before.threads)
    assert machine.describe().fingerprint == before.fingerprint


def test_free_disk_is_that_of_the_nearest_folder_that_exists(tmp_path):
    assert machine.free_disk(tmp_path / "not" / "yet") == pytest.approx(machine.free_disk(tmp_path), rel=0.05)
