"""Every activation of every model is what the papers' formulas give, written down here a second time.

The reference below knows nothing of our modules: it takes the named weights and the configuration, and computes with
plain tensor operations, a head at a time, in float64. It returns each intermediate by the name the model has for it.
"""

from __future__ import annotations

import functools
import json
import math

import pytest
import torch

from glassformer.models.config import ModelConfig
from glassformer.models.presets import preset, preset_names
from glassformer.parts.probes import probe_points
from glassformer.registry import registered
from glassformer.testing import part_configs, shrunk
from glassformer.testing.cases import longest, random_case
from glassformer.testing.comparing import random_model

# ------------------------------------------------------------------------------------------- the plain reference


def reference(config, weights, case):
    """Name -> activation of one forward pass in evaluation: the whole Transformer in plain formulas."""
    seen = {}
    first, target, head = matrices(config, weights)
    if config.family == "encoder-decoder":
        memory = stack(config, weights, "encoder.", first, case.source, case.padding, seen, causal=False)
        context = (memory, case.padding)
        final = stack(config, weights, "decoder.", target, case.tokens, None, seen, causal=True, memory=context)
    else:
        causal = config.family == "decoder"
        final = stack(config, weights, "", target, case.tokens, case.padding, seen, causal=causal)
    if config.head.transform:
        x = linear(final, weights["head_transform.dense.weight"], weights.get("head_transform.dense.bias"))
        x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
        final = norm(config.norm.kind, x, weights, "head_transform.norm.", config.norm.eps)
    seen["logits"] = linear(final, head, weights.get("head.bias"))[..., : config.vocab_size]
    return seen


def matrices(config, weights):
    """The token tables of the encoder and of the decoder, and the head's matrix; a shared one is named once."""
    if config.family != "encoder-decoder":
        table = weights.get("embedding.tokens.weight")
        return None, table, table if config.head.tied else weights["head.weight"]
    source = weights.get("encoder.embedding.tokens.weight")
    target = source if config.embedding.source == "target" else weights.get("decoder.embedding.tokens.weight")
    if config.head.tied:
        return source, target, target
    return source, target, source if config.embedding.source == "head" else weights["head.weight"]


def stack(config, weights, prefix, table, tokens, padding, seen, *, causal, memory=None):
    """Embedding, blocks and final norm of one sequence: its probes are written into ``seen``."""
    positions = torch.arange(tokens.shape[1]).expand(tokens.shape)  # [B, T]; pads do not count
    if padding is not None:
        positions = torch.tensor([[max(0, sum(not pad for pad in row[: t + 1]) - 1) for t in range(len(row))]
                                  for row in padding.tolist()])  # fmt: skip
    x = embedding(config, weights, prefix, table, tokens, positions, padding, seen)
    visible = who_sees_whom(tokens, padding, causal=causal)
    for layer in range(config.n_encoder_layers if prefix == "encoder." else config.n_layers):
        x = block(config, weights, f"{prefix}blocks.{layer}.", x, positions, visible, memory, seen)
    seen[f"{prefix}final"] = norm(config.norm.kind, x, weights, f"{prefix}final_norm.", config.norm.eps)
    if not config.norm.final:
        seen[f"{prefix}final"] = x
    return seen[f"{prefix}final"]


def embedding(config, weights, prefix, table, tokens, positions, padding, seen):
    """Token vectors (times √d_model), plus position vectors where the encoding has any, the first segment's, a norm."""
    x = 0.0
    if table is not None:
        x = table[tokens] * (math.sqrt(config.d_model) if config.embedding.scale else 1.0)
        seen[f"{prefix}embedding.token_vectors"] = x
    if config.positions.kind in ("learned", "sinusoidal"):
        if config.positions.kind == "learned":
            vectors = weights[f"{prefix}embedding.positions.table.weight"][positions]
        else:
            vectors = sinusoids(config, positions)
        # without pads the positions are the same in every row, and the vectors [T, d_model]
        seen[f"{prefix}embedding.position_vectors"] = vectors if padding is not None else vectors[0]
        x = x + vectors
    if config.embedding.types:
        x = x + weights[f"{prefix}embedding.types.weight"][0]
    if config.embedding.norm:
        x = norm(config.norm.kind, x, weights, f"{prefix}embedding.norm.", config.norm.eps)
    seen[f"{prefix}embedding.output"] = x
    return x


