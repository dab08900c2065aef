"""Evaluating a model that has learned a task: how many of its answers are right, by the length of the problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from glassformer.cli.terminal import Terminal, emit_json, warn
from glassformer.data.synthetic import SyntheticData
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import Problems
from glassformer.errors import ConfigError
from glassformer.runs.folder import Run
from glassformer.training.finite_checks import check_finite_loss, check_finite_weights
from glassformer.training.objectives import Evaluation
from glassformer.training.objectives import evaluate as measure
from glassformer.training.opening import OpenedModel, open_model

PROBLEMS = 1_000
"""Of each length, unless the command says otherwise."""


def evaluate_task(
    run: Run,
    checkpoint: str,
    lengths: Sequence[int],
    count: int | None,
    batch_size: int,
    *,
    device: str,
    as_json: bool,
) -> None:
    """Count right tokens and right answers on problems that were never trained on, and print them."""
    opened = open_model(run, checkpoint, device=device)
    for warning in opened.warnings:
        warn(warning)
    check_finite_weights(opened.model, opened.run.name, opened.step)
    config = opened.config.data
    assert isinstance(config, SyntheticConfig)
    data = SyntheticData(config)
    sets = _sets(opened, data, list(dict.fromkeys(lengths)), count or PROBLEMS)
    results = {
        name: (len(chosen), measure(opened.model, data.batches(chosen, batch_size=batch_size), accuracy=True))
        for name, chosen in sets.items()
    }
    for _, result in results.values():
        check_finite_loss(result, opened.run.name, opened.step)
    if as_json:
        emit_json({"task": config.kind, "step": opened.step, "problems": [*_rows(results)]})
        return
    console = Terminal()
    console.print(Text.assemble((opened.run.name, "bold"), f" at step {opened.step:,} on {config.kind}"))
    console.print(_table(results))


def _sets(opened: OpenedModel, data: SyntheticData, lengths: list[int], count: int) -> Mapping[str, Problems]:
    """The validation problems, or fresh ones of each length. Raises :class:`ConfigError` for all that do not fit."""
    if not lengths:
        config = data.config
        trained = f"{config.longest}" if config.shortest == config.longest else f"{config.shortest}–{config.longest}"
        return {trained: data.validation}
    complaints: list[str] = []
    for length in lengths:
        positions, most = data.task.width(length) - 1, opened.model.config.max_seq_len
        complaints += data.task.complaints(length)
        if positions > most:
            complaints.append(f"length {length} takes {positions} positions, and the model looks at {most} tokens.")
    if complaints:
        raise ConfigError(complaints, subject="command")
    return {str(length): data.fresh(count, length=length) for length in lengths}


def _rows(results: Mapping[str, tuple[int, Evaluation]]) -> list[dict[str, str | int | float | None]]:
    return [
        {
            "length": name,
            "problems": count,
            "tokens": result.n_tokens,
            "loss": result.loss,
            "accuracy": result.accuracy,
            "exact": result.exact,
        }
        for name, (count, result) in results.items()
    ]


def _table(results: Mapping[str, tuple[int, Evaluation]]) -> Table:
    table = Table(box=None, padding=(0, 2))
    for heading in ("length", "problems", "nats/token", "tokens right", "answers right"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, (count, result) in results.items():
        shares = (f"{result.accuracy:.1%}", f"{result.exact:.1%}")
        table.add_row(name, f"{count:,}", f"{result.loss:.4f}", *shares)
    return table
