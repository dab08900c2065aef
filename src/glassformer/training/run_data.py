"""A run's data, opened again, by the name that it has always had; it lives with the tasks, below the training."""

from glassformer.tasks.run_data import OtherDataError, describe_data, open_samples, recorded_data

__all__ = ["OtherDataError", "describe_data", "open_samples", "recorded_data"]