def sinusoids(config, positions):
    """sin and cos of pos / θ^(2i/d), one after the other or in two halves; the model keeps them in float32."""
    d, theta = config.d_model, config.positions.theta
    halves = config.positions.options.get("layout") == "halves"
    table = torch.empty(config.max_seq_len, d, dtype=torch.float64)
    for pos in range(config.max_seq_len):
        for i in range(d // 2):
            angle = pos / theta ** (2 * i / d)
            table[pos, i if halves else 2 * i] = math.sin(angle)
            table[pos, d // 2 + i if halves else 2 * i + 1] = math.cos(angle)
    return table.float().double()[positions]


def who_sees_whom(tokens, padding, *, causal):
    """bool [B, T, S]: itself, and what is no pad and (if causal) not later."""
    rows, length = tokens.shape
    visible = torch.zeros(rows, length, length, dtype=torch.bool)
    for row in range(rows):
        for query in range(length):
            for key in range(length):
                pad = padding is not None and bool(padding[row, key])
                visible[row, query, key] = query == key or (not pad and (key < query or not causal))
    return visible


def block(config, weights, name, x, positions, visible, memory, seen):
    """Each sublayer with its norm and its skip: x + f(norm(x)), norm(x + f(x)), or x + f(x)."""
    seen[f"{name}input"] = x

    def sublayer(which, x, compute, *, skip):
        placement = config.norm.placement
        normed = functools.partial(
            norm, config.norm.kind, weights=weights, prefix=f"{name}{which}_norm.", eps=config.norm.eps
        )
        seen[f"{name}{which}_input"] = normed(x) if placement == "pre" else x
        y = compute(seen[f"{name}{which}_input"])
        y = x + y if skip else y
        seen[f"{name}after_{which}"] = normed(y) if placement == "post" else y
        return seen[f"{name}after_{which}"]

    def attend(y):
        bias = distances(config, positions) if config.positions.kind == "alibi" else None
        turn = positions if config.positions.kind == "rotary" else None
        return attention(config, weights, f"{name}attention.", y, y, visible, seen, bias=bias, turn=turn)

    def attend_across(y):
        hidden, padding = memory
        rows, length = hidden.shape[:2]
        shown = torch.ones(rows, 1, length, dtype=torch.bool)
        if padding is not None:  # a source of nothing but pads is seen whole
            shown = torch.stack([~row if not row.all() else torch.ones_like(row) for row in padding])[:, None]
        return attention(config, weights, f"{name}cross_attention.", y, hidden, shown, seen)

    if config.sublayers != "feedforward":
        skip = config.residual in ("both", "attention")
        x = sublayer("attention", x, attend, skip=skip)
        if memory is not None:
            x = sublayer("cross_attention", x, attend_across, skip=skip)
    if config.sublayers != "attention":
        skip = config.residual in ("both", "feedforward")
        x = sublayer(
            "feedforward", x, lambda y: feedforward(config, weights, f"{name}feedforward.", y, seen), skip=skip
        )
    return x


def attention(config, weights, name, x, memory, visible, seen, *, bias=None, turn=None):
    """softmax(Q Kᵀ / √d_k + mask) V, a head at a time; ``turn`` are the positions of a rotary encoding."""
    n_heads, n_keys, d = config.attention.n_heads, config.n_kv_heads, config.d_head
    (w_q, b_q), (w_k, b_k), (w_v, b_v) = projections(config, weights, name)

    def part(source, matrix, vector, index, normed=None):
        rows = slice(index * d, (index + 1) * d)
        y = linear(source, matrix[rows], None if vector is None else vector[rows])
        if normed is not None:
            eps = 1e-6 if config.attention.qk_norm == "annotated-layernorm" else 1e-5
            y = norm(config.attention.qk_norm, y, weights, f"{name}{normed}.", eps)
        return y if turn is None or normed is None else rotated(y, turn, config.positions.theta)

    queries = [part(x, w_q, b_q, head, "query_norm") for head in range(n_heads)]
    keys = [part(memory, w_k, b_k, head, "key_norm") for head in range(n_keys)]
    values = [part(memory, w_v, b_v, head) for head in range(n_keys)]
    scores, masked, shares, heads = [], [], [], []
    for head, query in enumerate(queries):
        key, value = keys[head * n_keys // n_heads], values[head * n_keys // n_heads]
        scores.append(torch.einsum("btd,bsd->bts", query, key))
        scaled = scores[-1] / math.sqrt(d) if config.attention.scale else scores[-1]
        if bias is not None:
            scaled = scaled + bias[:, head]
        masked.append(torch.where(visible, scaled, -math.inf))
        powers = torch.exp(masked[-1] - masked[-1].amax(-1, keepdim=True))
        shares.append(powers / powers.sum(-1, keepdim=True))
        heads.append(torch.einsum("bts,bsd->btd", shares[-1], value))
    for last, each in (
        ("query", queries), ("key", keys), ("value", values), ("scores", scores), ("masked_scores", masked),
        ("weights", shares), ("heads", heads),
    ):  # fmt: skip
        seen[name + last] = torch.stack(each, dim=1)
    seen[f"{name}output"] = linear(torch.cat(heads, -1), weights[f"{name}w_o.weight"], weights.get(f"{name}w_o.bias"))
    return seen[f"{name}output"]


def projections(config, weights, name):
    """The matrix and bias of queries, keys and values: three, slices of one, or one for all."""
    kind, width = config.attention.projection, config.n_kv_heads * config.d_head

    def named(matrix):
        return weights[f"{name}{matrix}.weight"], weights.get(f"{name}{matrix}.bias")

    def cut(pair, *sizes):
        matrix, bias = pair
        biases = [None] * len(sizes) if bias is None else bias.split(sizes)
        return list(zip(matrix.split(sizes), biases, strict=True))

    if kind == "shared":
        return [named("w_shared")] * 3
    if kind == "separate":
        return [named("w_q"), named("w_k"), named("w_v")]
    if "cross" in name:
        return [named("w_q"), *cut(named("w_kv"), width, width)]
    return cut(named("w_qkv"), config.attention.n_heads * config.d_head, width, width)


def rotated(x, positions, theta):
    """Features i and i + d/2 as one complex number, times e^(i · pos · θ^(−2i/d))."""
    half = x.shape[-1] // 2
    angles = positions[..., None].double() * theta ** (-2 * torch.arange(half).double() / x.shape[-1])  # [B, T, d/2]
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((turned.real, turned.imag), dim=-1)


def distances(config, positions):
    """ALiBi's −slope · |i − j|, [B, H, T, T]: slopes 2^(−8/n), 2^(−16/n), …; from twice as many where n is no 2^k."""
    n = config.attention.n_heads
    power = 1 << (n.bit_length() - 1)
    slopes = [2.0 ** (-8 * k / power) for k in range(1, power + 1)]
    slopes += [2.0 ** (-8 * k / (2 * power)) for k in range(1, 2 * power + 1, 2)][: n - power]
    apart = (positions[:, :, None] - positions[:, None, :]).abs()
    return torch.stack([-slope * apart for slope in slopes], dim=1).double()


def experts(config, weights, name, x, seen):
    """The sum of all experts, each on every token, with weights that are 0 but for the K largest scores; softmax."""
    chosen = config.feedforward.experts
    assert chosen.router == "softmax", "no formula here for other routers; add it"
    logits = linear(x, weights[f"{name}router.projection.weight"], None)
    powers = torch.exp(logits - logits.amax(-1, keepdim=True))
    scores = powers / powers.sum(-1, keepdim=True)
    kth = scores.sort(-1).values[..., -chosen.n_active, None]
    gates = torch.where(scores >= kth, scores, 0.0)
    if chosen.renormalise or (chosen.renormalise is None and chosen.n_active > 1):
        gates = gates / gates.sum(-1, keepdim=True)
    seen |= {f"{name}router.logits": logits, f"{name}router.gates": gates}
    each_seen = []
    for expert in range(chosen.n_experts):
        own = {key: value[expert] for key, value in weights.items() if key.startswith(f"{name}experts.")}
        each_seen.append({})
        feedforward(config, own, f"{name}experts.", x, each_seen[-1])
    seen |= {key: torch.stack([one[key] for one in each_seen], dim=1) for key in each_seen[0]}
    seen[f"{name}expert_outputs"] = seen[f"{name}experts.output"]
    seen[f"{name}output"] = torch.einsum("bte,betd->btd", gates, seen[f"{name}expert_outputs"])
    return seen[f"{name}output"]


def feedforward(config, weights, name, x, seen):
    """W₂ f(W₁ x + b₁) + b₂."""
    if f"{name}router.projection.weight" in weights:
        return experts(config, weights, name, x, seen)

    def project(x, matrix):
        weight = weights[f"{name}{matrix}.weight"]  # of a convolution: [d_out, d_in, 1]
        return linear(x, weight.flatten(1), weights.get(f"{name}{matrix}.bias"))

    x_1 = project(x, "w_1")
    match config.feedforward.kind:
        case "relu":
            hidden = torch.where(x_1 > 0, x_1, 0.0)
        case "gelu":
            hidden = x_1 * (1 + torch.erf(x_1 / math.sqrt(2))) / 2
        case "gelu-tanh":
            hidden = x_1 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x_1 + 0.044715 * x_1**3))) / 2
        case "relu2":
            hidden = torch.where(x_1 > 0, x_1, 0.0) ** 2
        case "silu":
            hidden = x_1 / (1 + torch.exp(-x_1))
        case "swiglu":
            gate = project(x, "w_gate")
            seen[f"{name}gate"] = gate / (1 + torch.exp(-gate))
            hidden = seen[f"{name}gate"] * x_1
        case other:
            pytest.fail(f"no formula here for the feed-forward layer {other}; add it")
    seen[f"{name}hidden"] = hidden
    seen[f"{name}output"] = project(hidden, "w_2")
    return seen[f"{name}output"]


