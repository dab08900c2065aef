"""``glassformer scale``: a group of commands inside the program, imported one by one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from glassformer.cli import lazy
from glassformer.cli.scale import COMMANDS


def test_the_group_alone_shows_its_help(say):
    alone, asked = say("scale"), say("scale", "--help")
    assert alone == asked
    assert (alone.status, alone.err) == (0, "")
    assert all(name in alone.out for name in COMMANDS)


def test_the_help_of_the_group_imports_no_command_and_nothing_heavy():
    script = (
        "import sys; from glassformer.cli.main import main; status = main(['scale']);"
        "heavy = {'torch', 'scipy', 'altair', 'numpy'} & set(sys.modules);"
        "ours = [name for name in sys.modules if name.startswith('glassformer.cli.scale_')];"
        "sys.exit(f'{status} {heavy} {ours}' if status or heavy or ours else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_group_says_what_its_row_says(name):
    assert lazy.load(name, COMMANDS[name]).help.splitlines()[0] == COMMANDS[name].summary


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_group_shows_its_own_help(say, name):
    said = say("scale", name, "--help")
    assert (said.status, said.err) == (0, "")
    assert f"glassformer scale {name}" in said.out


def test_a_misspelt_command_of_the_group_is_told_the_nearest(say):
    said = say("scale", "fitt")
    assert said.status == 2
    assert "No such command 'fitt'" in said.err
    assert "'fit'" in said.err


def test_a_wrong_value_of_an_inner_command_says_once_what_came(say):
    said = say("scale", "fit", "runs.csv", "--draws", "many")
    assert said.status == 2
    assert said.err.count("expected") == 1
    assert "'many'; expected" in said.err


def test_a_mistake_that_a_command_of_the_group_finds_is_one_message_and_status_2(say, place):
    said = say("scale", "fit", "nowhere.csv")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert "nowhere.csv" in said.err
    assert "Traceback" not in said.err
