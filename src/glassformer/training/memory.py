"""Whether a training fits the memory there is: counted before anything of its size is made."""

from __future__ import annotations

import torch

from glassformer import machine
from glassformer.errors import TrainingError
from glassformer.models.costs import optimizer_values
from glassformer.models.counting import activation_bytes, parameters
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import BatchShape
from glassformer.training.execution import ExecutionConfig

TOKEN_BYTES = 3 * 8
"""Of a batch's token: its window, its input and its target, each int64."""


def check_training_memory(config: RunConfig, samples: BatchShape, execution: ExecutionConfig) -> None:
    """Raise :class:`TrainingError` if the training needs more memory than its device has."""
    there = device_memory(execution.device)
    if there is None:
        return
    training = config.training
    count = parameters(config.model)
    kept = state_bytes(config)
    tokens = samples.most_tokens * TOKEN_BYTES
    rows = max(1, execution.micro_batch_tokens // samples.seq_len)
    activations = 0
    if kept + tokens <= there:
        size = 2 if training.precision == "bf16" else 4
        by_part = activation_bytes(config.model, rows, samples.seq_len, size)
        activations = sum(by_part.values())
    if kept + tokens + activations <= there:
        return
    needed = kept + tokens + activations
    parts = {
        f"weights, gradients and optimizer state of {count.total:,} parameters": kept,
        f"a batch of {samples.batch_size:,} × {samples.seq_len:,} tokens": tokens,
        f"the activations of {rows:,} sequences at a time": activations,
    }
    shown = ", ".join(f"{_gigabytes(size)} for {what}" for what, size in parts.items() if size > needed / 100)
    raise TrainingError(
        f"This training needs about {_gigabytes(needed)} of memory ({shown}), and {execution.device} has "
        f"{_gigabytes(there)}. Choose a smaller model, {config.data.smaller}."
    )


def state_bytes(config: RunConfig) -> int:
    """Bytes of a training's weights, gradients and optimizer state."""
    count = parameters(config.model)
    values = 2 * count.total + optimizer_values(count, config.training.optimizer.kind, momentum=True)
    return values * torch.float32.itemsize


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size < 1e15 else f"{size / 1e9:.1e} GB"


def device_memory(device: str) -> int | None:
    """Bytes of memory that a device has in all; None where nobody says."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine.describe().memory
