"""A finished run as a language model, a masked one or a translator: what :meth:`Task.open` gives, of the right type.

The run's own task opens it (:mod:`glassformer.tasks.task`); here is only checked what it is.
"""

from __future__ import annotations

from typing import Any

from glassformer.data.masked_tokenizer import MaskedTokenizer
from glassformer.data.sentence_tokenizers import PairTokenizer
from glassformer.data.tokenizers import Tokenizer
from glassformer.errors import RunError
from glassformer.models.decoder import Decoder
from glassformer.models.encoder import Encoder
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.family import FamilyName
from glassformer.runs.folder import Run
from glassformer.tasks.opening import Opened, run_config
from glassformer.tasks.registry import task_of

OpenedModel = Opened[Decoder, Tokenizer]
"""A trained language model."""

OpenedMasked = Opened[Encoder, MaskedTokenizer]
"""A trained masked language model."""

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
    check_family(opened, "decoder")
    return opened


def open_translator(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> OpenedTranslator:
    """The translator of a run: :func:`open_run`, or :class:`RunError` if it is not one."""
    opened = open_run(run, checkpoint, device=device, trust_parts=trust_parts)
    check_family(opened, "encoder-decoder")
    return opened


def open_masked(
    run: Run, checkpoint: str | int = "latest", *, device: str = "auto", trust_parts: bool = False
) -> OpenedMasked:
    """The masked language model of a run: :func:`open_run`, or :class:`RunError` if it is not one."""
    opened = open_run(run, checkpoint, device=device, trust_parts=trust_parts)
    check_family(opened, "encoder")
    return opened


CALLED = {
    "decoder": ("a language model", "sample {}"),
    "encoder": ("a masked language model", "fill {} --text ..."),
    "encoder-decoder": ("a translator", "translate {}"),
}
"""What a run of each family is called, and the command that uses it."""


def check_family(opened: Opened[Any, Any], family: FamilyName) -> None:
    """Raise :class:`RunError` unless the model is of this family."""
    if (found := opened.model.config.family) != family:
        words, command = CALLED[found]
        raise RunError(
            f"The run {opened.run.name} is {words}, and {CALLED[family][0]} is needed here; "
            f"use glassformer {command.format(opened.run.name)}, or name another run."
        )
