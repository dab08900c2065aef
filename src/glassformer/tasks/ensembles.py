"""Translators opened together: several runs, or several checkpoints of one, whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glassformer.errors import ConfigError
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.runs.folder import Run
from glassformer.scoring.finite_checks import check_finite_weights
from glassformer.tasks.opening import Opened

OpenTranslator = Callable[..., Opened[EncoderDecoder, Any]]
"""``open(run, checkpoint, device=...)``."""


def open_ensemble(
    open_translator: OpenTranslator,
    run: str,
    ensemble: Sequence[str] | None = None,
    checkpoints: Sequence[str] | None = None,
    *,
    runs: Path | None = None,
    device: str = "auto",
    warn: Callable[[str], None] = print,
) -> list[Opened[EncoderDecoder, Any]]:
    """Every run at every checkpoint named: one translator, or an ensemble of one vocabulary.

    Raises:
        RunError, CheckpointError: there is no such run or checkpoint, or it is not a translator's.
        ConfigError: one is named twice, or their vocabularies differ.
    """
    opened: list[Opened[EncoderDecoder, Any]] = []
    seen: set[tuple[Path, str]] = set()
    for name in (run, *(ensemble or ())):
        found = Run.open(name, root=runs)
        for checkpoint in checkpoints or ["best"]:
            if (found.path.resolve(), checkpoint) in seen:
                raise ConfigError(
                    f"{found.name} at checkpoint {checkpoint} is named twice, which changes nothing; name another.",
                    subject="ensemble",
                )
            seen.add((found.path.resolve(), checkpoint))
            opened.append(open_translator(found, checkpoint, device=device))
    first, *others = opened
    for other in others:
        if other.run is not first.run and other.tokenizer.to_dict() != first.tokenizer.to_dict():
            raise ConfigError(
                f"the vocabularies of {first.run.name} and {other.run.name} differ, and only probabilities of the same "
                "tokens can be averaged; train both on the same data with the same data settings.",
                subject="ensemble",
            )
    for each in opened:
        for warning in each.warnings:
            warn(warning)
        check_finite_weights(each.model, each.run.name, each.step)
    return opened


def describe(opened: Sequence[Opened[Any, Any]]) -> str:
    """Which models they are, in some words."""
    return " + ".join(f"{each.run.name} at step {each.step:,}" for each in opened)
