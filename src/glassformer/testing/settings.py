"""Promises about settings: what is switched off is absent, and the seed decides everything that is random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from glassformer.models import counting
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.testing.comparing import assert_close, random_model, random_tokens
from glassformer.testing.configs import with_dropout, without_dropout


def off_is_off(config: ModelConfig) -> None:
    """What is switched off is absent from the weights, the parameters, the FLOPs and the operations executed."""
    config = without_dropout(config)
    model = counting.build_on_meta(config)
    weights, flops = counting.count_parameters(model), _flops(model)
    for group, changes in _switched_off(config).items():
        off = counting.build_on_meta(config.override(changes))
        without = counting.count_parameters(off)
        assert without[group] == 0, f"{group} is off and has {without[group]} parameters"
        for other in set(weights) - {group, "norms"}:
            assert without[other] == weights[other], f"{group} is off, and {other} changed its parameters"
        fewer = _flops(off)
        gone = {"attention": ("attention_projections", "attention_scores"), "feedforward": ("feedforward",)}.get(
            group, ()
        )
        for name, count in flops.items():
            assert fewer[name] == (0 if name in gone else count) or name == "other", f"{group} is off: FLOPs of {name}"
    quiet = operations(random_model(config).train(), random_tokens(config, 2, min(config.max_seq_len, 8)))
    drawing = [name for name in quiet if any(word in name for word in ("random", "bernoulli", "dropout", "rand"))]
    assert not drawing, f"dropout is off in training, and these drew random numbers: {drawing}"
    dropping = random_model(with_dropout(config)).eval()
    tokens = random_tokens(config, 2, min(config.max_seq_len, 8))
    assert operations(dropping, tokens) == operations(random_model(config), tokens), (
        "dropout does something in evaluation"
    )


def operations(model: Decoder, tokens: Tensor) -> list[str]:
    """The names of all operations that a forward pass executes, in order."""

    class Listing(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    names: list[str] = []
    with torch.no_grad(), Listing():  # type: ignore[no-untyped-call]
        model(tokens)
    return names


def _switched_off(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """Group of parameters -> the settings that leave it out."""
    off: dict[str, dict[str, Any]] = {"norms": {"norm.kind": "none", "norm.options": {}}}
    if config.embedding.tokens and config.positions.kind != "none":
        off["position_embedding"] = {"positions.kind": "none", "positions.options": {}}
    if config.sublayers == "both":
        keep = "both" if config.residual == "both" else "none"
        off["feedforward"] = {"sublayers": "attention", "residual": keep}
        if config.positions.kind not in ("rotary", "alibi"):
            off["attention"] = {"sublayers": "feedforward", "residual": keep}
    return off


def _flops(model: Decoder) -> dict[str, int]:
    return counting.count_flops_by_group(model, min(model.config.max_seq_len, 8))


def a_seed_decides_everything(config: ModelConfig) -> None:
    """The same seed gives the same weights and, with dropout, the same training pass; another seed gives another."""
    config = with_dropout(config)
    tokens = random_tokens(config, 2, min(config.max_seq_len, 8))
    runs = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = Decoder(config).train()
            first, second = model(tokens), model(tokens)
        runs.append((model.named_weights(), first.detach(), second.detach()))
    same, again, other = runs
    assert_close(again[0], same[0], 0.0, "the same seed")
    assert torch.equal(same[1], again[1]), "the same seed gave another training pass"
    assert torch.equal(same[2], again[2]), "the same seed gave another second pass"
    assert not torch.equal(same[1], other[1]), "two seeds gave one training pass"
    assert not torch.equal(same[1], same[2]), "dropout dropped the same elements twice"
