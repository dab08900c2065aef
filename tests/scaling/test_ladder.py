"""A ladder from its request to its law: planned, run in real processes, killed and gone on with, fitted, and believed
no further than its rungs go.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from glassformer.errors import ConfigError, DataError
from glassformer.runs.folder import list_runs
from glassformer.scaling.fits.points import Points
from glassformer.scaling.ladders.ladder import Ladder, study_config
from glassformer.scaling.ladders.ladder_budget import read_budget
from glassformer.scaling.ladders.ladder_fit import LAW, PATH_LAW, fit_ladder, predict, rung_points, single_noise
from glassformer.scaling.ladders.ladder_page import write_page
from glassformer.scaling.ladders.ladder_plan import LadderPlan, LadderRequest, plan_ladder
from glassformer.scaling.ladders.ladder_rungs import LadderRun
from glassformer.scaling.ladders.ladder_summary import summarize
from glassformer.scaling.ladders.rate_sweep import FACTORS, run_sweep

SETTINGS = {
    "model.max_seq_len": "16",
    "training.batch_size": "4",
    "training.telemetry.validation_tokens": "256",
}


@pytest.fixture(scope="module", autouse=True)
def own_places(tmp_path_factory):
    """A cache and folders of our own, short measurements, one thread, and rungs of some dozen steps."""
    patch = pytest.MonkeyPatch()
    for place in ("CACHE", "RUNS", "STUDIES"):
        patch.setenv(f"GLASSFORMER_{place}", str(tmp_path_factory.mktemp(place.lower())))
    patch.delenv("GLASSFORMER_DATA", raising=False)
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    patch.setattr("glassformer.scaling.ladders.ladder_rungs.FEWEST_STEPS", 24)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    patch.undo()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text of words each of which says something about the next."""
    draw = random.Random(0)
    words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote.\n"]
    following = {word: draw.sample(words, 3) for word in words}
    said = ["the"]
    for _ in range(20_000):
        said.append(draw.choice(following[said[-1]]))
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(said))
    return path


@pytest.fixture(scope="module")
def request_of(text):
    def request_of(budget="6e9", **options) -> LadderRequest:
        chosen = {"target": "3x", "law": PATH_LAW, "ratio": 0.25, "settings": SETTINGS} | options
        return LadderRequest("nanogpt-shakespeare-cpu", budget, str(text), **chosen)

    return request_of


@pytest.fixture(scope="module")
def conducted(request_of, tmp_path_factory):
    """A small ladder with a variant, all its runs made by a worker."""
    vary = {"no attention": {"model.sublayers": "feedforward"}}
    plan = plan_ladder(request_of(budget="1.2e10", law=None, vary=vary), workers=1)
    ladder, checked = Ladder.begin(plan, root=tmp_path_factory.mktemp("studies"))
    assert ladder.conduct(checked) is None
    return ladder


# ------------------------------------------------------------------------------------------------- planning


def test_budgets_are_flops_or_time():
    assert read_budget("1e14").amount == 1e14
    assert [read_budget(text).amount for text in ("90s", "20min", "2 h", "1.5 hours")] == [90, 1200, 7200, 5400]
    assert read_budget("20min").timed
    assert not read_budget("1e14").timed
    with pytest.raises(ConfigError, match="expected FLOPs"):
        read_budget("20 parsecs")
    for text, reason in (
        ("1,5h", "Write 1.5"),
        ("4,129s", "4129 or as 4.129"),
        ("1,5e13", "Write 1.5e13"),
        ("٣h", "Write 3"),
        ("0s", "above 0"),
        ("1e9h", "at most"),
        ("nan", "above 0"),
        ("1e30", "at most"),
    ):
        with pytest.raises(ConfigError, match=reason):
            read_budget(text)


def test_a_plan_keeps_to_its_budget_and_its_target_is_beyond_its_largest_rung(request_of):
    plan = plan_ladder(request_of())
    assert sum(run.c for run in plan.runs) <= 6e9
    assert plan.target.c == pytest.approx(3 * plan.runs[0].c, rel=0.1)
    assert plan.verification == plan.target
    assert [run.c for run in plan.runs] == sorted((run.c for run in plan.runs), reverse=True)


def test_the_rungs_counts_are_those_of_their_models(request_of):
    from glassformer.models.counting import flops_per_token, parameters

    plan = plan_ladder(request_of())
    for run in plan.runs:
        config = plan.base.override(run.changes)
        tokens = config.training.max_steps * config.training.batch_size * config.seq_len
        assert (run.n, run.d) == (parameters(config.model).total, tokens)
        assert run.c == flops_per_token(config.model, config.seq_len).training * tokens
        assert config.training.optimizer.learning_rate == pytest.approx(0.5 / config.model.d_model, rel=0.01)
        assert config.training.schedule.warmup_steps == round(0.05 * config.training.max_steps)


