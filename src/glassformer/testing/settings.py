"""Promises about settings: what is switched off is absent, and the seed decides everything that is random."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from glassformer.models.build import Model, build
from glassformer.models.config import ModelConfig
from glassformer.models.counting import flops_per_sequence, parameters
from glassformer.models.family import family_of
from glassformer.testing.cases import Case, longest, random_case
from glassformer.testing.comparing import assert_close, random_model
from glassformer.testing.configs import with_dropout, without_dropout

PARAMETERS = {"attention": ("attention", "cross_attention")}  # what else goes with a group
FLOPS = {
    "attention": (
        "attention_projections",
        "attention_scores",
        "cross_attention_projections",
        "cross_attention_scores",
    ),
    "feedforward": ("feedforward",),
}


def off_is_off(config: ModelConfig) -> None:
    """What is switched off is absent from the weights, the parameters, the FLOPs and the operations executed."""
    config = without_dropout(config)
    model = random_model(config)
    weights, flops = _parameters(config), _flops(config)
    for group, changes in _switched_off(config).items():
        off = config.override(changes)
        without, fewer = _parameters(off), _flops(off)
        gone = PARAMETERS.get(group, (group,))
        for name in gone:
            assert without[name] == 0, f"{group} is off and there are {without[name]} parameters of {name}"
        for other in set(weights) - {*gone, "norms", "matrices"}:
            assert without[other] == weights[other], f"{group} is off, and {other} changed its parameters"
        for name, count in flops.items():
            expected = 0 if name in FLOPS.get(group, ()) else count
            gathered = group == "position_embedding" and name == "attention_scores" and fewer[name] < count
            # scores that nothing is added to may be gathered
            assert fewer[name] == expected or name == "other" or gathered, f"{group} is off: FLOPs of {name}"

    case = random_case(config, 2, longest(config, 8))
    evaluated, done = operations(model, case), operations(model.train(), case)
    drawing = [name for name in done if any(word in name for word in ("random", "bernoulli", "dropout", "rand"))]
    assert not drawing, f"dropout is off in training, and these drew random numbers: {drawing}"
    assert operations(random_model(with_dropout(config)), case) == evaluated, "dropout does something in evaluation"
    bare = config.override({"residual": "none"})
    skips = sum(stack.n_skips(config) for stack in family_of(config).stacks)
    fewer_sums = evaluated.count("aten.add.Tensor") - operations(random_model(bare), case).count("aten.add.Tensor")
    assert fewer_sums == skips, f"the residual is off: {skips} skips, and {fewer_sums} sums went with them"


def operations(model: Model, case: Case) -> list[str]:
    """The names of all operations that a forward pass executes, in order."""

    class Listing(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    names: list[str] = []
    with torch.no_grad(), Listing():  # type: ignore[no-untyped-call]
        case.run(model)
    return names


def _switched_off(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """Group of parameters -> the settings that leave it out."""
    off: dict[str, dict[str, Any]] = {"norms": {"norm.kind": "none", "norm.options": {}}}
    if config.embedding.tokens and config.positions.kind != "none":
        off["position_embedding"] = {"positions.kind": "none", "positions.options": {}}
    if config.sublayers == "both":
        keep = "both" if config.residual == "both" else "none"
        off["feedforward"] = {"sublayers": "attention", "residual": keep, "feedforward.experts": None}
        if config.positions.kind not in ("rotary", "alibi"):
            off["attention"] = {"sublayers": "feedforward", "residual": keep}
    return off


def _parameters(config: ModelConfig) -> dict[str, int]:
    return asdict(parameters(config))


def _flops(config: ModelConfig) -> dict[str, int]:
    return asdict(flops_per_sequence(config, longest(config, 8)))


def a_seed_decides_everything(config: ModelConfig) -> None:
    """The same seed gives the same weights and, with dropout, the same training pass; another seed gives another."""
    config = with_dropout(config)
    case = random_case(config, 2, longest(config, 8))
    runs = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = build(config).train()
            first, second = case.run(model), case.run(model)
        runs.append((model.named_weights(), first.detach(), second.detach()))
    same, again, other = runs
    assert_close(again[0], same[0], 0.0, "the same seed")
    assert torch.equal(same[1], again[1]), "the same seed gave another training pass"
    assert torch.equal(same[2], again[2]), "the same seed gave another second pass"
    assert not torch.equal(same[1], other[1]), "two seeds gave one training pass"
    assert not torch.equal(same[1], same[2]), "dropout dropped the same elements twice"
