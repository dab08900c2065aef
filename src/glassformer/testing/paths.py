"""Promises about ways to compute the same: whichever is taken, the numbers are the same.

The fused and the explicit attention path, watched or not; a prompt and a cache, or everything at once; one graph, a
stack of models at once; in half precision the numbers are near.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from glassformer.generation.hypothesis_tree import HypothesisTree
from glassformer.models.config import ModelConfig
from glassformer.models.family import family_of
from glassformer.parts.probes import probe_points, record, watch
from glassformer.testing.cases import Continuation, longest, random_case
from glassformer.testing.comparing import TOLERANCE, assert_close, gradients, logits_and_gradients, random_model
from glassformer.testing.configs import without_dropout

if TYPE_CHECKING:
    from glassformer.models.encoder_decoder import EncoderDecoder

WIDTH = 3
"""Hypotheses of a tree."""


def fused_equals_explicit(config: ModelConfig) -> None:
    """Both attention paths give the same logits and gradients, with and without padding, in fp32 and in float64."""
    case = random_case(config, 3, longest(config))
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.float64, 1e-10)):
        model = random_model(without_dropout(config), dtype).train()
        for each in (case, case.ragged(left=2), case.ragged(right=2)):
            found = {}
            for path in ("fused", "explicit"):
                model.set_paths(path)
                found[path] = logits_and_gradients(model, each)
            assert_close(found["fused"], found["explicit"], tolerance, "the fused path")


def recorded_weights_are_a_distribution(config: ModelConfig) -> None:
    """Attention weights sum to 1, are exactly 0 on what must not be seen, and watching them changes nothing.

    Not to be seen are the future (but by an encoder, and across) and pads (but by themselves).
    """
    model = random_model(without_dropout(config))
    case = random_case(config, 2, longest(config)).ragged(left=2)
    names = [name for name in probe_points(model) if name.endswith("attention.weights")]
    if not names:
        return
    with torch.no_grad(), record(model, *names) as seen:
        watched = case.run(model)
    assert set(seen) == set(names), f"these probes saw nothing: {sorted(set(names) - set(seen))}"
    for name, weights in seen.items():
        sums = weights.sum(-1)
        assert torch.allclose(sums, torch.ones_like(sums), atol=TOLERANCE), f"rows of {name} do not sum to 1"
        hidden = ~case.visible(name, model.family).expand_as(weights)
        assert not weights.masked_select(hidden).any(), f"{name} attends to the future or to pads"
    with torch.no_grad():
        assert_close({"logits": watched}, {"logits": case.run(model)}, TOLERANCE, "watching")


@torch.no_grad()
def cached_equals_uncached(config: ModelConfig) -> None:
    """Read in pieces of any length, tokens give the full pass's logits, in any cache with room enough.

    Of models that generate; an encoder has no use for a cache.
    """
    if not family_of(config).generates:
        return
    model = random_model(config)
    case = random_case(config, 2, longest(config)).ragged_source(right=2)
    length = case.tokens.shape[1]
    whole = case.run(model)
    half, third = length // 2 or 1, -(-length // 3)
    for first, rest, capacity in (
        (length, length, length + 5),
        (1, 1, length),
        (half, 1, length + 5),
        (half, 1, length),
        (third, third, length),
    ):
        continuation = Continuation(model, case, model.family.stack().module(model).make_cache(2, capacity))
        ends = [0, *range(first, length, rest), length]
        pieces = [case.tokens[:, start:end] for start, end in itertools.pairwise(ends)]
        cached = torch.cat([continuation.read(piece) for piece in pieces], dim=1)
        where = f"a prompt of {first}, then {rest} at a time, and a cache of {capacity}"
        assert_close({"logits": cached}, {"logits": whole}, TOLERANCE, where)


@torch.no_grad()
def a_tree_equals_each_of_its_paths(config: ModelConfig) -> None:
    """Hypotheses that are read as one tree in one cache, as beam search does, give what each gives alone.

    Of models that translate; beam search is theirs.
    """
    if not family_of(config).stack().cross:
        return
    model = cast("EncoderDecoder", random_model(config))
    case = random_case(config, 2, longest(config, 6)).ragged_source(right=2)
    assert case.source is not None
    tree = HypothesisTree([model], case.source, case.padding, 0, WIDTH)
    for depth, tokens in enumerate(case.tokens.T):
        logits = tree.logits(tree.read())
        for hypothesis, path in enumerate(tree.paths().unbind(1)):
            target = F.pad(path, (1, 0))  # after the start, token 0
            alone = model(case.source, target, case.padding)[:, -1]
            where = f"hypothesis {hypothesis} of {depth} tokens"
            assert_close({"logits": logits[:, hypothesis]}, {"logits": alone}, TOLERANCE, where)
        if target.shape[1] == config.max_seq_len:
            break
        parents = torch.arange(WIDTH).flip(0) % logits.shape[1]  # the last hypothesis first
        siblings = (tokens[:, None] + torch.arange(WIDTH)) % config.vocab_size
        tree.grow(parents.expand(len(tokens), -1), siblings)


@torch.no_grad()
def cached_equals_uncached_with_left_padding(config: ModelConfig) -> None:
    """Prompts of different lengths in one cache give what each gives alone; so does a step of static shapes.

    A translator's sources are of different lengths too, with pads at the left. An encoder has no use for a cache.
    """
    if not family_of(config).generates:
        return
    model = random_model(config)
    length = longest(config)
    starts = torch.tensor([0, length // 3, length - 1])
    case = random_case(config, 3, length).ragged_source(left=2)
    alone = [case.row(row, start=start).run(model)[0] for row, start in enumerate(starts.tolist())]
    for static in (False, True):
        for prompt in sorted({1, length // 2 or 1, length}):
            cache = model.family.stack().module(model).make_cache(3, length + 3, starts=starts)
            continuation = Continuation(model, case, cache)
            read = [continuation.read(case.tokens[:, :prompt])]
            for slot in range(prompt, length):
                token = case.tokens[:, slot : slot + 1]
                read.append(continuation.read_at(slot, token) if static else continuation.read(token))
            logits = torch.cat(read, dim=1)
            for row, start in enumerate(starts.tolist()):
                where = f"row {row}, {start} pads, a prompt of {prompt}{', static shapes' if static else ''}"
                assert_close({"logits": logits[row, start:]}, {"logits": alone[row]}, TOLERANCE, where)


def compiles_into_one_graph(config: ModelConfig) -> None:
    """``torch.compile(fullgraph=True)`` traces the whole training pass, probes included, and gives the same numbers."""
    model = random_model(without_dropout(config)).train()
    case = random_case(config, 2, longest(config, 8)).ragged_source(right=2)
    torch.compiler.reset()
    logits = case.run(torch.compile(model, fullgraph=True, backend="aot_eager"))
    found = {"logits": logits.detach(), **gradients(model, case.loss(logits))}
    expected = logits_and_gradients(model, case)
    assert_close(found, {name: expected[name] for name in found}, TOLERANCE, "compilation")


def stacked_models_equal_single_ones(config: ModelConfig) -> None:
    """``torch.func``: several models' weights stacked, run and differentiated as one, give what each gives alone.

    On the explicit path: torch has no batched form of the CPU's fused attention, and falls back to a loop.
    """
    config = without_dropout(config)
    models = [random_model(config, seed=seed) for seed in range(2)]
    for model in models:
        model.set_paths("explicit")
    case = random_case(config, 2, longest(config, 8)).ragged_source(right=2)
    args, options = case.arguments
    trained = [name for name, parameter in models[0].named_parameters() if parameter.requires_grad]
    every = [dict(model.named_parameters()) | dict(model.named_buffers()) for model in models]
    stacks = {name: torch.stack([each[name].detach() for each in every]) for name in every[0]}
    weights = {name: stacks.pop(name) for name in trained}

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return case.loss(functional_call(models[0], (weights, buffers), args, options))

    stacked = vmap(grad(loss))(weights, stacks)
    for index, model in enumerate(models):
        alone = logits_and_gradients(model, case)
        one = {name: value[index] for name, value in stacked.items() if name in alone}
        assert_close(one, {name: alone[name] for name in one}, TOLERANCE, f"model {index} of the stack")


def half_precision_is_near(config: ModelConfig) -> None:
    """In bf16 the logits are finite, and as near to fp32's as 8 bits of mantissa let them be.

    With the routes of fp32: which of two experts that are nearly equal a token is given to, rounding decides.
    """
    config = without_dropout(config)
    case = random_case(config, 2, longest(config))
    model, half = random_model(config), random_model(config).to(torch.bfloat16)
    routers = [name for name in probe_points(model) if name.endswith("router.logits")]
    with torch.no_grad(), ExitStack() as watching:
        routes = watching.enter_context(record(model, *routers)) if routers else {}
        exact = case.run(model)
        if routers:
            watching.enter_context(watch(half, lambda name, _logits: routes[name], *routers))
        rounded = case.run(half)
    assert rounded.dtype == torch.bfloat16, f"a bf16 model gave {rounded.dtype}"
    assert rounded.isfinite().all(), "a bf16 logit is not finite"
    error = (rounded.float() - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt()
    assert error < 0.1, f"in bf16 the logits are off by {error:.0%}"
