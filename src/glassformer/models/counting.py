"""Costs counted from the modules themselves: build a few layers without memory, run them, and see what they hold.

The blocks of a stack are alike, so at most two of each stack are built (more, where every n-th block has experts), and
the second counts for all that follow: whole = first + (L − 1) · second. Embeddings, final norms and the head are there
once. Nothing here knows what a part is: any part is counted, a user's own too, as long as its shapes do not depend on
the values that it is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from glassformer.errors import ConfigError
from glassformer.models.classes import MODELS, Model
from glassformer.models.config import ModelConfig
from glassformer.models.cost_records import Flops, Parameters
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.family import family_of
from glassformer.models.limits import check_shape
from glassformer.parts.cross_attention import Memory
from glassformer.parts.grouped_products import matrix_axes
from glassformer.parts.probes import Probe
from glassformer.registry import find

AttentionPath = Literal["fused", "explicit"]

KEPT = 1024
"""Results that are remembered, of each kind, by configuration and lengths."""
DTYPES = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}
"""By bytes of a value."""


# --- what is counted ------------------------------------------------------------------------------------------------


def parameters(config: ModelConfig) -> Parameters:
    """Parameters by group."""
    return _parameters(_Key.of(config))


def active_parameters(config: ModelConfig) -> int:
    """Parameters that a token meets: all, but of a part that defines ``active_parameters()`` as many as that says."""
    skeleton = _skeleton(config)
    idle = 0
    for name, module in skeleton.model.named_modules():
        active = getattr(module, "active_parameters", None)
        if callable(active):
            idle += skeleton.times(name) * (sum(weight.numel() for weight in module.parameters()) - active())
    return parameters(config).total - idle


def buffer_bytes(config: ModelConfig) -> int:
    """Bytes of all buffers: fixed tables of positions, running statistics."""
    skeleton = _skeleton(config)
    return sum(skeleton.times(name) * buffer.nbytes for name, buffer in skeleton.model.named_buffers())


def flops_per_token(config: ModelConfig, seq_len: int, source_len: int | None = None) -> Flops:
    """For one token in a sequence of ``seq_len``: its share of :func:`flops_per_sequence`.

    An encoder-decoder's tokens are those of the target, and carry the encoder's work for the whole source.
    """
    return flops_per_sequence(config, seq_len, source_len).per(seq_len)


def flops_per_sequence(config: ModelConfig, seq_len: int, source_len: int | None = None) -> Flops:
    """Of one forward pass, as torch's own counter has them on the fused path: scores that a pattern leaves out and that
    are never formed are not counted, and masked ones are.

    Args:
        source_len: of an encoder-decoder's source; None means ``seq_len``.
    """
    return _flops(_Key.of(config), seq_len, source_len or seq_len, "fused")


def gathers_blocks(config: ModelConfig, seq_len: int) -> bool:
    """Whether some attention forms fewer scores than all pairs, since it gathers the blocks that its pattern needs."""
    key = _Key.of(config)
    gathered, every = (_flops(key, seq_len, seq_len, path).attention_scores for path in ("fused", "explicit"))
    return gathered < every


def activation_bytes(
    config: ModelConfig,
    batch_size: int,
    seq_len: int,
    size: int = 4,
    *,
    source_len: int | None = None,
    path: AttentionPath = "fused",
) -> dict[str, int]:
    """Bytes that a training step's forward pass keeps for its backward pass, by part; the sum is exact.

    Counted are the tensors that autograd saves, each storage once and under the part that saves it first, weights not,
    on torch's eager path on a CPU with one dtype throughout, for sequences without pads. ``torch.compile`` keeps fewer;
    the backward pass itself needs a few tensors more at its peak. The fused attention keeps no weights; but where torch
    has no fused kernel on a CPU it forms them all the same: with dropout on the weights. What follows a sublayer,
    dropout, is the sublayer's.

    Args:
        size: bytes of a value: 2, 4 or 8.
        source_len: of an encoder-decoder's source; None means ``seq_len``.
    """
    return dict(_activations(_Key.of(config), batch_size, seq_len, source_len or seq_len, DTYPES[size], path))


def cache_bytes(config: ModelConfig, seq_len: int, size: int = 4) -> tuple[int, int]:
    """Bytes of the decoder's cache of one sequence, and of a source token's keys and values in its cross-attention.

    A layer with a window keeps no more than the window. The second number is 0 without an encoder. ``size`` is as of
    :func:`activation_bytes`.
    """
    return _cache(_Key.of(config), seq_len, DTYPES[size])


def build_on_meta(config: ModelConfig) -> Model:
    """The model with every shape and no memory; torch's generator is left as it was."""
    check_shape(config)
    with _shapes_only(), torch.random.fork_rng(devices=[]), torch.device("meta"), _WithoutStartingValues():
        return MODELS[config.family](config)


