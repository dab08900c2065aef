"""Which path a run takes on this machine: decided once, at the start, and recorded with the reasons.

A resumed run takes the path it began with, so that its arithmetic stays the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from glassformer import machine, speed
from glassformer.errors import CheckpointError, ConfigError, shown
from glassformer.models.counting import activation_bytes, flops_per_token, gathers_blocks
from glassformer.tasks.opening import find_device
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import BatchShape

CACHE_SIZED = 16 * 2**20
"""Bytes of one hidden activation [tokens, d_ff] that still run fast on a CPU; larger ones wait for memory."""

PATHS = ("fused", "explicit")
MOST_THREADS = 1024
"""Of torch; a machine has fewer cores, and more than it can make end the process."""

AT_ONCE = 0.25
"""Share of the memory that a whole batch's activations may take, where cutting it would cost a pass more."""

COMPILE_SECONDS = 45.0
COMPILE_GAIN = 0.15
"""What torch.compile costs at the start, and what share of a step it saves (measured: 7 % in fp32, 24 % in bf16)."""


@dataclass(frozen=True)
class ExecutionConfig:
    """The path taken.

    Attributes:
        device: where the model lives.
        fast_matmul: float32 products by oneDNN where that is exact and faster (:func:`speed.fast_matmul_is_exact`).
        attention_path: "fused" (SDPA) or "explicit".
        compile: torch.compile of loss and gradients.
        micro_batch_tokens: tokens to predict per forward pass, pads included; a batch with more is cut.
        threads: of torch on the CPU.
        reasons: one sentence for each choice.
    """

    device: str
    fast_matmul: bool
    attention_path: str
    compile: bool
    micro_batch_tokens: int
    threads: int
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the run's metrics."""
        return asdict(self) | {"reasons": list(self.reasons)}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> ExecutionConfig:
        """What :meth:`to_dict` gave. Raises :class:`CheckpointError` for anything else, as a damaged file may hold."""
        if wrong := list(_complaints(tree)):
            damage = "; ".join(wrong)
            raise CheckpointError(f"The checkpoint's execution settings ('acceleration') are damaged: {damage}.")
        find_device(tree["device"])
        return cls(**(tree | {"reasons": tuple(tree["reasons"])}))


FIELDS: dict[str, Callable[[Any], bool]] = {
    "device": lambda value: isinstance(value, str),
    "fast_matmul": lambda value: isinstance(value, bool),
    "attention_path": lambda value: value in PATHS,
    "compile": lambda value: isinstance(value, bool),
    "micro_batch_tokens": lambda value: type(value) is int and 1 <= value < 2**63,
    "threads": lambda value: type(value) is int and 1 <= value <= MOST_THREADS,
    "reasons": lambda value: isinstance(value, list) and all(isinstance(reason, str) for reason in value),
}
"""What a path is made of, as JSON holds it."""


def _complaints(tree: Any) -> Iterator[str]:
    """What is wrong with a path that a file holds."""
    if not isinstance(tree, dict):
        yield f"it is {shown(tree)}"
        return
    yield from (f"it has no {name}" for name in FIELDS if name not in tree)
    yield from (f"{shown(name)} is not a setting of it" for name in tree if name not in FIELDS)
    for name, is_right in FIELDS.items():
        if name in tree and not is_right(tree[name]):
            yield f"{name} is {shown(tree[name])}"


