"""Starting values of the weights.

Each module draws from a generator of its own, seeded by the run's seed and the module's *name*. So two models that
differ in one part start from the same weights everywhere else, which is what makes their difference the part's.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

from glassformer.models.config import ModelConfig
from glassformer.models.family import family_of
from glassformer.parts.grouped_products import ExpertLinear
from glassformer.parts.positions import NormalEmbedding

TOKEN_MATRICES = ("embedding.tokens", "head")
LAST_OF_SUBLAYER = {
    "attention": ("attention.w_o",),
    "feedforward": ("feedforward.w_2", "feedforward.experts.w_2", "feedforward.shared.w_2"),
}


def draw_seed() -> int:
    """A seed for :func:`initialise`: one draw from torch's default generator."""
    return int(torch.randint(1 << 62, (), device="cpu"))


def initialise(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Set all weights in place: those of a module are a pure function of its name, its shape and the seed.

    - ``gpt2``: every matrix and embedding normal(0, std), biases 0; the two projections that feed a skip connection
      normal(0, std/√(number of skips)) (Radford et al. 2019, §2.3).
    - ``xavier``: every matrix and embedding Xavier-uniform, biases as the layer makes them.
    - with ``embedding_std``, token embeddings (and a head of its own) are normal(0, embedding_std) in every scheme.
    - learned positions with ``rms`` among their options are normal(0, rms) in every scheme.
    - ``torch``: as each layer makes them: uniform ±1/√d_in for linear layers, normal(0, 1) for embeddings.

    Each expert of a layer of experts starts as a layer of its own. A part of a user's own is started by its own
    ``reset_parameters``, if it has one.
    """
    if next(model.parameters()).device.type == "meta":
        return  # shapes without values
    feeds_a_skip = tuple(
        name for sublayer, names in LAST_OF_SUBLAYER.items() if config.residual in ("both", sublayer) for name in names
    )
    family = family_of(config)
    with torch.random.fork_rng(devices=[]):
        for name, module in model.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if not callable(reset):
                continue  # nothing of its own to draw
            n_skips = family.stack_named(name).n_skips(config) if name.endswith(feeds_a_skip) else 0
            _manual_seed(module, _seed_of(name, seed))
            reset()
            if isinstance(module, NormalEmbedding):
                nn.init.normal_(module.weight, mean=0.0, std=module.std)
            elif isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d):
                _start(module.weight, getattr(module, "bias", None), config, n_skips=n_skips)
            elif isinstance(module, ExpertLinear):
                _start_experts(module, name, config, seed, n_skips=n_skips)
            std = config.initialisation.embedding_std
            if std is not None and name.endswith(TOKEN_MATRICES):
                nn.init.normal_(module.weight, mean=0.0, std=std)


def _manual_seed(module: nn.Module, seed: int) -> None:
    """``torch.manual_seed``, which costs more than a small layer since it also calls on accelerators: where it must."""
    weight = next(module.parameters(), None)
    if weight is None or weight.device.type in ("cpu", "meta"):
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _start_experts(module: ExpertLinear, name: str, config: ModelConfig, seed: int, *, n_skips: int) -> None:
    """Each expert as a layer of its own: its values do not depend on how many others there are."""
    bound = 1 / math.sqrt(module.weight.shape[-1])
    for expert, weight in enumerate(module.weight.detach()):
        bias = None if module.bias is None else module.bias.detach()[expert]
        _manual_seed(module, _seed_of(f"{name}.{expert}", seed))
        for value in (weight,) if bias is None else (weight, bias):
            nn.init.uniform_(value, -bound, bound)
        _start(weight, bias, config, n_skips=n_skips)


def _start(weight: Tensor, bias: Tensor | None, config: ModelConfig, *, n_skips: int) -> None:
    """The scheme's values for one matrix and its bias; ``n_skips`` are those it feeds one of, 0 if it feeds none."""
    scheme = config.initialisation
    if scheme.scheme == "xavier":
        nn.init.xavier_uniform_(weight)
    elif scheme.scheme == "gpt2":
        std = scheme.std / math.sqrt(n_skips) if scheme.scale_residual and n_skips else scheme.std
        nn.init.normal_(weight, mean=0.0, std=std)
        if bias is not None:
            nn.init.zeros_(bias)


def _seed_of(name: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
