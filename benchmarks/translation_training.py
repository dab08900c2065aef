"""Target tokens per second of a translator's training step, beside torch.nn.Transformer and transformers' Marian.

    python benchmarks/translation_training.py                      # transformer-small, vocabulary 8,000, 2,000 tokens
    python benchmarks/translation_training.py --preset transformer-base --rounds 5

A step is: forward pass, mean cross-entropy over what is no pad, backward pass, gradient norm clipped at 1, Adam. All
see the same batches of real Multi30k pairs (from $GLASSFORMER_DATA, or downloaded), one after the other, and take turns
in one process after a warm-up. Ours and Marian have the same weights; nn.Transformer has as many, in its own layers,
with the embeddings, sines and tied head around it that it leaves to its user.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from alternating import Timing, alternate, circumstances
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer import speed
from glassformer.data.batches import IGNORE
from glassformer.data.pair_batching import PairBatch
from glassformer.data.translation_config import TranslationConfig
from glassformer.models.counting import flops_per_token
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.marian_export import save_marian
from glassformer.models.marian_layout import SpecialIds
from glassformer.models.presets import preset
from glassformer.parts.positions import sinusoids
from glassformer.tasks.pairs import PairSamples
from glassformer.tasks.registry import prepare_samples
from glassformer.tasks.run_config import RunConfig
from glassformer.training.execution import choose
from glassformer.training.optimizers import Optimizer
from glassformer.training.step import GradientStep
from glassformer.training.telemetry import clip_gradients, gradient_norm

Step = Callable[[], object]

AS_MARIAN = {
    "model.norm.placement": "post",
    "model.norm.final": False,
    "model.attention.bias": True,
    "model.head.bias": True,
    "model.positions.options": {"layout": "halves"},
}
TARGETS = {
    ("nn.Transformer", "fp32"): 1.7,
    ("Marian", "fp32"): 1.9,
    ("Marian, dropout .1", "fp32, dropout .1"): 1.5,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", choices=["transformer-small", "transformer-base"], default="transformer-small")
    parser.add_argument("--batch-tokens", type=int, default=2_000)
    parser.add_argument("--batches", type=int, default=6, help="different batches; a round trains on each once")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves its own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(circumstances())
    if speed.keep_freed_memory():  # as the trainer does; it holds for the process, so the peers have it too
        print("glibc keeps freed memory, for all")
    for dtype in (torch.float32, torch.bfloat16):
        print(f"matmul peak {speed.matmul_peak(dtype, fresh=True) / 1e9:,.0f} GFLOP/s {dtype}")

    config, samples = prepared(arguments)
    batches = [samples.batch(step) for step in range(arguments.batches)]
    model = built(config)
    dropping = config.override({"model.dropout": 0.1})
    calls = {
        "nn.Transformer": peer_step(PlainTransformer(config), batches, bf16=False),
        "Marian": peer_step(Marian(model, samples, dropout=0.0), batches, bf16=False),
        "fp32": our_step(config, samples, batches),
        "nn.Transformer, bf16": peer_step(PlainTransformer(config), batches, bf16=True),
        "Marian, bf16": peer_step(Marian(model, samples, dropout=0.0), batches, bf16=True),
        "bf16": our_step(config.override({"training.precision": "bf16"}), samples, batches),
        "Marian, dropout .1": peer_step(Marian(model, samples, dropout=0.1), batches, bf16=False),
        "fp32, dropout .1": our_step(dropping, samples, batches),
        "bf16, dropout .1": our_step(dropping.override({"training.precision": "bf16"}), samples, batches),
    }
    timings = alternate(calls, rounds=arguments.rounds, warm_up=1)
    report(config, batches, timings)


def report(config: RunConfig, batches: Sequence[PairBatch], timings: dict[str, Timing]) -> None:
    """A table: target tokens per second, and how many times faster than each peer at the same dropout."""
    tokens = sum(batch.n_tokens for batch in batches)
    mean_length = tokens / sum(len(batch.indices) for batch in batches)
    flops = tokens * flops_per_token(config.model, round(mean_length)).training
    shape = f"{len(batches)} batches, {tokens:,} target tokens in {sum(len(batch.indices) for batch in batches)} pairs"
    print(f"\n{shape}; vocabulary {config.model.vocab_size:,}; {flops / 1e9 / len(batches):.1f} GFLOP a step")
    print(f"  {'':<24}{'ms a step':>10}{'tokens/s':>10}   ratio to nn.Transformer    ratio to Marian       of peak")
    for name, timing in timings.items():
        dropout = ", dropout .1" if name.endswith("dropout .1") else ""
        columns = []
        for peer in ("nn.Transformer", f"Marian{dropout}"):
            if peer == "nn.Transformer" and dropout:
                columns.append(" " * 24)
                continue
            low, high = timing.ratio_spread(timings[peer])
            target = TARGETS.get((peer, name))
            wanted = f" (≥ {target})" if target else ""
            columns.append(f"{timing.ratio_to(timings[peer]):5.2f}  {low:.2f}–{high:.2f}{wanted:<9}")
        peak = speed.matmul_peak(torch.bfloat16 if "bf16" in name else torch.float32)
        print(
            f"  {name:<24}{timing.median * 1e3 / len(batches):>10.1f}{tokens / timing.median:>10,.0f}   "
            f"{columns[0]:<26} {columns[1]:<26}{100 * flops / timing.median / peak:3.0f} %"
        )


def prepared(arguments: argparse.Namespace) -> tuple[RunConfig, PairSamples]:
    """The shape as both sides can build it, without dropout, and its batches."""
    chosen = preset(arguments.preset)
    changes = {
        "data.source": "multi30k-en-de",
        "data.vocab_size": 8_000,
        "training.batch_tokens": arguments.batch_tokens,
        "training.label_smoothing": 0.0,
        "training.grad_clip": 1.0,
        "training.optimizer.learning_rate": 1e-4,
        "training.schedule.kind": "constant",
        "model.dropout": 0.0,
    }
    config = RunConfig(model=chosen.model, data=TranslationConfig())
    config = config.override(dict(chosen.recipe) | AS_MARIAN | changes)
    samples = prepare_samples(config)
    assert isinstance(samples, PairSamples)
    return samples.with_vocabulary(config), samples


def built(config: RunConfig) -> EncoderDecoder:
    """The model at weights that are the same for all."""
    torch.manual_seed(0)
    return EncoderDecoder(config.model).train()


def our_step(config: RunConfig, samples: PairSamples, batches: Sequence[PairBatch]) -> Step:
    """What the trainer does in one update, on the path that it would choose here, for every batch."""
    model, training = built(config), config.training
    execution = choose(config, samples)
    model.set_attention_path(execution.attention_path)
    optimizer = Optimizer(training.optimizer, model)
    gradient = GradientStep(model, execution, precision=training.precision, seed=0)

    def steps() -> None:
        with speed.use_fast_matmul(execution.fast_matmul):
            for number, batch in enumerate(batches):
                optimizer.zero_grad()
                gradient(number, batch)
                clip_gradients(optimizer.parameters, gradient_norm(optimizer.parameters), 1.0)
                optimizer.step()

    return steps


class PlainTransformer(nn.Module):
    """torch.nn.Transformer as its users complete it: embeddings × √d, sines, one matrix for everything."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        torch.manual_seed(0)
        model = config.model
        assert model.n_encoder_layers is not None
        self.tokens = nn.Embedding(model.vocab_size, model.d_model)
        nn.init.normal_(self.tokens.weight, std=model.d_model**-0.5)
        self.register_buffer("positions", sinusoids(torch.arange(model.max_seq_len), model.d_model))
        self.positions: Tensor
        self.factor = math.sqrt(model.d_model)
        self.transformer = nn.Transformer(
            model.d_model,
            model.attention.n_heads,
            model.n_encoder_layers,
            model.n_layers,
            model.d_ff,
            dropout=0.0,
            batch_first=True,
        )

    def forward(self, batch: PairBatch) -> Tensor:
        """Logits [B, T, vocab]."""
        length = batch.inputs.shape[1]
        hidden = self.transformer(
            self.embed(batch.source),
            self.embed(batch.inputs),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(length),
            src_key_padding_mask=batch.source_padding,
            memory_key_padding_mask=batch.source_padding,
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.tokens.weight)

    def embed(self, tokens: Tensor) -> Tensor:
        """Token vectors and sines."""
        return self.tokens(tokens) * self.factor + self.positions[: tokens.shape[1]]


