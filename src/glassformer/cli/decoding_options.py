"""What ``translate`` and ``evaluate`` share: by which models, and how, a translation is searched for.

Each option is declared here once. One that is not given is left to :class:`BeamSearchConfig`, where the defaults are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glassformer.cli.terminal import Terminal, warn
from glassformer.errors import ConfigError
from glassformer.runs.folder import Run

if TYPE_CHECKING:  # torch is imported when the command runs
    from glassformer.generation.beam_search_config import BeamSearchConfig
    from glassformer.generation.decoding import DecodingConfig
    from glassformer.training.opening import OpenedTranslator

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name, beginning of a name, or latest.")]
RunsFolder = Annotated[Path | None, typer.Option("--runs", help="Folder of runs; ./runs unless given.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps.")]
Checkpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoint",
        help="best (unless given), latest, a step, or average-N: the mean of the newest N. Repeated: an ensemble.",
    ),
]
Ensemble = Annotated[
    list[str] | None,
    typer.Option("--ensemble", metavar="RUN", help="Average its probabilities with those of RUN. Repeatable."),
]
Beam = Annotated[int | None, typer.Option("--beam", help="Hypotheses kept at every step; 1 is greedy. 5 unless given.")]
LengthPenalty = Annotated[
    float | None, typer.Option("--length-penalty", help="The exponent α; 0 is off, 0.6 unless given.")
]
MinLength = Annotated[int | None, typer.Option("--min-length", help="Fewest tokens of a translation.")]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", help="Most tokens of a translation; the source's + 50 unless given.")
]
NoRepeatNgram = Annotated[
    int | None, typer.Option("--no-repeat-ngram", help="No run of this many tokens comes twice in a translation.")
]
Sample = Annotated[bool, typer.Option("--sample", help="Draw translations at random instead of searching.")]
Temperature = Annotated[float | None, typer.Option("--temperature", help="With --sample: divides the logits.")]
TopK = Annotated[int | None, typer.Option("--top-k", help="With --sample: draw among the k likeliest tokens.")]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", help="With --sample: draw among the fewest tokens that hold this probability."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="With --sample: of the draws.")]
Precision = Annotated[
    str | None, typer.Option("--precision", help="fp32 (unless given) or bf16: how weights are stored.")
]
Quantize = Annotated[str | None, typer.Option("--quantize", help="int8: weights in 8 bits.")]
BatchTokens = Annotated[
    int | None,
    typer.Option("--batch-tokens", min=1, max=10**9, help="Source tokens, pads included, translated at once."),
]

SETTINGS = {
    "beam": "beam_size",
    "n_best": "n_best",
    "length_penalty": "length_penalty",
    "min_length": "min_length",
    "max_length": "max_length",
    "no_repeat_ngram": "no_repeat_ngram",
    "sample": "sample",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "seed": "seed",
}
"""The setting of BeamSearchConfig that each option changes."""

OF_SEARCHING = {
    "beam": "--sample draws translations instead of searching for them (--n-best says how many)",
    "length_penalty": "--sample draws translations, and does not choose among hypotheses by their scores",
}
OF_SAMPLING = dict.fromkeys(("temperature", "top_k", "top_p", "seed"), "it is of sampling, and there is no --sample")
"""Options that have no effect with ``--sample``, and without; and why."""


def search_config(options: Mapping[str, Any]) -> BeamSearchConfig:
    """The search that the command line describes; None is an option that was not given. Raises :class:`ConfigError`.

    Of sampling: as many are drawn as are to be returned.
    """
    from glassformer.generation.beam_search_config import BeamSearchConfig

    given = {name: value for name, value in options.items() if value is not None}
    idle = OF_SEARCHING if given.get("sample") else OF_SAMPLING
    complaints = [
        f"--{name.replace('_', '-')} has no effect: {reason}." for name, reason in idle.items() if name in given
    ]
    settings = {SETTINGS[name]: value for name, value in given.items() if name not in idle}
    if settings.get("sample"):
        settings["beam_size"] = settings.get("n_best", 1)
    try:
        config = BeamSearchConfig.build(settings)
    except ConfigError as error:
        raise ConfigError([*complaints, *error.complaints], subject=error.subject) from None
    if complaints:
        raise ConfigError(complaints, subject="command")
    return config


def decoding_config(precision: str | None, quantize: str | None) -> DecodingConfig:
    """How the weights are stored. Raises :class:`ConfigError`."""
    from glassformer.generation.decoding import DecodingConfig

    if precision is not None and quantize is not None:
        raise ConfigError(
            f"--precision has no effect: --quantize {quantize} says how weights are stored; set one of the two.",
            subject="command",
        )
    given = {"precision": precision, "quantize": quantize}
    return DecodingConfig.build({name: value for name, value in given.items() if value is not None})


def open_translators(
    run: str,
    ensemble: Sequence[str] | None = None,
    checkpoints: Sequence[str] | None = None,
    *,
    runs: Path | None = None,
    device: str = "auto",
) -> list[OpenedTranslator]:
    """Every run at every checkpoint named: one translator, or an ensemble of one vocabulary.

    Raises:
        RunError, CheckpointError: there is no such run or checkpoint, or it is not a translator's.
        ConfigError: one is named twice, or their vocabularies differ.
    """
    from glassformer.training.finite_checks import check_finite_weights
    from glassformer.training.opening import open_translator

    opened: list[OpenedTranslator] = []
    seen: set[tuple[Path, str]] = set()
    for name in (run, *(ensemble or ())):
        found = Run.open(name, root=runs)
        for checkpoint in checkpoints or ["best"]:
            if (found.path.resolve(), checkpoint) in seen:
                raise ConfigError(
                    f"{found.name} at checkpoint {checkpoint} is named twice, which changes nothing; name another.",
                    subject="ensemble",
                )
            seen.add((found.path.resolve(), checkpoint))
            opened.append(open_translator(found, checkpoint, device=device))
    first, *others = opened
    for other in others:
        if other.run is not first.run and other.tokenizer.to_dict() != first.tokenizer.to_dict():
            raise ConfigError(
                f"the vocabularies of {first.run.name} and {other.run.name} differ, and only probabilities of the same "
                "tokens can be averaged; train both on the same data with the same data settings.",
                subject="ensemble",
            )
    for each in opened:
        for warning in each.warnings:
            warn(warning)
        check_finite_weights(each.model, each.run.name, each.step)
    return opened


def describe(opened: Sequence[OpenedTranslator]) -> str:
    """Which models they are, in some words."""
    return " + ".join(f"{each.run.name} at step {each.step:,}" for each in opened)


@contextmanager
def translating() -> Iterator[Callable[[int, int], None]]:
    """Gives ``progress(sentences done, all)``, drawn on standard error where that is a terminal."""
    console = Terminal(stderr=True, soft_wrap=False)
    columns = (TextColumn("translating"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("translating", total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update
