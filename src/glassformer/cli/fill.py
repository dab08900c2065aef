"""``glassformer fill``: the masked tokens of a text, as a masked language model predicts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from glassformer.cli.options import Device, RunName, RunsFolder
from glassformer.cli.terminal import Terminal, emit, warn
from glassformer.errors import ConfigError
from glassformer.generation.filling import Filled
from glassformer.generation.filling import fill as fill_in
from glassformer.inspection.subjects import readable
from glassformer.runs.folder import Run
from glassformer.scoring.finite_checks import check_finite_weights
from glassformer.strict_json import strict_json
from glassformer.tasks.open_run import open_masked

if TYPE_CHECKING:
    from glassformer.data.masked_tokenizer import MaskedTokenizer


def fill(
    run: RunName,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Text with [MASK] where tokens are missing. Repeatable.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1_000, help="Predictions shown for each [MASK].")] = 5,
    checkpoint: Annotated[str, typer.Option(help="best, latest, or a step.")] = "best",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
    device: Device = "auto",
    runs: RunsFolder = None,
) -> None:
    """Fill in the [MASK]s of a text with a trained masked language model."""
    if not text:
        raise ConfigError(
            'there is no text to fill in: give it with --text, as in --text "the [MASK] sat".', subject="command"
        )
    opened = open_masked(Run.open(run, root=runs), checkpoint, device=device)
    for warning in opened.warnings:
        warn(warning)
    check_finite_weights(opened.model, opened.run.name, opened.step)
    Terminal(stderr=True).print(f"{opened.run.name}, step {opened.step:,}", style="dim")
    for each in text:
        found = fill_in(opened.model, opened.tokenizer.encode_tensor(each), opened.tokenizer.mask_id, top=top)
        if as_json:
            emit(strict_json(as_object(each, found, opened.tokenizer)))
        else:
            _show(found, opened.tokenizer)


def as_object(text: str, found: Filled, tokenizer: MaskedTokenizer) -> dict[str, Any]:
    """What was filled in, as plain JSON values."""
    return {
        "text": text,
        "filled": tokenizer.decode(found.tokens.tolist()),
        "blanks": [
            {
                "position": blank.position,
                "predictions": [
                    {"token": tokenizer.token_text(token), "id": token, "probability": probability}
                    for token, probability in zip(blank.tokens, blank.probabilities, strict=True)
                ],
            }
            for blank in found.blanks
        ],
    }


def _show(found: Filled, tokenizer: MaskedTokenizer) -> None:
    """The filled text, then what was predicted for each mask while all were masked."""
    console = Terminal()
    console.print(Text(tokenizer.decode(found.tokens.tolist()), "bold"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("[MASK]", justify="right")
    table.add_column("predictions")
    for number, blank in enumerate(found.blanks, start=1):
        words = [
            f"{readable(tokenizer.token_text(token))} {probability:.1%}"
            for token, probability in zip(blank.tokens, blank.probabilities, strict=True)
        ]
        table.add_row(str(number), Text("   ".join(words)))
    console.print(table)
