"""``glassformer sample``: text from a trained model, token by token as it is generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from glassformer.cli.idle_options import check_idle
from glassformer.cli.options import Device, RunName, RunsFolder, given, with_options
from glassformer.cli.terminal import Terminal, emit, emit_payload, warn
from glassformer.errors import RunError
from glassformer.generation.decoding import DecodingConfig
from glassformer.generation.sampling import SamplingConfig
from glassformer.runs.folder import Run
from glassformer.scoring.finite_checks import check_finite_weights
from glassformer.tasks.open_run import open_model
from glassformer.tasks.opening import Opened
from glassformer.tasks.options import field_options
from glassformer.tasks.registry import task_of

BEST = "the best: of its kept checkpoints, the one of the lowest validation loss"
DEFAULTS = {"max_new_tokens": 500, "temperature": 0.8}
"""What the command has instead of the defaults of a SamplingConfig: a page of text that is neither dull nor wild."""

OF_DECODING = ("precision", "quantize", "compile")
OPTIONS = [
    *field_options(SamplingConfig, SamplingConfig.model_fields, defaults=DEFAULTS, short={"max_new_tokens": "-n"}),
    *field_options(DecodingConfig, OF_DECODING),
]


@with_options(OPTIONS, after="samples")
def sample(
    context: typer.Context,
    run: RunName,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Prompt; several make a batch. A line break if none."),
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="best, latest, or a step.")] = "best",
    stop: Annotated[list[str] | None, typer.Option(help="End where this appears. Repeatable.")] = None,
    samples: Annotated[
        int, typer.Option(min=1, max=10_000, help="Continuations of each prompt, drawn independently.")
    ] = 1,
    device: Device = "auto",
    runs: RunsFolder = None,
    **values: Any,
) -> None:
    """Generate text with a trained model."""
    options = given(values)
    decoding = {name: options.pop(name) for name in OF_DECODING if name in options}
    settings = DEFAULTS | options
    greedy, quantize = settings["temperature"] == 0, decoding.get("quantize")
    check_idle(
        context,
        ("seed", greedy, "--temperature 0 draws nothing"),
        ("samples", greedy and samples > 1, "--temperature 0 draws nothing, so all of them would be the same"),
        ("precision", quantize is not None, f"--quantize {quantize} says how weights are stored"),
    )
    opened = open_model(Run.open(run, root=runs), checkpoint, device=device)
    for warning in opened.warnings:
        warn(warning)
    check_finite_weights(opened.model, opened.run.name, opened.step)
    chosen = f", {BEST}" if checkpoint == "best" and not opened.warnings else ""
    Terminal(stderr=True).print(f"{opened.run.name}, step {opened.step:,}{chosen}", style="dim")
    prompts = [text for text in prompt or ["\n"] for _ in range(samples)]
    if len(prompts) == 1:
        stream_sample(opened, prompts[0], stop=stop or (), decoding=decoding, **settings)
        emit()
    else:
        print_samples(opened, prompts, stop=stop or (), decoding=decoding, **settings)


def stream_sample(
    opened: Opened[Any, Any],
    prompt: str,
    *,
    stop: Sequence[str] = (),
    decoding: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """The prompt and its continuation, printed as it is generated."""
    events = _generate(opened, [prompt], stop, decoding or {}, settings)
    emit_payload(prompt)
    for event in events:
        emit_payload(event.text)


def print_samples(
    opened: Opened[Any, Any], prompts: list[str], *, stop: Sequence[str], decoding: dict[str, Any], **settings: Any
) -> None:
    """All prompts as one batch, each printed whole under a rule."""
    texts = [""] * len(prompts)
    for event in _generate(opened, prompts, stop, decoding, settings):
        texts[event.row] += event.text
    console = Terminal(soft_wrap=False)
    for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True), start=1):
        console.rule(f"{number} of {len(prompts)}", style="dim")
        emit_payload(prompt + text + "\n")


def _generate(
    opened: Opened[Any, Any],
    prompts: Sequence[str],
    stop: Sequence[str],
    decoding: dict[str, Any],
    settings: dict[str, Any],
) -> Any:
    """The tokens as they come, by the run's own task."""
    task = task_of(opened.config)
    if task.generate is None:
        learned = opened.config.data.learned
        raise RunError(f"The run {opened.run.name} has learned from {learned}, and such models generate no text.")
    return task.generate(
        opened,
        prompts,
        SamplingConfig.build(settings),
        decoding=DecodingConfig.build(decoding),
        stop=stop,
        warn=warn,
    )
