"""The rules of benchmarks/multi30k.py that decide which checkpoints are scored."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "multi30k.py"

if not BENCHMARK.is_file():
    pytest.skip(f"{BENCHMARK} is not here", allow_module_level=True)
spec = importlib.util.spec_from_file_location("multi30k", BENCHMARK)
multi30k = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = multi30k
spec.loader.exec_module(multi30k)


def epochs(losses, first=1):
    return [multi30k.Epoch(first + index, Path(), loss, 0.0) for index, loss in enumerate(losses)]


def test_the_reference_stops_once_ten_epochs_in_a_row_bring_no_lower_loss():
    falling = [5.0, 4.0, 3.0]
    assert multi30k.stopping_epoch(epochs([*falling, *[3.0] * 9])) is None
    assert multi30k.stopping_epoch(epochs([*falling, *[3.0] * 10, 1.0])) == 13
    assert multi30k.stopping_epoch(epochs([*falling, *[3.5] * 9, 2.9, *[3.0] * 12])) == 23


def test_it_is_not_guessed_from_a_run_that_no_longer_keeps_its_first_epochs():
    assert multi30k.stopping_epoch(epochs([3.0] * 30, first=2)) is None
    assert multi30k.stopping_epoch([*epochs([3.0] * 5), *epochs([3.0] * 30, first=8)]) is None
    assert multi30k.stopping_epoch([]) is None


@given(st.lists(st.floats(1, 9), min_size=1, max_size=60))
def test_what_is_scored_is_of_epochs_that_are_there_and_of_at_most_ten(losses):
    kept = epochs(losses)
    scored = dict(multi30k.to_score(kept))
    assert all(1 <= len(chosen) <= 10 and set(chosen) <= set(kept) for chosen in scored.values())
    names = list(scored)
    assert scored[names[0]] == kept[-10:]
    assert scored[names[1]][0].smoothed == min(losses)
    assert scored[names[2]] == kept[-1:]


def test_without_a_command_it_says_what_there_is_and_succeeds():
    done = subprocess.run([sys.executable, str(BENCHMARK)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "prepare" in done.stdout
    assert "score" in done.stdout
