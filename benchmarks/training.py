"""Tokens per second of a training step, beside transformers' GPT-2 and the study notes' own code, on the same work.

    python benchmarks/training.py                                   # every shape
    python benchmarks/training.py --shapes gpt2 --rounds 5          # one

A step is: forward pass, mean cross-entropy, backward pass, gradient norm clipped at 1, AdamW. All begin at the same
weights of the same model (the peer is built from our configuration and filled with our weights), see the same tokens,
and take turns in one process after a warm-up. A ratio is that of the median times; the range is the middle half of the
ratios round by round. Peers run in float32 with their own defaults, and in bf16 by autocast where the row says so.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from alternating import Timing, alternate, circumstances
from naive import NaiveTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer import speed
from glassformer.data.language_modeling import TokenBatch
from glassformer.models.counting import flops_per_token
from glassformer.models.decoder import Decoder
from glassformer.models.interop import save_gpt2
from glassformer.models.presets import preset
from glassformer.tasks.run_config import RunConfig
from glassformer.training.execution import choose
from glassformer.training.optimizers import Optimizer
from glassformer.training.step import GradientStep
from glassformer.training.telemetry import clip_gradients, gradient_norm

Step = Callable[[], object]

SHAPES: dict[str, dict[str, object]] = {
    "nanogpt-shakespeare-cpu": {"training.batch_size": 12},
    "nanogpt-shakespeare": {"training.batch_size": 64},
    "gpt2": {"training.batch_size": 2, "training.seq_len": 512},
    "tiny-transformer": {"training.batch_size": 32},
}
# what GPT-2's format can hold: biases everywhere, and no dropout on either side
AS_GPT2 = {
    "attention.bias": True,
    "feedforward.bias": True,
    "norm.bias": True,
    "dropout": 0.0,
    "attention.dropout": 0.0,
}
TARGETS = {
    ("nanogpt-shakespeare-cpu", "fp32"): 2.2,
    ("nanogpt-shakespeare-cpu", "bf16"): 2.9,
    ("nanogpt-shakespeare", "fp32"): 3.2,
    ("nanogpt-shakespeare", "bf16"): 5.0,
    ("gpt2", "fp32"): 2.2,
    ("gpt2", "bf16"): 4.0,
    ("tiny-transformer", "fp32"): 1.7,
}
VARIANTS = {
    "fp32 eager": {"training.compile": "off"},
    "fp32": {"training.compile": "on"},
    "bf16 eager": {"training.compile": "off", "training.precision": "bf16"},
    "bf16": {"training.compile": "on", "training.precision": "bf16"},
}
DROPOUT = {"model.dropout": 0.2, "model.attention.dropout": 0.2}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves its own choice")
    parser.add_argument("--no-dropout", action="store_true", help="leave out the cost of dropout")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(circumstances())
    if speed.keep_freed_memory():  # as the trainer does; it holds for the process, so the peers have it too
        print("glibc keeps freed memory, for all")
    for dtype in (torch.float32, torch.bfloat16):
        print(f"matmul peak {speed.matmul_peak(dtype, fresh=True) / 1e9:,.0f} GFLOP/s {dtype}")
    for shape in arguments.shapes:
        compare(shape, arguments)


def compare(shape: str, arguments: argparse.Namespace) -> None:
    """All variants of one shape and its peers, in turns."""
    config = configuration(shape)
    inputs, targets = tokens_for(config)
    model = built(config)
    if shape == "tiny-transformer":
        peers = {"the notes' code": naive_step(config, inputs, targets)}
    else:
        peers = {
            "transformers": transformers_step(model, inputs, targets, bf16=False),
            "transformers bf16": transformers_step(model, inputs, targets, bf16=True),
        }
    ours = {name: our_step(config.override(VARIANTS[name]), inputs, targets) for name in arguments.variants}
    if not arguments.no_dropout and "fp32" in ours:
        ours["fp32, dropout .2"] = our_step(config.override(VARIANTS["fp32"] | DROPOUT), inputs, targets)
        ours["fp32 eager, dropout .2"] = our_step(config.override(VARIANTS["fp32 eager"] | DROPOUT), inputs, targets)

    per_round = 5 if tokens_per_step(config) * config.model.d_model < 1e6 else 1
    timings = alternate(peers | ours, rounds=arguments.rounds, per_round=per_round)
    report(shape, config, timings, baseline=next(iter(peers)))


def report(shape: str, config: RunConfig, timings: dict[str, Timing], *, baseline: str) -> None:
    """A table of one shape."""
    flops = tokens_per_step(config) * flops_per_token(config.model, config.seq_len).training
    print(f"\n{shape}: {config.training.batch_size} × {config.seq_len} tokens a step, {flops / 1e9:.2f} GFLOP")
    print(f"  {'':<24}{'ms':>9}{'tokens/s':>11}{'ratio':>8}  {'range':<14}{'target':>7}  of peak")
    for name, timing in timings.items():
        low, high = timing.ratio_spread(timings[baseline])
        peak = speed.matmul_peak(torch.bfloat16 if "bf16" in name else torch.float32)
        target = TARGETS.get((shape, name))
        print(
            f"  {name:<24}{timing.median * 1e3:>9.1f}{tokens_per_step(config) / timing.median:>11,.0f}"
            f"{timing.ratio_to(timings[baseline]):>8.2f}  {f'{low:.2f}–{high:.2f}':<14}{target or '':>7}"
            f"  {100 * flops / timing.median / peak:.0f} %"
        )
    for name in ("fp32", "fp32 eager"):
        if f"{name}, dropout .2" in timings:
            cost = timings[f"{name}, dropout .2"].median / timings[name].median - 1
            print(f"  dropout 0.2 adds {100 * cost:.0f} % to a step ({name})")


def configuration(shape: str) -> RunConfig:
    """A preset as both sides can build it."""
    model = preset(shape).model
    if shape != "tiny-transformer":
        model = model.override(AS_GPT2)
    return RunConfig(model=model).override(dict(preset(shape).recipe) | {"training.grad_clip": 1.0} | SHAPES[shape])


def tokens_for(config: RunConfig) -> tuple[Tensor, Tensor]:
    """Random tokens and targets [B, T]: the time does not depend on what they are."""
    generator = torch.Generator().manual_seed(0)
    shape = (config.training.batch_size, config.seq_len)
    return tuple(torch.randint(config.model.vocab_size, shape, generator=generator) for _ in range(2))  # type: ignore[return-value]


def built(config: RunConfig) -> Decoder:
    """The model at weights that are the same for all."""
    torch.manual_seed(0)
    return Decoder(config.model).train()


@dataclass
class Shape:
    """Of a benchmark's batches, by which the path is chosen."""

    batch_size: int
    seq_len: int
    most_tokens: int
    tokens_per_step: float
    steps_per_epoch: float = 1.0


