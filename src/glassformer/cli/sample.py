"""``glassformer sample``: a trained model writes, token by token as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassformer.cli.idle_options import check_idle
from glassformer.cli.terminal import Terminal, emit, emit_payload, warn
from glassformer.errors import DataError
from glassformer.runs.folder import Run

BEST = "the best: of its kept checkpoints, the one of the lowest validation loss"

if TYPE_CHECKING:
    from glassformer.training.opening import OpenedModel


def sample(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name, beginning of a name, or latest.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="What to go on from; several make a batch. A line break if none."),
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="best, latest, or a step.")] = "best",
    max_new_tokens: Annotated[
        int, typer.Option("-n", "--max-new-tokens", help="Tokens to write for each prompt.")
    ] = 500,
    temperature: Annotated[float, typer.Option(help="Divides the logits; 0 always takes the likeliest token.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the fewest tokens that hold this probability.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Draw among tokens at least this many times as likely as the likeliest.")
    ] = None,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1, what has been said becomes less likely.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    stop: Annotated[list[str] | None, typer.Option(help="End where this appears. Repeatable.")] = None,
    samples: Annotated[
        int, typer.Option(min=1, max=10_000, help="Continuations of each prompt, drawn independently.")
    ] = 1,
    precision: Annotated[str, typer.Option(help="fp32 or bf16: how weights are stored.")] = "fp32",
    quantize: Annotated[str | None, typer.Option(help="int8: weights in 8 bits.")] = None,
    compile_: Annotated[str, typer.Option("--compile", help="auto, on, off.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; ./runs unless given.")] = None,
) -> None:
    """Let a trained model write."""
    greedy = temperature == 0
    check_idle(
        context,
        ("seed", greedy, "--temperature 0 draws nothing"),
        ("samples", greedy and samples > 1, "--temperature 0 draws nothing, so all of them would be the same"),
        ("precision", quantize is not None, f"--quantize {quantize} says how weights are stored"),
    )
    from glassformer.training.finite_checks import check_finite_weights
    from glassformer.training.opening import open_model

    opened = open_model(Run.open(run, root=runs), checkpoint, device=device)
    for warning in opened.warnings:
        warn(warning)
    check_finite_weights(opened.model, opened.run.name, opened.step)
    chosen = f", {BEST}" if checkpoint == "best" and not opened.warnings else ""
    Terminal(stderr=True).print(f"{opened.run.name}, step {opened.step:,}{chosen}", style="dim")
    settings = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    decoding = {"precision": precision, "quantize": quantize, "compile": compile_}
    prompts = [text for text in prompt or ["\n"] for _ in range(samples)]
    if len(prompts) == 1:
        stream_sample(opened, prompts[0], stop=stop or (), decoding=decoding, **settings)
        emit()
    else:
        print_samples(opened, prompts, stop=stop or (), decoding=decoding, **settings)


def stream_sample(
    opened: OpenedModel, prompt: str, *, stop: Any = (), decoding: dict[str, Any] | None = None, **settings: Any
) -> None:
    """The prompt and what follows, printed as it comes."""
    from glassformer.generation import DecodingConfig, SamplingConfig, stream

    events = stream(
        opened.model,
        [_encode(opened, prompt)],
        SamplingConfig.build(settings),
        decoding=DecodingConfig.build(decoding or {}),
        tokenizer=opened.tokenizer,
        stop=stop,
    )
    emit_payload(prompt)
    for event in events:
        emit_payload(event.text)


def print_samples(
    opened: OpenedModel, prompts: list[str], *, stop: Any, decoding: dict[str, Any], **settings: Any
) -> None:
    """All prompts as one batch, each printed whole under a rule."""
    from glassformer.generation import DecodingConfig, SamplingConfig, generate

    sequences = generate(
        opened.model,
        [_encode(opened, prompt) for prompt in prompts],
        SamplingConfig.build(settings),
        decoding=DecodingConfig.build(decoding),
        tokenizer=opened.tokenizer,
        stop=stop,
    )
    console = Terminal(soft_wrap=False)
    for number, (prompt, sequence) in enumerate(zip(prompts, sequences, strict=True), start=1):
        console.rule(f"{number} of {len(prompts)}", style="dim")
        emit_payload(prompt + sequence.text + "\n")


def _encode(opened: OpenedModel, prompt: str) -> list[int]:
    if not prompt:
        raise DataError("The prompt is empty, and the model needs a token to go on from; give it some text.")
    ids = [int(token) for token in opened.tokenizer.encode(prompt)]
    if unknown := ids.count(-1 if opened.tokenizer.unknown_id is None else opened.tokenizer.unknown_id):
        warn(f"{unknown} of the prompt's {len(ids)} characters are not in the vocabulary, and are read as <unk>.")
    return ids
