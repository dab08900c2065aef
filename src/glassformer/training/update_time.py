"""How long an update takes here: a few real ones, of a model at its starting weights."""

from __future__ import annotations

import time
from typing import Protocol

from glassformer import speed
from glassformer.data.batches import Batch
from glassformer.tasks.opening import build_model
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import BatchShape
from glassformer.training.execution import choose
from glassformer.training.optimizers import Optimizer
from glassformer.training.step import GradientStep
from glassformer.training.telemetry import clip_gradients, gradient_norm

WARM_UP = 2
UPDATES = 3
"""Timed after those that warm up; the fastest counts, since a busy machine only looks slower."""


class Batches(BatchShape, Protocol):
    """What an update needs of :class:`~glassformer.tasks.training_data.TrainingData`."""

    def batch(self, step: int) -> Batch:
        """Of a step."""


def update_seconds(config: RunConfig, batches: Batches) -> float:
    """The fastest of a few updates, in seconds, with torch's threads as they are."""
    execution = choose(config, batches)
    model = build_model(config).to(execution.device)
    model.set_attention_path(execution.attention_path)
    optimizer = Optimizer(config.training.optimizer, model)
    gradient = GradientStep(model, execution, precision=config.training.precision, seed=0)
    best = float("inf")
    with speed.use_fast_matmul(execution.fast_matmul):
        for step in range(WARM_UP + UPDATES):
            batch = batches.batch(step)
            began = time.perf_counter()
            gradient(step, batch)  # its losses are numbers, so a GPU has finished
            if config.training.grad_clip is not None:
                clip_gradients(optimizer.parameters, gradient_norm(optimizer.parameters), config.training.grad_clip)
            optimizer.step()
            optimizer.zero_grad()
            if step >= WARM_UP:
                best = min(best, time.perf_counter() - began)
    return best
