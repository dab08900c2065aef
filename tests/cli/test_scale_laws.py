"""``glassformer scale laws``: listing, explaining, asking."""

from __future__ import annotations

import pytest

from glassformer.cli.main import main
from glassformer.scaling.laws.known import LAWS, law
from glassformer.scaling.laws.notes import CORRECTIONS


def test_without_a_name_every_law_is_listed_with_its_formula(capsys):
    assert main(["scale", "laws"]) == 0
    out = capsys.readouterr().out
    for name in LAWS:
        assert f"  {name} " in out
    assert "L(N) = (8.8e13/N)^0.076" in out


def test_named_laws_are_explained_one_after_the_other(capsys):
    assert main(["scale", "laws", "chinchilla", "krajewski-experts"]) == 0
    out = capsys.readouterr().out
    assert law("chinchilla").explain() in out
    assert law("krajewski-experts").explain() in out


def test_a_law_is_computed_and_says_where_it_extrapolates(capsys):
    assert main(["scale", "laws", "chinchilla", "--at", "N=1e9", "--at", "D=2e13"]) == 0
    out = capsys.readouterr().out
    assert f"L = {law('chinchilla')(N=1e9, D=2e13):.5g} nats per token" in out
    assert "extrapolated: D = 2e+13 is above 5e+11" in out
    assert main(["scale", "laws", "chinchilla", "--at", "N=1e9", "--at", "D=2e10"]) == 0
    assert "extrapolated" not in capsys.readouterr().out


def test_the_notes_corrections_are_listed(capsys):
    assert main(["scale", "laws", "--notes"]) == 0
    out = capsys.readouterr().out
    assert all(str(correction) in out for correction in CORRECTIONS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["chinchila"], "Did you mean 'chinchilla'?"),
        (["chinchilla", "--at", "N=1e9"], "D is missing"),
        (["chinchilla", "--at", "N"], "it has no ="),
        (["chinchilla", "--at", "N=many"], "'many' is not a number"),
        (["chinchilla", "--at", "N=-1", "--at", "D=1e9"], "finite and above 0"),
        (["chinchilla", "--at", "N=1e9", "--at", "N=2e9", "--at", "D=1e9"], "N is given twice"),
        (["--at", "N=1e9"], "--at is for laws that are named"),
        (["chinchilla", "--notes"], "leave out the laws"),
    ],
)
def test_mistakes_are_told_without_a_traceback(arguments, told, capsys):
    assert main(["scale", "laws", *arguments]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""
