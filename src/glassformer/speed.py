"""How fast this machine is: measured where only a measurement can say, and remembered.

    matmul_peak(torch.float32)             # FLOP/s, the yardstick of "fraction of peak"
    memory_bandwidth()                     # bytes/s, the yardstick of decoding
    fast_matmul_is_exact().use             # is oneDNN's fp32 matmul accurate and faster here?

Measurements take about 0.3 s each, are kept for the process and, by the machine's fingerprint, in the cache folder.
None of them draws from torch's global random numbers, so measuring never changes a run.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F

from glassformer import machine, places

SECONDS = 0.3  # how long one measurement may take
EXACT_WITHIN = 16  # times the default's own error; a product rounded to bf16 is off by some 4,000 times

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h

_onednn_matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined] # torch adds it when it is imported


# --- the fast fp32 path of matrix products on CPUs ------------------------------------------------------------------


@dataclass(frozen=True)
class FastMatmul:
    """What the probe of oneDNN's fp32 path found. An error is the largest deviation from float64, over its largest
    value.
    """

    exact: bool  # as accurate as the default, to a factor of EXACT_WITHIN
    use: bool  # exact, and at least 1.1 times as fast
    error_fast: float
    error_default: float
    gflops_fast: float
    gflops_default: float

    @property
    def reason(self) -> str:
        """Why it is used or not, in half a sentence."""
        ratio = self.gflops_fast / self.gflops_default if self.gflops_default else 0.0
        if not self.gflops_fast:
            return "this torch has no oneDNN"
        if not self.exact:
            return f"it rounds here: error {self.error_fast:.0e}, against {self.error_default:.0e}"
        return f"exact here (error {self.error_fast:.0e}) and {ratio:.1f} times the default's speed"


class use_fast_matmul:  # noqa: N801 - reads as torch.no_grad does
    """Send fp32 matrix products on the CPU to oneDNN (on) or where torch sends them by default (off).

    Takes effect at once, for the whole process; as a context manager it puts back what was set before::

        use_fast_matmul(fast_matmul_is_exact().use)  # from here on

        with use_fast_matmul(False):  # and not for this
            F.scaled_dot_product_attention(q, k, v)

    The switch is torch's permission to round the operands of fp32 products to bf16. On a CPU without AMX oneDNN makes
    no use of the permission, and what is left is its fp32 kernel, which on AMD is twice as fast as MKL's. On a CPU
    with AMX it rounds, to an error of 2e-3: never turn it on without :func:`fast_matmul_is_exact`. Inside fp32
    ``scaled_dot_product_attention`` it is slower (many small products). While it is on, torch's older question
    ``torch.get_float32_matmul_precision()`` raises.
    """

    def __init__(self, on: bool) -> None:
        self._before: str = _onednn_matmul.fp32_precision
        _onednn_matmul.fp32_precision = "bf16" if on else "none"

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _onednn_matmul.fp32_precision = self._before


def fast_matmul_is_exact(*, fresh: bool = False) -> FastMatmul:
    """Probe oneDNN's fp32 path: is it as accurate as the default, and is it faster? The switch is left as it was.

    Errors are the worst over a square product, a layer of a small model, a wide output and a batch of attention heads,
    since a library picks its kernel by shape; speeds are of the square one, alternating, the best of each.
    ``fresh`` measures again instead of reading what was found before.
    """
    found = None if fresh else _remembered().get("fast_matmul")
    if found is None:
        found = asdict(_probe_fast_matmul())
        _remember("fast_matmul", found)
    return FastMatmul(**found)


def _probe_fast_matmul() -> FastMatmul:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return FastMatmul(False, False, 0.0, 0.0, 0.0, 0.0)
    errors: dict[bool, float] = {}
    for on in (False, True):
        with use_fast_matmul(on):
            errors[on] = max(_relative_error(x, w) for x, w in _probe_operands())
    best = {False: float("inf"), True: float("inf")}
    x, w = next(_probe_operands())
    deadline = time.perf_counter() + SECONDS
    while time.perf_counter() < deadline:
        for on, before in best.items():
            with use_fast_matmul(on):
                best[on] = min(before, _seconds(lambda: F.linear(x, w)))
    exact = errors[True] <= EXACT_WITHIN * max(errors[False], torch.finfo(torch.float32).eps)
    flops = 2 * x.shape[0] * w.numel()
    return FastMatmul(
        exact=exact,
        use=exact and best[True] * 1.1 <= best[False],
        error_fast=errors[True],
        error_default=errors[False],
        gflops_fast=flops / best[True] / 1e9,
        gflops_default=flops / best[False] / 1e9,
    )


def _probe_operands() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs x [(heads,) rows, in], w [(heads,) out, in]."""
    random = torch.Generator().manual_seed(0)
    for leading, rows, inside, out in (
        ((), 512, 512, 512),
        ((), 768, 128, 384),
        ((), 64, 64, 4096),
        ((48,), 64, 32, 64),
    ):
        yield (
            torch.randn(*leading, rows, inside, generator=random),
            torch.randn(*leading, out, inside, generator=random),
        )


