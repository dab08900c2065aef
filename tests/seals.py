"""The seals of a run's checkpoints as a test needs them: those of before there were seals, or made anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from glassformer.runs.folder import Run
from glassformer.runs.manifest import read_manifest, write_manifest


def unsealed(place: Path, run: Path) -> None:
    """Leave a run's checkpoints without seals, as they were written before there were any."""
    _write(run, {})


def resealed(place: Path, run: Path) -> None:
    """Seal a run's files as they are now, as one who knows the format could."""
    _write(run, Run.open(run.absolute()).seal())


def _write(run: Path, seal: dict[str, str]) -> None:
    for checkpoint in (run / "checkpoints").glob("step-*"):
        manifest = read_manifest(checkpoint)
        (checkpoint / "manifest.json").unlink()
        write_manifest(checkpoint, replace(manifest, seal=seal))
