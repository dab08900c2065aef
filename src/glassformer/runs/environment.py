"""``environment.json``: the circumstances of a run, without which its numbers mean little.

The machine, versions, a digest of the code that computes, the commit that it was started from, the command, and the
environment variables that change speed or results. The host's and the user's names are left out, so that a run's
folder can be shared.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import glassformer
from glassformer.errors import RunError
from glassformer.machine import describe
from glassformer.runs.source import source_digest
from glassformer.untrusted import read_json
from glassformer.wording import counted

# What is known to change how fast torch computes, in which order it adds, or what it draws at random.
VARIABLES = (
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "KMP_BLOCKTIME", "GOMP_CPU_AFFINITY",
    "MKL_NUM_THREADS", "MKL_CBWR", "OPENBLAS_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY",
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "LD_PRELOAD",
    "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "NVIDIA_TF32_OVERRIDE", "TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE", "TOKENIZERS_PARALLELISM",
    "PYTHONHASHSEED", "RANK", "WORLD_SIZE", "LOCAL_RANK",
)  # fmt: skip


@dataclass
class _Gpu:
    name: str


@dataclass
class _Machine:
    system: str
    cpu: str
    cores: int
    threads: int
    memory: int | None
    gpus: list[_Gpu]
    python: str
    torch: str
    torch_build: str


@dataclass
class _Git:
    commit: str
    changed: bool | None


@dataclass
class _Environment:
    """What is read of ``environment.json``; it holds more."""

    started: str
    command: list[str]
    glassformer: str
    machine: _Machine
    source: str | None = None
    git: _Git | None = None
    variables: dict[str, str] = field(default_factory=dict)


def read_environment(path: Path) -> dict[str, Any]:
    """The circumstances that a file holds. Raises :class:`RunError` if it is missing, damaged or holds others."""
    from pydantic import TypeAdapter  # which runs are made without

    try:
        tree: dict[str, Any] = read_json(path)
        TypeAdapter(_Environment).validate_json(json.dumps(tree), strict=True)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        reason = " ".join(str(error).split("For further information")[0].split())
        raise RunError(f"{path} is damaged: {reason}. Restore it from a copy.") from error
    return tree


def other_source(path: Path, what: str) -> str | None:
    """A sentence if what is resumed here began with other code than this process has; None if with the same.

    Args:
        path: of its ``environment.json``; one that cannot be read, or is older than the digest, counts as other code.
        what: "run" or "study".
    """
    try:
        then = read_environment(path).get("source")
    except RunError:
        then = None
    now = source_digest()
    if then == now:
        return None
    began = "not recorded" if then is None else then[:12]
    return (
        f"this {what} began with other code of glassformer (source {began}, now {now[:12]}): what is computed from now "
        "on may differ in more than settings and seeds. Begin it again to have all of it from one code."
    )


def describe_environment(command: Sequence[str]) -> dict[str, Any]:
    """The circumstances of a run that ``command`` starts here and now, as JSON holds them."""
    return {
        "started": datetime.now(UTC).isoformat(),
        "command": list(command),
        "glassformer": glassformer.__version__,
        "source": source_digest(),
        "git": describe_checkout(Path.cwd()),
        "machine": describe().to_dict(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def describe_checkout(folder: Path) -> dict[str, Any] | None:
    """The commit checked out in the folder, and whether tracked files differ from it; None outside a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None when it is not installed, refuses, or takes more than a few seconds."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def machine(environment: dict[str, Any]) -> str:
    """The machine in a line."""
    there = environment["machine"]
    gpus = "".join(f", {gpu['name']}" for gpu in there["gpus"])
    memory = f", {there['memory'] / 2**30:.0f} GiB" if there["memory"] else ""
    threads = counted(there["threads"], "thread")
    return f"{there['cpu']}, {counted(there['cores'], 'core')}, {threads} per run{memory}{gpus}, {there['system']}"


def versions(environment: dict[str, Any]) -> str:
    """The versions of the software that computed the numbers."""
    there = environment["machine"]
    return (
        f"glassformer {environment['glassformer']}, torch {there['torch']} ({there['torch_build']}), "
        f"Python {there['python']}"
    )