def _relative_error(x: torch.Tensor, w: torch.Tensor) -> float:
    exact = x.double() @ w.double().mT
    computed = F.linear(x, w) if w.dim() == 2 else x @ w.mT
    return ((computed.double() - exact).abs().max() / exact.abs().max()).item()


# --- yardsticks -----------------------------------------------------------------------------------------------------


def keep_freed_memory() -> bool:
    """Have the C library keep the memory of freed tensors for the next ones, instead of handing it back each time.

    A step frees and asks for the same blocks over and over; each block handed back costs its page faults again.
    Sets glibc's allocator options and returns whether they were accepted. It holds for the process.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def return_freed_memory() -> None:
    """Hand the memory of freed tensors back to the system, this once, whatever :func:`keep_freed_memory` has set."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def matmul_peak(dtype: torch.dtype = torch.float32, device: str = "cpu", *, fresh: bool = False) -> float:
    """FLOP/s of the best large square matrix product of this type: fp32 takes the fastest path that is exact.

    A busy machine can only look slower than it is, so a ``fresh`` measurement never lowers what was found before.
    """
    name = f"matmul_peak {str(dtype).removeprefix('torch.')} {device}"
    fast = dtype == torch.float32 and device == "cpu" and fast_matmul_is_exact().use
    return _best_seen(name, lambda: _measure_matmul(dtype, device, fast), fresh=fresh)


def _measure_matmul(dtype: torch.dtype, device: str, fast: bool) -> float:
    random = torch.Generator(device).manual_seed(0)
    size, best = 512, 0.0
    with use_fast_matmul(fast), torch.no_grad():
        while True:
            a, b = (torch.randn(size, size, device=device, generator=random).to(dtype) for _ in range(2))
            elapsed, deadline = 0.0, time.perf_counter() + SECONDS / 4
            while time.perf_counter() < deadline:
                elapsed = _seconds(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
                best = max(best, 2 * size**3 / elapsed)
            if 8 * elapsed > SECONDS / 2 or size >= 8192:  # the next size would take too long
                return best
            size *= 2


def memory_bandwidth(device: str = "cpu", *, fresh: bool = False) -> float:
    """Bytes/s at which a tensor much larger than a cache is read."""
    return _best_seen(f"memory_bandwidth {device}", lambda: _measure_reading(device), fresh=fresh)


def _measure_reading(device: str) -> float:
    bytes_ = min(2**29, (machine.describe().memory or 2**32) // 16)
    data = torch.ones(bytes_ // 4, device=device)
    best, deadline = 0.0, time.perf_counter() + SECONDS
    while time.perf_counter() < deadline:
        best = max(best, bytes_ / _seconds(data.sum, device))
    return best


def _seconds(work: Callable[[], Any], device: str = "cpu") -> float:
    """How long ``work`` takes, the device's queue drained before and after."""
    wait = (lambda: None) if device == "cpu" else torch.get_device_module(torch.device(device)).synchronize
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


# --- memory of measurements -----------------------------------------------------------------------------------------


def _best_seen(name: str, measure: Callable[[], float], *, fresh: bool) -> float:
    seen = _remembered().get(name)
    if seen is None or fresh:
        seen = max(measure(), seen or 0.0)
        _remember(name, seen)
    return float(seen)


@functools.cache
def _records(file: Path) -> dict[str, Any]:
    """What the cache folder holds about this machine; an unreadable file is as good as none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _record_file() -> Path:
    return places.cache_folder() / "machines" / f"{machine.describe().fingerprint}.json"


def _remembered() -> dict[str, Any]:
    return _records(_record_file())


def _remember(name: str, value: Any) -> None:
    file = _record_file()
    records = _records(file)
    records[name] = value
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(records, indent=2), encoding="utf-8")
        fresh.replace(file)
    except OSError:
        return  # a cache folder that cannot be written costs a second at the next start, no more