# --- how it is counted ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Key:
    """A configuration by its content and by the classes that its names stand for, which a user's file may replace."""

    config: ModelConfig = field(compare=False)
    content: str
    classes: tuple[type, ...]

    @classmethod
    def of(cls, config: ModelConfig) -> _Key:
        return cls(config, config.model_dump_json(), tuple(find(kind, name) for kind, name in config.parts().values()))


@dataclass(frozen=True)
class _Skeleton:
    """A model with few layers, and how often the whole has those."""

    model: Model
    repeats: Mapping[str, int]
    """By the beginning of a layer's name."""

    def times(self, name: str) -> int:
        """How often the whole model has the module (or the parameter) of this name."""
        return next((times for layer, times in self.repeats.items() if f"{name}.".startswith(layer)), 1)


def layers_to_build(n_layers: int, period: int = 1) -> list[int]:
    """How often each of the first few layers is there, so that they stand for ``n_layers``.

    Of layers that are alike (``period`` 1), the first and the second: [1, n_layers − 1]. Of those whose settings
    alternate with a longer period, the first ones and one period more, which is there as often as it takes.
    """
    first = n_layers % period or min(period, n_layers)
    return [1] * first + [(n_layers - first) // period] * (period if n_layers > first else 0)


def _skeleton(config: ModelConfig) -> _Skeleton:
    repeats: dict[str, int] = {}
    depths: dict[str, int] = {}
    for stack in family_of(config).stacks:
        times = layers_to_build(stack.n_layers(config), config.layer_period)
        depths[stack.depth] = len(times)
        repeats |= {f"{stack.prefix}blocks.{index}.": count for index, count in enumerate(times)}
    return _Skeleton(build_on_meta(config.model_copy(update=depths)), repeats)


@contextmanager
def _shapes_only() -> Iterator[None]:
    """Name what a module cannot do without values."""
    try:
        yield
    except RuntimeError as error:
        raise ConfigError(
            f"its costs cannot be counted: {str(error).splitlines()[0]} (It is run without values: no tensor may be "
            "larger than torch can address, and no shape may depend on a tensor's values.)",
            subject="model",
        ) from error


class _WithoutStartingValues(TorchFunctionMode):
    """Leaves out ``torch.nn.init``, which costs more than all else where there are no values to set."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _part(name: str) -> str:
    """The part that a module or a parameter belongs to, by the name of either; "" for the model's own."""
    if "embedding.norm" in name or "head_transform.norm" in name:
        return "norms"
    for piece in name.split("."):
        if piece in ("embedding", "attention", "cross_attention", "feedforward", "head"):
            return piece
        if piece == "head_transform":
            return "head"
        if piece.endswith("_norm"):
            return "norms"
    return ""


@lru_cache(KEPT)
def _parameters(key: _Key) -> Parameters:
    skeleton = _skeleton(key.config)
    counts: Counter[str] = Counter()
    axes = matrix_axes(skeleton.model)
    for name, weight in skeleton.model.named_parameters():
        count, part = skeleton.times(name) * weight.numel(), _part(name)
        if part == "embedding":
            part = "position_embedding" if "embedding.positions." in name else "token_embedding"
        counts[part] += count
        counts["matrices"] += count if "blocks." in name and axes[name] == 2 else 0
    return Parameters(**counts)


@lru_cache(KEPT)
def _flops(key: _Key, seq_len: int, source_len: int, path: str) -> Flops:
    from torch.utils.flop_counter import flop_registry

    skeleton = _skeleton(key.config)
    running = _Running(skeleton.model)
    counts: Counter[str] = Counter()

    class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            formula = flop_registry.get(func.overloadpacket)
            if formula is not None:
                flops = int(formula(*args, **(kwargs or {}), out_val=out))
                counts[_flops_group(running.name or "")] += skeleton.times(running.name or "") * flops
            return out

    with _shapes_only(), torch.no_grad(), Products():  # type: ignore[no-untyped-call]
        arguments = _arguments(key.config, 1, seq_len, source_len, "meta")
        _ready(skeleton.model, path, min(seq_len, source_len))(*arguments)
    return Flops(**counts)


def _flops_group(name: str) -> str:
    """The field of :class:`Flops` that a module's products belong to."""
    part = _part(name)
    if part in ("attention", "cross_attention"):
        return f"{part}_scores" if name.endswith(part) else f"{part}_projections"
    return part if part in ("feedforward", "head") else "other"


@lru_cache(KEPT)
def _activations(
    key: _Key, batch_size: int, seq_len: int, source_len: int, dtype: torch.dtype, path: str
) -> Mapping[str, int]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    skeleton = _skeleton(key.config)
    model, running = skeleton.model, _Running(skeleton.model)
    kept = Counter(dict.fromkeys(("embedding", "attention", "feedforward", "norms", "head"), 0))
    part, seen = "embedding", {}  # storages are held, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        nonlocal part
        storage = tensor.untyped_storage()
        if id(storage) not in seen:
            seen[id(storage)] = storage
            part = "loss" if running.name is None else _part(running.name) or part
            kept[part] += skeleton.times(running.name or "") * storage.nbytes()
        return tensor

    with _shapes_only(), FakeTensorMode(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        weights = {  # on a CPU, whose kernels are chosen, and none is run
            name: torch.empty_strided(
                each.shape,
                each.stride(),
                dtype=dtype if each.is_floating_point() else each.dtype,
                requires_grad=each.requires_grad,
            )
            for name, each in (*model.named_parameters(), *model.named_buffers())
        }
        seen = {id(storage): storage for storage in (weight.untyped_storage() for weight in weights.values())}
        arguments = _arguments(key.config, batch_size, seq_len, source_len, "cpu")
        tokens = batch_size * min(seq_len, source_len)
        logits = functional_call(_ready(model, path, tokens), weights, arguments)
        F.cross_entropy(logits.flatten(0, 1), arguments[-1].flatten().clone())
    return kept


@lru_cache(KEPT)
def _cache(key: _Key, seq_len: int, dtype: torch.dtype) -> tuple[int, int]:
    skeleton, family = _skeleton(key.config), family_of(key.config)
    model = skeleton.model.to(dtype).eval()  # one token has no batch statistics
    if not family.generates:
        return 0, 0
    stack = family.stacks[-1]
    own = [(layer.keys, layer.values) for layer in stack.module(model).make_cache(1, seq_len).layers]
    cross: Sequence[tuple[Tensor, Tensor]] = ()
    if stack.cross:
        hidden = torch.empty(1, 1, key.config.d_model, dtype=dtype, device="meta")
        cross = cast("EncoderDecoder", model).project_memory(Memory(hidden)).layers

    def total(layers: Sequence[tuple[Tensor, Tensor]]) -> int:
        sizes = [keys.nbytes + values.nbytes for keys, values in layers]
        return sum(skeleton.times(f"{stack.prefix}blocks.{index}") * size for index, size in enumerate(sizes))

    return total(own), total(cross)


class _Running:
    """The names of the modules that run, the innermost last."""

    def __init__(self, model: nn.Module) -> None:
        self._names: list[str] = []
        for name, module in model.named_modules():
            if not isinstance(module, Probe):  # one that is watched would change the path
                module.register_forward_pre_hook(lambda *_, name=name: self._names.append(name))
                module.register_forward_hook(self._leave)

    def _leave(self, *_: object) -> None:
        self._names.pop()

    @property
    def name(self) -> str | None:
        """Of the innermost module; None outside the model's own pass."""
        return self._names[-1] if self._names else None


def _arguments(config: ModelConfig, batch_size: int, seq_len: int, source_len: int, device: str) -> tuple[Tensor, ...]:
    """Tokens for each of the model's inputs; the last is the one that is ``seq_len`` long."""
    sources = [source_len] * (len(family_of(config).inputs(config)) - 1)
    lengths = (*sources, seq_len)
    return tuple(torch.zeros(batch_size, length, dtype=torch.long, device=device) for length in lengths)


def _ready(model: Model, path: str, tokens: int) -> Model:
    """The model in training mode, for as many tokens (batch statistics need two)."""
    model.train(tokens > 1)
    model.set_attention_path(path)
    return model
