"""Hostile folders by the thousand: each command ends with one message, soon, or opens what can be opened."""

from __future__ import annotations

import json

import pytest
from hostile_folders import COMMANDS, FILE_DAMAGES, HEADERS, HEAVY, Case, Place, Tally, cases, wrong

SAMPLE, THOUSANDS = 50, 1_500
"""Cases that are tried every time, and that are tried in all."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    for name in ("CACHE", "STATE"):
        patch.setenv(f"GLASSFORMER_{name}", str(tmp_path_factory.mktemp(name.lower())))
    for name in ("RUNS", "STUDIES", "DATA"):
        patch.delenv(f"GLASSFORMER_{name}", raising=False)
    patch.setenv("COLUMNS", "200")
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    yield Place.make(tmp_path_factory.mktemp("place"))
    patch.undo()


@pytest.fixture(scope="module")
def every_case(place):
    return list(cases(place))


def spread(found, n):
    """About ``n`` of them, evenly, and never in step with a cycle of commands or damages."""
    step = max(1, len(found) // n)
    return found[:: step + (step % 2 == 0)]


def test_the_cases_meet_every_command_every_damage_and_every_kind_of_file(every_case):
    assert len(every_case) > 1_000
    assert len(set(map(str, every_case))) == len(every_case)
    assert {(case.folder, case.command) for case in every_case} >= {
        (folder, command) for folder, commands in COMMANDS.items() for command in commands
    }
    told = {case.damage for case in every_case}
    assert told >= {*FILE_DAMAGES, *HEADERS}


@pytest.mark.slow(reason="runs every command once, pages and reports among them")
def test_the_folders_are_whole_before_they_are_damaged(place):
    for folder, commands in COMMANDS.items():
        for command in commands:
            outcome = place.attempt(
                Case(folder, place.files(folder)[0], "as it was", command, lambda path: None, sealed=False)
            )
            expected = {0, 2} if command in ("scale fit", "sample") else {0}
            assert outcome.status in expected, (folder, command, outcome.err)


def test_a_sample_of_hostile_folders_is_refused_in_one_message_or_opened(place, every_case):
    light = [case for case in every_case if case.command not in HEAVY]
    heavy = [case for case in every_case if case.command in HEAVY]
    assert Tally.of(place, [*spread(light, SAMPLE), *spread(heavy, 3)]).found == []


@pytest.mark.slow(reason="runs more than a thousand commands")
def test_a_thousand_hostile_folders_are_refused_in_one_message_or_opened(place, every_case):
    assert Tally.of(place, spread(every_case, THOUSANDS)).found == []


SIZES = {
    "model.n_encoder_layers": 10**7,
    "model.pad_vocab_to": 2**62,
    "model.max_seq_len": 10**9,
    "model.n_layers": 2_000,
    "model.vocab_size": 10**9,
    "model.d_model": 10**9,
    "model.attention.d_head": 10**9,
    "model.feedforward.d_ff": 10**9,
}


@pytest.mark.parametrize("setting", SIZES)
@pytest.mark.parametrize("command", ["sample", "evaluate", "inspect", "convert", "resume"])
def test_a_run_whose_model_no_machine_holds_is_refused_at_once(place, command, setting):
    def enlarge(path):
        tree = json.loads(path.read_text())
        *above, last = setting.split(".")
        inner = tree
        for key in above:
            inner = inner[key]
        inner[last] = SIZES[setting]
        path.write_text(json.dumps(tree))

    case = Case("run", "config.json", f"{setting} is {SIZES[setting]}", command, enlarge, sealed=True)
    outcome = place.attempt(case)
    assert wrong(case, outcome) == []
    assert outcome.status == 2, outcome.out


def test_a_model_that_no_machine_holds_can_still_be_counted_by_formula(place):
    def enlarge(path):
        path.write_text(path.read_text().replace('"d_model": 16', '"d_model": 2000000'))

    outcome = place.attempt(Case("run", "config.json", "wide", "info", enlarge, sealed=True))
    assert outcome.status == 0, outcome.err
    assert "width 2000000" in outcome.out
