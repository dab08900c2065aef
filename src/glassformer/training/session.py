"""Starting a run, and taking one up again."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from glassformer import places
from glassformer.errors import GlassformerError, RunError
from glassformer.models.build import build
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.runs.checkpoints import Checkpoint, latest_checkpoint, list_checkpoints
from glassformer.runs.folder import Run
from glassformer.training.acceleration import Acceleration, choose
from glassformer.training.config import RunConfig
from glassformer.training.memory import refuse_too_large
from glassformer.training.samples import PrepareProgress, Samples, prepare_samples
from glassformer.training.telemetry import Observer, summary_writer, tensorboard
from glassformer.training.trainer import Trainer

PARTS = "parts"
"""The run's own copies of the user's part files."""


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
    _refuse_same_names(config)
    samples = prepare_samples(config, prepare_progress)
    config = samples.with_vocabulary(config)
    acceleration = choose(config, samples)
    refuse_too_large(config, samples, acceleration)
    if config.training.telemetry.tensorboard:
        summary_writer()
    model = build_model(config)  # the last that can refuse: from here on there is a folder
    command = sys.argv if command is None else command
    run = Run.create(root or places.runs_folder(), name, config.to_dict(), command=command)
    try:
        _furnish(run, config, samples)
    except (OSError, GlassformerError):  # a full disk, say: nothing has been trained that could be lost
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return _trainer(run, config, samples, model, acceleration, observers)


def resume(
    run: Run, *, observers: Sequence[Observer] = (), prepare_progress: PrepareProgress | None = None
) -> tuple[Trainer, list[str]]:
    """A trainer that goes on from the run's newest checkpoint that verifies, and warnings about newer, damaged ones.

    A run that was killed before its first checkpoint starts again from the beginning.
    """
    config = run_config(run)
    samples = prepare_samples(config, prepare_progress)
    checkpoint: Checkpoint | None = None
    warnings: list[str] = []
    if list_checkpoints(run.checkpoints):
        checkpoint, warnings = latest_checkpoint(run.checkpoints)
        if "optimizer" not in checkpoint.tensors:
            raise RunError(
                f"The run {run.name} was imported: it has weights, and no training to go on with. "
                "It can be used, evaluated and exported."
            )
    acceleration = Acceleration.from_dict(checkpoint.state["acceleration"]) if checkpoint else choose(config, samples)
    samples.refuse_other_vocabulary(config, run.name)
    trainer = _trainer(run, config, samples, build_model(config), acceleration, observers)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    elif not any(event["event"] == "data" for event in run.events()):  # it was killed while its folder was being filled
        _furnish(run, config, samples)
    return trainer, warnings


def run_config(run: Run) -> RunConfig:
    """A run's configuration, its part files found in the run's own folder."""
    tree: dict[str, Any] = dict(run.config)
    model = dict(tree.get("model", {}))
    if model.get("part_files"):
        model["part_files"] = [str(run.path / PARTS / Path(path).name) for path in model["part_files"]]
    return RunConfig.build(tree | {"model": model}, subject=f"configuration of the run {run.name}")


def build_model(config: RunConfig) -> Decoder | EncoderDecoder:
    """The model at its starting weights, a pure function of the configuration and its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return build(config.model)


def entropies(run: Run) -> dict[str, float]:
    """Unigram and bigram entropy of the run's training text in nats per token, reference lines for its losses."""
    for event in run.events():
        if event["event"] == "data":
            return {name: event[name] for name in ("unigram", "bigram") if event.get(name) is not None}
    return {}


def _trainer(
    run: Run,
    config: RunConfig,
    samples: Samples,
    model: Decoder | EncoderDecoder,
    acceleration: Acceleration,
    observers: Sequence[Observer],
) -> Trainer:
    if config.training.telemetry.tensorboard:
        observers = [*observers, tensorboard(run.path / "tensorboard")]
    return Trainer(run, config, samples, model, acceleration, observers)


def _furnish(run: Run, config: RunConfig, samples: Samples) -> None:
    """What a run's folder holds from its beginning: the parts, the tokenizer, what the text is."""
    for path in map(Path, config.model.part_files):  # copies, for the user's own may change
        kept = run.path / PARTS / path.name
        kept.parent.mkdir(exist_ok=True)
        if not kept.exists():
            shutil.copy(path, kept)
    samples.save_tokenizer(run.tokenizer)
    with run.metrics_writer() as writer:
        writer.append({"event": "data", **samples.describe()})


def _refuse_same_names(config: RunConfig) -> None:
    """A run keeps its copies of the part files in one folder."""
    names = [Path(path).name for path in config.model.part_files]
    if len(set(names)) < len(names):
        raise RunError(f"Two part files have the same name ({', '.join(sorted(names))}); rename one.")
