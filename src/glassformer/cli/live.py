"""A training as it is seen in the terminal: a progress bar, and a line for each thing worth keeping."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from glassformer.cli.terminal import Terminal
from glassformer.training.telemetry import Record


class TimeLeft(ProgressColumn):
    """Time left at the speed so far, or until the time budget ends."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text("–:––" if left is None else _clock(left), style="progress.remaining")


class LiveTraining:
    """An observer that draws the training; with no terminal it prints plain lines.

    Args:
        max_seconds: the time budget, if there is one: the bar then follows the time.
        show_gradients: print the per-parameter table whenever it is recorded.
    """

    def __init__(self, console: Terminal, *, max_seconds: float | None = None, show_gradients: bool = False) -> None:
        self.console = console
        self.max_seconds = max_seconds
        self.show_gradients = show_gradients
        self.total: int | None = None
        self.bar = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(bar_width=24),
            TextColumn("loss [bold]{task.fields[loss]}[/]"),
            TextColumn("validation [bold]{task.fields[validation]}[/]"),
            TextColumn("{task.fields[final]}"),
            TextColumn("{task.fields[speed]} tokens/s"),
            TimeLeft(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task(
            "", total=None, step="0", loss="–", validation="–", final="", speed="–", left=None
        )
        self._began: tuple[float, float] | None = None  # moment and share done at the first record

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()

    def __call__(self, record: Record) -> None:
        kind = record.get("kind") or record.get("event")
        handler = getattr(self, f"_on_{str(kind).replace(' ', '_')}", None)
        if handler is not None:
            handler(record)

    def _on_start(self, record: Record) -> None:
        self.total = record["total_steps"]
        for reason in record["acceleration"]["reasons"]:
            self.console.print(Text(f"  {reason}", style="dim"))

    def _on_train(self, record: Record) -> None:
        step, loss = record["step"], f"{record['loss']:.4f}"
        self._advance(record)
        shown = f"{step:,}" + (f" / {self.total:,}" if self.total else "")
        self.bar.update(self.task, step=shown, loss=loss, speed=f"{record['tokens_per_second']:,.0f}")
        self._plainly(
            f"step {step:>6}  loss {loss} nats/token  lr {record['learning_rate']:.2e}  "
            f"gradient {record['gradient_norm']:.3f}  "
            f"{record['tokens_per_second']:,.0f} tokens/s  {100 * record['peak_fraction']:.0f} % of peak"
        )

    def _on_validation(self, record: Record) -> None:
        loss = f"{record['loss']:.4f}"
        self.bar.update(self.task, validation=loss)
        best = "  best so far" if record["best"] and record["step"] else ""
        if "exact" in record:
            also = f"{record['accuracy']:.1%} of tokens right, {record['exact']:.1%} of answers"
        elif "accuracy" in record:
            also = f"{record['accuracy']:.1%} of masked tokens right"
        else:
            also = f"{record['bits_per_byte']:.3f} bits/byte"
        step = f"step {record['step']:>6}  "
        self.console.print(Text.assemble(step, (f"validation {loss}", "bold"), f" nats/token, {also}{best}"))

    def _on_extrapolation(self, record: Record) -> None:
        interval = f"{_loss(record['low'])} – {_loss(record['high'])}"
        self.bar.update(self.task, final=f"final [bold]{_loss(record['loss'])}[/] ({interval})")
        self._plainly(
            f"step {record['step']:>6}  final loss at step {record['final_step']:,}: {_loss(record['loss'])}, "
            f"95 % interval {interval}"
        )

    def _on_gradients(self, record: Record) -> None:
        if self.show_gradients:
            self.console.print(gradient_table(record))

    def _on_warning(self, record: Record) -> None:
        self.console.print(Text(f"warning: {record['message']}", style="yellow"))

    def _advance(self, record: Record) -> None:
        """Move the bar to the share of the budget that is used, and guess the time left."""
        shares = [record["step"] / self.total] if self.total else []
        if self.max_seconds:
            shares.append(record["seconds"] / self.max_seconds)
        share, now = max(shares, default=0.0), time.perf_counter()
        if self._began is None:
            self._began = (now, share)
        moment, before = self._began
        left = (now - moment) / (share - before) * (1 - share) if share > before else None
        if left is not None and self.max_seconds:
            left = min(left, self.max_seconds - record["seconds"])
        self.bar.update(self.task, completed=share, total=1.0, left=left)

    def _plainly(self, line: str) -> None:
        if self.bar.disable:
            self.console.print(line)


def gradient_table(record: Record) -> Table:
    """Gradient norm, update-to-weight ratio and weight norm of every parameter at a step."""
    table = Table(title=f"gradients at step {record['step']:,}", title_justify="left", box=None, padding=(0, 2))
    table.add_column("parameter")
    for heading in ("gradient norm", "update / weight", "weight norm"):
        table.add_column(heading, justify="right")
    for name, values in record["parameters"].items():
        table.add_row(name, *(_number(values[key]) for key in ("gradient_norm", "update_ratio", "weight_norm")))
    return table


def _loss(value: float) -> str:
    """A forecast loss with two figures behind the point, more where it is small."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _number(value: Any) -> Text:
    if value is None or math.isnan(float(value)):
        return Text("none", "red")
    return Text(f"{float(value):.3e}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"