def tokens_per_step(config: RunConfig) -> int:
    """Of one update."""
    return config.training.batch_size * config.seq_len


def our_step(config: RunConfig, inputs: Tensor, targets: Tensor) -> Step:
    """What the trainer does in one update, on the path that it would choose here."""
    model, training = built(config), config.training
    execution = choose(
        config, Shape(training.batch_size, config.seq_len, tokens_per_step(config), tokens_per_step(config))
    )
    model.set_attention_path(execution.attention_path)
    optimizer = Optimizer(training.optimizer, model)
    gradient = GradientStep(model, execution, precision=training.precision, seed=0)
    assert training.grad_clip is not None
    limit = training.grad_clip

    def step() -> None:
        with speed.use_fast_matmul(execution.fast_matmul):
            optimizer.zero_grad()
            gradient(0, TokenBatch(inputs, targets, np.zeros(len(inputs), dtype=np.int64)))
            clip_gradients(optimizer.parameters, gradient_norm(optimizer.parameters), limit)
            optimizer.step()
        assert gradient.fell_back is None, gradient.fell_back

    return step


def transformers_step(model: Decoder, inputs: Tensor, targets: Tensor, *, bf16: bool) -> Step:
    """The GPT2LMHeadModel (sdpa) of transformers with our weights, and torch's fused AdamW."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        save_gpt2(model, Path(folder))
        peer = transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa").train()
    return peer_step(peer, lambda: peer(inputs, use_cache=False).logits, targets, bf16=bf16, fused=True)


def naive_step(config: RunConfig, inputs: Tensor, targets: Tensor) -> Step:
    """The code style of the study notes: separate projections, masked_fill, plain AdamW."""
    torch.manual_seed(0)
    model = config.model
    peer = NaiveTransformer(model.vocab_size, model.d_model, model.attention.n_heads, model.d_ff, model.max_seq_len)
    return peer_step(peer.train(), lambda: peer(inputs), targets, bf16=False, fused=False)


def peer_step(peer: nn.Module, forward: Callable[[], Tensor], targets: Tensor, *, bf16: bool, fused: bool) -> Step:
    """The same update in plain PyTorch."""
    optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-4, fused=fused)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = forward()
            loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
