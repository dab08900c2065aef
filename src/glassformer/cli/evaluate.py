"""``glassformer evaluate``: the loss of a trained model on a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from glassformer.runs.folder import Run


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name, beginning of a name, or latest.")],
    data: Annotated[
        str | None, typer.Option(help="A text to evaluate on; the run's own validation split, all of it, unless given.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="latest, best, or a step.")] = "best",
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; ./runs unless given.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences at once.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure loss, perplexity and bits per byte on a text."""
    from glassformer.data.language_modeling import fixed_batches, prepare
    from glassformer.data.preparation import encode_source
    from glassformer.errors import DataError
    from glassformer.training.objectives import evaluate as measure
    from glassformer.training.opening import open_model

    opened = open_model(Run.open(run, root=runs), checkpoint, device=device)
    for warning in opened.warnings:
        Console(stderr=True).print(f"[yellow]warning:[/] {warning}", highlight=False)
    seq_len = opened.config.seq_len
    if data is None:
        prepared = prepare(opened.config.data)
        batches = prepared.validation_batches(batch_size=batch_size, seq_len=seq_len)
        bytes_per_token, source = prepared.bytes_per_token("validation"), f"{opened.config.data.source} (validation)"
    else:
        text = encode_source(data, opened.tokenizer)
        if len(text.tokens) < 2:
            raise DataError(
                f"{data!r} has {len(text.tokens)} tokens; at least 2 are needed to predict one from another."
            )
        batches = fixed_batches(text.tokens, batch_size=batch_size, seq_len=min(seq_len, len(text.tokens) - 1))
        bytes_per_token, source = text.bytes_per_token, data
    result = measure(opened.model, batches)
    bits = result.bits_per_byte(bytes_per_token)
    if as_json:
        figures = {"loss": result.loss, "perplexity": result.perplexity, "bits_per_byte": bits}
        print(json.dumps({**figures, "n_tokens": result.n_tokens, "step": opened.step, "data": source}))
        return
    console = Console(soft_wrap=True)
    console.print(f"[bold]{opened.run.name}[/] at step {opened.step:,} on {source}", highlight=False)
    console.print(f"  loss          {result.loss:.4f} nats/token", highlight=False)
    console.print(f"  perplexity    {result.perplexity:.3f}", highlight=False)
    console.print(f"  bits per byte {bits:.4f}", highlight=False)
    console.print(f"  over {result.n_tokens:,} tokens, windows of {seq_len}", highlight=False)