def test_a_learning_rate_that_is_set_goes_as_one_over_the_width(request_of):
    plan = plan_ladder(request_of(settings=SETTINGS | {"training.optimizer.learning_rate": "0.002"}))
    for run in plan.runs:
        config = plan.base.override(run.changes)
        assert config.training.optimizer.learning_rate == pytest.approx(0.002 * 128 / config.model.d_model, rel=0.01)


def test_a_plan_is_read_back_as_it_was_written(request_of):
    plan = plan_ladder(request_of())
    assert LadderPlan.of(json.loads(json.dumps(plan.to_dict()))) == plan


def test_time_is_a_budget_that_is_measured(request_of):
    plan = plan_ladder(request_of(budget="30s"), workers=2)
    assert plan.pace.per_flop > 0
    assert plan.design.spent <= 60
    assert plan.cost(plan.target) > plan.cost(plan.runs[0]) > 1.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": "1e6"}, "is too small"),
        ({"settings": {"training.max_steps": "9"}}, "each rung has its own length"),
        ({"target": "0.5x"}, "expected FLOPs"),
    ],
)
def test_what_cannot_be_a_ladder_is_rejected(request_of, options, words):
    with pytest.raises(ConfigError, match=words):
        plan_ladder(request_of(**options))


def test_every_complaint_about_a_request_comes_at_once():
    with pytest.raises(ConfigError) as caught:
        LadderRequest("nanogpt-shakespeare-cpu", "1e14", seeds=0, law="chinchila")
    assert [complaint[:7] for complaint in caught.value.complaints] == ["--seeds", "--law i"]


def test_a_variant_may_not_change_what_a_rung_is_made_of(request_of):
    with pytest.raises(ConfigError, match="each rung has its own"):  # before anything is prepared
        request_of(budget="1.2e10", law=None, vary={"wide": {"model.d_model": 64}})
    fast = {"fast": {"training.optimizer.learning_rate": 0.1}}
    plan = plan_ladder(request_of(budget="1.2e10", law=None, vary=fast))
    with pytest.raises(ConfigError, match="each rung has its own"):
        study_config(plan)


def test_a_budget_that_is_too_small_is_named_and_not_the_text(request_of):
    """A text that holds the cheapest rung many times was called too short."""
    with pytest.raises(ConfigError, match=r"--budget 1s is too small.* the text has 90\.7k tokens") as caught:
        plan_ladder(request_of(budget="1s"), workers=1)
    assert "too short" not in str(caught.value)
    enough = re.search(r"Set --budget above (\d+)s", str(caught.value))
    assert int(enough[1]) > 1


def test_a_text_that_is_too_short_is_named_with_the_budget_it_allows(request_of):
    with pytest.raises(ConfigError, match=r"the text is too short for --budget 1e15.* 90\.7k tokens") as caught:
        plan_ladder(request_of(budget="1e15"))
    allowed = float(re.search(r"--budget to about (\S+), or", str(caught.value))[1])
    assert plan_ladder(request_of(budget=f"{allowed:.3g}")).runs


def test_a_target_below_every_rung_is_named(request_of):
    with pytest.raises(ConfigError, match="--target 1e[+]08 is too small"):
        plan_ladder(request_of(target="1e8"))


def test_the_sweep_of_the_learning_rate_is_paid_from_the_budget(request_of):
    plan = plan_ladder(request_of())
    assert plan.sweep.cost == pytest.approx(len(FACTORS) * plan.sweep.run.c)
    assert plan.design.spent + plan.sweep.cost <= 6e9
    assert plan.sweep.run.c <= min(run.c for run in plan.runs) * (1 + 1e-9)
    fixed = plan_ladder(request_of(settings=SETTINGS | {"training.optimizer.learning_rate": "0.002"}))
    assert fixed.sweep is None


# ------------------------------------------------------------------------------------------------- running


def test_every_rung_and_variant_is_run_as_planned_and_the_law_goes_through_them(conducted):
    assert all(outcome.status == "finished" for outcome in conducted.study.outcomes())
    for run in conducted.plan.runs:
        (loss,) = conducted.losses(run).values()
        (outcome,) = [each for each in conducted.study.outcomes() if each.loss == loss and each.steps == run.steps]
        assert outcome.variant in {"base", run.name}
    reported = summarize(conducted)
    assert len(reported.fitted.fit.points) == len(conducted.plan.runs)
    assert np.sort(reported.fitted.fit.points.c).tolist() == sorted(run.c for run in conducted.plan.runs)
    assert reported.prediction.low < reported.prediction.value < reported.prediction.high
    (scaling,) = reported.effects
    assert scaling.n_pairs == len(conducted.plan.runs)
    assert scaling.cost < 0.9  # a block without attention costs less
    assert any("no attention" in sentence and "10×" in sentence for sentence in reported.sentences())


