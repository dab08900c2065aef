"""Layers of experts: the fast path is the explicit one, and both are the formulas of the papers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from glassformer.errors import ConfigError
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.counting import activation_bytes, active_parameters, flops_per_sequence, parameters
from glassformer.parts.experts import Experts, layers_of_experts
from glassformer.parts.feedforward import FeedForward
from glassformer.parts.grouped_products import grouped_outer, grouped_product
from glassformer.parts.interventions import route_to, without_expert, zero
from glassformer.parts.losses import ROUTING, Routing, expert_losses
from glassformer.parts.probes import record
from glassformer.parts.routers import CapacityRouter, ExpertChoiceRouter, SigmoidRouter, SoftmaxRouter
from glassformer.registry import find, registered
from glassformer.testing.comparing import random_model

OURS = [name for name, cls in registered("feedforward").items() if cls.__module__.startswith("glassformer.parts.")]
ROUTERS = [name for name, cls in registered("router").items() if cls.__module__.startswith("glassformer.parts.")]
TREE = {
    "vocab_size": 11,
    "max_seq_len": 12,
    "d_model": 16,
    "n_layers": 2,
    "attention": {"n_heads": 4},
    "feedforward": {"kind": "gelu", "d_ff": 24, "experts": {"n_experts": 4}},
}


def layer_of(kind="gelu", router=None, *, n_experts=4, n_active=2, d_model=8, d_ff=12, **options):
    """A layer of experts with random weights."""
    torch.manual_seed(0)
    router = router or SoftmaxRouter(d_model, n_experts, n_active)
    return Experts(router, lambda linear: find("feedforward", kind)(d_model, d_ff, linear=linear), **options)


def output_of(layer, x):
    """Without the losses."""
    return layer(x)[0]


# --- grouped products -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    d_in=st.sampled_from([1, 4, 5, 8]),
    d_out=st.sampled_from([1, 3, 4, 8]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_grouped_product_is_that_of_each_experts_rows(counts, d_in, d_out, dtype):
    """Experts without rows, sizes that torch's kernel does not take, and types that it does not know."""
    torch.manual_seed(0)
    rows = torch.randn(sum(counts), d_in, dtype=dtype, requires_grad=True)
    weight = torch.randn(len(counts), d_out, d_in, dtype=dtype, requires_grad=True)
    ends = torch.tensor(counts).cumsum(0)
    found = grouped_product(rows, weight, ends)
    expected = torch.cat([each @ own.T for each, own in zip(rows.split(counts), weight, strict=True)])
    torch.testing.assert_close(found, expected)
    probe = torch.randn_like(expected)
    if rows.numel():
        for got, wanted in zip(
            torch.autograd.grad((found * probe).sum(), (rows, weight)),
            torch.autograd.grad((expected * probe).sum(), (rows, weight)),
            strict=True,
        ):
            torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(
        grouped_outer(probe, rows.detach(), ends),
        torch.stack([p.T @ r for p, r in zip(probe.split(counts), rows.detach().split(counts), strict=True)]),
    )


# --- the layer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OURS)
def test_the_fast_path_is_the_explicit_one_for_every_kind_of_expert(kind):
    layer, x = layer_of(kind).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    found = {}
    for path in ("fused", "explicit"):
        layer.path = path
        y = output_of(layer, x)
        found[path] = (y, *torch.autograd.grad(y.square().sum(), layer.parameters()))
    for fused, explicit in zip(*found.values(), strict=True):
        torch.testing.assert_close(fused, explicit)


@pytest.mark.parametrize("name", ROUTERS)
def test_the_fast_path_is_the_explicit_one_for_every_router(name):
    layer, x = layer_of(router=find("router", name)(8, 4, 2)).double(), torch.randn(3, 5, 8, dtype=torch.float64)
    fused = output_of(layer, x)
    layer.path = "explicit"
    torch.testing.assert_close(output_of(layer, x), fused)


