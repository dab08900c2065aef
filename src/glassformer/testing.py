"""The contract suite: what every part, and every model made of parts, promises.

    from glassformer.testing import check_part

    check_part("norm", "centred", part_files=["my_parts.py"])

Each promise is a function of a :class:`ModelConfig` that raises ``AssertionError``; ``PROMISES`` has them by name, so
that a test suite can run each as a test of its own. Weights are random and far from their starting values (a norm's
weight is not 1, a bias is not 0), so that no term can hide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from glassformer.errors import GlassformerError
from glassformer.models import counting
from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.parts.cache import KVCache
from glassformer.parts.probes import probe_points, record, watch
from glassformer.registry import load_part_file

TOLERANCE = 1e-5  # of fp32 logits and gradients whose sums are in another order, over the largest value
IDENTICAL = 1e-6  # of what should be the same numbers
Promise = Callable[[ModelConfig], None]


# --- what is called from outside ------------------------------------------------------------------------------------


def check_part(
    kind: str, name: str, *, options: Mapping[str, Any] | None = None, part_files: Sequence[str | Path] = ()
) -> None:
    """Put a registered part into small models of several kinds and check every promise.

    Args:
        kind, name: as it was registered (``"norm", "centred"``).
        options: its further arguments, as they would stand in ``norm.options``.
        part_files: files that register it, if it is not registered yet.

    Raises:
        AssertionError: every promise that is broken, with the model in which it is.
    """
    broken = []
    for variant, config in part_configs(kind, name, options=options, part_files=part_files).items():
        broken += [f"{variant}: {complaint}" for complaint in _broken_promises(config)]
    assert not broken, f"{kind} '{name}' breaks its contract:\n" + "\n".join(f"  - {line}" for line in broken)


def check_model(config: ModelConfig) -> None:
    """Check every promise for one model.

    Raises:
        AssertionError: every promise that is broken.
    """
    broken = _broken_promises(config)
    assert not broken, "The model breaks its contract:\n" + "\n".join(f"  - {line}" for line in broken)


def _broken_promises(config: ModelConfig) -> list[str]:
    broken = []
    for name, promise in PROMISES.items():
        try:
            promise(config)
        except AssertionError as error:
            broken.append(f"{name.replace('_', ' ')}: {error}")
        except (GlassformerError, RuntimeError, TypeError, ValueError, IndexError) as error:
            broken.append(f"{name.replace('_', ' ')}: {type(error).__name__}: {error}")
    return broken


def part_configs(
    kind: str, name: str, *, options: Mapping[str, Any] | None = None, part_files: Sequence[str | Path] = ()
) -> dict[str, ModelConfig]:
    """Small models that use the part in every way it can be used, by what is particular about each."""
    for path in part_files:
        load_part_file(path)
    base = ModelConfig.build(
        {
            "vocab_size": 23,
            "max_seq_len": 12,
            "d_model": 16,
            "n_layers": 2,
            "attention": {"n_heads": 4},
            "feedforward": {"d_ff": 24},
            "part_files": [str(path) for path in part_files],
        }
    )
    base = base.override({f"{kind}.kind": name, f"{kind}.options": dict(options or {})})
    variants: dict[str, dict[str, dict[str, Any]]] = {
        "norm": {
            "pre": {},
            "post": {"norm.placement": "post"},
            "without bias": {"norm.bias": False},
        },
        "feedforward": {
            "plain": {},
            "without bias, post-norm": {"feedforward.bias": False, "norm.placement": "post"},
            "as a convolution": {"feedforward.convolution": True},
        },
        "positions": {
            "multi-head": {},
            "grouped queries": {"attention.n_kv_heads": 2},
            "one layer, untied": {"n_layers": 1, "head.tied": False, "head.bias": True},
        },
        "attention": {
            "plain": {},
            "separate projections, no bias": {"attention.projection": "separate", "attention.bias": False},
            "one shared projection": {"attention.projection": "shared", "positions.kind": "rotary"},
            "grouped queries, QK-norm, rotary": {
                "attention.n_kv_heads": 2,
                "attention.qk_norm": "rmsnorm",
                "positions.kind": "rotary",
            },
            "one key head, ALiBi": {"attention.n_kv_heads": 1, "positions.kind": "alibi"},
            "wide heads, not scaled": {"attention.d_head": 8, "attention.scale": False},
        },
    }
    if not options:  # there it is made without any
        variants["norm"]["of queries and keys"] = {"attention.qk_norm": name, "norm.kind": "layernorm"}
    return {variant: base.override(changes) for variant, changes in variants[kind].items()}


def shrunk(config: ModelConfig) -> ModelConfig:
    """The same model, small enough to test often: what is a choice is kept, what is a size is cut.

    At most 2 layers, 4 query heads (key heads in proportion) 8 wide, context 16, vocabulary 61; d_ff in proportion.
    """
    n_heads = min(config.attention.n_heads, 4)
    group = min(config.attention.n_heads // config.n_kv_heads, n_heads)
    while n_heads % group:
        group -= 1
    d_head = min(config.d_head, 8)
    d_model = n_heads * d_head
    return config.override(
        {
            "n_layers": min(config.n_layers, 2),
            "d_model": d_model,
            "vocab_size": min(config.vocab_size, 61),
            "max_seq_len": min(config.max_seq_len, 16),
            "attention.n_heads": n_heads,
            "attention.n_kv_heads": None if config.attention.n_kv_heads is None else n_heads // group,
            "attention.d_head": None if config.attention.d_head is None else d_head,
            "feedforward.d_ff": config.feedforward.d_ff and max(1, config.d_ff * d_model // config.d_model),
        }
    )


# --- promise 1 ------------------------------------------------------------------------------------------------------


def fused_equals_explicit(config: ModelConfig) -> None:
    """Both attention paths give the same logits and gradients, with and without padding, in fp32 and in float64."""
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.float64, 1e-10)):
        model = _model(without_dropout(config), dtype).train()
        tokens = _tokens(config, 3, min(config.max_seq_len, 16))
        for padding in (None, _padding(tokens, left=2), _padding(tokens, right=2)):
            found = {}
            for path in ("fused", "explicit"):
                model.set_attention_path(path)
                found[path] = _logits_and_gradients(model, tokens, padding)
            _assert_close(found["fused"], found["explicit"], tolerance, "the fused path")


def recorded_weights_are_a_distribution(config: ModelConfig) -> None:
    """Attention weights sum to 1, are exactly 0 on the future and on pads, and watching them changes nothing."""
    model = _model(without_dropout(config))
    tokens = _tokens(config, 2, min(config.max_seq_len, 16))
    padding = _padding(tokens, left=2)
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
        _assert_close({"logits": watched}, {"logits": model(tokens, padding=padding)}, TOLERANCE, "watching")


# --- promise 2 ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def cached_equals_uncached(config: ModelConfig) -> None:
    """A prompt of any length and then token by token gives the full pass's logits, in any cache with room enough."""
    model = _model(config)
    tokens = _tokens(config, 2, min(config.max_seq_len, 16))
    length = tokens.shape[1]
    whole = model(tokens)
    for prompt in sorted({1, length // 2 or 1, length}):
        for capacity in (length, length + 5):
            cached = _through_cache(model, tokens, prompt, model.make_cache(2, capacity))
            _assert_close(
                {"logits": cached}, {"logits": whole}, TOLERANCE, f"a prompt of {prompt} and a cache of {capacity}"
            )


@torch.no_grad()
def cached_equals_uncached_with_left_padding(config: ModelConfig) -> None:
    """Prompts of different lengths in one cache give what each gives alone; so does a step of static shapes."""
    model = _model(config)
    length = min(config.max_seq_len, 16)
    starts = torch.tensor([0, length // 3, length - 1])
    tokens = _tokens(config, 3, length)
    alone = [model(tokens[row : row + 1, start:])[0] for row, start in enumerate(starts.tolist())]
    for static in (False, True):
        for prompt in sorted({1, length // 2 or 1, length}):
            cache = model.make_cache(3, length + 3, starts=starts)
            logits = _through_cache(model, tokens, prompt, cache, static=static)
            for row, start in enumerate(starts.tolist()):
                where = f"row {row}, {start} pads, a prompt of {prompt}{', static shapes' if static else ''}"
                _assert_close({"logits": logits[row, start:]}, {"logits": alone[row]}, TOLERANCE, where)


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


# --- promise 5 ------------------------------------------------------------------------------------------------------


def causal_is_causal(config: ModelConfig) -> None:
    """Later tokens, be there none, others or a million times as large ones, leave earlier logits and gradients alone.

    A norm over the batch is causal in evaluation only, so that is where all models are checked.
    """
    model = _model(without_dropout(config))
    length = min(config.max_seq_len, 16)
    cut = max(1, length // 2)
    tokens = _tokens(config, 2, length)
    other = torch.cat((tokens[:, :cut], (tokens[:, cut:] + 1) % config.vocab_size), dim=1)
    for path in ("fused", "explicit"):
        model.set_attention_path(path)
        before = _logits_and_gradients(model, tokens, read=slice(0, cut))
        after = _logits_and_gradients(model, other, read=slice(0, cut))
        _assert_close(after, before, IDENTICAL, f"on the {path} path, a later token")
        alone = _logits_and_gradients(model, tokens[:, :cut])
        _assert_close(before, alone, TOLERANCE, f"on the {path} path, that there are later tokens")

        def louder(_name: str, x: Tensor) -> Tensor:
            return torch.cat((x[:, :cut], 1e6 * x[:, cut:]), dim=1)

        with watch(model, louder, "embedding.output"):
            shouted = model(tokens)[:, :cut]
        _assert_close(
            {"logits": shouted}, {"logits": before["logits"]}, IDENTICAL, f"on the {path} path, a loud later token"
        )


def padding_is_nothing(config: ModelConfig) -> None:
    """What pads hold, how many and at which end: the real tokens' logits, loss and gradients stay as they are."""
    model = _model(without_dropout(config))
    length = max(1, min(config.max_seq_len, 16) - 4)
    tokens = _tokens(config, 2, length)
    pads = min(4, config.max_seq_len - length)
    for path in ("fused", "explicit"):
        model.set_attention_path(path)
        bare = _logits_and_gradients(model, tokens)
        for side in ("left", "right"):
            for count in sorted({1, pads} if pads else set()):
                found = []
                for content in (0, config.vocab_size - 1):
                    padded, padding = _pad(tokens, side, count, content)
                    read = slice(count, None) if side == "left" else slice(0, length)
                    found.append(_logits_and_gradients(model, padded, padding, read=read))
                _assert_close(
                    found[1], found[0], IDENTICAL, f"on the {path} path, what {count} pads on the {side} hold"
                )
                _assert_close(found[0], bare, TOLERANCE, f"on the {path} path, {count} pads on the {side}")


def a_row_of_pads_is_finite(config: ModelConfig) -> None:
    """A sequence that is all padding gives finite numbers, and finite gradients to all parameters."""
    model = _model(without_dropout(config))
    tokens = _tokens(config, 2, min(config.max_seq_len, 8))
    padding = torch.zeros_like(tokens, dtype=torch.bool)
    padding[1] = True
    for path in ("fused", "explicit"):
        model.set_attention_path(path)
        for name, value in _logits_and_gradients(model, tokens, padding).items():
            assert value.isfinite().all(), f"{name} is not finite on the {path} path"


def rows_do_not_see_each_other(config: ModelConfig) -> None:
    """Any batch size and any length up to the context: a sequence gives in a batch what it gives alone."""
    model = _model(config)
    with torch.no_grad():
        for batch, length in ((1, 1), (3, min(2, config.max_seq_len)), (2, config.max_seq_len)):
            tokens = _tokens(config, batch, length)
            logits = model(tokens)
            assert logits.shape == (batch, length, config.vocab_size), f"logits have the shape {list(logits.shape)}"
            alone = torch.cat([model(row[None]) for row in tokens])
            _assert_close({"logits": logits}, {"logits": alone}, TOLERANCE, f"a batch of {batch} × {length}")


# --- promise 7 ------------------------------------------------------------------------------------------------------


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
    quiet = operations(_model(config).train(), _tokens(config, 2, min(config.max_seq_len, 8)))
    drawing = [name for name in quiet if any(word in name for word in ("random", "bernoulli", "dropout", "rand"))]
    assert not drawing, f"dropout is off in training, and these drew random numbers: {drawing}"
    dropping = _model(with_dropout(config)).eval()
    tokens = _tokens(config, 2, min(config.max_seq_len, 8))
    assert operations(dropping, tokens) == operations(_model(config), tokens), "dropout does something in evaluation"


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


# --- seeds, many models in one, compilation, precision --------------------------------------------------------------


def a_seed_decides_everything(config: ModelConfig) -> None:
    """The same seed gives the same weights and, with dropout, the same training pass; another seed gives another."""
    config = with_dropout(config)
    tokens = _tokens(config, 2, min(config.max_seq_len, 8))
    runs = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = Decoder(config).train()
            first, second = model(tokens), model(tokens)
        runs.append((model.named_weights(), first.detach(), second.detach()))
    same, again, other = runs
    _assert_close(again[0], same[0], 0.0, "the same seed")
    assert torch.equal(same[1], again[1]), "the same seed gave another training pass"
    assert torch.equal(same[2], again[2]), "the same seed gave another second pass"
    assert not torch.equal(same[1], other[1]), "two seeds gave one training pass"
    assert not torch.equal(same[1], same[2]), "dropout dropped the same elements twice"


def stacked_models_equal_single_ones(config: ModelConfig) -> None:
    """``torch.func``: several models' weights stacked, run and differentiated as one, give what each gives alone.

    On the explicit path: torch has no batched form of the CPU's fused attention, and falls back to a loop.
    """
    config = without_dropout(config)
    models = [_model(config, seed=seed) for seed in range(2)]
    for model in models:
        model.set_attention_path("explicit")
    tokens = _tokens(config, 2, min(config.max_seq_len, 8))
    weights, buffers = stack_module_state(models)

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return _loss(functional_call(models[0], (weights, buffers), (tokens,)), tokens)

    stacked = vmap(grad(loss))(weights, buffers)
    for index, model in enumerate(models):
        alone = _logits_and_gradients(model, tokens)
        one = {name: value[index] for name, value in stacked.items() if name in alone}
        _assert_close(one, {name: alone[name] for name in one}, TOLERANCE, f"model {index} of the stack")


def half_precision_is_near(config: ModelConfig) -> None:
    """In bf16 the logits are finite, and as near to fp32's as 8 bits of mantissa let them be."""
    config = without_dropout(config)
    tokens = _tokens(config, 2, min(config.max_seq_len, 16))
    with torch.no_grad():
        exact, rounded = _model(config)(tokens), _model(config).to(torch.bfloat16)(tokens)
    assert rounded.dtype == torch.bfloat16, f"a bf16 model gave {rounded.dtype}"
    assert rounded.isfinite().all(), "a bf16 logit is not finite"
    error = (rounded.float() - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt()
    assert error < 0.1, f"in bf16 the logits are off by {error:.0%}"


def compiles_into_one_graph(config: ModelConfig) -> None:
    """``torch.compile(fullgraph=True)`` traces the whole training pass, probes included, and gives the same numbers."""
    model = _model(without_dropout(config)).train()
    tokens = _tokens(config, 2, min(config.max_seq_len, 8))
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    logits = compiled(tokens)
    found = {"logits": logits.detach(), **_gradients(model, _loss(logits, tokens))}
    expected = _logits_and_gradients(model, tokens)
    _assert_close(found, {name: expected[name] for name in found}, TOLERANCE, "compilation")


PROMISES: dict[str, Promise] = {
    promise.__name__: promise
    for promise in (
        fused_equals_explicit,
        recorded_weights_are_a_distribution,
        cached_equals_uncached,
        cached_equals_uncached_with_left_padding,
        causal_is_causal,
        padding_is_nothing,
        a_row_of_pads_is_finite,
        rows_do_not_see_each_other,
        off_is_off,
        a_seed_decides_everything,
        stacked_models_equal_single_ones,
        half_precision_is_near,
    )
}
"""By name; ``compiles_into_one_graph`` stands apart, since it takes seconds."""


# --- tools ----------------------------------------------------------------------------------------------------------

DROPOUTS = ("dropout", "attention.dropout", "feedforward.dropout")


def without_dropout(config: ModelConfig) -> ModelConfig:
    """The model with all dropout off."""
    return config.override(dict.fromkeys(DROPOUTS, 0.0))


def with_dropout(config: ModelConfig) -> ModelConfig:
    """The model with dropout everywhere."""
    return config.override(dict.fromkeys(DROPOUTS, 0.25))


def _model(config: ModelConfig, dtype: torch.dtype = torch.float32, *, seed: int = 0) -> Decoder:
    """In evaluation, its weights and running statistics moved away from where they started."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = Decoder(config)
        with torch.no_grad():
            for value in model.named_weights().values():
                if value.is_floating_point():
                    fan_in = value.shape[1] if value.dim() > 1 else 50
                    value += 0.7 / math.sqrt(fan_in) * torch.randn_like(value)
    return model.to(dtype).eval()


def _tokens(config: ModelConfig, batch_size: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch_size * 1000 + length)
    return torch.randint(config.vocab_size, (batch_size, length), generator=generator)


def _padding(tokens: Tensor, *, left: int = 0, right: int = 0) -> Tensor:
    """The last row has this many pads at its ends (as many as its length allows); the others have none."""
    padding = torch.zeros_like(tokens, dtype=torch.bool)
    padding[-1, : min(left, tokens.shape[1] - 1)] = True
    if right:
        padding[-1, -min(right, tokens.shape[1] - 1) or tokens.shape[1] :] = True
    return padding


def _pad(tokens: Tensor, side: str, count: int, content: int) -> tuple[Tensor, Tensor]:
    """Tokens and mask with ``count`` pads more at one side of every row."""
    ends = (count, 0) if side == "left" else (0, count)
    padding = F.pad(torch.zeros_like(tokens, dtype=torch.bool), ends, value=True)
    return F.pad(tokens, ends, value=content), padding


def _loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """A loss with a gradient to every logit: the cross-entropy of some target per token."""
    targets = (tokens * 7 + 3) % logits.shape[-1]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _logits_and_gradients(
    model: Decoder, tokens: Tensor, padding: Tensor | None = None, *, read: slice = slice(None)
) -> dict[str, Tensor]:
    """Logits, loss and every parameter's gradient, of the tokens that are read and no pads."""
    real = torch.ones_like(tokens, dtype=torch.bool) if padding is None else ~padding
    logits = model(tokens, padding=padding)[:, read]
    kept = real[:, read]
    targets = (tokens * 7 + 3)[:, read] % logits.shape[-1]
    loss = F.cross_entropy(logits[kept], targets[kept])
    return {"logits": logits.detach(), "loss": loss.detach(), **_gradients(model, loss)}


def _gradients(model: Decoder, loss: Tensor) -> dict[str, Tensor]:
    """Of every parameter that the loss depends on."""
    names, values = zip(*model.named_parameters(), strict=True)
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(loss, values, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def _assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, what: str) -> None:
    """Every value within ``tolerance`` of the largest expected one of its kind (of 1, where that is larger)."""
    assert found.keys() == expected.keys(), f"{what} changes which of these there are: {found.keys() ^ expected.keys()}"
    for name, value in found.items():
        error = (value.detach() - expected[name].detach()).abs().max().item() if value.numel() else 0.0
        scale = max(1.0, expected[name].detach().abs().max().item()) if value.numel() else 1.0
        assert error <= tolerance * scale, f"{what} changes {name} by {error:.1e} (allowed: {tolerance * scale:.0e})"