def test_every_rung_has_the_rate_that_was_best_in_the_sweep(conducted):
    sweep = conducted.plan.sweep
    assert sweep.losses[sweep.best] == min(loss for loss in sweep.losses.values() if loss is not None)
    assert set(sweep.losses) == set(FACTORS)
    for run in (*conducted.plan.runs, conducted.plan.target, conducted.plan.verification):
        config = conducted.plan.base.override(run.changes)
        assert config.training.optimizer.learning_rate == pytest.approx(sweep.best / config.model.d_model, rel=0.01)
    assert LadderPlan.of(json.loads(json.dumps(conducted.plan.to_dict()))) == conducted.plan


def test_the_sweep_distinguishes_a_rate_that_learns_from_those_that_do_not(conducted):
    """Of the rates tried, the smallest has hardly left the start and the chosen one is far below it."""
    sweep = conducted.plan.sweep
    assert sweep.losses[sweep.best] < 0.8 * sweep.losses[min(FACTORS)]


@pytest.mark.slow(reason="trains the sweep of a ladder twice more: fifteen seconds")
def test_a_sweep_made_again_has_the_same_losses(request_of, tmp_path):
    plan = plan_ladder(request_of())
    first, second = (
        run_sweep(plan.sweep, plan.base, name, workers=1, root=tmp_path / name).losses for name in ("first", "second")
    )
    assert set(first) == set(FACTORS)
    assert first == second


def test_a_ladder_of_an_earlier_version_opens(conducted):
    """Without a sweep and without entropies."""
    tree = json.loads(json.dumps(conducted.plan.to_dict()))
    del tree["sweep"], tree["entropies"]
    old = LadderPlan.of(tree)
    assert (old.sweep, old.entropies) == (None, {})
    assert old.runs == conducted.plan.runs


def test_the_same_request_is_the_same_ladder_and_another_is_not(conducted):
    root = conducted.study.path.parent
    found = Ladder.find(conducted.plan.request, root=root)
    assert found.study.path == conducted.study.path
    assert found.plan == conducted.plan
    assert found.conduct(found.check()) is None  # nothing is left to make
    assert Ladder.find(LadderRequest("nanogpt-shakespeare-cpu", "7e9"), root=root) is None


def test_the_page_holds_the_law_the_design_and_every_run(conducted, tmp_path):
    html = write_page(conducted, command=["glassformer"], path=tmp_path / "page.html").read_text()
    for part in ("Results", "The design", "Every number", "over compute", "no attention"):
        assert part in html


@pytest.mark.slow(reason="a driver and its workers twice; tests/studies kills the study that a ladder is")
def test_a_ladder_that_is_killed_goes_on_to_the_losses_of_one_that_is_not(conducted, tmp_path):
    """Its driver killed in the middle, and conducted to the end: the losses of one never stopped, bit for bit."""
    ladder, checked = Ladder.begin(conducted.plan, root=tmp_path)
    script = (
        "import sys; from pathlib import Path; from glassformer.scaling.ladders.ladder import Ladder\n"
        "ladder = Ladder.open(Path(sys.argv[1])); ladder.conduct(ladder.check(), fresh=True)"
    )
    driver = subprocess.Popen([sys.executable, "-c", script, str(ladder.study.path)], env=os.environ)
    deadline = time.monotonic() + 60
    while not any((ladder.study.path / "outcomes").iterdir()):
        assert time.monotonic() < deadline, "no run has ended"
        assert driver.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait(timeout=30)
    before = len(ladder.study.outcomes())
    again = Ladder.open(ladder.study.path)
    assert 0 < before < len(again.study.plan)
    assert again.conduct(checked, fresh=True) is None
    assert again.study.losses() == conducted.study.losses()


def test_the_truth_is_reported_beside_the_prediction_and_trained_once(conducted):
    assert conducted.verify() is None
    runs = list_runs(conducted.study.path / "verification")
    assert len(runs) == 2  # the base and its variant
    fitted = conducted.fitted()
    base, variant = conducted.verified(fitted)
    assert base.predicted == fitted.predict(*(getattr(conducted.plan.verification, name) for name in "ndc"))
    assert base.predicted.holds(base.loss) == ("inside the" in base.sentence())
    assert variant.arm == "no attention"
    assert conducted.verify() is None
    assert list_runs(conducted.study.path / "verification") == runs


