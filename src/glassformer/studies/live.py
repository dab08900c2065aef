"""A study as it is seen in the terminal while it runs: a row for each run; without a terminal, a line when one ends."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome
from glassformer.studies.scheduler import Event, WorkerMessage

STYLES = {"finished": "green", "diverged": "yellow", "failed": "red", "training": "bold", "waiting": "dim"}
ROWS = 40
"""Runs that the table shows at most: those at work first, then the last to end, then those that wait."""


class LiveStudy:
    """An observer that draws the study."""

    def __init__(self, console: Console, study: Study) -> None:
        self.console, self.study = console, study
        self.outcomes = {planned.run_key: study.outcome(planned) for planned in study.plan}
        self.messages: dict[str, WorkerMessage] = {}
        self.validation: dict[str, str] = {}
        self.began = time.perf_counter()
        self.live = Live(self, console=console, refresh_per_second=2, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        message = event.message
        if event.outcome is not None:
            self.outcomes[message.run] = event.outcome
            self.messages.pop(message.run, None)
            ended = _summary(event.outcome, self.study.label(event.outcome.variant))
            self.console.print(Text(f"{self.done:>4} of {len(self.outcomes)}  {ended}"))
        elif message.kind == "lost":
            self.messages.pop(message.run, None)
            self.console.print(Text(f"{message.run}: its process {message.detail}; resumed in another", "yellow"))
        else:
            self.messages[message.run] = message
            if message.validation is not None:
                self.validation[message.run] = f"{float(message.validation):.4f}"

    @property
    def done(self) -> int:
        """Runs that have ended."""
        return sum(outcome is not None for outcome in self.outcomes.values())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, padding=(0, 2), title=self._title(), title_justify="left")
        for heading in ("variant", "seed", "step", "validation loss", ""):
            table.add_column(heading, justify="right" if heading in ("seed", "step", "validation loss") else "left")
        for run_key in self._shown(options.max_height - 4):
            table.add_row(*self._row(run_key))
        yield table

    def _title(self) -> str:
        counts = Counter(outcome.status for outcome in self.outcomes.values() if outcome is not None)
        others = "".join(f", {counts[status]} {status}" for status in ("diverged", "failed") if counts[status])
        seconds = time.perf_counter() - self.began
        return f"{self.study.name}: {self.done} of {len(self.outcomes)} runs{others}, {seconds:,.0f} s"

    def _shown(self, height: int) -> list[str]:
        """The runs there is room for, in the order of the plan."""

        def rank(run_key: str) -> int:
            return 0 if run_key in self.messages else 1 if self.outcomes[run_key] is None else 2

        room = max(1, min(ROWS, height))
        chosen = set(sorted(self.outcomes, key=rank)[:room])
        return [run_key for run_key in self.outcomes if run_key in chosen]

    def _row(self, run_key: str) -> tuple[Text, ...]:
        planned, outcome, message = self.study.run_by_key[run_key], self.outcomes[run_key], self.messages.get(run_key)
        step, loss, status = "", self.validation.get(run_key, ""), "waiting"
        if outcome is not None:
            step, status = f"{outcome.steps:,}", outcome.status
            loss = "" if outcome.loss is None else f"{outcome.loss:.4f}"
        elif message is not None:
            step, status = f"{message.step or 0:,}" + (f" / {message.total:,}" if message.total else ""), "training"
        shown = f"{status}, reused" if outcome is not None and outcome.reused else status
        return (
            Text(self.study.label(planned.variant)),
            Text(str(planned.seed)),
            Text(step),
            Text(loss),
            Text(shown, STYLES[status]),
        )


def _summary(outcome: RunOutcome, label: str) -> str:
    """How a run ended, in a line."""
    about = f"{label}, seed {outcome.seed}: "
    if outcome.loss is None:
        return about + f"{outcome.status} at step {outcome.steps:,}: {outcome.reason}"
    accuracy = "" if outcome.accuracy is None else f", accuracy {outcome.accuracy:.3f}"
    return (
        about + f"validation loss {outcome.loss:.4f}{accuracy} after {outcome.steps:,} steps, {outcome.seconds:.1f} s"
    )
