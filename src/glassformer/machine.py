"""What this machine is, read once.

    here = describe()                      # cores, instruction sets, GPUs, torch, memory
    here.fingerprint                       # changes with whatever changes a measured speed

How fast it is, is measured in :mod:`glassformer.speed`.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

# The instruction sets that decide which matrix kernels run, as Linux names them (x86, then Arm).
MATRIX_INSTRUCTIONS = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("neon", "asimd", "bf16", "i8mm", "sve", "sve2", "sme"),
)


@dataclass(frozen=True)
class Gpu:
    """One GPU as torch sees it. ``memory`` in bytes; ``capability`` is CUDA's, as in ``(9, 0)``."""

    name: str
    memory: int
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Machine:
    """What this machine is. ``None`` where the system does not say."""

    system: str
    cpu: str
    cores: int  # that this process may use: affinity and the container's quota counted
    threads: int  # that torch uses inside one operation
    instructions: tuple[str, ...]  # of MATRIX_INSTRUCTIONS, the ones there are
    memory: int | None  # bytes that this process may use
    gpus: tuple[Gpu, ...]
    python: str
    torch: str
    torch_build: str  # "cpu", "cuda 12.8", "rocm 6.3"
    compiler: str | None  # the C++ compiler torch.compile would call on this CPU

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with whatever changes a measured speed."""
        parts = (self.cpu, self.cores, self.threads, self.instructions, self.gpus, self.torch, self.torch_build)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for a run's ``environment.json``."""
        return asdict(self)


def describe() -> Machine:
    """What this machine is now (the number of threads can change while a process lives)."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=_cpu_name(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        instructions=_instructions(),
        memory=_usable_memory(),
        gpus=_gpus(),
        python=platform.python_version(),
        torch=torch.__version__,
        torch_build=_torch_build(),
        compiler=_compiler(),
    )


def usable_cores() -> int:
    """Cores this process may use: its affinity, cut by the container's CPU quota (rounded up, at least 1)."""
    if sys.platform == "linux":
        cores, quota = len(os.sched_getaffinity(0)), _cpu_quota(Path("/sys/fs/cgroup"))
        return cores if quota is None else max(1, min(cores, math.ceil(quota)))
    return os.cpu_count() or 1


def free_disk(folder: Path) -> int:
    """Free bytes where ``folder`` is, or will be once it is made."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


# --- reading the system ---------------------------------------------------------------------------------------------


@functools.cache
def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu_field(*names: str) -> str | None:
    """The first core's value of the first of these fields that Linux gives."""
    for line in _cpu_info().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in names:
            return value.strip()
    return None


@functools.cache
def _cpu_name() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or platform.machine()
    return _cpu_field("model name", "Model") or platform.processor() or platform.machine()


@functools.cache
def _instructions() -> tuple[str, ...]:
    flags = set((_cpu_field("flags", "Features") or "").split())
    if not flags:  # not Linux: what torch itself reports
        flags = {"arm64": {"neon"}}.get(platform.machine(), {torch.backends.cpu.get_cpu_capability().lower()})
        flags |= {"avx512f", "avx2"} if "avx512" in flags else set()
    return tuple(name for name in MATRIX_INSTRUCTIONS if name in flags)


def _cpu_quota(root: Path) -> float | None:
    """Cores that a container's quota allows, from cgroup v2 (``cpu.max``) or v1; ``None`` without a quota."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    return None if quota == "max" or float(quota) < 0 else float(quota) / float(period)


@functools.cache
def _usable_memory() -> int | None:
    """Bytes of memory, cut by the container's limit."""
    sizes = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue  # no such limit, or "max"
    return min(sizes, default=None)


@functools.cache
def _gpus() -> tuple[Gpu, ...]:
    if torch.cuda.is_available():
        found = (torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count()))
        return tuple(Gpu(gpu.name, gpu.total_memory, (gpu.major, gpu.minor)) for gpu in found)
    if torch.backends.mps.is_available():  # Apple's GPU shares the machine's memory
        return (Gpu("Apple GPU (mps)", _usable_memory() or 0),)
    return ()


def _torch_build() -> str:
    hip: str | None = torch.version.hip
    kinds: tuple[tuple[Literal["cuda", "rocm"], str | None], ...] = (("rocm", hip), ("cuda", torch.version.cuda))
    return next((f"{kind} {version}" for kind, version in kinds if version), "cpu")


@functools.cache
def _compiler() -> str | None:
    names = (os.environ.get("CXX"), *(("cl",) if sys.platform == "win32" else ("g++", "clang++")))
    return next((found for name in names if name and (found := shutil.which(name))), None)
