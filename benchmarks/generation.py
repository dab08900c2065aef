"""Tokens per second of generation, beside transformers' generate with its KV cache, on identical random weights.

    python benchmarks/generation.py                                    # every shape, batch and variant
    python benchmarks/generation.py --shapes gpt2 --batches 1 --variants int8 --rounds 3

Both generate 256 tokens greedily after a prompt of one token, from the same GPT-2 weights in one process. After a
warm-up (in which ours compiles) they take turns, A B A B; a ratio is that of the median times, and its range comes
from the turns. What int8 and bf16 cost in nats is measured on a model that has learned something: one of the smaller
shape, trained here for a moment on tiny-shakespeare, on text it has not seen.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from alternating import alternate, circumstances
from torch.nn import functional as F

from glassformer import speed
from glassformer.generation import DecodingConfig, DecodingEngine, SamplingConfig, generate, quantization_loss
from glassformer.models.decoder import Decoder
from glassformer.models.interop import load_gpt2
from glassformer.models.presets import preset

SHAPES: dict[str, dict[str, int]] = {
    "nanogpt-shakespeare": {"vocab_size": 65, "n_positions": 256, "n_embd": 384, "n_layer": 6, "n_head": 6},
    "gpt2": {"vocab_size": 50_257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12},
}
VARIANTS = {
    "fp32-eager": DecodingConfig(compile="off"),
    "fp32": DecodingConfig(compile="on"),
    "bf16": DecodingConfig(compile="on", precision="bf16"),
    "int8": DecodingConfig(compile="on", quantize="int8"),
    "bf16-eager": DecodingConfig(compile="off", precision="bf16"),
    "int8-eager": DecodingConfig(compile="off", quantize="int8"),
}
TARGETS = {("fp32", 1): 1.9, ("bf16", 1): 2.3, ("int8", 1): 5.0}
NEW_TOKENS = 256


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print_circumstances()
    for shape in arguments.shapes:
        theirs, ours = models_of(shape)
        for batch_size in arguments.batches:
            compare(shape, theirs, ours, batch_size, arguments)
    if not arguments.no_loss:
        print_loss(arguments.train_steps)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["fp32-eager", "fp32", "bf16", "int8"])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves its own choice")
    parser.add_argument("--no-loss", action="store_true", help="leave out the cost of bf16 and int8 in nats")
    parser.add_argument("--train-steps", type=int, default=200, help="of the model that the cost is measured on")
    return parser.parse_args()


def print_circumstances() -> None:
    """The machine, how busy it is, and the command."""
    print(circumstances())
    bandwidth = speed.memory_bandwidth(fresh=True) / 1e9
    print(f"load {os.getloadavg()[0]:.1f} at the start; memory is read at {bandwidth:.1f} GB/s")


def models_of(shape: str) -> tuple[Any, Decoder]:
    """A transformers model with random weights, and ours with the same."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(**SHAPES[shape], bos_token_id=None, eos_token_id=None, attn_implementation="sdpa")
    theirs = GPT2LMHeadModel(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return theirs, load_gpt2(Path(folder))


def compare(shape: str, theirs: Any, ours: Decoder, batch_size: int, arguments: argparse.Namespace) -> None:
    """All variants of one shape and batch size, in turns."""
    prompts = [[row % 65] for row in range(batch_size)]
    tokens = torch.tensor(prompts)
    sampling = SamplingConfig(temperature=0.0, max_new_tokens=NEW_TOKENS)

    def peer() -> list[list[int]]:
        with torch.no_grad():
            output = theirs.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                use_cache=True,
                pad_token_id=0,
            )
        return output[:, 1:].tolist()

    engines = {name: DecodingEngine(ours, VARIANTS[name]) for name in arguments.variants}

    def runner(engine: DecodingEngine) -> Callable[[], list[list[int]]]:
        return lambda: [sequence.tokens for sequence in generate(engine, prompts, sampling)]

    contestants = {"transformers": peer} | {name: runner(engine) for name, engine in engines.items()}
    expected, warm_up = peer(), {}
    agreeing = {}
    for name, run in contestants.items():
        began = time.perf_counter()
        produced = run()
        warm_up[name] = time.perf_counter() - began
        same = [
            ours == theirs for o, t in zip(produced, expected, strict=True) for ours, theirs in zip(o, t, strict=True)
        ]
        agreeing[name] = sum(same) / len(same)
    timings = alternate(contestants, rounds=arguments.rounds, warm_up=0)  # each has run once, to be compared

    print(f"\n{shape} shape, batch {batch_size}, {NEW_TOKENS} new tokens, {arguments.rounds} turns")
    print("  variant       tokens/s   × transformers (range)   target  weights read   of memory  = theirs  warm-up")
    for name, timing in timings.items():
        median, (low, high) = timing.median, timing.ratio_spread(timings["transformers"])
        target = TARGETS.get((name, batch_size)) or (1.5 if batch_size > 1 and name == "fp32" else None)
        weights = engines[name].weight_bytes * NEW_TOKENS / median if name in engines else None
        print(
            f"  {name:<13} {batch_size * NEW_TOKENS / median:>8,.0f}"
            f"   {timing.ratio_to(timings['transformers']):>6.2f}  ({low:.2f} to {high:.2f})".ljust(48)
            + f"   {f'≥ {target}' if target else '':<6}"
            + (f"  {weights / 1e9:>6.1f} GB/s   {weights / speed.memory_bandwidth():>8.0%}" if weights else " " * 24)
            + f"   {agreeing[name]:>6.0%}   {warm_up[name]:.1f} s"
        )
    for name, engine in engines.items():
        print(f"  {name}: {engine.path}; {engine.weight_bytes / 1e6:,.1f} MB of weights a token")


def print_loss(steps: int) -> None:
    """What rounding the weights costs on text: train for a moment, then compare."""
    from glassformer.data import DataConfig, prepare

    data = prepare(DataConfig(source="tinyshakespeare"))
    config = preset("nanogpt-shakespeare").model.override({"vocab_size": data.tokenizer.vocab_size, "dropout": 0.0})
    torch.manual_seed(0)
    model = Decoder(config.override({"attention.dropout": 0.0}))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for step in range(steps):
        batch = data.batch(step=step, seed=0, batch_size=12, seq_len=64)
        loss = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    held_out = torch.from_numpy(data.validation[: 256 * 65].astype("int64")).view(256, 65)
    print(f"\ncost on {256 * 64:,} validation tokens, nanogpt-shakespeare trained {steps} steps of 12 × 64 tokens")
    for store in ("bf16", "int8"):
        cost = quantization_loss(model, held_out, store)
        print(f"  {store}  {cost.difference:+.5f} nats a token ({cost.before:.4f} to {cost.after:.4f})")


if __name__ == "__main__":
    main()