def norm(kind, x, weights, prefix, eps):
    """The norms' formulas over the last axis; BatchNorm with the statistics it has gathered."""
    mean = x.mean(-1, keepdim=True)
    match kind:
        case "none":
            return x
        case "layernorm":
            y = (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps)
        case "annotated-layernorm":
            unbiased = ((x - mean) ** 2).sum(-1, keepdim=True) / (x.shape[-1] - 1)
            y = (x - mean) / (torch.sqrt(unbiased) + eps)
        case "rmsnorm":
            y = x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps)
        case "batchnorm":
            prefix += "features."
            y = (x - weights[f"{prefix}running_mean"]) / torch.sqrt(weights[f"{prefix}running_var"] + eps)
    y = y * weights[f"{prefix}weight"] if f"{prefix}weight" in weights else y
    return y + weights[f"{prefix}bias"] if f"{prefix}bias" in weights else y


def linear(x, weight, bias):
    """x Wᵀ + b."""
    y = torch.einsum("...i,oi->...o", x, weight)
    return y if bias is None else y + bias


# ------------------------------------------------------------------------------------------- every model

FULL_SIZE = ("tiny-transformer", "nanogpt-shakespeare-cpu")
PRESETS = {name: preset(name).model if name in FULL_SIZE else shrunk(preset(name).model) for name in preset_names()}
OURS = [
    (kind, name)
    for kind in ("attention", "cross-attention", "feedforward", "norm", "positions")
    for name, cls in registered(kind).items()
    if cls.__module__.startswith("glassformer.parts.")  # not what another test registered
]
PARTS = {
    f"{kind}-{name}-{variant}".replace(" ", "_"): config
    for kind, name in OURS
    for variant, config in part_configs(kind, name).items()
}
FIRST = {f"{kind}-{name}-{next(iter(part_configs(kind, name)))}".replace(" ", "_") for kind, name in OURS}
SMALL = ModelConfig.build(
    {"vocab_size": 23, "max_seq_len": 12, "d_model": 24, "n_layers": 2, "attention": {"n_heads": 4}}
)
TRANSLATOR = {"n_encoder_layers": 2, "norm.placement": "post"}
UNTIED = {"head.tied": False, "head.bias": True}
OPTIONS = {
    "no skips": {"residual": "none"},
    "a skip around attention only": {"residual": "attention"},
    "a skip around the feed-forward layer only": {"residual": "feedforward", "norm.placement": "post"},
    "attention only": {"sublayers": "attention"},
    "feed-forward only": {"sublayers": "feedforward"},
    "no blocks": {"n_layers": 0},
    "no norms": {"norm.placement": "none", "norm.final": False},
    "a final norm only": {"norm.placement": "none"},
    "positions without tokens": {"embedding.tokens": False, **UNTIED},
    "a padded vocabulary": {"pad_vocab_to": 16},
    "a padded vocabulary and a head of its own": {"pad_vocab_to": 16, **UNTIED},
    "ALiBi of six heads": {"positions.kind": "alibi", "attention.n_heads": 6},
    "sinusoids in halves of another base": {
        "positions.kind": "sinusoidal",
        "positions.theta": 100.0,
        "positions.options": {"layout": "halves"},
    },
    "rotary positions, grouped queries, QK-norm": {
        "positions.kind": "rotary",
        "attention.n_kv_heads": 2,
        "attention.qk_norm": "layernorm",
    },
    "scaled vectors without positions": {"embedding.scale": True, "positions.kind": "none"},
    "an encoder alone": {"family": "encoder"},
    "normed embeddings, segments, a transform before the head": {
        "embedding.norm": True,
        "embedding.types": 3,
        "head.transform": True,
        "norm.kind": "rmsnorm",
    },
    "an encoder alone, post-norm, with ALiBi": {
        "family": "encoder",
        "norm.placement": "post",
        "positions.kind": "alibi",
    },
    "a translator": TRANSLATOR,
    "a translator of three vocabularies": {
        **TRANSLATOR,
        "embedding.source": "own",
        "source_vocab_size": 31,
        "pad_vocab_to": 8,
        **UNTIED,
    },
    "a translator whose source is the head's": {**TRANSLATOR, "embedding.source": "head", **UNTIED},
    "a translator without attention": {**TRANSLATOR, "sublayers": "feedforward"},
    "a translator with BatchNorm": {**TRANSLATOR, "norm.kind": "batchnorm"},
    "a translator with ALiBi": {**TRANSLATOR, "positions.kind": "alibi"},
}
MODELS = PRESETS | PARTS | {name: SMALL.override(changes) for name, changes in OPTIONS.items()}
NEVER = ("embedding.token_vectors", "embedding.position_vectors")  # of a model without tokens, without added positions