class Marian(nn.Module):
    """The MarianMTModel (sdpa) of transformers with our weights."""

    def __init__(self, model: EncoderDecoder, samples: PairSamples, *, dropout: float) -> None:
        super().__init__()
        import transformers

        tokenizer = samples.data.tokenizer.target
        ids = SpecialIds(tokenizer.pad_id, tokenizer.pad_id, tokenizer.end_id)  # pad as start: ids keep their order
        with tempfile.TemporaryDirectory() as folder:
            save_marian(model, Path(folder), ids=ids)
            self.peer = transformers.MarianMTModel.from_pretrained(
                folder, attn_implementation="sdpa", dropout=dropout, attention_dropout=0.0, activation_dropout=0.0
            )

    def forward(self, batch: PairBatch) -> Tensor:
        """Logits [B, T, vocab]."""
        logits: Tensor = self.peer(
            input_ids=batch.source,
            attention_mask=(~batch.source_padding).long(),
            decoder_input_ids=batch.inputs,
            use_cache=False,
        ).logits
        return logits


def peer_step(peer: nn.Module, batches: Sequence[PairBatch], *, bf16: bool) -> Step:
    """The same updates in plain PyTorch."""
    peer.train()
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)

    def steps() -> None:
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = peer(batch)
                loss = F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
            optimizer.step()

    return steps


if __name__ == "__main__":
    main()
