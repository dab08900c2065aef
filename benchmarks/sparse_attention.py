"""Attention in BigBird's pattern against dense attention, by the length of the sequence: time and memory.

    python benchmarks/sparse_attention.py                              # 512 … 16,384 tokens
    python benchmarks/sparse_attention.py --lengths 1024 4096 --rounds 3 --causal

Forward and backward pass of the attention itself (queries, keys and values to heads and back; no projections), one
sequence, 4 heads of 64, float32; block 64, window 3, global 2, random 3, unless given. Three take part: torch's fused
dense attention, ours, and BigBird's block-sparse attention of `transformers` (training mode; from its shortest length
on), each in a process of its own for every length and round, in turn. In the process come a pass that is not counted,
then as many as fill some seconds, whose median is taken. The ratios are of the medians over rounds, and in brackets the
smallest and largest of the rounds. Memory is the peak resident set of one pass above that before it, where Linux says.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from alternating import circumstances
from torch import Tensor
from torch.nn import functional as F

from glassformer import speed
from glassformer.parts.bigbird import BigBird, RandomBlocks
from glassformer.parts.gathered import Gathered

LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
TARGETS = {4096: 3.5, 16384: 10.0}
"""Dense time over ours."""
LINEAR = 1.2
"""Bytes per token at the longest, over those at 2,048 tokens."""
KINDS = ("dense", "ours", "transformers")
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    """Measure and print; with ``--kind``, one measurement in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS))
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind at each length")
    parser.add_argument("--seconds", type=float, default=3.0, help="of passes in each process")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--causal", action="store_true", help="the causal variant, which transformers does not have")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves its own choice")
    for name, default in (("heads", 4), ("width", 64), ("block", 64), ("window", 3), ("global", 2), ("random", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.kind:
        print(json.dumps(measure(arguments)))
        return
    print(circumstances())
    print(
        " ".join(
            f"{name}={vars(arguments)[name]}" for name in ("heads", "width", "block", "window", "global", "random")
        )
    )
    print(f"{'tokens':>7}  {'kind':<13} {'ms':>9} {'KiB a token':>12}  dense time over its own, bytes likewise")
    per_token: dict[tuple[str, int], float] = {}
    for length in arguments.lengths:
        compare(arguments, length, per_token)
    first, last = 2048, max(arguments.lengths)
    if ("ours", first) in per_token and last > first:
        ratio = per_token["ours", last] / per_token["ours", first]
        print(f"bytes per token at {last:,} over those at {first:,}: {ratio:.2f} (target: at most {LINEAR})")


def compare(arguments: argparse.Namespace, length: int, per_token: dict[tuple[str, int], float]) -> None:
    """One length: a row for each kind."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in arguments.kinds if takes(kind, arguments, length)}
    for round_ in range(arguments.rounds):
        kinds = list(found)
        for kind in kinds[round_ % len(kinds) :] + kinds[: round_ % len(kinds)]:
            found[kind].append(in_a_process(kind, length))
    medians = {kind: statistics.median(each["seconds"] for each in runs) for kind, runs in found.items()}
    for kind, runs in found.items():
        per_token[kind, length] = statistics.median(each["bytes"] for each in runs) / length
        row = f"{length:>7}  {kind:<13} {1e3 * medians[kind]:>9.1f} {per_token[kind, length] / 1024:>12.2f}"
        if kind != "dense" and "dense" in found:
            ratios = [dense["seconds"] / own["seconds"] for dense, own in zip(found["dense"], runs, strict=True)]
            row += f"  {medians['dense'] / medians[kind]:.2f} [{min(ratios):.2f} … {max(ratios):.2f}]"
            row += f", {per_token['dense', length] / max(1.0, per_token[kind, length]):.2f}"
            if kind == "ours" and length in TARGETS:
                row += f"  (target: at least {TARGETS[length]})"
        print(row, flush=True)


def takes(kind: str, arguments: argparse.Namespace, length: int) -> bool:
    """Whether a kind has this pattern at this length."""
    blocks = length // arguments.block
    if kind == "transformers":
        if arguments.causal or arguments.window != 3 or getattr(arguments, "global") != 2:
            return False
        return length % arguments.block == 0 and blocks > 5 + 2 * arguments.random
    return kind == "dense" or blocks >= getattr(arguments, "global") + 1


def in_a_process(kind: str, length: int) -> dict[str, float]:
    """The measurement of :func:`measure` in a fresh process, with the arguments of this one."""
    command = [sys.executable, str(Path(__file__)), *sys.argv[1:], "--kind", kind, "--lengths", str(length)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of a forward and backward pass, the median, and the bytes that one takes at its peak."""
    (length,) = arguments.lengths
    speed.keep_freed_memory()  # as a training does
    torch.manual_seed(0)
    shape = (1, arguments.heads, length, arguments.width)
    inputs = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    upstream, attention = torch.randn(shape), attention_of(arguments, length)

    def once() -> float:
        started = time.perf_counter()
        heads = attention(inputs[0], inputs[1], inputs[2])
        torch.autograd.grad(heads, inputs, upstream)
        return time.perf_counter() - started

    small = [torch.randn(1, arguments.heads, 64, arguments.width, requires_grad=True) for _ in range(3)]
    F.scaled_dot_product_attention(*small).sum().backward()  # what libraries load at their first call is not its memory
    before = resident("VmRSS")
    forget_the_peak()
    once()
    bytes_ = max(0, resident("VmHWM") - before)
    seconds, ends = [], time.perf_counter() + arguments.seconds
    while not seconds or (time.perf_counter() < ends and len(seconds) < 200):
        seconds.append(once())
    return {"seconds": statistics.median(seconds), "bytes": float(bytes_)}


def attention_of(arguments: argparse.Namespace, length: int) -> Attention:
    """A function of queries, keys and values [1, H, T, d_head]."""
    if arguments.kind == "transformers":
        return of_transformers(arguments, length)
    scale = arguments.width**-0.5
    if arguments.kind == "dense":
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=arguments.causal, scale=scale)
    pattern = BigBird(arguments.block, arguments.window, getattr(arguments, "global"), causal=arguments.causal)
    if arguments.random:
        draws = RandomBlocks(arguments.heads, -(-length // arguments.block), arguments.random)
        pattern = draws.of(pattern)

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        blocks = pattern.key_blocks(length, None, causal=arguments.causal, device=q.device)
        return Gathered(blocks, length).attend(q, k, v, scale=scale)

    return ours


def of_transformers(arguments: argparse.Namespace, length: int) -> Attention:
    """The block-sparse attention of its BigBird, without the projections."""
    from transformers import BigBirdConfig
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

    n_heads, block = arguments.heads, arguments.block
    config = BigBirdConfig(
        hidden_size=n_heads * arguments.width,
        num_attention_heads=n_heads,
        block_size=block,
        num_random_blocks=arguments.random,
        max_position_embeddings=length,
    )
    layer = BigBirdBlockSparseAttention(config, seed=0).train()
    masks = BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(1, length), block)
    blocked, band, own, others = masks

    def theirs(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        sizes = (n_heads, arguments.random, arguments.width, block, block, 1, length, length)
        plan = {"seed": 0, "plan_from_length": None, "plan_num_rand_blocks": None}
        heads, _ = layer.bigbird_block_sparse_attention(q, k, v, band, own, others, blocked, blocked, *sizes, **plan)
        return heads.transpose(1, 2)

    return theirs


def resident(name: str) -> int:
    """Bytes of this process's resident set: VmRSS now, VmHWM at its peak; 0 where there is no Linux to say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def forget_the_peak() -> None:
    """Count the peak from here on."""
    control = Path("/proc/self/clear_refs")
    if control.exists():
        control.write_text("5")


if __name__ == "__main__":
    main()