in_further_uses = pytest.mark.slow(reason="every activation in every further use of a part")
EVERY = [pytest.param(name, marks=in_further_uses if name in PARTS.keys() - FIRST else ()) for name in MODELS]


@pytest.mark.parametrize("pads", ["no pads", "pads at the left", "pads at the right", "a row of pads"])
@pytest.mark.parametrize("name", EVERY)
def test_every_activation_is_what_the_formulas_give(name, pads):
    check(MODELS[name].to_json(), pads)


@functools.cache
def check(config, pads):
    """Once for presets that are the same when shrunk."""
    config = ModelConfig.build(json.loads(config))
    model = random_model(config, torch.float64)
    case = random_case(config, 2, longest(config, 12))
    case = {
        "no pads": lambda: case,
        "pads at the left": lambda: case.ragged(left=3),
        "pads at the right": lambda: case.ragged(right=3),
        "a row of pads": case.with_row_of_pads,
    }[pads]()
    arguments, options = case.arguments
    trace = model.trace(*arguments, **options)
    with torch.no_grad():
        expected = reference(config, model.named_weights(), case)
    assert set(trace) == set(expected)
    assert all(name.endswith(NEVER) for name in set(probe_points(model)) - set(trace))
    # all is float64 but the cosines of rotary positions, whose angles are float32
    tolerance = 1e-5 if config.positions.kind == "rotary" else 1e-11
    for name, value in expected.items():
        scale = max(1.0, value[value.isfinite()].abs().max().item())
        torch.testing.assert_close(
            trace[name], value, rtol=0, atol=tolerance * scale, msg=lambda message, name=name: f"{name}: {message}"
        )


