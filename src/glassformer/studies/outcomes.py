"""How a run of a study ended: read from the run's folder, kept in a small file of its own."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from glassformer.errors import RunError, shown
from glassformer.runs.folder import Run
from glassformer.runs.metrics import Record

Status = Literal["finished", "diverged", "failed"]


@dataclass(frozen=True)
class Curve:
    """The validation loss over a run, nats per token: a point for each validation."""

    steps: tuple[int, ...] = ()
    losses: tuple[float | None, ...] = ()
    """Validation losses; None where one was not finite."""
    seconds: tuple[float, ...] = ()
    """Seconds of training so far."""


@dataclass(frozen=True)
class RunOutcome:
    """How one run ended.

    Attributes:
        run: its folder; None if it never had one.
        status: finished; diverged (the loss or a gradient was not finite); failed (an error: see ``reason``).
        loss: final validation loss in nats per token; None unless finished.
        accuracy: final validation accuracy, where the data have exact answers.
        steps, seconds: of training.
        reused: whether the run is another study's, or stood alone.
    """

    variant: str
    seed: int
    run: Path | None
    status: Status
    loss: float | None = None
    steps: int = 0
    seconds: float = 0.0
    curve: Curve = field(default_factory=Curve)
    accuracy: float | None = None
    reason: str = ""
    reused: bool = False

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """What JSON can hold, and :meth:`from_dict` reads back; the path of a run in ``folder`` is relative to it."""
        run = None if self.run is None else self.run.absolute()
        if run is not None and run.is_relative_to(folder.absolute()):
            run = run.relative_to(folder.absolute())
        return asdict(self) | {"run": None if run is None else run.as_posix()}

    @classmethod
    def from_dict(cls, tree: dict[str, Any], folder: Path, *, file: Path) -> Self:
        """What :meth:`to_dict` gave and ``file`` kept. Raises :class:`RunError` for anything else."""
        try:
            curve = Curve(**{name: tuple(values) for name, values in tree["curve"].items()})
            outcome = cls(**(tree | {"curve": curve, "run": _run_path(tree, folder)}))
            outcome._check_values()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{file} is damaged ({error}): restore it, or delete it to retrain the run.") from error
        return outcome

    def _check_values(self) -> None:
        """Raise ValueError or TypeError for values that no run has."""
        curve = self.curve
        kinds = {"variant": str, "reason": str, "reused": bool, "seed": int, "steps": int}
        for name, kind in kinds.items():
            if type(getattr(self, name)) is not kind:
                raise TypeError(f"{name} is {shown(getattr(self, name))}")
        if self.status not in get_args(Status):
            raise ValueError(f"status is {shown(self.status)}")
        if not len(curve.steps) == len(curve.losses) == len(curve.seconds):
            raise ValueError("the lengths of its curve differ")
        known = [value for value in (self.loss, self.accuracy, *curve.losses) if value is not None]
        for value in (self.steps, self.seconds, *known, *curve.steps, *curve.seconds):
            if type(value) not in (int, float):
                raise TypeError(f"{shown(value)} is not a number")
        if (self.status == "finished") != (self.loss is not None):
            raise ValueError("a run has a final loss if it finished, and none otherwise")


def _run_path(tree: dict[str, Any], folder: Path) -> Path | None:
    """The run's folder. Only one that was reused lies outside the study's; there it is opened, as any run may be."""
    run = tree["run"]
    if run is None:
        return None
    if not isinstance(run, str):
        raise TypeError(f"run is {shown(run)}")
    inside = not Path(run).is_absolute() and ".." not in Path(run).parts
    if not inside and tree.get("reused") is not True:
        raise ValueError(f"its run {shown(run)} lies outside the study's folder, and is not one that was reused")
    return folder / run


def read_outcome(run: Run, variant: str, seed: int, *, reused: bool = False) -> RunOutcome | None:
    """How a run ended, from its own records; None while there is something left to train."""
    last = _last_ending(run.events())
    if last is None:
        return None
    validations = [record for record in run.metrics() if record.get("kind") == "validation"]
    curve = Curve(
        tuple(record["step"] for record in validations),
        tuple(_finite(record["loss"]) for record in validations),
        tuple(record.get("seconds", 0.0) for record in validations),
    )
    seconds = float(last.get("seconds", curve.seconds[-1] if curve.seconds else 0.0))
    loss = curve.losses[-1] if curve.losses else None
    diverged = last["event"] == "not finite" or loss is None
    reason = last["message"] if last["event"] == "not finite" else last["reason"]
    if diverged and last["event"] == "end":
        reason = f"the final validation loss, after step {last['step']}, is not finite"
    return RunOutcome(
        variant,
        seed,
        run.path,
        "diverged" if diverged else "finished",
        loss=None if diverged else loss,
        steps=last["step"],
        seconds=seconds,
        curve=curve,
        accuracy=None if diverged else _finite(validations[-1].get("accuracy")),
        reason=reason,
        reused=reused,
    )


def failed(variant: str, seed: int, reason: str, run: Run | None = None) -> RunOutcome:
    """The outcome of a run that an error ended."""
    return RunOutcome(variant, seed, None if run is None else run.path, "failed", reason=reason)


def _last_ending(events: list[Record]) -> Record | None:
    """The event that ended the run for good: not a signal's, and none that was trained on after."""
    ending = None
    for event in events:
        if event["event"] in ("start", "resumed"):
            ending = None
        elif event["event"] == "not finite" or (event["event"] == "end" and not event["reason"].startswith("SIG")):
            ending = event
    return ending


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
