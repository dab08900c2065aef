"""What a planned run would cost on this machine: time and memory, from what was measured here.

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
from glassformer.models.costs import costs
from glassformer.models.counting import flops_per_token
from glassformer.scaling.plans.plan import Traced
from glassformer.scaling.plans.plan_settings import Steps
from glassformer.scaling.wording import YEAR, long
from glassformer.training.config import RunConfig
from glassformer.training.execution import choose, expected_seconds, find_device
from glassformer.training.memory import TOKEN_BYTES, device_memory
from glassformer.training.update_time import update_seconds

TIME, MEMORY, MEMORY_THERE, SPEED = "time", "memory", "memory there is", "speed"

PATIENCE = 3.0
"""Seconds that a micro-batch may take, by the guess, to be measured."""


class Batches:
    """Batches of random tokens: the shape of a text's (``training.samples.Shape``), and content enough to be timed."""

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
    rows: int  # of a micro-batch


def sustained(config: RunConfig) -> float:
    """FLOP/s that a training may sustain here, before there is a model to measure: the trainer's own guess."""
    steps = Steps(config.training.batch_size, config.seq_len, 1)
    batches = Batches(steps, config.model.vocab_size)
    one = _of_one_step(config, steps)
    return _flops_per_step(one, steps) / expected_seconds(one, batches, find_device(config.training.device))


def pace(config: RunConfig, steps: Steps) -> Pace:
    """How long an update takes here."""
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
    rows = max(1, choose(config, Batches(steps, vocabulary)).micro_batch_tokens // steps.seq_len)
    pieces = -(-steps.rows // rows)
    guess = expected_seconds(config, Batches(steps, vocabulary), device)
    if guess / pieces > PATIENCE or _too_large(config, rows, device):
        return Pace(guess, False, rows)
    piece = Batches(Steps(rows, steps.seq_len, 1), vocabulary)
    one = config.override({"training.batch_size": rows, "training.micro_batch_size": rows})
    return Pace(pieces * update_seconds(one, piece), True, rows)


def _too_large(config: RunConfig, rows: int, device: str) -> bool:
    """Whether measuring would take more than half of the memory."""
    there = device_memory(device)
    return there is not None and _bytes(config, rows) > there / 2


def _bytes(config: RunConfig, rows: int) -> int:
    kind = config.training.optimizer.kind
    return costs(config.model, batch_size=rows, seq_len=config.seq_len, optimizer=kind, momentum=True).training_bytes


def _flops_per_step(config: RunConfig, steps: Steps) -> float:
    return float(steps.batch * flops_per_token(config.model, steps.seq_len).training)


def numbers(config: RunConfig, steps: Steps) -> dict[str, Traced]:
    """Speed, wall-clock and memory."""
    device = find_device(config.training.device)
    dtype = torch.bfloat16 if config.training.precision == "bf16" else torch.float32
    peak = speed.matmul_peak(dtype, device)
    found, flops = pace(config, steps), _flops_per_step(config, steps)
    how = "a few updates of this model, measured now" if found.measured else "guessed: 0.4 of the peak, and 3 ms a step"
    traced = {
        SPEED: Traced(
            flops / found.seconds,
            "FLOP/s",
            f"{flops:.4g} FLOPs a step / {found.seconds:.4g} s; {flops / found.seconds / peak:.0%} of the peak",
            f"{device}: {how}; the peak of matrix products, {peak:.4g} FLOP/s, measured here (speed.matmul_peak)",
        ),
        TIME: Traced(
            steps.number * found.seconds,
            "seconds",
            f"{steps.number:,} steps · {found.seconds:.4g} s",
            f"{device}: {how}",
            note="without the start, validations and checkpoints; a busy machine takes longer",
        ),
        MEMORY: Traced(
            _bytes(config, found.rows) + steps.batch * TOKEN_BYTES,
            "bytes",
            f"weights, gradients, {config.training.optimizer.kind} and the activations of {found.rows:,} sequences",
            "models/costs.py, by formula",
        ),
    }
    there = device_memory(device)
    if there is not None:
        traced[MEMORY_THERE] = Traced(there, "bytes", "as the system says", f"{device} of this machine")
    return traced


def warnings(found: Mapping[str, Traced]) -> Iterator[str]:
    """Where the run is beyond this machine."""
    if MEMORY_THERE in found and found[MEMORY].value > found[MEMORY_THERE].value:
        ratio = found[MEMORY].value / found[MEMORY_THERE].value
        yield f"The run needs {ratio:,.1f} times the memory of this machine's device: it cannot be trained here."
    if found[TIME].value > YEAR:
        yield f"On this machine it would take {long(found[TIME].value)}."
