"""Tuned studies from their design to their results, stopped and killed anywhere, with losses that are known."""

from __future__ import annotations

import json
import math
import random
import shutil

import pytest
from executors import InThisProcess

from glassformer.errors import RunError
from glassformer.registry import load_part_file
from glassformer.runs.folder import Run, list_runs
from glassformer.runs.part_files import PARTS
from glassformer.studies import folder as folder_module
from glassformer.studies.adding_seeds import until_decided
from glassformer.studies.checking import check
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome, failed
from glassformer.studies.runner import StudyRunner
from glassformer.studies.selection import select, selection_result
from glassformer.studies.summary import summarise

RATE = "training.optimizer.learning_rate"
RATES = [1e-3, 1e-2, 1e-1]
FEW = {"learning_rates": [1e-3, 1e-2], "selection_seeds": 1, "seeds": 1}
"""A study of few runs, in which both arms' grids are extended."""
BARE = "no skip"
CONTROL = "no skip at the baseline's learning_rate"


def loss_of(config) -> float | None:
    """A bowl over the logarithm of the learning rate: the baseline's bottom is at 1e-2, without skips at 1e-4."""
    rate, seed = config.training.optimizer.learning_rate, config.training.seed
    bare = config.model.residual == "none"
    if rate > 0.5 or (bare and rate > 0.05):
        return None
    distance = math.log10(rate) - (-4 if bare else -2)
    noise = random.Random(f"{rate} {seed} {bare}").gauss(0, 0.001)
    return 2.0 + 0.1 * distance**2 + (0.05 if bare else 0.0) + 0.01 * (seed % 7) + noise


