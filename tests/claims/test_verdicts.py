"""Recorded verdicts: kept, read back, replaced; and the page that is made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glassformer import places
from glassformer.claims.claim import ClaimResult, Measurement
from glassformer.claims.page import page
from glassformer.claims.registry import claim
from glassformer.claims.verdicts import VerdictRecord, decide, last, record, recorded
from glassformer.errors import RunError

FINDING = ClaimResult(
    {"one | part": True, "another": False},
    "What is true.",
    "Under this condition.",
    {"cost": Measurement(0.5, "nats", (0.4, 0.6)), "nothing": Measurement(None, "nats")},
    (Path("studies/one"),),
)


def test_a_verdict_is_read_back_as_it_was_kept(tmp_path, about):
    verdict = VerdictRecord.of(claim("pe-norm"), FINDING, about())
    path = record(tmp_path / "new" / "claims", verdict)
    assert path.name == "pe-norm.quick.json"
    assert recorded(path.parent, "pe-norm") == [verdict]
    assert (verdict.verdict, verdict.evidence) == ("depends", ("studies/one",))


def test_a_verdict_of_a_tuned_study_says_what_it_was_tuned_over(tmp_path, about):
    tuned = replace(
        about(),
        tuning_notes=("claim-x, baseline: the best is on the edge",),
        rates=(1e-3, 1e-2),
        selection_seeds=2,
        selection_steps=300,
        seeds_at={4: 2},
        run_seconds=9e3,
    )
    finding = replace(FINDING, not_tested="No run ended at 1.8 nats.")
    verdict = VerdictRecord.of(claim("pe-norm"), finding, tuned)
    record(tmp_path, verdict)
    assert recorded(tmp_path, "pe-norm") == [verdict]
    written = page([claim("pe-norm")], {"pe-norm": [verdict]})
    for told in (
        "| **not tested** (quick) | learning rate 0.001, 0.01: 2 seeds, 300 steps |",
        "Not tested: No run ended at 1.8 nats.",
        "2 seeds at 4",
        "2.50 core-hours",
        "Grids: claim-x, baseline: the best is on the edge.",
    ):
        assert told in written


def test_a_verdict_that_was_recorded_before_studies_were_tuned_is_read(tmp_path, about):
    verdict = VerdictRecord.of(claim("pe-norm"), FINDING, about())
    path = record(tmp_path, verdict)
    tree = json.loads(path.read_text())
    del tree["not_tested"]
    for name in ("rates", "selection_seeds", "selection_steps", "seeds_at", "run_seconds", "tuning_notes"):
        del tree["circumstances"][name]
    path.write_text(json.dumps(tree))
    assert recorded(tmp_path, "pe-norm") == [verdict]
    assert "| one learning rate |" in page([claim("pe-norm")], {"pe-norm": [verdict]})


def test_the_page_ends_a_claim_with_what_could_still_be_wrong():
    doubtful = replace(claim("pe-norm"), could_be_wrong=("One text.", "Few seeds."))
    assert page([doubtful], {}).endswith("what could still be wrong\n\n- One text.\n- Few seeds.\n")


def test_each_budget_has_one_verdict_and_the_last_is_the_newest(tmp_path, about):
    decided = claim("pe-norm")
    for each in (
        about("quick"),
        about("full", "2026-01-01T00:00:00+00:00"),
        about("quick", "2026-02-01T00:00:00+00:00"),
    ):
        record(tmp_path, VerdictRecord.of(decided, FINDING, each))
    assert [each.circumstances.budget for each in recorded(tmp_path, "pe-norm")] == ["quick", "full"]
    assert last(tmp_path, "pe-norm").circumstances.date == "2026-02-01T00:00:00+00:00"
    assert last(tmp_path, "pe-distance") is None


@pytest.mark.parametrize("damage", ["{", '{"claim": 3}', '{"numbers": {}, "verdict": "maybe"}'])
def test_a_damaged_verdict_is_told_with_what_to_do(tmp_path, damage):
    (tmp_path / "pe-norm.quick.json").write_text(damage)
    with pytest.raises(RunError, match=r"pe-norm\.quick\.json.* is damaged"):
        recorded(tmp_path, "pe-norm")


def test_a_verdict_that_is_none_of_the_five_is_damage(tmp_path, about):
    path = record(tmp_path, VerdictRecord.of(claim("pe-norm"), FINDING, about()))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"verdict": "maybe"}))
    with pytest.raises(RunError, match="maybe"):
        recorded(tmp_path, "pe-norm")


def test_a_folder_that_cannot_be_made_is_told(tmp_path, about):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be kept"):
        record(tmp_path / "file" / "claims", VerdictRecord.of(claim("pe-norm"), FINDING, about()))


def test_deciding_keeps_the_circumstances(tmp_path, claim_studies):
    verdict = decide(claim("pe-norm"), "quick", claim_studies, folder=tmp_path, command=["glassformer", "claims", "x"])
    assert recorded(tmp_path, "pe-norm") == [verdict]
    told = verdict.circumstances
    assert (told.budget, told.runs, told.data, told.command) == ("quick", 0, "", "glassformer claims x")
    assert told.levels == claim("pe-norm").quick.levels
    assert "torch" in told.machine
    assert told.date.endswith("+00:00")


def test_the_page_has_every_verdict_with_its_numbers_and_circumstances(about):
    decided = [claim("pe-norm"), claim("pe-distance")]
    written = page(decided, {"pe-norm": [VerdictRecord.of(decided[0], FINDING, about())]})
    for told in (
        "**depends** (quick)",
        "one | part: **holds**",
        "another: **does not hold**",
        "| cost | 0.5 nats (95 % interval 0.4 to 0.6) |",
        "| nothing | none |",
        "What is true.",
        "Under this condition.",
        "Evidence: the studies `one`",
        "`glassformer claims x`, 2026-01-02T03:04:05+00:00: 3 seeds; 600 steps; levels 1, 4; 36 runs, 18 of them",
        decided[1].statement,
        "no verdict yet",
    ):
        assert told in written
    assert "```" not in written  # nothing that the documentation's tests would run


def test_the_variable_moves_the_folder_of_verdicts(monkeypatch, tmp_path):
    monkeypatch.setenv("GLASSFORMER_CLAIMS", str(tmp_path))
    assert places.claims_folder() == tmp_path
    monkeypatch.delenv("GLASSFORMER_CLAIMS")
    assert places.claims_folder() == Path("claims")
