"""``glassformer claims`` as a user types it: listed, decided, written as a page; and wrong inputs."""

from __future__ import annotations

import dataclasses
import json

import pytest

from glassformer.claims import mask_by_zero, q_only
from glassformer.claims.budget import Budget
from glassformer.claims.registry import IDS


@pytest.fixture(autouse=True)
def no_claims_of_others(place, monkeypatch):
    monkeypatch.delenv("GLASSFORMER_CLAIMS", raising=False)
    monkeypatch.delenv("GLASSFORMER_STUDIES", raising=False)


def test_all_claims_are_listed_with_their_last_verdict(say, place):
    said = say("claims")
    assert (said.status, said.err) == (0, "")
    assert all(name in said.out for name in IDS)
    assert said.out.count("no verdict yet") == len(IDS)
    assert say("claims", "pe-norm", "--quick").status == 0
    said = say("claims")
    assert said.out.count("no verdict yet") == len(IDS) - 1
    (row,) = (line for line in said.out.splitlines() if line.strip().startswith("pe-norm"))
    assert "depends" in row
    assert "quick" in row


def test_a_claim_is_decided_with_its_number_condition_and_time(say, place):
    said = say("claims", "mask-by-zero")
    assert (said.status, said.err) == (0, "")
    for told in ("refuted", "does not hold", "divided by its sum", "smallest sum of a row: 0.0", "1 claim tested"):
        assert told in said.out
    kept = json.loads((place / "claims" / "mask-by-zero.quick.json").read_text())
    assert kept["verdict"] == "refuted"
    assert kept["circumstances"]["command"].split()[0] == "glassformer"


def test_a_verdict_ends_with_what_could_still_be_wrong(say, place, monkeypatch):
    doubtful = dataclasses.replace(mask_by_zero.CLAIM, could_be_wrong=("Only small models.", "One seed."))
    monkeypatch.setattr("glassformer.claims.mask_by_zero.CLAIM", doubtful)
    said = say("claims", "mask-by-zero").out
    assert said.index("refuted") < said.index("What could still be wrong") < said.index("Only small models.")
    assert "One seed." in said


def test_several_claims_are_decided_in_one_command_with_the_total_time(say, place):
    said = say("claims", "pe-norm", "mask-by-zero", "--full", "--folder", "verdicts")
    assert said.status == 0
    assert "2 claims tested, full budget, in " in said.out
    assert sorted(path.name for path in (place / "verdicts").iterdir()) == [
        f"{name}.full.json" for name in ("mask-by-zero", "pe-norm")
    ]


def test_a_claim_that_takes_training_makes_its_studies_once(say, place, monkeypatch):
    small = {"model.d_model": 16, "model.max_seq_len": 16, "training.batch_size": 4}
    monkeypatch.setattr("glassformer.claims.claim_studies.RECIPE", small)
    monkeypatch.setattr(
        "glassformer.claims.q_only.CLAIM",
        q_only.Claim(**(vars(q_only.CLAIM) | {"quick": Budget(seeds=3, steps=6)})),
    )
    said = say("claims", "q-only", "--data", "words.txt", "--workers", 1)
    assert said.status == 0, said
    assert "12 runs (3 reused) on words.txt" in said.out  # the base of the second study is that of the first
    assert "95 % interval" in said.out
    assert len(list((place / "studies").iterdir())) == 2
    said = say("claims", "q-only", "--data", "words.txt")
    assert "12 runs (12 reused)" in said.out
    assert len(list((place / "studies").iterdir())) == 2


def test_the_page_is_written_from_recorded_verdicts(say, place):
    assert say("claims", "pe-norm").status == 0
    said = say("claims", "--write", "docs/claims.md")
    assert (said.status, said.out) == (0, "docs/claims.md\n")
    written = (place / "docs" / "claims.md").read_text()
    assert "| [pe-norm](#pe-norm) |" in written
    assert "**depends** (quick)" in written
    assert written.count("no verdict yet") == len(IDS) - 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["residual-los"], "There is no claim 'residual-los'. Did you mean 'residual-loss'?"),
        (["pe-norm", "zzz", "yyy"], "for 2 reasons"),
        (["pe-norm", "--quick", "--full"], "two budgets"),
        (["pe-norm", "--all"], "--all tests every claim"),
        (["--quick"], "--quick has no effect"),
        (["--workers", "3", "--full"], "for 2 reasons"),
        (
            ["pe-norm", "causal-cache", "--data", "words.txt"],
            "--data: testing pe-norm, causal-cache trains nothing",
        ),
    ],
)
def test_wrong_words_are_told_and_nothing_is_decided(say, place, words, told):
    said = say("claims", *words)
    assert said.status == 2
    assert told in said.err
    assert "Traceback" not in said.err
    assert not (place / "claims").exists()


def test_a_text_that_is_not_there_is_told(say, place):
    said = say("claims", "q-only", "--data", "nothing.txt")
    assert said.status == 2
    assert "nothing.txt" in said.err


def test_a_damaged_verdict_is_told(say, place):
    (place / "claims").mkdir()
    (place / "claims" / "pe-norm.quick.json").write_text("{")
    said = say("claims")
    assert said.status == 2
    assert "is damaged" in said.err


def test_a_page_that_cannot_be_written_is_told(say, place):
    (place / "file").write_text("")
    said = say("claims", "--write", "file/claims.md")
    assert said.status == 2
    assert "cannot be written" in said.err
