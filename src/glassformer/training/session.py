"""Starting a run, and resuming one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from glassformer import places
from glassformer.errors import GlassformerError, RunError
from glassformer.models.build import Model
from glassformer.models.size import check_held
from glassformer.runs.checkpoints import Checkpoint, latest_checkpoint, list_checkpoints
from glassformer.runs.environment import other_source
from glassformer.runs.folder import ENVIRONMENT, Run
from glassformer.runs.part_files import check_part_names, keep_part_files
from glassformer.tasks.opening import build_model, run_config
from glassformer.tasks.registry import task_of
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.run_data import describe_data, open_samples, recorded_data
from glassformer.tasks.training_data import PrepareProgress, TrainingData
from glassformer.training.execution import ExecutionConfig, choose
from glassformer.training.memory import check_training_memory
from glassformer.training.telemetry import Observer, summary_writer, tensorboard
from glassformer.training.trainer import Trainer


def start(
    config: RunConfig,
    *,
    name: str,
    root: Path | None = None,
    command: Sequence[str] | None = None,
    observers: Sequence[Observer] = (),
    prepare_progress: PrepareProgress | None = None,
) -> Trainer:
    """A trainer for a new run: data prepared, folder made, model at its starting weights.

    The model's vocabulary size is set to the text's.

    Args:
        name: of the run; a moment in time is added to it.
        root: the folder of runs; :func:`glassformer.places.runs_folder` unless given.
        command: for the run's ``environment.json``; this process's command line unless given.
    """
    check_part_names(config.model.part_files)
    samples = task_of(config).samples(config, prepare_progress)
    config = samples.with_vocabulary(config)
    execution = choose(config, samples)
    check_training_memory(config, samples, execution)
    if config.training.telemetry.tensorboard:
        summary_writer()
    model = build_model(config)  # the last that can refuse: from here on there is a folder
    command = sys.argv if command is None else command
    run = Run.create(root or places.runs_folder(), name, config.to_dict(), command=command)
    try:
        _write_initial_files(run, config, samples)
    except (OSError, GlassformerError):  # a full disk, say: nothing has been trained that could be lost
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return _trainer(run, config, samples, model, execution, observers)


def resume(
    run: Run,
    *,
    observers: Sequence[Observer] = (),
    prepare_progress: PrepareProgress | None = None,
    trust_parts: bool = False,
) -> tuple[Trainer, list[str]]:
    """A trainer that resumes from the run's newest checkpoint that verifies, and warnings: about newer, damaged ones,
    and of a run that began with other code.

    A run that was killed before its first checkpoint starts again from the beginning.

    Args:
        trust_parts: execute the part files in the run's folder even if nothing of them is known here.
    """
    config = run_config(run, trust_parts=trust_parts)
    begun = recorded_data(run) is not None
    if begun:
        samples = open_samples(run, config, prepare_progress)
    else:
        samples = task_of(config).samples(config, prepare_progress)
    checkpoint: Checkpoint | None = None
    warnings: list[str] = []
    if list_checkpoints(run.checkpoints):
        checkpoint, warnings = latest_checkpoint(run.checkpoints)
        if "optimizer" not in checkpoint.tensors:
            raise RunError(
                f"The run {run.name} was imported: it has weights, and no training to resume. "
                "It can be used, evaluated and exported."
            )
    execution = ExecutionConfig.from_dict(checkpoint.state["acceleration"]) if checkpoint else choose(config, samples)
    samples.check_vocabulary(config, run.name)
    run.metrics()  # raises where they are damaged, before anything is written
    check_training_memory(config, samples, execution)
    if checkpoint is not None:
        check_held(config.model, checkpoint.tensors["model"])
    model = build_model(config)
    if checkpoint is None and not begun:
        _write_initial_files(run, config, samples)  # it was killed while its folder was being filled
    trainer = _trainer(run, config, samples, model, execution, observers)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    code = other_source(run.path / ENVIRONMENT, "run")
    return trainer, [*samples.warnings, *warnings, *([] if code is None else [code])]


def entropies(run: Run) -> dict[str, float]:
    """Unigram and bigram entropy of the run's training text in nats per token, reference lines for its losses."""
    for event in run.events():
        if event["event"] == "data":
            return {name: event[name] for name in ("unigram", "bigram") if event.get(name) is not None}
    return {}


def _trainer(
    run: Run,
    config: RunConfig,
    samples: TrainingData,
    model: Model,
    execution: ExecutionConfig,
    observers: Sequence[Observer],
) -> Trainer:
    if config.training.telemetry.tensorboard:
        observers = [*observers, tensorboard(run.path / "tensorboard")]
    return Trainer(run, config, samples, model, execution, observers)


def _write_initial_files(run: Run, config: RunConfig, samples: TrainingData) -> None:
    """What a run's folder holds from its beginning: the parts, the tokenizer, what the text is."""
    keep_part_files(config.model.part_files, run.path)
    samples.save_tokenizer(run.tokenizer)
    with run.metrics_writer() as writer:
        writer.append({"event": "data", **describe_data(run, config, samples)})