def test_a_token_is_the_weighed_sum_of_its_experts():
    """By hand, token by token: the formula of Mixtral."""
    layer, x = layer_of(), torch.randn(2, 3, 8)
    experts, y = layer.experts, output_of(layer, x)
    for row in range(2):
        for token in range(3):
            vector = x[row, token]
            best = (layer.router.projection.weight @ vector).topk(2)
            weights = best.values.softmax(0)
            expected = sum(
                weight
                * (
                    experts.w_2.weight[expert] @ F.gelu(experts.w_1.weight[expert] @ vector + experts.w_1.bias[expert])
                    + experts.w_2.bias[expert]
                )
                for weight, expert in zip(weights, best.indices, strict=True)
            )
            torch.testing.assert_close(y[row, token], expected, atol=1e-6, rtol=1e-5)


def test_equal_experts_are_one_feed_forward_layer():
    layer, dense, x = layer_of(), find("feedforward", "gelu")(8, 12), torch.randn(2, 5, 8)
    with torch.no_grad():
        for name in ("w_1", "w_2"):
            getattr(layer.experts, name).weight.copy_(getattr(dense, name).weight)
            getattr(layer.experts, name).bias.copy_(getattr(dense, name).bias)
    torch.testing.assert_close(output_of(layer, x), dense(x))


def test_all_experts_for_every_token_are_the_dense_mixture():
    layer, x = layer_of(router=SoftmaxRouter(8, 3, 3), n_experts=3), torch.randn(2, 5, 8)
    weights = (x @ layer.router.projection.weight.T).softmax(-1)
    layer.path = "explicit"
    outputs = layer.experts(x[:, None])
    torch.testing.assert_close(output_of(layer, x), torch.einsum("bte,betd->btd", weights, outputs))


def test_the_order_of_experts_changes_nothing():
    layer, x, order = layer_of(), torch.randn(2, 5, 8), torch.tensor([2, 0, 3, 1])
    before = output_of(layer, x)
    with torch.no_grad():
        for parameter in (layer.router.projection.weight, *layer.experts.parameters()):
            parameter.copy_(parameter[order].clone())
    torch.testing.assert_close(output_of(layer, x), before)


def test_shared_experts_are_added():
    shared = find("feedforward", "gelu")(8, 24)
    layer, x = layer_of(shared=shared), torch.randn(2, 5, 8)
    with_them = output_of(layer, x)
    layer.shared = None
    torch.testing.assert_close(with_them, output_of(layer, x) + shared(x))


def test_an_expert_with_layers_of_its_own_is_refused():
    class Stubborn(FeedForward):
        def __init__(self, linear):
            super().__init__(8, 12, linear=linear)
            self.own = torch.nn.Linear(8, 8)

    with pytest.raises(ConfigError, match="argument linear"):
        Experts(SoftmaxRouter(8, 4, 2), Stubborn)


def test_an_expert_with_losses_of_its_own_is_refused():
    class Lossy(FeedForward):
        def __init__(self, linear):
            super().__init__(8, 12, linear=linear)

        def forward(self, x):
            return x, {"size": x.mean()}

    layer = Experts(SoftmaxRouter(8, 4, 2), Lossy)
    with pytest.raises(ConfigError, match="losses of its own"):
        layer(torch.randn(1, 3, 8))
    assert layer.groups.ends is None


# --- routers --------------------------------------------------------------------------------------------------------


def test_softmax_weights_are_renormalised_or_not():
    """Mixtral: the softmax of the chosen logits; OLMoE: as they are, so that they sum to less than 1."""
    logits = torch.randn(2, 5, 4)
    renormalised, plain = (SoftmaxRouter(8, 4, 2, renormalise=each).choose(logits) for each in (True, False))
    torch.testing.assert_close(renormalised.weight.view(2, 5, 2), logits.topk(2).values.softmax(-1))
    torch.testing.assert_close(plain.weight.view(2, 5, 2), logits.softmax(-1).topk(2).values)
    assert (plain.weight.view(2, 5, 2).sum(-1) < 1).all()


