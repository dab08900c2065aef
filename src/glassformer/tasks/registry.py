"""The tasks there are, by the ``task`` of their data's configuration.

>>> from glassformer.tasks.registry import tasks
>>> [task.name for task in tasks()][:3]
['language-modeling', 'translation', 'synthetic']
"""

from __future__ import annotations

from typing import TypeVar

from glassformer.config import KIND
from glassformer.data.kind import DataKind, register_kind
from glassformer.data.task_tokenizer import TaskTokenizer
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.task import Task
from glassformer.tasks.training_data import PrepareProgress, TrainingData

TaskClass = TypeVar("TaskClass", bound=type[Task])

_tasks: dict[str, Task] = {}


def register(task: TaskClass) -> TaskClass:
    """Make a task known: its kind of data can stand in a run's configuration from then on."""
    _tasks[register_kind(task.config)] = task()
    return task


def tasks() -> list[Task]:
    """Every task, in the order of their registration."""
    return list(_tasks.values())


def task_of(data: DataKind | RunConfig) -> Task:
    """The task of some data, or of a run's."""
    return _tasks[data.data.task if isinstance(data, RunConfig) else data.task]


def task_with(name: str, family: str | None = None) -> Task | None:
    """The task of the built-in data of this name, as ``--data`` takes it; None for everything else.

    Args:
        family: of the model. Several tasks may have the same text; the first that trains this family is preferred.
    """
    found = [task for task in _tasks.values() if name in task.built_in]
    return next((task for task in found if family in task.config.families), found[0] if found else None)


def task_named(config: type[DataKind]) -> Task:
    """The task of a kind of data."""
    return _tasks[str(config.model_fields[KIND].default)]


def prepare_samples(
    config: RunConfig, progress: PrepareProgress | None = None, *, tokenizer: TaskTokenizer | None = None
) -> TrainingData:
    """The batches of a new run: its task's :meth:`~glassformer.tasks.task.Task.samples`."""
    return task_of(config).samples(config, progress, tokenizer=tokenizer)