class Losses:
    """ "Training" that writes real outcomes with constructed losses, and can be stopped or fail at a run."""

    def __init__(self, stop_after=None, fail_at=None, loss=loss_of) -> None:
        self.stop_after, self.fail_at, self.loss, self.made = stop_after, fail_at, loss, []

    def __call__(self, study):
        for planned in study.pending():
            if len(self.made) == self.stop_after:
                return "SIGTERM"
            loss = self.loss(planned.config)
            status = "diverged" if loss is None else "finished"
            outcome = RunOutcome(planned.variant, planned.seed, None, status, loss=loss, steps=8)
            if planned.run_key == self.fail_at:
                outcome = failed(planned.variant, planned.seed, "the disk is full")
            with study.lock_run(planned):
                study.record(planned, outcome)
            self.made.append((study.path.name == "selection", planned.run_key))
        return None


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Nobody cuts the power here, and to flush hundreds of small files takes most of the time."""
    monkeypatch.setattr("glassformer.runs.files.os.fsync", lambda _descriptor: None)


@pytest.fixture(scope="module")
def checked(design):
    """``checked(seeds=3)``: a tuned study of the small base without skips, checked once for each design."""
    made = {}

    def checked(vary=None, **options):
        options = {"learning_rates": RATES, "selection_seeds": 2, "seeds": 3} | options
        vary = vary or {BARE: {"model.residual": "none"}}
        key = repr((vary, options))
        if key not in made:
            made[key] = check(design(vary, **options))
        return made[key]

    return checked


@pytest.fixture
def begin(checked, tmp_path):
    """``begin(seeds=3)``: the folder of such a study."""

    def begin(vary=None, **options) -> Study:
        found = checked(vary, **options)
        return Study.create(found.config, data=found.data, command=["test"], root=tmp_path / "studies")

    return begin


def run(study, train) -> tuple[Study, str | None]:
    """Both phases, as :class:`StudyRunner` has them."""
    study, signal = select(study, train)
    if not study.config.chosen:
        return study, signal
    return until_decided(study, train) if study.config.until_decided is not None else (study, train(study))


def results_of(study) -> str:
    return json.dumps(summarise(study).to_dict(), sort_keys=True)


def test_each_arm_is_compared_at_its_own_best_value_which_may_lie_beyond_the_grid(begin):
    study, signal = run(begin(), Losses())
    assert signal is None
    assert study.config.chosen == {BASE: {RATE: 1e-2}, BARE: {RATE: 1e-4}}
    assert study.config.arms == (BASE, BARE, CONTROL)
    assert study.config.controls == {CONTROL: BARE}
    rates = {planned.variant: planned.config.training.optimizer.learning_rate for planned in study.plan}
    assert rates == {BASE: 1e-2, BARE: 1e-4, CONTROL: 1e-2}
    residuals = {planned.variant: planned.config.model.residual for planned in study.plan}
    assert residuals == {BASE: "both", BARE: "none", CONTROL: "none"}
    found = selection_result(study)
    assert [point.values[RATE] for point in found.of(BASE)] == RATES
    assert [point.values[RATE] for point in found.of(BARE)] == [1e-5, 1e-4, *RATES]
    others = [point.mean for point in found.of(BARE) if point.values[RATE] != 1e-4 and point.mean is not None]
    assert found.best[BARE].mean < min(others)
    assert "extended to 1e-05 and 0.0001" in found.notes[BARE]
    assert BASE not in found.notes
    assert {point.diverged for point in found.of(BARE)} == {0, 2}


def test_the_comparison_has_the_variants_only_and_controls_stand_alone(begin):
    study, _ = run(begin(), Losses())
    summary = summarise(study)
    assert [row.variant for row in summary.comparison.rows] == [BARE]
    assert summary.comparison.row(BARE).comparisons == 1
    (control,) = summary.controls
    assert control is summary.control(BARE)
    assert (control.variant, control.comparisons, control.p) == (CONTROL, 1, control.p_holm)
    own, at_the_baselines = summary.comparison.row(BARE).mean, control.mean
    assert own == pytest.approx(0.05, abs=0.01)
    assert at_the_baselines == pytest.approx(0.05 + 0.1 * 2**2, abs=0.01)
    results = json.loads(results_of(study))
    assert results["selection"]["best"] == {BASE: {RATE: 1e-2}, BARE: {RATE: 1e-4}}
    assert len(results["selection"]["points"]) == 8
    assert [each["of"] for each in results["controls"]] == [BARE]
    assert results["study"]["tuning"]["seeds"] == [1000, 1001]


def test_an_arm_whose_best_is_the_baselines_has_no_control(begin):
    study, _ = run(begin({"shallow": {"model.n_layers": 1}}), Losses())
    assert study.config.chosen[BASE] == study.config.chosen["shallow"]
    assert study.config.controls == {}
    assert len(study.plan) == study.config.n_runs == 6


def test_controls_can_be_left_out(begin):
    study, _ = run(begin(controls=False), Losses())
    assert study.config.chosen[BASE] != study.config.chosen[BARE]
    assert study.config.arms == (BASE, BARE)
    assert summarise(study).controls == ()


def test_no_selection_seed_is_in_the_comparison(begin):
    options = {"until_decided": True, "budget_seeds": 12, "seeds": [0], "selection_seeds": [1, 2, 5]}

    def loss(config):  # differences whose mean is near zero, which no number of seeds decides
        return 2.0 + (0.1 * (-1) ** config.training.seed if config.training.grad_clip == 2 else 0.0)

    study, _ = run(begin({"erratic": {"training.grad_clip": 2.0}}, **options), Losses(loss=loss))
    assert {planned.seed for planned in study.selection.plan} == {1, 2, 5}
    assert study.config.seeds == (0, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14)
    assert not {planned.seed for planned in study.plan} & {1, 2, 5}


def test_until_decided_decides_over_the_variants_and_controls_have_intervals_of_every_look(begin):
    study, _ = run(begin(until_decided=True, seeds=1), Losses())
    summary = summarise(study)
    assert [each.decision.variant for each in summary.sequential_results] == [BARE]
    assert all(each.decision.comparisons == 1 for each in summary.sequential_results)
    (control,) = summary.controls
    assert (control.p, control.p_holm, control.t) == (None, None, None)
    assert control.interval[0] < control.mean < control.interval[1]
    assert control.n == len(study.config.seeds)


def test_an_arm_that_diverges_everywhere_is_a_result(begin):
    def loss(config):
        return None if config.model.residual == "none" else loss_of(config)

    study, _ = run(begin(), Losses(loss=loss))
    found = selection_result(study)
    assert {point.mean for point in found.of(BARE)} == {None}
    assert study.config.chosen[BARE] == {RATE: 1e-6}  # the smallest, after three extensions
    (row,) = summarise(study).comparison.rows
    assert row.variant_diverged == (0, 1, 2)
    assert row.mean is None


def test_an_arm_is_compared_at_the_value_with_the_fewest_divergences(begin):
    def loss(config):
        rate, seed = config.training.optimizer.learning_rate, config.training.seed
        diverges = config.model.residual == "none" and (seed % 2 or rate != 1e-2)
        return None if diverges else loss_of(config)

    study, _ = run(begin(), Losses(loss=loss))
    assert study.config.chosen[BARE] == {RATE: 1e-2}


def test_a_failed_selection_run_stops_the_study_before_the_comparison_and_is_retried(begin):
    study = begin()
    failing = "no-skip,-optimizer.learning_rate=0.01.seed-1001"
    half, signal = run(study, Losses(fail_at=failing))
    assert (signal, half.config.chosen, half.plan) == (None, {}, [])
    whole, _ = run(half, Losses())
    assert whole.config.chosen == {BASE: {RATE: 1e-2}, BARE: {RATE: 1e-4}}
    assert selection_result(whole).best[BARE].diverged == 0


@pytest.mark.parametrize("until", [False, True])
def test_stopped_after_any_run_it_goes_on_to_the_same_results(begin, until):
    options = FEW | ({"until_decided": True} if until else {})
    every = Losses()
    whole, _ = run(begin(**options), every)
    for stop_after in range(len(every.made)):
        first, second = Losses(stop_after=stop_after), Losses()
        study, signal = run(begin(**options), first)
        assert signal == "SIGTERM"
        study, signal = run(Study.open(study.path), second)
        assert signal is None
        assert first.made + second.made == every.made
        assert study.config == whole.config
        assert results_of(study) == results_of(whole)


class Killed(BaseException):
    """The process is gone."""


def test_killed_before_or_after_any_write_it_goes_on_to_the_same_results(begin, monkeypatch):
    whole, _ = run(begin(**FEW), Losses())
    write, written = folder_module.replace_durably, []

    def counting(kill_at, after):
        def replace(path, content):
            if len(written) == kill_at and not after:
                raise Killed
            write(path, content)
            written.append(path)
            if len(written) - 1 == kill_at and after:
                raise Killed

        return replace

    monkeypatch.setattr(folder_module, "replace_durably", counting(None, False))
    first = begin(**FEW)
    written.clear()
    run(first, Losses())
    count = len(written)
    names = {path.name for path in written}
    assert {"study.json", "data.json", "environment.json"} < names
    for kill_at in range(count):
        study = begin(**FEW)
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(folder_module, "replace_durably", counting(kill_at, bool(kill_at % 2)))
            with pytest.raises(Killed):
                run(study, Losses())
        study, signal = run(Study.open(study.path), Losses())
        assert signal is None
        assert (study.config, study.data()) == (whole.config, whole.data())
        assert results_of(study) == results_of(whole)


def test_a_selection_folder_that_was_only_begun_is_made_anew(begin):
    study = begin()
    (study.path / "selection" / "runs" / "left").mkdir(parents=True)
    assert study.selection is None
    study, _ = run(study, Losses())
    assert not (study.selection.runs / "left").exists()
    assert study.config.chosen


def test_ended_runs_of_a_selection_that_lost_its_design_are_kept(begin):
    study = begin()
    inner = study.begin_selection(study.config.selection_study(), {})
    Losses()(inner)
    (inner.path / "study.json").unlink()
    kept = sorted((inner.path / "outcomes").iterdir())
    assert kept
    with pytest.raises(RunError, match=r"has runs that have ended, and no study\.json: restore it"):
        run(study, Losses())
    assert sorted((inner.path / "outcomes").iterdir()) == kept


def test_a_selection_of_another_study_is_reported(begin):
    study, _ = run(begin(), Losses())
    other, _ = run(begin({"shallow": {"model.n_layers": 1}}), Losses())
    shutil.rmtree(study.path / "selection")
    shutil.copytree(other.path / "selection", study.path / "selection")
    with pytest.raises(RunError, match=r"not the selection of its study: it has the variant 'shallow"):
        selection_result(study)


PART = """
from torch.nn import LayerNorm
from glassformer.registry import register


