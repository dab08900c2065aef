"""A finished run as a language model or as a translator: what :meth:`Task.open` gives, of the type that is needed.

The run's own task opens it (:mod:`glassformer.tasks.task`); here is only checked what it is.
"""

from __future__ import annotations

from typing import Any

from glassformer.data.sentence_tokenizers import PairTokenizer
from glassformer.data.tokenizers import Tokenizer
from glassformer.errors import RunError
from glassformer.models.decoder import Decoder
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.runs.folder import Run
from glassformer.tasks.opening import Opened, run_config
from glassformer.tasks.registry import task_of

OpenedModel = Opened[Decoder, Tokenizer]
"""A trained language model."""

OpenedTranslator = Opened[EncoderDecoder, PairTokenizer]
"""A trained translator."""


def open_run(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> Opened[Any, Any]:
    """The model of a run at a checkpoint, in evaluation mode, whatever it has learned.

    Args:
        checkpoint: "latest", "best", a step, or "average-N": the mean of the newest N.
        trust_parts: execute the part files in the run's folder even if nothing of them is known here.

    Raises:
        ConfigError: the run names a part file that is not trusted.
        CheckpointError: there is no such checkpoint, or it is damaged, or not of this model.
    """
    task = task_of(run_config(run, trust_parts=trust_parts))
    return task.open(run, checkpoint, device=device, trust_parts=trust_parts)


def open_model(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> OpenedModel:
    """The language model of a run: :func:`open_run`, or :class:`RunError` if it is not one."""
    opened = open_run(run, checkpoint, device=device, trust_parts=trust_parts)
    if not isinstance(opened.model, Decoder):
        raise RunError(
            f"The run {run.name} is a translator, and a language model is needed here; "
            f"use glassformer translate {run.name}, or name another run."
        )
    return opened


def open_translator(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> OpenedTranslator:
    """The translator of a run: :func:`open_run`, or :class:`RunError` if it is not one."""
    opened = open_run(run, checkpoint, device=device, trust_parts=trust_parts)
    if not isinstance(opened.model, EncoderDecoder):
        raise RunError(
            f"The run {run.name} is a language model, and a translator is needed here; "
            f"use glassformer sample {run.name}, or name another run."
        )
    return opened
