"""The time and memory that a planned run costs on this machine.

The time of an update is measured with a few real ones of the planned model, on tokens drawn at random, where that takes
seconds; where a single micro-batch would take longer, it is the trainer's own guess from the peak of matrix products.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from glassformer import speed
from glassformer.data.language_modeling import TokenBatch
from glassformer.models.counting import flops_per_token
from glassformer.scaling.plans.allocation import Steps
from glassformer.scaling.plans.memory import MIB, peak_memory
from glassformer.scaling.plans.numbers import SourcedValue
from glassformer.scaling.wording import YEAR, long
from glassformer.tasks.opening import find_device
from glassformer.tasks.run_config import RunConfig
from glassformer.training.execution import ExecutionConfig, choose, expected_seconds
from glassformer.training.memory import device_memory
from glassformer.training.update_time import update_seconds

TIME, MEMORY, MEMORY_THERE, SPEED = "time", "memory", "memory there is", "speed"

PATIENCE = 3.0
"""Seconds that a micro-batch may take, by the guess, to be measured."""


class Batches:
    """Batches of random tokens in the shape of a text's, to be timed."""

    def __init__(self, steps: Steps, vocabulary: int) -> None:
        self.batch_size, self.seq_len = steps.rows, steps.seq_len
        self.most_tokens = steps.batch
        self.tokens_per_step = float(steps.batch)
        self.steps_per_epoch = math.inf  # runs are planned in steps
        self.vocabulary = vocabulary

    def batch(self, step: int) -> TokenBatch:
        """Tokens drawn anew for each step."""
        draw = np.random.default_rng(step)
        tokens = torch.from_numpy(draw.integers(self.vocabulary, size=(self.batch_size, self.seq_len + 1)))
        return TokenBatch(tokens[:, :-1], tokens[:, 1:], np.zeros(self.batch_size, dtype=np.int64))


@dataclass(frozen=True)
class Pace:
    """Seconds of an update, and whether they were measured."""

    seconds: float
    measured: bool


def sustained(config: RunConfig) -> float:
    """FLOP/s that a training may sustain here, before there is a model to measure: the trainer's own guess."""
    steps = Steps(config.training.batch_size, config.seq_len, 1)
    batches = Batches(steps, config.model.vocab_size)
    one = _of_one_step(config, steps)
    return _flops_per_step(one, steps) / expected_seconds(one, batches, find_device(config.training.device))


def pace(config: RunConfig, steps: Steps) -> Pace:
    """The time of an update here."""
    return _pace(_of_one_step(config, steps).to_json())


def _of_one_step(config: RunConfig, steps: Steps) -> RunConfig:
    """One update of this run, and nothing about it that takes no time: so the same update is measured once."""
    ends = {"max_steps": 1, "max_tokens": None, "max_epochs": None, "max_seconds": None}
    eager = {"batch_size": steps.rows, "compile": "off"}  # a plan does not wait for a compiler
    rate = {"optimizer.learning_rate": 1e-3, "schedule.warmup_steps": 1}
    return config.override({f"training.{name}": value for name, value in (ends | eager | rate).items()})


@lru_cache(maxsize=64)
def _pace(written: str) -> Pace:
    """Of one update of this configuration, written as JSON; remembered, for a budget of hours asks again and again."""
    config = RunConfig.build(json.loads(written))
    steps = Steps(config.training.batch_size, config.seq_len, 1)
    vocabulary = config.model.vocab_size
    device = find_device(config.training.device)
    execution = choose(config, Batches(steps, vocabulary))
    rows = max(1, execution.micro_batch_tokens // steps.seq_len)
    pieces = -(-steps.rows // rows)
    guess = expected_seconds(config, Batches(steps, vocabulary), device)
    there = device_memory(device)
    too_large = there is not None and sum(peak_memory(config, execution).values()) > there / 2
    if guess / pieces > PATIENCE or too_large:
        return Pace(guess, False)
    piece = Batches(Steps(rows, steps.seq_len, 1), vocabulary)
    one = config.override({"training.batch_size": rows, "training.micro_batch_size": rows})
    return Pace(pieces * update_seconds(one, piece), True)


def _flops_per_step(config: RunConfig, steps: Steps) -> float:
    return float(steps.batch * flops_per_token(config.model, steps.seq_len).training)


def numbers(config: RunConfig, steps: Steps) -> dict[str, SourcedValue]:
    """Speed, wall-clock and memory."""
    device = find_device(config.training.device)
    dtype = torch.bfloat16 if config.training.precision == "bf16" else torch.float32
    peak = speed.matmul_peak(dtype, device)
    found, flops = pace(config, steps), _flops_per_step(config, steps)
    execution = choose(config, Batches(steps, config.model.vocab_size))
    how = "a few updates of this model, measured now" if found.measured else "guessed: 0.4 of the peak, and 3 ms a step"
    traced = {
        SPEED: SourcedValue(
            flops / found.seconds,
            "FLOP/s",
            f"{flops:.4g} FLOPs a step / {found.seconds:.4g} s; {flops / found.seconds / peak:.0%} of the peak",
            f"{device}: {how}; the peak of matrix products, {peak:.4g} FLOP/s, measured here (speed.matmul_peak)",
        ),
        TIME: SourcedValue(
            steps.number * found.seconds,
            "seconds",
            f"{steps.number:,} steps · {found.seconds:.4g} s",
            f"{device}: {how}",
            note="without the start, validations and checkpoints; a busy machine takes longer",
        ),
        MEMORY: _memory(config, execution),
    }
    there = device_memory(device)
    if there is not None:
        traced[MEMORY_THERE] = SourcedValue(there, "bytes", "as the system says", f"{device} of this machine")
    return traced


def _memory(config: RunConfig, execution: ExecutionConfig) -> SourcedValue:
    """The peak, and what it is made of."""
    pieces = peak_memory(config, execution)
    rows = max(1, execution.micro_batch_tokens // config.seq_len)
    compiled = ", compiled" if execution.compile else ""
    return SourcedValue(
        sum(pieces.values()),
        "bytes",
        " + ".join(f"{size / MIB:,.0f} MiB {name}" for name, size in pieces.items() if size)
        + f"; {config.training.optimizer.kind}, {rows:,} sequences at a time, {execution.attention_path} attention"
        + compiled,
        "models/costs.py, and the process as measured (scaling/plans/memory.py)",
        note="peak of the training process, within about 15 %" if pieces["process"] else "of the device",
    )


def warnings(found: Mapping[str, SourcedValue]) -> Iterator[str]:
    """Where the run exceeds this machine."""
    if MEMORY_THERE in found and found[MEMORY].value > found[MEMORY_THERE].value:
        ratio = found[MEMORY].value / found[MEMORY_THERE].value
        yield f"The run needs {ratio:,.1f} times the memory of this machine's device: it cannot be trained here."
    if found[TIME].value > YEAR:
        yield f"On this machine it would take {long(found[TIME].value)}."
