"""What whole models are measured to cost: by torch's own FLOP counter, by what autograd saves on the CPU."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode


def run(model, batch_size, *lengths):
    """A forward pass in training mode with its loss; ``lengths`` are of the source, if any, and the target."""
    tokens = [torch.zeros(batch_size, length, dtype=torch.long, device=model.device) for length in lengths]
    model.train(batch_size * min(lengths) > 1)
    return F.cross_entropy(model(*tokens).flatten(0, 1), tokens[-1].flatten().clone())


def counted_flops(model, batch_size, *lengths, backward=False):
    """By torch's own counter, on the explicit path."""
    model.set_attention_path("explicit")
    with FlopCounterMode(display=False) as counter:
        loss = run(model, batch_size, *lengths)
        if backward:
            loss.backward()
    return counter.get_total_flops()


def kept_bytes(model, path, batch_size, *lengths):
    """Bytes of the storages that autograd keeps in a pass on the CPU, each once, without weights."""
    weights = {id(storage): storage for storage in (each.untyped_storage() for each in model.parameters())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if id(storage) not in weights:
            kept[id(storage)] = storage
        return tensor

    model.set_attention_path(path)
    tables = {id(storage) for storage in (each.untyped_storage() for each in model.buffers())}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(model, batch_size, *lengths)
    return sum(storage.nbytes() for key, storage in kept.items() if key not in tables)


def lengths_of(config, seq_len, source_len):
    return (source_len, seq_len) if config.has_encoder else (seq_len,)
