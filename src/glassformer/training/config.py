"""The configuration of a run, by the name that it has always had; it lives with the tasks, below the training."""

from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_config import (
    CheckpointConfig,
    OptimizerConfig,
    ScheduleConfig,
    TelemetryConfig,
    TrainingConfig,
)

__all__ = ["CheckpointConfig", "OptimizerConfig", "RunConfig", "ScheduleConfig", "TelemetryConfig", "TrainingConfig"]
