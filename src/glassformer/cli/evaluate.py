"""``glassformer evaluate``: a trained model's loss; the scores of a translator, the right answers to a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from glassformer.cli import decoding_options as options
from glassformer.cli.terminal import Terminal, emit_json, warn
from glassformer.errors import ConfigError
from glassformer.runs.folder import Run

SEQUENCES = 16  # at once, unless the command says otherwise


def evaluate(
    run: options.RunName,
    data: Annotated[
        str | None,
        typer.Option(
            help="A text, or a translator's pairs, to evaluate on. The run's own validation split, all of it, unless "
            "given; of a translator, its own test splits."
        ),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Translator: the split to evaluate on. Repeatable; all tests unless given.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Translator: bleu, tokenised-bleu, chrf, exact-match. Repeatable; what fits the data unless given."
        ),
    ] = None,
    checkpoint: options.Checkpoints = None,
    ensemble: options.Ensemble = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Translator: also the difference from RUN, with a paired bootstrap's interval."
        ),
    ] = None,
    compare_checkpoint: Annotated[
        str | None, typer.Option(help="Of the run to compare with: best (unless given), latest, a step, average-N.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Translator: write sources, references and translations here."
        ),
    ] = None,
    beam: options.Beam = None,
    length_penalty: options.LengthPenalty = None,
    min_length: options.MinLength = None,
    max_length: options.MaxLength = None,
    no_repeat_ngram: options.NoRepeatNgram = None,
    sample: options.Sample = False,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    batch_tokens: options.BatchTokens = None,
    precision: options.Precision = None,
    quantize: options.Quantize = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=10**6, help=f"Language model: sequences at once; {SEQUENCES} unless given.")
    ] = None,
    length: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=100_000,
            help="Task: problems of this length, fresh ones. Repeatable; the validation problems unless given.",
        ),
    ] = None,
    problems: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Task: how many of each --length; 1,000 unless given.")
    ] = None,
    device: options.Device = "auto",
    runs: options.RunsFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model's loss; score a translator's translations, or the answers to a task."""
    from glassformer.training.session import run_config

    found = Run.open(run, root=runs)
    searching = {
        "beam": beam,
        "length_penalty": length_penalty,
        "min_length": min_length,
        "max_length": max_length,
        "no_repeat_ngram": no_repeat_ngram,
        "sample": sample or None,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    others = {
        "split": split,
        "metric": metric,
        "ensemble": ensemble,
        "compare": compare,
        "compare_checkpoint": compare_checkpoint,
        "output": output,
        "batch_tokens": batch_tokens,
        "precision": precision,
        "quantize": quantize,
    }
    of_tasks: dict[str, object] = {"length": length, "problems": problems}
    if not run_config(found).model.has_encoder:
        _refuse({**others, **searching}, f"{found.name} is a language model")
        if len(checkpoint or ()) > 1:
            raise ConfigError("--checkpoint is given twice, and only translators make ensembles.", subject="command")
        which = checkpoint[0] if checkpoint else "best"
        if run_config(found).data.task == "synthetic":
            from glassformer.cli.evaluate_task import evaluate_task

            _refuse({"data": data}, f"{found.name} has learned a task (its options are --length and --problems)")
            if not length:
                _refuse({"problems": problems}, "there is no --length")
            evaluate_task(found, which, length or (), problems, batch_size or SEQUENCES, device=device, as_json=as_json)
            return
        _refuse(of_tasks, f"{found.name} has learned from a text, not a task")
        evaluate_language_model(found, which, data, batch_size or SEQUENCES, device=device, as_json=as_json)
        return
    _refuse(of_tasks, f"{found.name} is a translator")
    _refuse({"batch_size": batch_size}, f"{found.name} is a translator (its option is --batch-tokens)")
    if compare is None:
        _refuse({"compare_checkpoint": compare_checkpoint}, "there is no --compare")

    from glassformer.cli.evaluate_translator import evaluate_translator

    search = options.search_config(searching)
    decoding = options.decoding_config(precision, quantize)
    opened = options.open_translators(run, ensemble, checkpoint, runs=runs, device=device)
    compared = []
    if compare is not None:
        of_compared = None if compare_checkpoint is None else [compare_checkpoint]
        same_run = Run.open(compare, root=runs).path.resolve() == found.path.resolve()
        if same_run and not ensemble and (checkpoint or ["best"]) == (of_compared or ["best"]):
            raise ConfigError(
                f"--compare names {found.name} at the checkpoint that is scored, which differs from itself in nothing; "
                "name another run, or another checkpoint with --compare-checkpoint.",
                subject="command",
            )
        compared = options.open_translators(compare, None, of_compared, runs=runs, device=device)
    evaluate_translator(
        opened,
        compared,
        search=search,
        decoding=decoding,
        batch_tokens=batch_tokens,
        data=data,
        splits=split or (),
        metrics=metric or (),
        output=output,
        as_json=as_json,
    )


def evaluate_language_model(
    run: Run, checkpoint: str, data: str | None, batch_size: int, *, device: str, as_json: bool
) -> None:
    """Measure loss, perplexity and bits per byte on a text, and print them."""
    from glassformer.data.config import DataConfig
    from glassformer.data.language_modeling import fixed_batches
    from glassformer.data.preparation import encode_source
    from glassformer.errors import DataError
    from glassformer.training.finite_checks import check_finite_loss, check_finite_weights
    from glassformer.training.objectives import evaluate as measure
    from glassformer.training.opening import open_model
    from glassformer.training.run_data import open_samples
    from glassformer.training.samples import TextSamples

    opened = open_model(run, checkpoint, device=device)
    for warning in opened.warnings:
        warn(warning)
    check_finite_weights(opened.model, opened.run.name, opened.step)
    config = opened.config.data
    assert isinstance(config, DataConfig)
    seq_len = opened.config.seq_len
    if data is None:
        samples = open_samples(run, opened.config)
        assert isinstance(samples, TextSamples)
        for warning in samples.warnings:
            warn(warning)
        batches = samples.data.validation_batches(batch_size=batch_size, seq_len=seq_len)
        bytes_per_token, source = samples.bytes_per_token("validation"), f"{config.source} (validation)"
    else:
        text = encode_source(data, opened.tokenizer)
        if len(text.tokens) < 2:
            raise DataError(
                f"{data!r} has {len(text.tokens)} tokens; at least 2 are needed to predict one from another."
            )
        if text.unknown:
            share = text.unknown / text.characters
            warn(f"{text.unknown:,} characters of {data} ({share:.2%}) are unknown, and are read as <unk>.")
        batches = fixed_batches(text.tokens, batch_size=batch_size, seq_len=min(seq_len, len(text.tokens) - 1))
        bytes_per_token, source = text.bytes_per_token, data
    result = measure(opened.model, batches)
    check_finite_loss(result, opened.run.name, opened.step)
    bits = result.bits_per_byte(bytes_per_token)
    if as_json:
        figures = {"loss": result.loss, "perplexity": result.perplexity, "bits_per_byte": bits}
        emit_json({**figures, "n_tokens": result.n_tokens, "step": opened.step, "data": source})
        return
    console = Terminal()
    console.print(Text.assemble((opened.run.name, "bold"), f" at step {opened.step:,} on {source}"))
    console.print(f"  loss          {result.loss:.4f} nats/token")
    console.print(f"  perplexity    {result.perplexity:.3f}")
    console.print(f"  bits per byte {bits:.4f}")
    console.print(f"  over {result.n_tokens:,} tokens, windows of {seq_len}")


def _refuse(given: dict[str, object], why: str) -> None:
    """Complain about options that would have no effect."""
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, [])]
    if names:
        verb = "has" if len(names) == 1 else "have"
        raise ConfigError(f"{', '.join(names)} {verb} no effect: {why}.", subject="command")