def test_a_selection_bias_selects_and_does_not_weigh():
    """DeepSeek-V3: the K largest sigmoid + bias, weighed by the sigmoid alone."""
    router, logits = SigmoidRouter(8, 4, 2, scale=2.5), torch.zeros(1, 1, 4)
    router.bias.copy_(torch.tensor([0.0, 3.0, -3.0, 2.0]))
    found = router.choose(logits + torch.tensor([1.0, -2.0, 1.0, 0.0]))
    assert found.expert.tolist() == [1, 3]
    scores = torch.tensor([-2.0, 0.0]).sigmoid()
    torch.testing.assert_close(found.weight, 2.5 * scores / scores.sum())


def test_capacity_drops_what_is_over_first_choices_first():
    router = CapacityRouter(8, 2, 1, renormalise=False, capacity=0.5)
    logits = torch.tensor([[[2.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    weight = router.choose(logits).weight  # room for one token each: the first of three, and the only one
    assert (weight != 0).tolist() == [True, False, False, True]


def test_expert_choice_gives_every_expert_as_many_tokens():
    choice = ExpertChoiceRouter(8, 4, 2).choose(torch.randn(2, 6, 4))
    assert choice.expert.bincount().tolist() == [6] * 4
    assert choice.per_token is None


def test_jitter_is_of_training_only():
    router, x = SoftmaxRouter(8, 4, 2, jitter=0.5), torch.randn(1, 3, 8)
    first, second = (router.train()(x).logits for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (router.eval()(x).logits for _ in range(2))
    assert torch.equal(first, second)


def test_the_router_computes_in_float32_whatever_the_rest_is_in():
    layer = layer_of().to(torch.bfloat16)
    choice = layer.router(torch.randn(2, 3, 8, dtype=torch.bfloat16))
    assert choice.logits.dtype == choice.weight.dtype == torch.float32
    assert output_of(layer, torch.randn(2, 3, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert layer_of().router(torch.randn(2, 3, 8)).logits.dtype == torch.float32


# --- losses ---------------------------------------------------------------------------------------------------------


def test_the_balance_loss_is_its_weight_in_balance_and_more_out_of_it():
    """Switch Transformer, eq. 4: E Σ f P, with loads that sum to 1 whatever K is."""

    def loss(load, probability):
        load, tokens = torch.tensor(load), torch.tensor(8.0)
        balance = 0.5 * len(load) * tokens * torch.tensor(probability)
        return float(expert_losses([Routing(load, balance, None, tokens, tokens)])["balance"])

    assert loss([4.0, 4.0, 4.0, 4.0], [0.25] * 4) == pytest.approx(0.5)
    assert loss([8.0, 8.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]) == pytest.approx(0.5 * 4 * 0.5)
    assert loss([16.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.5 * 4)


def test_losses_are_the_papers():
    layer, x = layer_of(balance=0.3, z_loss=0.2), torch.randn(2, 5, 8)
    y, losses = layer(x)
    found = expert_losses(losses[ROUTING])
    logits = x @ layer.router.projection.weight.T
    chosen = F.one_hot(logits.topk(2).indices, 4).sum(-2).double().mean((0, 1)) / 2
    balance = 0.3 * 4 * (chosen * logits.softmax(-1).mean((0, 1))).sum()
    torch.testing.assert_close(found["balance"].double(), balance.double(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found["router_z"], 0.2 * logits.logsumexp(-1).square().mean())
    assert not losses[ROUTING][0].load.requires_grad
    assert torch.autograd.grad(found["balance"], layer.router.projection.weight)[0].any()
    assert y.shape == x.shape


@pytest.mark.parametrize("family", [{}, {"family": "encoder"}, {"n_encoder_layers": 1}])
def test_pads_are_in_no_statistics(family):
    model = random_model(ModelConfig.build(TREE | family)).train()
    tokens = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0))
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[1, 4:] = True
    other = torch.where(padding, 5, tokens)

    def losses_of(ids):
        if model.config.has_encoder:
            return model(ids, tokens, padding, with_losses=True)[1]
        return model(ids, padding=padding, with_losses=True)[1]

    first, second = losses_of(tokens), losses_of(other)
    assert first.keys() == {"balance"}
    torch.testing.assert_close(first["balance"], second["balance"])


def test_generation_computes_no_losses():
    model = random_model(ModelConfig.build(TREE))
    cache = model.make_cache(1)
    assert model.hidden_with_losses(torch.zeros(1, 3, dtype=torch.long), cache=cache)[1] == {}


# --- in models ------------------------------------------------------------------------------------------------------


def test_experts_start_as_layers_of_their_own():
    """Each of them its own values, of a feed-forward layer's size, that do not depend on how many others there are."""
    torch.manual_seed(0)
    few = build(ModelConfig.build(TREE).override({"initialisation.scheme": "xavier"}))
    torch.manual_seed(0)
    many = build(
        ModelConfig.build(TREE).override({"initialisation.scheme": "xavier", "feedforward.experts.n_experts": 7})
    )
    name = "blocks.1.feedforward.experts.w_1.weight"
    first, second = few.get_parameter(name).detach(), many.get_parameter(name).detach()
    assert torch.equal(first, second[:4])
    bound = math.sqrt(6 / (16 + 24))
    assert all(bound * 0.9 < float(each.abs().max()) <= bound for each in second)
    assert len({float(each[0, 0]) for each in second}) == 7


def test_gpt2s_scheme_divides_what_feeds_a_skip():
    torch.manual_seed(0)
    model = build(ModelConfig.build(TREE).override({"d_model": 128, "feedforward.d_ff": 256}))
    experts = model.blocks[0].feedforward.experts
    for expert in range(4):
        assert float(experts.w_1.weight[expert].detach().std()) == pytest.approx(0.02, rel=0.03)
        assert float(experts.w_2.weight[expert].detach().std()) == pytest.approx(0.02 / math.sqrt(4), rel=0.03)
    assert not experts.w_1.bias.any()


def test_every_nth_layer_has_experts_and_costs_are_counted_of_all():
    config = ModelConfig.build(TREE | {"n_layers": 7}).override(
        {"feedforward.experts.every": 3, "feedforward.experts.d_ff": 10, "feedforward.experts.n_shared": 1}
    )
    model = build(config)
    assert list(layers_of_experts(model)) == ["blocks.2.feedforward", "blocks.5.feedforward"]
    total = sum(parameter.numel() for parameter in model.parameters())
    assert parameters(config).total == total
    one = 16 * 10 + 10 + 10 * 16 + 16
    assert active_parameters(config) == total - 2 * 2 * one
    dense = flops_per_sequence(config.override({"feedforward.experts": None}), 8)
    layer = 2 * 8 * 16 * (2 * 24)
    experts = 2 * 8 * 16 * (4 + (2 + 1) * 2 * 10 + 2)  # router, experts, shared expert, weighed sum
    assert flops_per_sequence(config, 8).feedforward == dense.feedforward + 2 * (experts - layer)


def test_activation_bytes_are_what_autograd_keeps():
    from models.whole_models import kept_bytes

    for changes in ({}, {"feedforward.kind": "swiglu", "feedforward.experts.n_shared": 1, "feedforward.bias": False}):
        config = ModelConfig.build(TREE).override(changes)
        assert sum(activation_bytes(config, 3, 8).values()) == kept_bytes(build(config), "fused", 3, 8)


def test_a_configuration_without_experts_is_written_as_before():
    assert "experts" not in ModelConfig.build(TREE).override({"feedforward.experts": None}).to_dict()["feedforward"]
    config = ModelConfig.build(TREE)
    assert ModelConfig.build(config.to_dict()) == config


def test_stored_weights_leave_the_routes_as_they_are():
    """A copy for decoding in 8 bits rounds neither routers nor experts, and a token reads those of its own only."""
    from glassformer.generation.quantization import decoding_copy, weight_bytes_per_token

    model = random_model(ModelConfig.build(TREE))
    tokens = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(1))
    copied = decoding_copy(model, "int8")
    name = "blocks.0.feedforward.router.gates"
    kept, stored = (each.trace(tokens)[name] for each in (model, copied))
    assert torch.equal(kept != 0, stored != 0)
    torch.testing.assert_close(stored, kept, atol=0.05, rtol=0.1)
    every = build(model.config.override({"feedforward.experts.n_active": 4}))
    of_experts = sum(each.nbytes for layer in layers_of_experts(model).values() for each in layer.experts.parameters())
    assert weight_bytes_per_token(model) == weight_bytes_per_token(every) - of_experts // 2


# --- interventions --------------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    return random_model(ModelConfig.build(TREE))


TOKENS = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(1))
LAYER = "blocks.1.feedforward"


def gates_of(model, *interventions):
    return model.trace(TOKENS, interventions=interventions)[f"{LAYER}.router.gates"]


def test_an_expert_that_is_switched_off_is_given_no_token(model):
    before = gates_of(model)
    assert before[..., 2].any()
    after = gates_of(model, without_expert(f"{LAYER}.router.logits", 2))
    assert not after[..., 2].any()
    assert (after != 0).sum(-1).eq(2).all(), "its tokens go to their next best expert"
    elsewhere = before[..., 2] == 0
    torch.testing.assert_close(after[elsewhere], before[elsewhere])


def test_a_forced_route_is_the_experts_alone(model):
    after = gates_of(model, route_to(f"{LAYER}.router.logits", 1, tokens=[0, 3]))
    torch.testing.assert_close(after[:, [0, 3]], F.one_hot(torch.tensor(1), 4).float().expand(2, 2, 4))
    before = gates_of(model)
    torch.testing.assert_close(after[:, [1, 2, 4]], before[:, [1, 2, 4]])


def test_what_an_expert_adds_is_taken_out_by_name(model):
    trace = model.trace(TOKENS)
    taken = model.trace(TOKENS, interventions=[zero(f"{LAYER}.expert_outputs", head=3)])
    gone = trace[f"{LAYER}.router.gates"][..., 3, None] * trace[f"{LAYER}.expert_outputs"][:, 3]
    torch.testing.assert_close(taken[f"{LAYER}.output"], trace[f"{LAYER}.output"] - gone)


def test_a_forced_route_is_taken_on_the_fast_path_too(model):
    """Watching the logits alone leaves the path as it is: the intervention acts before the choice."""
    intervention = route_to(f"{LAYER}.router.logits", 0)
    fast = model.trace(TOKENS, only=("logits",), interventions=[intervention]).logits
    torch.testing.assert_close(fast, model.trace(TOKENS, interventions=[intervention]).logits, atol=1e-5, rtol=1e-4)


def test_wrong_interventions_say_what_there_is(model):
    with pytest.raises(ConfigError, match="router"):
        without_expert("blocks.0.feedforward.output", 0)
    with pytest.raises(ConfigError, match="4 experts"):
        gates_of(model, route_to(f"{LAYER}.router.logits", 4))


def test_watching_a_layer_changes_nothing(model):
    plain = model(TOKENS)
    for name in (f"{LAYER}.router.gates", f"{LAYER}.expert_outputs", f"{LAYER}.experts.hidden"):
        with record(model, name) as seen:
            torch.testing.assert_close(model(TOKENS), plain, atol=1e-5, rtol=1e-4)
        assert seen[name].shape[:1] == (2,)
