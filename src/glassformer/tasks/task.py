"""A task: all that the rest of the house asks of one kind of data, in one object.

=======================  ===========================================================================================
``config``               the configuration of its data, with which model families it trains
``samples``              training and validation batches (:class:`~glassformer.tasks.training_data.TrainingData`)
``load_tokenizer``       from a run's folder (:mod:`glassformer.data.task_tokenizer`)
``content``, ...         what identifies data that lie in files, so that a finished run finds its own again
``open``                 a finished run, ready to be used
``evaluate``             what ``glassformer evaluate`` measures, by the options that the task declares
``generate``             text from a model, or None where it writes none
``built_in``             names of data that need no file, as ``--data`` takes them
``next_steps``           what to do with a trained model, printed after the training
=======================  ===========================================================================================

A new kind of data is one file with a ``DataKind``, a ``TrainingData`` and a ``Task`` under
:func:`glassformer.tasks.registry.register`; it is found there by the ``task`` of its configuration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rich.console import RenderableType

from glassformer.config import KIND
from glassformer.data.kind import DataKind
from glassformer.data.task_tokenizer import TaskTokenizer
from glassformer.errors import ConfigError, RunError
from glassformer.runs.folder import Run
from glassformer.scoring.finite_checks import check_finite_weights
from glassformer.tasks.opening import Opened, open_any, run_config
from glassformer.tasks.options import Option
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import PrepareProgress, TrainingData


@dataclass(frozen=True)
class EvaluationRequest:
    """An evaluation to make.

    Attributes:
        run: whose model; config: the run's.
        options: those of the task that were given, by name.
        root: the folder of runs, for other runs that the options name.
        warn: is called with what the user should know.
        progress: is called with the stage, the sentences done and all of them.
    """

    run: Run
    config: RunConfig
    options: Mapping[str, Any]
    device: str = "auto"
    root: Path | None = None
    warn: Callable[[str], None] = print
    progress: Callable[[int, int], None] | None = None

    def __getitem__(self, name: str) -> Any:
        """An option's value; None where it was not given."""
        return self.options.get(name)


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured.

    Attributes:
        payload: as plain JSON values.
        lines: the same for a terminal.
        files: lines of text by the name of a file, to be written where ``--output`` says.
    """

    payload: dict[str, Any]
    lines: list[RenderableType]
    files: dict[str, list[str]] = field(default_factory=dict)


class Task(ABC):
    """One kind of data, and what is done with it."""

    config: ClassVar[type[DataKind]]
    """The configuration of its data."""

    data_setting: ClassVar[str] = "source"
    """The setting of its configuration that ``--data`` sets."""

    built_in: ClassVar[tuple[str, ...]] = ()
    """Values of that setting that need no file."""

    data_help: ClassVar[str] = ""
    """What ``--data`` takes for this task, in a sentence."""

    evaluation_options: ClassVar[tuple[Option, ...]] = ()
    """The options of :meth:`evaluate`, which become those of the command line."""

    generate: Callable[..., Any] | None = None
    """Text from an opened model; None where models of this task write none."""

    @property
    def name(self) -> str:
        """The value of ``data.task``."""
        return str(self.config.model_fields[KIND].default)

    # ------------------------------------------------------------------------------------------ training

    @abstractmethod
    def samples(
        self, run: RunConfig, progress: PrepareProgress | None = None, *, tokenizer: TaskTokenizer | None = None
    ) -> TrainingData:
        """The batches of a new run, prepared now or found prepared.

        Args:
            tokenizer: the one to use instead of what the configuration would make.

        Raises:
            DataError: with what to do.
        """

    def recipe(self, recipe: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """A preset's recipe, without what does not fit these data and what is changed."""
        return recipe

    def next_steps(self, run: str) -> list[tuple[str, str]]:
        """What to do with a trained run: words and a command for each."""
        return [("evaluate", f"glassformer evaluate {run}")]

    # ------------------------------------------------------------------------------------------ reopening

    content: Callable[[Any], str] | None = None
    """``content(data)``: a hash of what the data's files hold now; None where there are no files."""

    def fingerprint(self, data: Any, content: str) -> str:
        """The identity of data of a certain content: :attr:`TrainingData.fingerprint`."""
        raise NotImplementedError

    def made_from(self, data: Any, recorded: Mapping[str, Any]) -> str:
        """What else the data depend on, then (in the run's record) and now: a sentence for a refusal, or nothing."""
        return ""

    @abstractmethod
    def load_tokenizer(self, folder: Path) -> TaskTokenizer:
        """The tokenizer that a run keeps in its folder; of a task whose models write text, a ``TextTokenizer``."""

    # ------------------------------------------------------------------------------------------ use

    def open(
        self, run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
    ) -> Opened[Any, Any]:
        """The model of a finished run at a checkpoint, in evaluation mode, with its tokenizer.

        Arguments and errors are those of :func:`glassformer.tasks.opening.open_any`.

        Raises:
            RunError: the run is of another task.
        """
        data = run_config(run, trust_parts=trust_parts).data
        if not isinstance(data, self.config):
            raise RunError(
                f"The run {run.name} has learned from {data.learned}, and a model that has learned from "
                f"{self.config.learned} is needed here; name another run."
            )
        config, model, step, warnings = open_any(run, checkpoint, device=device, trust_parts=trust_parts)
        return Opened(run, config, model, self.load_tokenizer(run.tokenizer), step, warnings)

    def open_for(self, asked: EvaluationRequest) -> Opened[Any, Any]:
        """The one model that an evaluation asks for (its option ``checkpoint``; the best), its weights finite."""
        checkpoints = asked["checkpoint"] or ["best"]
        if len(checkpoints) > 1:
            raise ConfigError("--checkpoint is given twice, and only translators make ensembles.", subject="command")
        opened = self.open(asked.run, checkpoints[0], device=asked.device)
        for warning in opened.warnings:
            asked.warn(warning)
        check_finite_weights(opened.model, opened.run.name, opened.step)
        return opened

    @abstractmethod
    def evaluate(self, asked: EvaluationRequest) -> EvaluationReport:
        """Measure a trained model.

        Raises:
            ConfigError: the options do not fit each other or the run.
        """


def option_names(options: Iterable[Option]) -> str:
    """The options as they are written, for a message."""
    return ", ".join(option.flag for option in options)
