"""Opening a run's model: built from its configuration, filled from one of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from glassformer.data.tokenizers import Tokenizer, load_tokenizer
from glassformer.models.decoder import Decoder
from glassformer.runs.checkpoints import open_checkpoint
from glassformer.runs.folder import Run
from glassformer.training.acceleration import find_device
from glassformer.training.config import RunConfig
from glassformer.training.session import build_model, run_config


@dataclass(frozen=True)
class OpenedModel:
    """A trained model and what it takes to use it.

    Attributes:
        warnings: damaged checkpoints that were passed over.
    """

    run: Run
    config: RunConfig
    model: Decoder
    tokenizer: Tokenizer
    step: int
    warnings: list[str]


def open_model(run: Run, checkpoint: str | int = "latest", *, device: str = "auto") -> OpenedModel:
    """The model of a run at a checkpoint ("latest", "best" or a step), in evaluation mode.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged, or not of this model.
    """
    config = run_config(run)
    opened, warnings = open_checkpoint(run.checkpoints, checkpoint)
    model = build_model(config)
    model.load_weights(opened.tensors["model"])
    model.to(find_device(device)).eval()
    return OpenedModel(run, config, model, load_tokenizer(run.tokenizer), opened.step, warnings)
