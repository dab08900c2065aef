"""What is drawn while a study runs, with a terminal and without."""

from __future__ import annotations

import io

from rich.console import Console

from glassformer.studies.live import LiveStudy
from glassformer.studies.outcomes import RunOutcome
from glassformer.studies.scheduler import Event, WorkerMessage


def drawn(live) -> list[str]:
    """The table's lines as they stand now."""
    console = Console(file=io.StringIO(), width=100, height=20)
    console.print(live)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_shows_what_waits_trains_and_has_ended(create, design):
    study = create(design(["model.residual=none"], seeds=[0, 1]))
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, height=20)
    first, second, *_ = (planned.run_key for planned in study.plan)
    with LiveStudy(screen, study) as live:
        live(Event(WorkerMessage(first, "progress", step=4, total=8, validation="2.5")))
        live(
            Event(
                WorkerMessage(second, "done"),
                RunOutcome("residual=none", 0, None, "diverged", steps=3, reason="too far"),
            )
        )
        title, heading, *rows = drawn(live)
    assert ": 1 of 4 runs, 1 diverged" in title
    assert heading.split() == ["variant", "seed", "step", "validation", "loss"]
    assert [row.split() for row in rows] == [
        ["baseline", "0", "4", "/", "8", "2.5000", "training"],
        ["residual=none", "0", "3", "diverged"],
        ["baseline", "1", "waiting"],
        ["residual=none", "1", "waiting"],
    ]
    assert "residual=none, seed 0: diverged at step 3: too far" in screen.file.getvalue()


def test_a_study_of_many_runs_shows_those_at_work(create, design):
    study = create(design(["model.residual=none"], seeds=200))
    live = LiveStudy(Console(file=io.StringIO()), study)
    busy = study.plan[-1].run_key
    live(Event(WorkerMessage(busy, "progress", step=4, total=8)))
    _, _, *rows = drawn(live)
    assert len(rows) <= 20
    assert rows[-1].split() == ["residual=none", "199", "4", "/", "8", "training"]


def test_without_a_terminal_there_is_a_line_for_each_run_that_ends_or_is_lost(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    log = io.StringIO()
    run_key = study.plan[0].run_key
    with LiveStudy(Console(file=log, width=200), study) as live:
        live(Event(WorkerMessage(run_key, "progress", step=4, total=8, validation="2.5")))
        live(Event(WorkerMessage(run_key, "lost", detail="was killed by SIGKILL")))
        live(
            Event(
                WorkerMessage(run_key, "done"),
                RunOutcome("base", 0, None, "finished", loss=1.5, steps=8, seconds=2, accuracy=0.25),
            )
        )
    assert log.getvalue().splitlines() == [
        "base.seed-0: its process was killed by SIGKILL; resumed in another",
        "   1 of 2  baseline, seed 0: validation loss 1.5000, accuracy 0.250 after 8 steps, 2.0 s",
    ]
