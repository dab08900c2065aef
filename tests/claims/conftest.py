"""A small text, small models and claim studies of our own; and losses whose differences are known."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.verdicts import Circumstances
from glassformer.studies.runner import StudyRunner

SMALL = {
    "model.d_model": 16,
    "model.max_seq_len": 16,
    "model.feedforward.d_ff": 16,
    "training.batch_size": 4,
    "training.telemetry.validation_tokens": 128,
}


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory):
    """A cache of our own, no runs, studies or verdicts of anyone else's, and short measurements of this machine."""
    patch = pytest.MonkeyPatch()
    for place in ("CACHE", "RUNS", "STUDIES", "CLAIMS"):
        patch.setenv(f"GLASSFORMER_{place}", str(tmp_path_factory.mktemp(place.lower())))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def no_data_of_others(monkeypatch):
    """No text beside our own: for each test alone, since other rooms' tests may need it."""
    monkeypatch.delenv("GLASSFORMER_DATA", raising=False)


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """Some thousands of characters of words in no order."""
    draw = random.Random(0)
    words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote.\n"]
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(draw.choice(words) for _ in range(1_000)))
    return path


@pytest.fixture(scope="session")
def claim_studies(text) -> ClaimStudies:
    """Tiny models on the small text; its studies are kept for the whole session."""
    return ClaimStudies(str(text), StudyRunner(workers=2), settings=SMALL)


@pytest.fixture(scope="session")
def losses():
    """``losses(1.7)``: four seeds around 1.7; ``losses(1.7, 0.4)``: the same, each about 0.4 higher, so that the paired
    difference is 0.4 ± 0.004. ``diverged`` of them have none."""

    def losses(mean: float, more: float = 0.0, diverged: int = 0) -> dict[int, float | None]:
        seeds = zip((-0.05, 0.05, -0.02, 0.02), (-0.002, 0.001, 0.002, -0.001), strict=True)
        values: list[float | None] = [mean + own + (more + jitter if more else 0.0) for own, jitter in seeds]
        return dict(enumerate([*values[diverged:], *[None] * diverged]))

    return losses


@pytest.fixture(scope="session")
def about():
    """Circumstances of a budget, with a date."""

    def about(budget="quick", date="2026-01-02T03:04:05+00:00") -> Circumstances:
        return Circumstances(
            budget, 3, 600, (1, 4), "words", 36, 18, 12.5, date, "glassformer claims x", "a CPU, 2 cores", "0.1"
        )

    return about
