"""A training step of a model with experts, beside a dense one of the same active FLOPs; and the loss for the seconds.

    python benchmarks/experts.py                              # both shapes
    python benchmarks/experts.py --experts 8 --rounds 5       # one
    python benchmarks/experts.py --losses --seconds 120       # loss against seconds and FLOPs, from the same runs

All are ``nanogpt-shakespeare`` (6 layers, width 384) in size, without dropout. The dense model's feed-forward layer is
as wide as a token's experts together. A step is: forward pass, mean cross-entropy and the balance loss, backward pass,
gradient norm clipped at 1, AdamW. The models take turns in one process after a warm-up; a ratio is that of the median
times, and the range is the middle half of the ratios round by round.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from alternating import Timing, alternate, circumstances

from glassformer.data.language_modeling import TokenBatch
from glassformer.data.sources import open_source
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.models.counting import active_parameters, flops_per_token, parameters
from glassformer.models.presets import preset
from glassformer.parts.experts import balance_routers, layers_of_experts
from glassformer.tasks.training_config import OptimizerConfig
from glassformer.training.execution import ExecutionConfig
from glassformer.training.optimizers import Optimizer
from glassformer.training.step import GradientStep
from glassformer.training.telemetry import clip_gradients, gradient_norm

D_FF = 1536
SHAPES = {8: (2, D_FF // 2), 64: (8, D_FF // 8)}
"""Experts → how many a token is given to, and the width of each: together as wide as the dense layer."""
TARGETS = {8: 1.35, 64: 1.6}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--experts", nargs="+", type=int, choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=16, help="sequences of a step")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves its own choice")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--losses", action="store_true", help="train instead, and print losses against seconds")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(circumstances())
    if arguments.losses:
        compare_losses(arguments)
    else:
        compare_steps(arguments)


def config_of(n_experts: int, arguments: argparse.Namespace) -> ModelConfig:
    """The dense model (0 experts), or the one with experts."""
    changes: dict[str, object] = {
        "max_seq_len": arguments.context,
        "n_layers": arguments.layers,
        "dropout": 0.0,
        "attention.dropout": 0.0,
        "feedforward.d_ff": D_FF,
    }
    if n_experts:
        n_active, width = SHAPES[n_experts]
        changes |= {
            "feedforward.experts.n_experts": n_experts,
            "feedforward.experts.n_active": n_active,
            "feedforward.experts.d_ff": width,
            "feedforward.experts.z_loss": 0.001,
        }
    return preset("nanogpt-shakespeare").model.override(changes)


@dataclass
class Trained:
    """One model and its steps."""

    config: ModelConfig
    arguments: argparse.Namespace
    seed: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model = build(self.config).to(self.arguments.device)
        self.optimizer = Optimizer(OptimizerConfig(kind="adamw", learning_rate=1e-3), self.model)
        tokens = self.arguments.batch * self.arguments.context
        execution = ExecutionConfig(
            self.arguments.device, False, "fused", self.arguments.compile, tokens, torch.get_num_threads(), ()
        )
        self.gradient = GradientStep(self.model, execution, precision=self.arguments.precision, seed=self.seed)
        self.experts = layers_of_experts(self.model)

    def step(self, number: int, tokens: torch.Tensor) -> float:
        """One update; the negative log-likelihood before it, in nats per token."""
        self.optimizer.zero_grad()
        loss = self.gradient(number, batch_of(tokens))
        clip_gradients(self.optimizer.parameters, gradient_norm(self.optimizer.parameters), 1.0)
        self.optimizer.step()
        balance_routers(self.experts, loss.routing)
        return loss.nll


def batch_of(tokens: torch.Tensor) -> TokenBatch:
    """Windows [B, T + 1] as inputs and targets."""
    return TokenBatch(tokens[:, :-1], tokens[:, 1:], np.zeros(len(tokens), dtype=np.int64))


def compare_steps(arguments: argparse.Namespace) -> None:
    """The table of ratios."""
    tokens = torch.randint(65, (arguments.batch, arguments.context + 1))
    steps: dict[str, Callable[[], object]] = {}
    models = {0: Trained(config_of(0, arguments), arguments)}
    models |= {n: Trained(config_of(n, arguments), arguments) for n in arguments.experts}
    for n, model in models.items():
        steps[f"{n} experts" if n else "dense"] = lambda model=model: model.step(0, tokens)  # type: ignore[misc]
    timings = alternate(steps, rounds=arguments.rounds)
    print(f"\n{arguments.batch} × {arguments.context} tokens, {arguments.layers} layers, {arguments.precision}\n")
    names = f"{'model':<12} {'parameters':>12} {'active':>12} {'FLOPs/token':>12}"
    print(f"{names} {'step':>9} {'ratio':>6}  {'range':<13} target")
    dense = timings["dense"]
    for n, model in models.items():
        name = f"{n} experts" if n else "dense"
        print(_row(name, model.config, timings[name], dense, TARGETS.get(n)))


def _row(name: str, config: ModelConfig, own: Timing, dense: Timing, target: float | None) -> str:
    counts = f"{parameters(config).total:>12,} {active_parameters(config):>12,}"
    flops = flops_per_token(config, config.max_seq_len).training
    line = f"{name:<12} {counts} {flops:>12,} {own.median * 1e3:7.1f}ms"
    if target is None:
        return line
    ratio, (low, high) = dense.ratio_to(own), dense.ratio_spread(own)
    return f"{line} {ratio:6.2f}  {low:.2f} to {high:.2f}  {target} {'reached' if ratio <= target else 'missed'}"


def compare_losses(arguments: argparse.Namespace) -> None:
    """Losses of the same training text against seconds and FLOPs, models and seeds in turn."""
    text = _text()
    for seed in arguments.seeds:
        for n in (0, *arguments.experts):
            _train(n, seed, text, arguments)


def _train(n: int, seed: int, text: torch.Tensor, arguments: argparse.Namespace) -> None:
    config = config_of(n, arguments).override({"vocab_size": int(text.max()) + 1})
    trained, draw = Trained(config, arguments, seed), torch.Generator().manual_seed(seed)
    per_token = flops_per_token(config, arguments.context).training
    windows, spent, recent, next_line = text.unfold(0, arguments.context + 1, 1), 0.0, [], 0.1
    number = 0
    while spent < arguments.seconds:
        rows = torch.randint(len(windows), (arguments.batch,), generator=draw)
        begun = time.perf_counter()
        recent.append(trained.step(number, windows[rows]))
        spent += time.perf_counter() - begun
        number += 1
        if spent >= next_line * arguments.seconds or spent >= arguments.seconds:
            flops = number * arguments.batch * arguments.context * per_token
            mean = sum(recent) / len(recent)
            print(
                f"{n or 'no'} experts, seed {seed}: {spent:7.1f} s {flops:.3g} FLOPs {number:5} steps {mean:.4f} nats"
            )
            recent, next_line = [], next_line + 0.1


def _text() -> torch.Tensor:
    """The characters of Python's standard library, each a token."""
    text = "".join(itertools.islice(open_source("python-stdlib").texts(), 600))
    known = {character: index for index, character in enumerate(sorted(set(text)))}
    return torch.tensor([known[character] for character in text])


if __name__ == "__main__":
    main()