def choose(config: RunConfig, samples: BatchShape) -> ExecutionConfig:
    """The fastest path known for this model, this run's length and this machine."""
    training, reasons = config.training, []
    device = find_device(training.device)
    on_cpu = device.startswith("cpu")

    fast_matmul = False
    if on_cpu and training.precision == "fp32":
        probe = speed.fast_matmul_is_exact()
        fast_matmul = probe.use
        reasons.append(f"fast float32 matmul {'on' if fast_matmul else 'off'}: {probe.reason}")

    path, sparse = "fused", gathers_blocks(config.model, samples.seq_len)
    if sparse:
        reasons.append("fused attention: it gathers the blocks that its pattern needs")
    elif on_cpu and (fast_matmul or training.precision == "bf16" or config.model.attention.dropout > 0):
        path = "explicit"
        reasons.append("explicit attention: on this CPU path SDPA's many small products are slower")

    micro = training.micro_batch_size or _micro_batch_size(config, samples, on_cpu)
    if micro < samples.batch_size:
        reasons.append(
            f"{-(-samples.batch_size // micro)} micro-batches of {micro}: activations that stay in the cache"
        )

    if sparse and on_cpu and training.compile == "auto":
        compile_it, why = False, "compile off: blocks are gathered faster without"
    else:
        compile_it, why = _compile(config, samples, device)
    reasons.append(why)
    tokens = micro * samples.seq_len
    return ExecutionConfig(device, fast_matmul, path, compile_it, tokens, torch.get_num_threads(), tuple(reasons))


def _micro_batch_size(config: RunConfig, samples: BatchShape, on_cpu: bool) -> int:
    """Rows: the largest divisor of the batch whose hidden activation fits the cache; on a GPU, the batch."""
    batch = samples.batch_size
    if not on_cpu:
        return 8 * batch if config.data.ragged else batch  # such batches differ in size
    fits = max(1, CACHE_SIZED // (4 * config.model.active_d_ff * samples.seq_len))
    if config.data.ragged:
        return fits
    if _balances_experts(config) and _fits_at_once(config, samples):
        return batch
    return max(size for size in range(1, min(batch, fits) + 1) if batch % size == 0)


def _balances_experts(config: RunConfig) -> bool:
    """Whether a batch that is cut needs a pass more, to count the loads of its experts."""
    experts = config.model.feedforward.experts
    return experts is not None and bool(experts.balance_weight() or experts.z_loss)


def _fits_at_once(config: RunConfig, samples: BatchShape) -> bool:
    """Whether the activations of a whole batch take a small part of the memory."""
    there = machine.describe().memory
    needed = sum(activation_bytes(config.model, samples.batch_size, samples.seq_len).values())
    return there is None or needed < there * AT_ONCE


def _compile(config: RunConfig, samples: BatchShape, device: str) -> tuple[bool, str]:
    training = config.training
    if training.compile == "off":
        return False, "compile off: asked for"
    if config.data.ragged and training.compile == "auto":
        return False, "compile off: every batch of pairs has a shape of its own"
    if machine.describe().compiler is None and device.startswith("cpu"):
        if training.compile == "on":
            raise ConfigError("training.compile=on needs a C++ compiler (g++ or clang++), and there is none here.")
        return False, "compile off: no C++ compiler on this machine"
    if training.compile == "on":
        return True, "compile on: asked for"
    expected = expected_seconds(config, samples, device)
    if expected * COMPILE_GAIN < COMPILE_SECONDS * 1.5:
        return False, f"compile off: a run of about {expected:.0f} s would not win back its {COMPILE_SECONDS:.0f} s"
    return True, f"compile on: a run of about {expected:.0f} s wins back its {COMPILE_SECONDS:.0f} s"


def expected_seconds(config: RunConfig, samples: BatchShape, device: str) -> float:
    """A rough guess of the training time, from FLOPs and this machine's measured peak."""
    training = config.training
    dtype = torch.bfloat16 if training.precision == "bf16" else torch.float32
    peak = speed.matmul_peak(dtype, device)
    step = samples.tokens_per_step * flops_per_token(config.model, samples.seq_len).training / (0.4 * peak) + 0.003
    guesses = [training.max_seconds] if training.max_seconds else []
    if training.max_steps is not None:
        guesses.append(training.max_steps * step)
    if training.max_tokens is not None:
        guesses.append(training.max_tokens / samples.tokens_per_step * step)
    if training.max_epochs is not None:
        guesses.append(training.max_epochs * samples.steps_per_epoch * step)
    return min(guesses)
