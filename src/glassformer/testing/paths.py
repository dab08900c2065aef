"""Promises about ways to compute the same: whichever is taken, the numbers are the same.

The fused and the explicit attention path, watched or not; a prompt and a cache, or everything at once; one graph, a
stack of models at once; in half precision the numbers are near.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.parts.cache import KVCache
from glassformer.parts.probes import probe_points, record
from glassformer.testing.comparing import (
    TOLERANCE,
    assert_close,
    cross_entropy,
    gradients,
    logits_and_gradients,
    padding_mask,
    random_model,
    random_tokens,
)
from glassformer.testing.configs import without_dropout


def fused_equals_explicit(config: ModelConfig) -> None:
    """Both attention paths give the same logits and gradients, with and without padding, in fp32 and in float64."""
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.float64, 1e-10)):
        model = random_model(without_dropout(config), dtype).train()
        tokens = random_tokens(config, 3, min(config.max_seq_len, 16))
        for padding in (None, padding_mask(tokens, left=2), padding_mask(tokens, right=2)):
            found = {}
            for path in ("fused", "explicit"):
                model.set_attention_path(path)
                found[path] = logits_and_gradients(model, tokens, padding)
            assert_close(found["fused"], found["explicit"], tolerance, "the fused path")


def recorded_weights_are_a_distribution(config: ModelConfig) -> None:
    """Attention weights sum to 1, are exactly 0 on the future and on pads, and watching them changes nothing."""
    model = random_model(without_dropout(config))
    tokens = random_tokens(config, 2, min(config.max_seq_len, 16))
    padding = padding_mask(tokens, left=2)
    names = [name for name in probe_points(model) if name.endswith("attention.weights")]
    if not names:
        return
    with torch.no_grad(), record(model, *names) as seen:
        watched = model(tokens, padding=padding)
    assert set(seen) == set(names), f"these probes saw nothing: {sorted(set(names) - set(seen))}"
    for name, weights in seen.items():
        sums = weights.sum(-1)
        assert torch.allclose(sums, torch.ones_like(sums), atol=TOLERANCE), f"rows of {name} do not sum to 1"
        assert not weights.triu(1).any(), f"{name} looks at the future"
        pads = padding[:, None, None, :] & ~torch.eye(tokens.shape[1], dtype=torch.bool)
        assert not weights.masked_select(pads.expand_as(weights)).any(), f"{name} looks at pads"
    with torch.no_grad():
        assert_close({"logits": watched}, {"logits": model(tokens, padding=padding)}, TOLERANCE, "watching")


@torch.no_grad()
def cached_equals_uncached(config: ModelConfig) -> None:
    """A prompt of any length and then token by token gives the full pass's logits, in any cache with room enough."""
    model = random_model(config)
    tokens = random_tokens(config, 2, min(config.max_seq_len, 16))
    length = tokens.shape[1]
    whole = model(tokens)
    for prompt in sorted({1, length // 2 or 1, length}):
        for capacity in (length, length + 5):
            cached = _through_cache(model, tokens, prompt, model.make_cache(2, capacity))
            assert_close(
                {"logits": cached}, {"logits": whole}, TOLERANCE, f"a prompt of {prompt} and a cache of {capacity}"
            )


@torch.no_grad()
def cached_equals_uncached_with_left_padding(config: ModelConfig) -> None:
    """Prompts of different lengths in one cache give what each gives alone; so does a step of static shapes."""
    model = random_model(config)
    length = min(config.max_seq_len, 16)
    starts = torch.tensor([0, length // 3, length - 1])
    tokens = random_tokens(config, 3, length)
    alone = [model(tokens[row : row + 1, start:])[0] for row, start in enumerate(starts.tolist())]
    for static in (False, True):
        for prompt in sorted({1, length // 2 or 1, length}):
            cache = model.make_cache(3, length + 3, starts=starts)
            logits = _through_cache(model, tokens, prompt, cache, static=static)
            for row, start in enumerate(starts.tolist()):
                where = f"row {row}, {start} pads, a prompt of {prompt}{', static shapes' if static else ''}"
                assert_close({"logits": logits[row, start:]}, {"logits": alone[row]}, TOLERANCE, where)


def _through_cache(model: Decoder, tokens: Tensor, prompt: int, cache: KVCache, *, static: bool = False) -> Tensor:
    """Logits [B, T, vocab] by a prompt in one piece and the rest one by one; ``static`` keeps every shape the same."""
    logits = [model(tokens[:, :prompt], cache=cache)]
    for index in range(prompt, tokens.shape[1]):
        token = tokens[:, index : index + 1]
        if static:
            context = model.slot_context(torch.tensor([index]), cache.capacity, cache.starts)
            logits.append(model.unembed(model.run(token, context, cache)))
        else:
            logits.append(model(token, cache=cache))
    return torch.cat(logits, dim=1)


def compiles_into_one_graph(config: ModelConfig) -> None:
    """``torch.compile(fullgraph=True)`` traces the whole training pass, probes included, and gives the same numbers."""
    model = random_model(without_dropout(config)).train()
    tokens = random_tokens(config, 2, min(config.max_seq_len, 8))
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    logits = compiled(tokens)
    found = {"logits": logits.detach(), **gradients(model, cross_entropy(logits, tokens))}
    expected = logits_and_gradients(model, tokens)
    assert_close(found, {name: expected[name] for name in found}, TOLERANCE, "compilation")


def stacked_models_equal_single_ones(config: ModelConfig) -> None:
    """``torch.func``: several models' weights stacked, run and differentiated as one, give what each gives alone.

    On the explicit path: torch has no batched form of the CPU's fused attention, and falls back to a loop.
    """
    config = without_dropout(config)
    models = [random_model(config, seed=seed) for seed in range(2)]
    for model in models:
        model.set_attention_path("explicit")
    tokens = random_tokens(config, 2, min(config.max_seq_len, 8))
    weights, buffers = stack_module_state(models)

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return cross_entropy(functional_call(models[0], (weights, buffers), (tokens,)), tokens)

    stacked = vmap(grad(loss))(weights, buffers)
    for index, model in enumerate(models):
        alone = logits_and_gradients(model, tokens)
        one = {name: value[index] for name, value in stacked.items() if name in alone}
        assert_close(one, {name: alone[name] for name in one}, TOLERANCE, f"model {index} of the stack")


def half_precision_is_near(config: ModelConfig) -> None:
    """In bf16 the logits are finite, and as near to fp32's as 8 bits of mantissa let them be."""
    config = without_dropout(config)
    tokens = random_tokens(config, 2, min(config.max_seq_len, 16))
    with torch.no_grad():
        exact, rounded = random_model(config)(tokens), random_model(config).to(torch.bfloat16)(tokens)
    assert rounded.dtype == torch.bfloat16, f"a bf16 model gave {rounded.dtype}"
    assert rounded.isfinite().all(), "a bf16 logit is not finite"
    error = (rounded.float() - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt()
    assert error < 0.1, f"in bf16 the logits are off by {error:.0%}"
