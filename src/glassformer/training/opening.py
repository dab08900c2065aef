"""Opening a run's model: built from its configuration, filled from its checkpoints, ready to be used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.data.sentence_tokenizers import PairTokenizer, load_pair_tokenizer
from glassformer.data.tokenizers import Tokenizer, load_tokenizer
from glassformer.errors import CheckpointError, RunError
from glassformer.models.build import Model
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.size import check_held
from glassformer.runs.checkpoints import list_checkpoints, load_checkpoint, open_checkpoint
from glassformer.runs.folder import Run
from glassformer.training.config import RunConfig
from glassformer.training.execution import find_device
from glassformer.training.session import build_model, run_config

AVERAGE = "average-"
"""Before a number: the mean of the weights of that many newest checkpoints (Vaswani et al. 2017, §6.1)."""


@dataclass(frozen=True)
class OpenedModel:
    """A trained language model and what it takes to use it.

    Attributes:
        warnings: damaged checkpoints that were passed over.
    """

    run: Run
    config: RunConfig
    model: Decoder
    tokenizer: Tokenizer
    step: int
    warnings: list[str]


@dataclass(frozen=True)
class OpenedTranslator:
    """A trained translator and what it takes to use it; the attributes are those of :class:`OpenedModel`."""

    run: Run
    config: RunConfig
    model: EncoderDecoder
    tokenizer: PairTokenizer
    step: int
    warnings: list[str]


def open_model(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> OpenedModel:
    """The language model of a run at a checkpoint, in evaluation mode.

    Args:
        checkpoint: "latest", "best", a step, or "average-N": the mean of the newest N.
        trust_parts: execute the part files in the run's folder even if nothing of them is known here.

    Raises:
        ConfigError: the run names a part file that is not trusted.
        CheckpointError: there is no such checkpoint, or it is damaged, or not of this model.
        RunError: the run's model is a translator.
    """
    config, model, step, warnings = open_any(run, checkpoint, device=device, trust_parts=trust_parts)
    if not isinstance(model, Decoder):
        raise RunError(
            f"The run {run.name} is a translator, and a language model is needed here; "
            f"use glassformer translate {run.name}, or name another run."
        )
    return OpenedModel(run, config, model, load_tokenizer(run.tokenizer), step, warnings)


def open_translator(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> OpenedTranslator:
    """The translator of a run at a checkpoint, in evaluation mode. Arguments and errors as in :func:`open_model`."""
    config, model, step, warnings = open_any(run, checkpoint, device=device, trust_parts=trust_parts)
    if not isinstance(model, EncoderDecoder):
        raise RunError(
            f"The run {run.name} is a language model, and a translator is needed here; "
            f"use glassformer sample {run.name}, or name another run."
        )
    return OpenedTranslator(run, config, model, load_pair_tokenizer(run.tokenizer), step, warnings)


def open_any(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> tuple[RunConfig, Model, int, list[str]]:
    """A run's configuration, its model whatever its family, the model's step, and warnings of damaged checkpoints."""
    config = run_config(run, trust_parts=trust_parts)
    weights, step, warnings = read_weights(run, checkpoint)
    check_held(config.model, weights)
    model = build_model(config)
    model.load_weights(weights)
    model.to(find_device(device)).eval()
    return config, model, step, warnings


def read_weights(run: Run, checkpoint: str | int) -> tuple[dict[str, Tensor], int, list[str]]:
    """The weights of a checkpoint, its step (of an average, the last), and warnings of damaged ones passed over."""
    if not str(checkpoint).startswith(AVERAGE):
        opened, warnings = open_checkpoint(run.checkpoints, checkpoint)
        return dict(opened.tensors["model"]), opened.step, warnings
    number = str(checkpoint).removeprefix(AVERAGE)
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0):
        raise CheckpointError(
            f"An average is written {AVERAGE}N, as in {AVERAGE}5, N at least 1; {checkpoint!r} says no number."
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