@pytest.mark.parametrize("name", EVERY)
def test_a_trace_s_logits_are_those_of_the_fast_path(name):
    model = random_model(MODELS[name])
    case = random_case(MODELS[name], 2, longest(MODELS[name])).ragged(left=2)
    arguments, options = case.arguments
    with torch.no_grad():
        fast = case.run(model)
    logits = model.trace(*arguments, **options).logits
    assert (logits - fast).abs().max() <= 1e-5 * max(1.0, fast.abs().max().item())


def test_the_formulas_can_tell_a_wrong_model_from_a_right_one():
    """The reference is no mirror: a model that differs in one setting that leaves the weights alone is found out."""
    wrong = {
        "attention.scale": False,
        "embedding.scale": True,
        "feedforward.kind": "gelu",
        "residual": "attention",
        "positions.theta": 5_000.0,
        "norm.eps": 0.1,
    }
    config = SMALL.override({"positions.kind": "sinusoidal"})
    case = random_case(config, 2, 12)
    model = random_model(config, torch.float64)
    logits = model.trace(*case.arguments[0]).logits
    with torch.no_grad():
        for setting, value in wrong.items():
            other = reference(config.override({setting: value}), model.named_weights(), case)["logits"]
            assert (other - logits).abs().max() > 1e-6, setting
