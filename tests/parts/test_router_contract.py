"""The contract of routers: kept by ours, but for what they declare, and broken by routers that break it."""

from __future__ import annotations

import pytest

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.registry import registered
from glassformer.testing import PROMISES, check_part, compiles_into_one_graph, declared_breaks, part_configs

OURS = [name for name, cls in registered("router").items() if cls.__module__.startswith("glassformer.parts.")]
HONEST = [name for name in OURS if not registered("router")[name].breaks]
LEAKING = [name for name in OURS if name not in HONEST]
MODELS = {
    f"{name}-{variant}".replace(" ", "_"): config
    for name in HONEST
    for variant, config in part_configs("router", name).items()
}
FIRST = {f"{name}-{next(iter(part_configs('router', name)))}".replace(" ", "_") for name in HONEST}
FURTHER = pytest.mark.slow(reason="every promise in every further use of a router: half a minute")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("model", [pytest.param(each, marks=() if each in FIRST else FURTHER) for each in MODELS])
def test_routers_that_declare_nothing_keep_every_promise(model, promise):
    PROMISES[promise](MODELS[model])


@pytest.mark.parametrize("name", LEAKING)
def test_what_a_router_declares_to_break_it_does_break(name):
    """In a language model; a tree is of translators."""
    config = next(iter(part_configs("router", name).values()))
    declared = set(declared_breaks(config))
    assert "causal_is_causal" in declared
    for promise in declared - {"a_tree_equals_each_of_its_paths"}:
        with pytest.raises(AssertionError):
            PROMISES[promise](config)


@pytest.mark.parametrize("name", LEAKING)
@pytest.mark.parametrize("promise", ["fused_equals_explicit", "off_is_off", "costs_are_counted", "routers_learn"])
def test_what_it_does_not_declare_it_keeps(name, promise):
    PROMISES[promise](next(iter(part_configs("router", name).values())))


@pytest.mark.slow(reason="every promise in five uses of each router")
@pytest.mark.parametrize("name", OURS)
def test_routers_break_exactly_what_they_declare(name):
    check_part("router", name)


@pytest.mark.slow(reason="torch traces the routers")
@pytest.mark.parametrize("model", FIRST)
def test_models_with_experts_compile_into_one_graph(model):
    compiles_into_one_graph(MODELS[model])


# --- routers that break their promises ------------------------------------------------------------------------------

HEADER = """
import torch
from glassformer.parts.routers import CapacityRouter, Router, SigmoidRouter, SoftmaxRouter
from glassformer.registry import register

"""
BROKEN = {
    "a capacity that looks ahead and says nothing of it": (
        """
class Broken(CapacityRouter):
    breaks = {}
""",
        "causal_is_causal",
    ),
    "a bias that enters the gate": (
        """
class Broken(SigmoidRouter):
    def scores(self, logits):
        return logits.sigmoid() + self.bias
    def selection(self, scores):
        return scores
""",
        "selection_biases_only_select",
    ),
    "one expert of weight 1": (
        """
class Broken(SoftmaxRouter):
    def choose(self, logits):
        found = super().choose(logits)
        return found._replace(weight=found.weight / found.weight.detach())
    def scores(self, logits):
        return super().scores(logits.detach())
""",
        "routers_learn",
    ),
    "renormalised weights of one expert": (
        """
class Broken(SoftmaxRouter):
    def __init__(self, d_model, n_experts, n_active, **options):
        super().__init__(d_model, n_experts, 1, **options | {"renormalise": True})
""",
        "routers_learn",
    ),
    "an expert that sees another row's tokens": (
        """
class Broken(SoftmaxRouter):
    def choose(self, logits):
        return super().choose(logits + logits.mean(0, keepdim=True).flip(-1))
""",
        "rows_do_not_see_each_other",
    ),
    "tokens that are mixed up": (
        """
class Broken(SoftmaxRouter):
    def choose(self, logits):
        found = super().choose(logits)
        return found._replace(token=found.token.flip(0), per_token=None)
""",
        "causal_is_causal",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_routers_are_caught(what, tmp_path):
    body, promise = BROKEN[what]
    name = "test-" + what.replace(" ", "-").replace("'", "")
    file = tmp_path / f"{name.replace('-', '_')}.py"
    file.write_text(HEADER + f'@register("router", "{name}")' + body)
    config = next(iter(part_configs("router", name, part_files=[file]).values()))
    with pytest.raises(AssertionError):
        PROMISES[promise](config)


def test_a_router_that_declares_what_it_keeps_is_caught(tmp_path):
    file = tmp_path / "modest.py"
    file.write_text(
        HEADER
        + """
@register("router", "test-modest")
class Modest(SoftmaxRouter):
    breaks = {"a_seed_decides_everything": "out of modesty"}
"""
    )
    from glassformer import testing

    kept = {"a_seed_decides_everything": PROMISES["a_seed_decides_everything"]}
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(testing, "PROMISES", kept)
        patched.setattr(testing, "opens_as_a_page", lambda _config: None)
        with pytest.raises(AssertionError, match="declares that it breaks 'a_seed_decides_everything'"):
            check_part("router", "test-modest", part_files=[file])


def test_renormalised_weights_of_one_expert_are_refused_with_the_reason():
    tree = part_configs("router", "softmax")["two of four, SwiGLU"].to_dict()
    with pytest.raises(ConfigError, match="router no gradient and it never learns"):
        ModelConfig.build(tree).override({"feedforward.experts.n_active": 1, "feedforward.experts.renormalise": True})