@register("norm", "of-a-tuned-study")
class Own(LayerNorm):
    def __init__(self, size, eps=1e-5, bias=True):
        super().__init__(size, eps=eps, bias=bias)
"""


def test_a_selection_has_its_own_copies_of_part_files_and_its_runs_are_of_them(begin, tmp_path):
    part = tmp_path / "parts.py"
    part.write_text(PART)
    load_part_file(part)
    own = {"model.norm.kind": "of-a-tuned-study", "model.part_files": [str(part)]}
    study = begin({"own": own}, **FEW)
    part.unlink()
    study, _ = run(study, Losses())
    selection = Study.open(study.path).selection
    kept = {path for name in selection.config.arms for path in selection.config.arm(name).model.part_files}
    assert kept == {str(selection.path / PARTS / "parts.py")}
    assert study.config.arm("own").model.part_files == (str(study.path / PARTS / "parts.py"),)
    assert study.config.chosen["own"] == {RATE: 1e-2}


# ------------------------------------------------------------------------------------------------- with real training


def test_real_runs_are_trained_in_both_phases_reused_across_studies_and_ordinary(design, tmp_path):
    runner = StudyRunner(
        runs=tmp_path / "runs", studies=tmp_path, make_executor=lambda study, _checked: InThisProcess(study)
    )
    options = {"seeds": [0], "selection_seeds": 1, "selection_steps": 4, "set": {"training.max_steps": 6}}
    variant = {BARE: {"model.residual": "none"}}
    checked = check(design(variant, learning_rates=[1e-4, 1e-3], **options))
    study = Study.create(checked.config, data=checked.data, command=["test"], root=tmp_path)
    result = runner.run(study, checked)
    done = result.check()
    assert done.config.chosen.keys() == {BASE, BARE}
    for planned in done.plan:
        run = done.run_of(planned)
        assert run.config == planned.config.to_dict()
        assert {path.name for path in run.path.iterdir()} >= {"config.json", "metrics.jsonl"}
    selection = done.selection
    assert {outcome.steps for outcome in selection.outcomes()} == {4}
    assert {outcome.steps for outcome in done.outcomes()} == {6}
    assert all(Run.open(path).config["training"]["seed"] == 1000 for path in list_runs(selection.runs))

    again = check(design(variant, learning_rates=[1e-4, 1e-3], controls=False, **options))
    other = Study.create(again.config, data=again.data, command=["test"], root=tmp_path)
    repeated = runner.run(other, again)
    assert list_runs(other.runs) == list_runs(repeated.study.selection.runs) == []
    assert repeated.check().config.chosen == done.config.chosen
    assert len(repeated.reused) == len(selection.plan) + 2
    assert not (done.path / PARTS).exists()


def test_the_runner_reports_what_a_selection_still_needs(design, tmp_path, monkeypatch):
    options = {"learning_rates": RATES, "selection_seeds": 1, "selection_steps": 4, "seeds": 3}
    checked = check(design({BARE: {"model.residual": "none"}}, **options))
    study = Study.create(checked.config, data=checked.data, command=["test"], root=tmp_path)

    class Failing(InThisProcess):
        def submit(self, run):
            planned = self.study.run_by_key[run]
            self.study.record(planned, failed(planned.variant, planned.seed, "the disk is full"))
            super().submit(run)

    notes = []
    runner = StudyRunner(
        runs=tmp_path / "runs", studies=tmp_path, report=notes.append, make_executor=lambda s, _checked: Failing(s)
    )
    result = runner.run(study, checked)
    assert any("6 of 6 selection runs to train" in note for note in notes)
    assert result.study.selection.label(BASE) == "baseline, optimizer.learning_rate=0.001"
    assert result.study.label(BASE) == "baseline"
    with pytest.raises(RunError, match=r"6 of 6 runs of the selection of the study .* failed(.|\n)*the disk is full"):
        result.check()
    assert result.study.plan == []
