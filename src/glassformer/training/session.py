"""Starting a run, and taking one up again."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from glassformer import places
from glassformer.data.entropy import bigram_entropy, unigram_entropy
from glassformer.data.language_modeling import LanguageModelingData, prepare
from glassformer.errors import CheckpointError, RunError
from glassformer.models.decoder import Decoder
from glassformer.runs.checkpoints import Checkpoint, latest_checkpoint, list_checkpoints
from glassformer.runs.folder import Run
from glassformer.training.acceleration import Acceleration, choose
from glassformer.training.config import RunConfig
from glassformer.training.memory import refuse_too_large
from glassformer.training.telemetry import Observer, summary_writer, tensorboard
from glassformer.training.trainer import Trainer

PARTS = "parts"
"""The run's own copies of the user's part files."""

PrepareProgress = Callable[[str, int, int | None], None]


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
    data = prepare(config.data, progress=prepare_progress)
    config = with_vocabulary_of(config, data)
    data.refuse_shorter(config.seq_len)
    acceleration = choose(config)
    refuse_too_large(config, acceleration)
    if config.training.telemetry.tensorboard:
        summary_writer()
    model = build_model(config)  # the last that can refuse: from here on there is a folder
    command = sys.argv if command is None else command
    run = Run.create(root or places.runs_folder(), name, config.to_dict(), command=command)
    _furnish(run, config, data)
    return _trainer(run, config, data, model, acceleration, observers)


def resume(
    run: Run, *, observers: Sequence[Observer] = (), prepare_progress: PrepareProgress | None = None
) -> tuple[Trainer, list[str]]:
    """A trainer that goes on from the run's newest checkpoint that verifies, and warnings about newer, damaged ones.

    A run that was killed before its first checkpoint starts again from the beginning.
    """
    config = run_config(run)
    data = prepare(config.data, progress=prepare_progress)
    checkpoint: Checkpoint | None = None
    warnings: list[str] = []
    if list_checkpoints(run.checkpoints):
        checkpoint, warnings = latest_checkpoint(run.checkpoints)
        if "optimizer" not in checkpoint.tensors:
            raise RunError(
                f"The run {run.name} was imported: it has weights, and no training to go on with. "
                "It can be sampled from, evaluated and exported."
            )
    acceleration = Acceleration.from_dict(checkpoint.state["acceleration"]) if checkpoint else choose(config)
    if data.vocab_size != config.model.vocab_size:
        raise CheckpointError(
            f"The run {run.name} has a vocabulary of {config.model.vocab_size} tokens, and its text now has "
            f"{data.vocab_size}: the text has changed since."
        )
    trainer = _trainer(run, config, data, build_model(config), acceleration, observers)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    elif not entropies(run):  # it was killed while its folder was being filled
        _furnish(run, config, data)
    return trainer, warnings


def run_config(run: Run) -> RunConfig:
    """A run's configuration, its part files found in the run's own folder."""
    tree: dict[str, Any] = dict(run.config)
    model = dict(tree.get("model", {}))
    if model.get("part_files"):
        model["part_files"] = [str(run.path / PARTS / Path(path).name) for path in model["part_files"]]
    return RunConfig.build(tree | {"model": model}, subject=f"configuration of the run {run.name}")


def with_vocabulary_of(config: RunConfig, data: LanguageModelingData) -> RunConfig:
    """The configuration with the model's vocabulary size set to the text's."""
    return config.override({"model.vocab_size": data.vocab_size})


def build_model(config: RunConfig) -> Decoder:
    """The model at its starting weights, a pure function of the configuration and its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return Decoder(config.model)


def entropies(run: Run) -> dict[str, float]:
    """Unigram and bigram entropy of the run's training text in nats per token, reference lines for its losses."""
    for event in run.events():
        if event["event"] == "data":
            return {name: event[name] for name in ("unigram", "bigram") if event.get(name) is not None}
    return {}


def _trainer(
    run: Run,
    config: RunConfig,
    data: LanguageModelingData,
    model: Decoder,
    acceleration: Acceleration,
    observers: Sequence[Observer],
) -> Trainer:
    if config.training.telemetry.tensorboard:
        observers = [*observers, tensorboard(run.path / "tensorboard")]
    return Trainer(run, config, data, model, acceleration, observers)


def _furnish(run: Run, config: RunConfig, data: LanguageModelingData) -> None:
    """What a run's folder holds from its beginning: the parts, the tokenizer, what the text is."""
    for path in map(Path, config.model.part_files):  # copies, for the user's own may change
        kept = run.path / PARTS / path.name
        kept.parent.mkdir(exist_ok=True)
        if not kept.exists():
            shutil.copy(path, kept)
    data.tokenizer.save(run.tokenizer)
    _describe_data(run, data)


def _describe_data(run: Run, data: LanguageModelingData) -> None:
    """What the text is, and how predictable it is from letter counts and letter pairs alone."""
    with run.metrics_writer() as writer:
        writer.append(
            {
                "event": "data",
                "fingerprint": data.fingerprint,
                "tokens": {"train": len(data.train), "validation": len(data.validation)},
                "bytes_per_token": data.bytes_per_token("validation"),
                "unigram": unigram_entropy(data.train, data.vocab_size),
                "bigram": bigram_entropy(data.train, data.vocab_size),
            }
        )


def _refuse_same_names(config: RunConfig) -> None:
    """A run keeps its copies of the part files in one folder."""
    names = [Path(path).name for path in config.model.part_files]
    if len(set(names)) < len(names):
        raise RunError(f"Two part files have the same name ({', '.join(sorted(names))}); rename one.")
