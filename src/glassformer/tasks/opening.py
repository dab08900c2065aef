"""Opening a run's model: built from its configuration, filled from its checkpoints, ready to be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from glassformer.errors import CheckpointError, ConfigError
from glassformer.models.build import Model, build
from glassformer.models.size import check_held
from glassformer.runs.checkpoints import list_checkpoints, load_checkpoint, open_checkpoint
from glassformer.runs.folder import Run
from glassformer.runs.part_files import PARTS
from glassformer.tasks.run_config import RunConfig
from glassformer.trust import trusting_parts

AVERAGE = "average-"
"""Before a number: the mean of the weights of that many newest checkpoints (Vaswani et al. 2017, §6.1)."""

ModelT = TypeVar("ModelT")
TokenizerT = TypeVar("TokenizerT")


@dataclass(frozen=True)
class Opened(Generic[ModelT, TokenizerT]):
    """A trained model and what it takes to use it.

    Attributes:
        step: the checkpoint's; of an average, the newest's.
        warnings: damaged checkpoints that were passed over.
    """

    run: Run
    config: RunConfig
    model: ModelT
    tokenizer: TokenizerT
    step: int
    warnings: list[str]


def open_any(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> tuple[RunConfig, Model, int, list[str]]:
    """A run's configuration, its model whatever its family, the model's step, and warnings of damaged checkpoints.

    Args:
        checkpoint: "latest", "best", a step, or "average-N": the mean of the newest N.
        trust_parts: execute the part files in the run's folder even if nothing of them is known here.

    Raises:
        ConfigError: the run names a part file that is not trusted.
        CheckpointError: there is no such checkpoint, or it is damaged, or not of this model.
    """
    config = run_config(run, trust_parts=trust_parts)
    weights, step, warnings = read_weights(run, checkpoint)
    check_held(config.model, weights)
    model = build_model(config)
    model.load_weights(weights)
    model.to(find_device(device)).eval()
    return config, model, step, warnings


def run_config(run: Run, *, trust_parts: bool = False) -> RunConfig:
    """A run's configuration, its part files found in the run's own folder.

    Args:
        trust_parts: execute these files even if nothing of them is known here.

    Raises:
        RunError: the run's files are not those that its checkpoints were saved with.
        ConfigError: the configuration cannot work, or names a part file that is not trusted.
    """
    tree: dict[str, Any] = dict(run.config)
    model = tree.get("model")
    if isinstance(model, dict) and isinstance(files := model.get("part_files"), list):
        own = [str(run.path / PARTS / Path(path).name) if isinstance(path, str) else path for path in files]
        tree["model"] = model | {"part_files": own}
    with trusting_parts(trust_parts):
        config = RunConfig.build(tree, subject=f"configuration of the run {run.name}")
    run.check_seal()
    return config


def build_model(config: RunConfig) -> Model:
    """The model at its starting weights, a pure function of the configuration and its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return build(config.model)


def find_device(asked: str) -> str:
    """The device asked for, or with "auto" the best there is. Raises :class:`ConfigError` if it is not there."""
    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "cpu"
    try:
        kind = torch.device(asked).type
    except RuntimeError:
        raise ConfigError(f"training.device is '{asked}'; expected auto, cpu, cuda, cuda:N or mps.") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise ConfigError(f"training.device is '{asked}', and torch finds none on this machine; it finds: {found}.")
    return asked


def read_weights(run: Run, checkpoint: str | int) -> tuple[dict[str, Tensor], int, list[str]]:
    """The weights of a checkpoint, its step (of an average, the last), and warnings of damaged ones passed over."""
    if not str(checkpoint).startswith(AVERAGE):
        opened, warnings = open_checkpoint(run.checkpoints, checkpoint)
        return dict(opened.tensors["model"]), opened.step, warnings
    number = str(checkpoint).removeprefix(AVERAGE)
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0):
        raise CheckpointError(
            f"An average is written {AVERAGE}N, as in {AVERAGE}5, N at least 1; {checkpoint!r} is not one."
        )
    paths = list_checkpoints(run.checkpoints)
    if len(paths) < int(number):
        raise CheckpointError(
            f"The run {run.name} keeps {len(paths)} checkpoints, and {checkpoint} asks for {int(number)}; train with "
            "training.checkpoints.keep_last as large."
        )
    chosen = [load_checkpoint(path) for path in paths[-int(number) :]]
    return average([dict(each.tensors["model"]) for each in chosen]), chosen[-1].step, []


def average(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight, summed in float64; whole numbers (a counter of a batch norm) are the last one's."""
    last = weights[-1]
    return {
        name: torch.stack([each[name].double() for each in weights]).mean(0).to(last[name].dtype)
        if last[name].is_floating_point()
        else last[name]
        for name in last
    }
