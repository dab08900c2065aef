"""``glassformer scale ladder`` as a user types it: a plan, a ladder to its page, and wrong inputs."""

from __future__ import annotations

import json

import pytest

WORDS = [
    "scale", "ladder", "nanogpt-shakespeare-cpu", "--data", "words.txt", "--tokens-per-parameter", 0.25, "--target",
    "3x", "--law", "power-floor", "--set", "model.max_seq_len=16", "--set", "training.batch_size=4", "--set",
    "training.telemetry.validation_tokens=256",
]  # fmt: skip


@pytest.fixture(autouse=True)
def short_rungs(monkeypatch):
    """Rungs of some dozen steps, and one thread for what is trained in this process."""
    import torch

    monkeypatch.setattr("glassformer.scaling.ladders.ladder_rungs.FEWEST_STEPS", 24)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_plan_says_what_each_rung_costs_and_promises_and_runs_nothing(say, place):
    (place / "words.txt").write_text((place / "words.txt").read_text() * 20)
    said = say(*WORDS, "--budget", "6e9", "--dry-run")
    assert said.status == 0, said.err
    assert "a ladder of" in said.out
    assert "the target" in said.out
    assert "±" in said.out
    assert not (place / "studies").exists()


def test_a_ladder_goes_from_a_line_to_a_page_and_is_not_made_twice(say, place):
    (place / "words.txt").write_text((place / "words.txt").read_text() * 20)
    said = say(*WORDS, "--budget", "6e9", "--verify", "--workers", 1)
    assert said.status == 0, said.err
    (study,) = (place / "studies").iterdir()
    learned = json.loads((study / "learned.json").read_text())
    assert learned["prediction"]["low"] < learned["prediction"]["loss"] < learned["prediction"]["high"]
    (verified,) = learned["verified"]
    inside = learned["prediction"]["low"] <= verified["loss"] <= learned["prediction"]["high"]
    assert ("inside the" in said.out) == inside == verified["inside"]
    for part in ("The law: L = E + a/C^α", "Expected of the design", "Back-test", "Next run: ", "Learning rate: "):
        assert part in said.out
    assert (study / "ladder.html").stat().st_size > 100_000
    again = say(*WORDS, "--budget", "6e9", "--verify", "--workers", 1)
    assert again.status == 0, again.err
    assert "runs pending" not in again.out
    assert "training the target" not in again.out
    assert [path.name for path in (place / "studies").iterdir()] == [study.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "soon"], "expected FLOPs or time"),
        (["--budget", "1e6"], "is too small"),
        (["--budget", "6e9", "--set", "training.max_steps=5"], "each rung has its own length"),
        (["--budget", "6e9", "--vary", "model.residul=none"], "Did you mean 'residual'?"),
        (["--budget", "6e9", "--vary", "model.d_model=64", "--dry-run"], "each rung has its own"),
        (["--budget", "1e60"], "1e+24 FLOPs at most"),
        (["--budget", "1e20"], "the text is too short"),
        (["--budget", "6e9", "--target", "far"], "--target"),
        (["--budget", "6e9", "--target", "0.1x"], "a multiple above 1"),
    ],
)
def test_wrong_inputs_are_learned_and_leave_nothing_behind(say, place, options, message):
    said = say(*WORDS, *options)
    assert said.status == 2
    assert message in said.err
    assert "Traceback" not in said.err
    assert not (place / "studies").exists()