# -------------------------------------------------------------------------------------------------- fitting


def rungs(n, d, c) -> list[LadderRun]:
    """Rungs "0", "1", … of these sizes."""
    return [LadderRun(str(i), {}, *size, steps=1, shape="") for i, size in enumerate(zip(n, d, c, strict=True))]


def ladder_points(seed: int, *, noise: float, count: int = 8) -> Points:
    """Runs along a path, of a planted law."""
    compute = np.geomspace(1e11, 2e12, count)
    loss = (0.6 + 1.3 * (compute / 1e12) ** -0.18) * np.exp(np.random.default_rng(seed).normal(0, noise, count))
    n = np.sqrt(compute / 120)
    return Points.of(n, 20 * n, loss, c=compute)


MANY = pytest.param(60, 52, marks=pytest.mark.slow(reason="60 fits with their bootstraps and back-tests"))
"""How many planted ladders, and in how many a 95 % interval holds: three standard errors less than 95 %."""


@pytest.mark.parametrize(("reps", "enough"), [(12, 9), MANY])
def test_intervals_hold_the_truth_ten_times_beyond(reps, enough):
    inside = 0
    truth = 0.6 + 1.3 * 20**-0.18
    n = math.sqrt(2e13 / 120)
    for seed in range(reps):
        fitted = fit_ladder(ladder_points(seed, noise=0.004), PATH_LAW)
        own = truth * math.exp(np.random.default_rng(10_000 + seed).normal(0, 0.004))
        inside += fitted.predict(n, 20 * n, 2e13).holds(own)
    assert inside >= enough  # the back-test can only widen


@pytest.mark.parametrize(("reps", "enough"), [(12, 9), MANY])
def test_the_band_is_of_a_single_run_where_rungs_are_means_of_seeds(reps, enough):
    seeds, sigma, inside = 4, 0.004, 0
    truth, n = 0.6 + 1.3 * 20**-0.18, math.sqrt(2e13 / 120)
    for seed in range(reps):
        draw = np.random.default_rng(seed)
        planted = ladder_points(0, noise=0.0)
        losses = [(loss * np.exp(draw.normal(0, sigma, seeds))).tolist() for loss in planted.loss]
        points = rung_points(rungs(planted.n, planted.d, planted.c), losses, "here")
        fitted = fit_ladder(points, PATH_LAW, single=single_noise(losses))
        assert fitted.single == pytest.approx(sigma * math.sqrt(1 - 1 / seeds), rel=0.5)
        inside += fitted.predict(n, 20 * n, 2e13).holds(truth * math.exp(draw.normal(0, sigma)))
    assert inside >= enough
    assert single_noise([[2.0], [3.0], []]) == 0.0


def test_too_few_rungs_for_five_parameters_are_fitted_with_three_and_it_is_said():
    fitted = fit_ladder(ladder_points(0, noise=0.002, count=6), LAW)
    assert fitted.formula == PATH_LAW
    assert "fitted instead" in fitted.notes[0]


def test_a_path_does_not_tell_parameters_from_tokens_so_the_simpler_law_is_fitted():
    """On one path N and D grow together: the five-parameter law is open there, and never silently fitted."""
    fitted = fit_ladder(ladder_points(0, noise=0.002, count=10), LAW)
    assert fitted.formula == PATH_LAW
    assert "fitted instead" in fitted.notes[0]


def test_three_rungs_are_rejected():
    with pytest.raises(DataError, match="needs 4 at least"):
        fit_ladder(ladder_points(0, noise=0.002, count=3), PATH_LAW)


def test_seeds_of_a_rung_are_one_point_and_diverged_ones_none():
    points = rung_points(rungs([1e4] * 3, [1e6] * 3, [1e11] * 3), [[2.0, 4.5], [], [3.0]], "here")
    assert points.run.tolist() == ["0", "2"]
    assert points.loss.tolist() == pytest.approx([3.0, 3.0])


def test_the_back_test_widens_an_interval_that_was_too_narrow():
    """A law that bends: hidden rungs lie off the line, and the interval is widened."""
    compute = np.geomspace(1e11, 2e12, 8)
    loss = ladder_points(0, noise=0.002).loss.copy()
    loss[-2:] *= 1.05
    n = np.sqrt(compute / 120)
    fitted = fit_ladder(Points.of(n, 20 * n, loss, c=compute), PATH_LAW)
    assert fitted.widened == max(each.over for each in fitted.held_out) > 1
    plain = predict(fitted.fit, n[-1], 20 * n[-1], 2e13)
    assert fitted.predict(n[-1], 20 * n[-1], 2e13).half_width > plain.half_width
