"""Thousands of wrong inputs that nobody wrote by hand: each is refused with one message, or is fine, and none crashes.

``tests/wrong_inputs.py`` makes them. Some are tried by default, spread over all; ``make test-full`` tries every one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import wrong_inputs
from outcomes import attempt, counts, faults
from wrong_inputs import Case

from glassformer.cli import main as cli
from glassformer.cli import scale

TRIED = int(os.environ.get("GLASSFORMER_WRONG_INPUTS", "100"))
"""Of the quick suite; ``python tests/wrong_inputs.py 1000`` tries so many."""


@pytest.fixture
def try_all(place, trained, translators, masked) -> Callable[[list[Case]], str]:
    """Tries every case in a working directory that is as new for each, and asserts that no promise is broken.

    Gives the count by outcome.
    """
    runs = {"run": trained, "translator": translators["numbers"], "masked": masked}
    reports, cache = Path(os.environ["GLASSFORMER_REPORTS"]), Path(os.environ["GLASSFORMER_CACHE"])
    text = (place / "words.txt").read_bytes()

    def clear() -> None:
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        (place / "words.txt").write_bytes(text)
        shutil.copy(translators["numbers"].parent.parent / "test.tsv", place)
        wrong_inputs.write_files(place)
        for run in runs.values():
            shutil.copytree(run, place / "runs" / run.name)

    def try_all(cases: list[Case]) -> str:
        outcomes, broken = [], {}
        clear()
        for case in cases:
            words = [names.get(word, word) for word in case.words]
            outcome = attempt(words, watched=[place, reports])
            outcomes.append(outcome)
            if found := faults(outcome):
                broken[case.about] = [*found, outcome.err[-500:]]
            if outcome.left:
                clear()
        print(f"\n{counts(outcomes)}")
        assert broken == {}
        assert not [*cache.rglob(".tmp-*")]
        return counts(outcomes)

    names = {f"{{{name}}}": f"runs/{run.name}" for name, run in runs.items()}
    return try_all


def test_every_command_has_a_line_to_start_from():
    assert set(wrong_inputs.BASES) == {*cli.COMMANDS, *(f"scale {name}" for name in scale.COMMANDS)} - {"scale"}


def test_there_are_thousands_and_the_first_to_be_tried_are_spread_over_all():
    found = wrong_inputs.cases()
    assert len({case.words for case in found}) > 3_000
    tried = wrong_inputs.sample_of(found, TRIED)
    assert {case.words[0] for case in tried} >= set(cli.COMMANDS) - {"presets", "doctor", "resume", "report"}


def test_wrong_inputs_of_every_kind_are_refused_or_fine(try_all):
    try_all(wrong_inputs.sample_of(wrong_inputs.cases(), TRIED))


@pytest.mark.slow(reason="thousands of command lines, some of which train")
@pytest.mark.parametrize("command", [*wrong_inputs.BASES])
def test_every_odd_value_of_every_option_is_refused_or_fine(try_all, command):
    try_all([case for case in wrong_inputs.of_options() if case.about.startswith(f"{command} ")])


@pytest.mark.slow(reason="thousands of command lines")
@pytest.mark.parametrize("number", range(len(wrong_inputs.CONFIGS)))
def test_every_odd_value_of_every_setting_is_refused_or_fine(try_all, number):
    try_all([*wrong_inputs.of_settings(wrong_inputs.CONFIGS[number : number + 1])])


@pytest.mark.slow(reason="thousands of command lines")
def test_every_odd_file_is_refused_or_fine(try_all):
    try_all([*wrong_inputs.of_files()])
