"""How long an update takes here: a few real ones, of a model at its starting weights."""

from __future__ import annotations

import time
from typing import Protocol

import torch

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


class Updates:
    """Updates as a run's trainer makes them, on the path that the run would take here, with torch's threads as they
    are. The learning rate is 0, so that the weights stay those at the start.
    """

    def __init__(self, config: RunConfig, batches: Batches) -> None:
        self.batches = batches
        self.grad_clip = config.training.grad_clip
        self.execution = choose(config, batches)
        model = build_model(config).to(self.execution.device)
        model.set_attention_path(self.execution.attention_path)
        self.optimizer = Optimizer(config.training.optimizer, model)
        self.optimizer.set_learning_rate(0.0)
        self.gradient = GradientStep(
            model,
            self.execution,
            precision=config.training.precision,
            seed=config.training.seed,
            label_smoothing=config.training.label_smoothing,
        )

    def __call__(self, step: int) -> None:
        """Make the update of a step; on return it is finished on a GPU too."""
        with speed.use_fast_matmul(self.execution.fast_matmul):
            self.gradient(step, self.batches.batch(step))
            norm = gradient_norm(self.optimizer.parameters)
            if self.grad_clip is not None:
                clip_gradients(self.optimizer.parameters, norm, self.grad_clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
        if self.execution.device.startswith("cuda"):
            torch.cuda.synchronize(self.execution.device)


def update_seconds(config: RunConfig, batches: Batches) -> float:
    """The fastest of a few updates, in seconds, with torch's threads as they are."""
    update = Updates(config, batches)
    best = float("inf")
    for step in range(WARM_UP + UPDATES):
        began = time.perf_counter()
        update(step)
        if step >= WARM_UP:
            best = min(best, time.perf_counter() - began)
    return best
