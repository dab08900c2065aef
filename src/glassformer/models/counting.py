"""Costs by counting: build the model on the meta device (shapes without numbers), run it, and see what it holds.

The formulas of ``formulas.py`` and ``memory.py`` are checked against this; a model with parts of a user's own has none,
and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from glassformer.models.build import Model, build
from glassformer.models.config import ModelConfig
from glassformer.parts.blocks import Block

GROUPS = {  # the first pattern found in a parameter's name decides
    "_norm.": "norms",
    "embedding.tokens.": "token_embedding",
    "embedding.positions.": "position_embedding",
    "cross_attention.": "cross_attention",
    "attention.": "attention",
    "feedforward.": "feedforward",
    "head.": "head",
}


def build_on_meta(config: ModelConfig) -> Model:
    """The model with every shape and no memory; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build(config)


def count_parameters(model: Model) -> dict[str, int]:
    """Parameters by group (``GROUPS``), each once: a matrix that the head shares counts as token embedding.

    The norms of queries and keys belong to their attention, as they do in the module tree.
    """
    groups = Counter(dict.fromkeys(GROUPS.values(), 0))
    for name, parameter in model.named_parameters():
        groups[_group(name)] += parameter.numel()
    return dict(groups)


def _group(name: str) -> str:
    name = name.replace(".query_norm.", ".").replace(".key_norm.", ".")
    return next(group for pattern, group in GROUPS.items() if pattern in name)


def count_matrices(model: Model) -> int:
    """Elements of all two-dimensional weights in the blocks."""
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    return sum(weight.numel() for block in blocks for weight in block.parameters() if weight.dim() == 2)


def count_flops(
    model: Model, batch_size: int, seq_len: int, source_len: int | None = None, *, backward: bool = False
) -> int:
    """FLOPs of one pass over a batch, as torch's own counter sees them: matrix products, 2 for a multiply-add.

    The explicit attention path is counted, since there every product is one that the counter knows.
    """
    with FlopCounterMode(display=False) as counter:
        _step(model, batch_size, seq_len, source_len, backward=backward)
    return int(counter.get_total_flops())


def count_flops_by_group(model: Model, seq_len: int, source_len: int | None = None) -> dict[str, int]:
    """FLOPs of the forward pass for one sequence, by the fields of :class:`~glassformer.models.formulas.Flops`.

    What an attention layer does outside its own submodules counts as scores.
    """
    with FlopCounterMode(display=False) as counter:
        _step(model, 1, seq_len, source_len)
    prefix = f"{type(model).__name__}."
    by_module = {name.removeprefix(prefix): sum(ops.values()) for name, ops in counter.get_flop_counts().items()}

    def total(names: list[str]) -> int:
        return sum(by_module.get(name, 0) for name in names)

    def named(last: str) -> list[str]:
        return [name for name, _ in model.named_modules() if name.rpartition(".")[2] == last]

    groups = {"feedforward": total(named("feedforward")), "head": total(["head"])}
    for kind in ("attention", "cross_attention"):
        layers = named(kind)
        inside = [f"{name}.{child}" for name in layers for child, _ in model.get_submodule(name).named_children()]
        groups[f"{kind}_projections"] = total(inside)
        groups[f"{kind}_scores"] = total(layers) - total(inside)
    return groups | {"other": int(counter.get_total_flops()) - sum(groups.values())}


def count_activation_bytes(
    model: Model, batch_size: int, seq_len: int, source_len: int | None = None, *, path: str = "explicit"
) -> int:
    """Bytes that one forward pass and its cross-entropy keep for the backward pass: every storage once, no weights."""
    weights = {id(storage): storage for storage in (parameter.untyped_storage() for parameter in model.parameters())}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no identity is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in weights:
            kept[id(storage)] = storage
        return tensor

    def unpack(tensor: Tensor) -> Tensor:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        _step(model, batch_size, seq_len, source_len, path=path)
    return sum(storage.nbytes() for storage in kept.values())


def _step(
    model: Model,
    batch_size: int,
    seq_len: int,
    source_len: int | None = None,
    *,
    backward: bool = False,
    path: str = "explicit",
) -> None:
    """One forward pass in training mode with its loss; the model is left as it was found, but for its gradients."""
    tokens = torch.zeros(batch_size, seq_len, dtype=torch.long, device=model.device)
    source_len = source_len or seq_len
    sources = (tokens.new_zeros(batch_size, source_len),) if model.config.has_encoder else ()
    with _as_it_was(model):
        model.train(batch_size * min(seq_len, source_len) > 1)  # batch statistics need two tokens
        model.set_attention_path(path)
        loss = F.cross_entropy(model(*sources, tokens).flatten(0, 1), tokens.flatten().clone())
        if backward:
            loss.backward()  # type: ignore[no-untyped-call]


class _as_it_was:  # noqa: N801 - reads as torch.no_grad does
    """Puts back modes and attention paths."""

    def __init__(self, model: nn.Module) -> None:
        self._restore: list[Callable[[], None]] = []
        for module in model.modules():
            for name in ("training", "path"):
                if hasattr(module, name):
                    before = getattr(module, name)
                    self._restore.append(lambda module=module, name=name, before=before: setattr(module, name, before))  # type: ignore[misc]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for restore in self._restore:
            restore()
