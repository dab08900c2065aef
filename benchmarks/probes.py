"""What the probe points cost a training step while nobody watches.

    python benchmarks/probes.py                                     # two shapes
    python benchmarks/probes.py --shapes tiny-transformer --rounds 50

A step is: forward pass, mean cross-entropy, backward pass, eagerly (a compiled graph has no probes in it: see
tests/models/test_compiled_graph.py). Four models of the same weights take turns in one process: two with probes, and
two whose probes were taken out of the module tree, a plain Python function in their place. Two of a kind are the same
model, so what they differ by is the noise of the measurement. Costs are ratios of median times, less one; their range
is the middle half of the ratios round by round. The last line does without such a difference of large numbers: it times
the probes alone, a forward pass's worth of calls, and sets them in proportion to the step.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
from alternating import Timing, alternate, circumstances
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.models.decoder import Decoder
from glassformer.models.presets import preset
from glassformer.parts.probes import Probe, probe_points, record

BATCHES = {"nanogpt-shakespeare-cpu": 12, "tiny-transformer": 32}  # sequences a step, as the presets are trained
TARGET = 0.01


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=BATCHES, default=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves its own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(circumstances())
    for shape in arguments.shapes:
        compare(shape, arguments.rounds)


def compare(shape: str, rounds: int) -> None:
    """One shape."""
    torch.manual_seed(0)
    model = Decoder(preset(shape).model).train()
    bare = without_probes(model)
    length = model.config.max_seq_len
    generator = torch.Generator().manual_seed(0)
    tokens, targets = torch.randint(model.config.vocab_size, (2, BATCHES[shape], length), generator=generator)
    steps = {
        "without, again": step_of(copy.deepcopy(bare), tokens, targets),
        "with probes": step_of(copy.deepcopy(model), tokens, targets),
        "without": step_of(bare, tokens, targets),
        "with, again": step_of(copy.deepcopy(model), tokens, targets),
    }
    timings = alternate(steps, rounds=rounds, warm_up=5)
    print(f"\n{shape}: {BATCHES[shape]} × {length} tokens a step, {len(probe_points(model))} probes, {rounds} rounds")
    for name, timing in timings.items():
        line = f"  {name:<16}{timing.median * 1e3:>9.2f} ms"
        print(line if name == "without" else f"{line}  {cost(timing, timings['without'])}")
    alone = seconds_alone(model, tokens)
    share = alone / timings["without"].median
    print(f"  the probes alone: {alone * 1e6:.0f} µs a step, {share:.2%} of it (target: below {TARGET:.0%})")


def cost(timing: Timing, baseline: Timing) -> str:
    """How much longer it takes, and the middle half of the rounds."""
    low, high = baseline.ratio_spread(timing)
    return f"{baseline.ratio_to(timing) - 1:>+7.2%}  ({low - 1:+.2%} to {high - 1:+.2%})"


def step_of(model: nn.Module, tokens: Tensor, targets: Tensor) -> Callable[[], None]:
    """Forward and backward pass."""

    def step() -> None:
        model.zero_grad()
        F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).backward()

    return step


def plain(x: Tensor) -> Tensor:
    """What stands in a probe's place."""
    return x


plain.watched = False  # type: ignore[attr-defined] # attention asks its probes this


def without_probes(model: nn.Module) -> nn.Module:
    """A copy whose probes are no modules."""
    bare = copy.deepcopy(model)
    for module in list(bare.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Probe):
                delattr(module, name)
                module.__dict__[name] = plain
    return bare


def seconds_alone(model: nn.Module, tokens: Tensor) -> float:
    """Of the calls that one pass makes of its probes, and of attention's asking whether three of them are watched,
    beyond the same calls of a plain function. The pass itself is left out: a probe does not look at what it is given.
    """
    with torch.no_grad(), record(model) as seen:
        model(tokens)
    met = [probe for name, probe in probe_points(model).items() if name in seen]
    asked = [probe for name, probe in probe_points(model).items() if name.endswith(("scores", "weights"))]

    def calls(
        called: list[Callable[[Tensor], Tensor]], watched: list[Callable[[Tensor], Tensor]]
    ) -> Callable[[], None]:
        def call() -> None:
            for each in called:
                each(tokens)
            for each in watched:
                each.watched  # type: ignore[attr-defined] # noqa: B018

        return call

    both = {"probes": calls(met, asked), "plain": calls([plain] * len(met), [plain] * len(asked))}
    timings = alternate(both, rounds=20, per_round=50)
    return timings["probes"].median - timings["plain"].median


if __name__ == "__main__":
    main()
