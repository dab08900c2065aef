"""What a run is trained on, by the names that it has always had; every kind lives with its task, below the training."""

from __future__ import annotations

from typing import Any

from glassformer.tasks.pairs import PairSamples
from glassformer.tasks.problems import ProblemSamples as TaskSamples
from glassformer.tasks.registry import task_of
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.text import TextSamples
from glassformer.tasks.training_data import BatchShape, PrepareProgress, TrainingData

__all__ = [
    "BatchShape",
    "PairSamples",
    "PrepareProgress",
    "TaskSamples",
    "TextSamples",
    "TrainingData",
    "prepare_samples",
]


def prepare_samples(
    config: RunConfig, progress: PrepareProgress | None = None, *, tokenizer: Any = None
) -> TrainingData:
    """The batches of a new run: those of its task (:meth:`glassformer.tasks.task.Task.samples`)."""
    return task_of(config).samples(config, progress, tokenizer=tokenizer)
