"""A progress bar for the preparation of data, which for a large text takes minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from glassformer.cli.terminal import Terminal


@contextmanager
def preparing(console: Terminal) -> Iterator[Callable[[str, int, int | None], None]]:
    """Gives ``progress(stage, bytes done, bytes in all or None)``; nothing is drawn where no terminal is."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=None, visible=False)

        def update(stage: str, done: int, total: int | None) -> None:
            bar.update(task, description=stage, completed=done, total=total, visible=True)

        yield update
