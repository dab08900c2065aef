"""What the measurements of the machine promise."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys

import pytest
import torch

from glassformer import machine, speed


@pytest.fixture(autouse=True)
def quick_and_apart(monkeypatch, tmp_path):
    """Measurements of some hundredths of a second, remembered in a folder of the test's own."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(speed, "SECONDS", 0.02)


def precision():
    return torch.backends.mkldnn.matmul.fp32_precision


def test_the_fast_path_is_never_used_where_it_rounds():
    """Checked on products of its own, not on the probe's."""
    found = speed.fast_matmul_is_exact()
    assert found.exact or not found.use
    a, b = (torch.randn(300, 700, generator=torch.Generator().manual_seed(9)) for _ in range(2))
    with speed.use_fast_matmul(found.use):
        error = (a @ b.T - a.double() @ b.double().T).abs().max()
    assert error < 1e-4 * math.sqrt(700)


def test_the_probe_tells_rounding_from_exact_arithmetic():
    """On a CPU that really rounds under the permission, the probe must say so, and on one that does not, too."""
    a, b = (torch.randn(512, 512, generator=torch.Generator().manual_seed(9)) for _ in range(2))
    with speed.use_fast_matmul(True):
        rounds = (a @ b - a.double() @ b.double()).abs().max() > 1e-2  # bf16 has 8 bits: off by 0.1 at this size
    assert speed.fast_matmul_is_exact(fresh=True).exact != bool(rounds)


def test_probing_leaves_the_switch_and_the_random_numbers_as_they_were():
    before, state = precision(), torch.get_rng_state()
    speed.fast_matmul_is_exact(fresh=True)
    speed.matmul_peak(torch.float32, fresh=True)
    assert precision() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_the_switch_is_put_back_even_after_an_error():
    before, during = precision(), []

    def fail_inside():
        with speed.use_fast_matmul(True):
            during.append(precision())
            with speed.use_fast_matmul(False):
                during.append(precision())
            during.append(precision())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert during == ["bf16", "none", "bf16"]
    assert precision() == before


def test_the_switch_holds_without_a_with():
    before = precision()
    switch = speed.use_fast_matmul(True)
    assert precision() == "bf16"
    switch.__exit__(None, None, None)
    assert precision() == before


def test_measured_speeds_are_of_this_world():
    assert 1e8 < speed.matmul_peak(torch.float32) < 1e16
    assert 1e7 < speed.memory_bandwidth() < 1e14


def test_a_peak_is_measured_once_and_a_fresh_one_never_lowers_it(tmp_path):
    first = speed.matmul_peak(torch.float32)
    assert speed.matmul_peak(torch.float32) == first
    [file] = (tmp_path / "cache" / "machines").iterdir()
    assert json.loads(file.read_text())["matmul_peak float32 cpu"] == first
    assert speed.matmul_peak(torch.float32, fresh=True) >= first


def test_another_process_reads_what_this_one_measured():
    mine = speed.memory_bandwidth()
    code = "from glassformer import speed; speed._measure_reading = None; print(speed.memory_bandwidth())"
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) == mine


def test_a_damaged_record_is_measured_anew(tmp_path):
    folder = tmp_path / "cache" / "machines"
    folder.mkdir(parents=True)
    (folder / f"{machine.describe().fingerprint}.json").write_text("{not json")
    assert speed.memory_bandwidth() > 0


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "file"))
    assert speed.memory_bandwidth() > 0


def test_freed_memory_can_be_kept_where_glibc_is(tmp_path):
    program = (
        "import resource, torch\n"
        "from glassformer import speed\n"
        "kept = speed.keep_freed_memory()\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): torch.ones(16_000_000)\n"  # 64 MB: more than malloc ever keeps by itself
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "faults()\n"
        "print(kept, faults())\n"
    )
    kept, faults = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc, whose allocator alone can be told to keep memory")
    assert int(faults) < 1000  # 20 tensors of 15,625 pages each


def test_kept_memory_can_be_handed_back_once():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is not glibc, whose allocator alone can be told to keep memory")
    program = (
        "import torch\n"
        "from glassformer import speed\n"
        "def pages(): return int(open('/proc/self/statm').read().split()[1])\n"
        "speed.keep_freed_memory()\n"
        "kept = [torch.ones(2**20) for _ in range(64)]\n"  # 65,536 pages in all
        "del kept\n"
        "before = pages()\n"
        "speed.return_freed_memory()\n"
        "print(before - pages())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 60_000
