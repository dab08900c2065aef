"""The peak memory of a training process: the process itself, the weights and their companions, activations, validation.

On a CPU this is the peak resident set (VmHWM). Its pieces:

- the process: Python, torch and the libraries that the first steps load;
- weights, the optimizer's state, and the gradients where a batch is cut into micro-batches;
- the activations of one micro-batch on the path taken (fused or explicit attention). The allocator keeps freed blocks
  (:func:`glassformer.speed.keep_freed_memory`) and cannot reuse all of them: :data:`FRAGMENTATION`;
- validation before the first step: the activations of one layer at a time, and the logits with their log-softmax,
  whose blocks the training does not reuse.

Where the state outweighs the activations, the peak is at the update instead, when gradients are complete and, where
they are recorded, the weights are copied. Twelve trainings of 0.05 to 57 million parameters, peaks of 363 to 1,798 MiB,
were within 10 % (torch 2.13, 2-core CPU; the constants below were chosen on them), and two others within 8 %.
"""

from __future__ import annotations

import torch

from glassformer.models.costs import costs
from glassformer.tasks.run_config import RunConfig
from glassformer.training.execution import ExecutionConfig
from glassformer.training.memory import TOKEN_BYTES

MIB = 2**20

PROCESS = 352 * MIB
"""Resident set of a process that trains a model of negligible size: 234 MiB after the imports, the rest by the first
steps."""

COMPILER = 100 * MIB
"""What torch.compile adds to it."""

FRAGMENTATION = 1.25
"""Resident memory per byte of activations, with the backward pass's own tensors."""

BF16 = 0.8
"""Activations under bf16 autocast, by those in fp32: most are kept in both."""

LOGITS = 3
"""Tensors of the size of the logits while validating: logits, log-softmax, and a copy in fp32."""


def peak_memory(config: RunConfig, execution: ExecutionConfig) -> dict[str, int]:
    """Bytes at the peak of a training, by piece.

    Args:
        execution: the path taken: device, attention path, compilation, micro-batch.
    """
    training, seq_len = config.training, config.seq_len
    on_cpu = torch.device(execution.device).type == "cpu"
    rows = max(1, execution.micro_batch_tokens // seq_len)
    cost = costs(
        config.model,
        batch_size=rows,
        seq_len=seq_len,
        optimizer=training.optimizer.kind,
        momentum=True,
        path="explicit" if execution.attention_path == "explicit" else "fused",
    )
    logits = rows * seq_len * config.model.vocab_size * 4
    kept = sum(size for part, size in cost.activation_bytes.items() if part != "loss")
    kept = int(kept * (BF16 if training.precision == "bf16" else 1.0))
    written_out = execution.compile or not on_cpu  # elsewhere the head's loss is made without whole logits
    activations = int(FRAGMENTATION * (kept + (LOGITS * logits if written_out else 0)))
    accumulated = cost.gradient_bytes if rows < training.batch_size else 0
    recorded = cost.weight_bytes if training.telemetry.gradients_every is not None else 0
    at_backward, at_update = accumulated + activations, cost.gradient_bytes + recorded
    return {
        "process": (PROCESS + COMPILER * execution.compile) * on_cpu,
        "weights and optimizer state": cost.weight_bytes + cost.optimizer_bytes,
        "gradients": accumulated if at_backward >= at_update else cost.gradient_bytes,
        "activations": activations if at_backward >= at_update else recorded,
        "validation": kept // max(1, config.model.n_layers) + LOGITS * logits,
        "batch": training.batch_size * seq_len * TOKEN_BYTES,
    }
