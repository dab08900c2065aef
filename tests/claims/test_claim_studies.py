"""The claims that take training, decided for real at a budget that can decide nothing: what counts is that they run."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from typing import get_args

import pytest
from executors import InThisProcess

from glassformer.claims import residual_study
from glassformer.claims.budget import Budget
from glassformer.claims.claim import Verdict
from glassformer.claims.claim_studies import ClaimStudies, local_text, records
from glassformer.claims.registry import IDS, claim
from glassformer.claims.verdicts import decide
from glassformer.errors import ConfigError, RunError
from glassformer.studies.folder import Study
from glassformer.studies.runner import StoppedError, StudyRunner

TINY = {
    "scale-sqrt-dk": Budget(seeds=1, steps=8, levels=(2, 4)),
    "residual-depth": Budget(seeds=1, steps=4, levels=(2,)),
    "q-only": Budget(seeds=2, steps=8, levels=(1,)),
}
USUAL = Budget(seeds=1, steps=8, levels=(1,))
STUDIES = [name for name in IDS if claim(name).kind == "study" or claim(name).full.steps]


def with_runner(claim_studies, **changes):
    """The same, its runner changed, and nothing counted."""
    runner = dataclasses.replace(claim_studies.runner, **changes)
    return dataclasses.replace(claim_studies, runner=runner, n_runs=0, n_reused=0)


@pytest.fixture(scope="module")
def here(claim_studies):
    """The small studies, their runs made in this process."""
    return with_runner(claim_studies, make_executor=lambda study, _checked: InThisProcess(study))


@pytest.mark.parametrize("name", STUDIES)
def test_it_is_decided_from_its_studies(name, here):
    decided = claim(name)
    budget = TINY.get(name, USUAL)
    result = decided.decide(budget, here)
    assert result.verdict in get_args(Verdict)
    assert result.sentence
    assert result.condition
    assert result.evidence
    for path in result.evidence:
        study = Study.open(path)
        assert study.pending() == []
        assert len(study.plan) == len(study.config.arms) * budget.seeds
        assert {each.status for each in study.outcomes()} == {"finished"}
    assert all(each.interval is None for each in result.numbers.values() if each.unit == "nats")  # at most two seeds


def test_claims_share_their_studies_and_a_study_is_made_once(here):
    before = here.n_runs, here.n_reused
    first = here.over_depth(residual_study.NAME, residual_study.VARIANTS, USUAL)[1]
    again = here.over_depth(residual_study.NAME, residual_study.VARIANTS, USUAL)[1]
    assert first.path == again.path
    runs, reused = here.n_runs - before[0], here.n_reused - before[1]
    assert (runs, reused) == (12, 12)  # both were made for the claims before
    loss, gradients = (claim(name).decide(USUAL, here) for name in ("residual-loss", "residual-gradients"))
    assert loss.evidence == gradients.evidence == (first.path,)


def test_real_processes_make_the_same_runs(text, here, tmp_path):
    budget = Budget(seeds=1, steps=6)
    elsewhere = ClaimStudies(str(text), StudyRunner(workers=1, studies=tmp_path / "studies"), settings=here.settings)
    found = [
        each.study("claim-tried", each.base(budget), {"none": {"model.residual": "none"}}, budget)
        for each in (elsewhere, with_runner(here, studies=tmp_path / "others"))
    ]
    assert found[0].losses() == found[1].losses()


def test_a_run_that_fails_is_told_and_not_left_out(here, monkeypatch, tmp_path):
    def refuse(*_args, **_options):
        raise RunError("there is no room")

    monkeypatch.setattr("glassformer.training.session.start", refuse)
    budget = Budget(seeds=1, steps=5)
    mine = with_runner(here, studies=tmp_path)
    study = "claim-failing", here.base(budget), {"none": {"model.residual": "none"}}, budget
    with pytest.raises(RunError, match=r"2 of 2 runs .* failed(.|\n)*there is no room"):
        mine.study(*study)
    monkeypatch.undo()
    made = mine.study(*study)  # the same once more tries them again, in the same folder
    assert list(tmp_path.iterdir()) == [made.path]
    assert made.pending() == []


def test_a_study_that_other_code_began_is_made_again(here, tmp_path):
    budget = Budget(seeds=1, steps=5)
    mine = with_runner(here, studies=tmp_path)
    study = "claim-other", here.base(budget), {"none": {"model.residual": "none"}}, budget
    made = mine.study(*study)
    assert mine.study(*study).path == made.path
    environment = made.path / "environment.json"
    environment.write_text(json.dumps(json.loads(environment.read_text()) | {"source": "0" * 64}))
    assert mine.study(*study).path != made.path


def test_a_study_that_a_signal_stops_is_saved_and_gone_on_with(here, tmp_path):
    class Interrupted(InThisProcess):
        def next(self, timeout):
            report = super().next(timeout)
            os.kill(os.getpid(), signal.SIGTERM)
            return report

    budget = Budget(seeds=1, steps=7)
    study = "claim-stopped", here.base(budget), {"none": {"model.residual": "none"}}, budget
    with pytest.raises(StoppedError, match="1 of 2 runs are left") as error:
        with_runner(here, studies=tmp_path, make_executor=lambda study, _checked: Interrupted(study)).study(*study)
    assert error.value.signal == "SIGTERM"
    mine = with_runner(here, studies=tmp_path)
    assert mine.study(*study).pending() == []
    assert (mine.n_runs, mine.n_reused) == (2, 1)


def test_a_verdict_tells_how_many_runs_it_rests_on(here, tmp_path):
    tiny = dataclasses.replace(claim("q-only"), quick=USUAL)
    verdict = decide(tiny, "quick", here, folder=tmp_path, command=["glassformer", "claims", "q-only"])
    assert verdict.circumstances.runs == 4
    assert verdict.circumstances.data == here.data
    assert len(verdict.evidence) == 2


def test_a_setting_that_is_none_is_told(here):
    with pytest.raises(ConfigError, match="residuals"):
        here.base(USUAL, {"model.residuals": "none"})


@pytest.mark.parametrize("steps", [1, 19, 20, 600, 2_000])
def test_a_run_of_any_length_is_validated_and_its_gradients_recorded(steps):
    often = records(steps)["training.telemetry.gradients_every"]
    assert 1 <= often <= max(1, steps)
    assert steps // often <= 40


def test_the_text_is_tinyshakespeare_where_it_is_at_hand(monkeypatch, tmp_path):
    assert local_text() == "python-stdlib"
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare" / "input.txt").write_text("First Citizen")
    monkeypatch.setenv("GLASSFORMER_DATA", str(tmp_path))
    assert local_text() == "tinyshakespeare"
