"""The report of a tuned study: its rows, the sentence of each variant, its picture and files; and of an untuned one."""

from __future__ import annotations

import csv
import json
import random

import pytest

from glassformer.charts.theme import DARK, LIGHT
from glassformer.cli.study_table import _table
from glassformer.statistics.comparison import compare
from glassformer.statistics.sensitivity import sensitivity_of
from glassformer.studies.outcomes import Curve, RunOutcome
from glassformer.studies.report.csv_files import selection_csv, tuning_csv, variants_csv
from glassformer.studies.report.numbers import gather
from glassformer.studies.report.text import answers, headline
from glassformer.studies.report.tuning_chart import selection_chart
from glassformer.studies.report.write import write_report
from glassformer.studies.selection import select
from glassformer.studies.summary import summarise
from glassformer.studies.tuned_wording import basis

RATE = "training.optimizer.learning_rate"
RATES = [0.001, 0.003, 0.01]
START = 4.0
ARMS = {
    "worse": {"model.residual": "none"},
    "moved": {"model.norm.placement": "post"},
    "same": {"model.n_layers": 1},
}
"""By what the losses below make of them."""


def mean_loss(arm: str, rate: float) -> float | None:
    """Lowest at 0.003 in the baseline; "moved" is as low, but only at a smaller rate, and diverges at the largest."""
    distance = {0.001: 1.0, 0.003: 0.0, 0.01: 1.0}.get(rate, 2.0)
    if arm == "worse":
        return 2.5 + 0.3 * distance
    if arm == "moved":
        return {0.003: 2.6, 0.01: None}.get(rate, 2.0 + 0.4 * (rate < 0.001))
    return 2.0 + 0.2 * distance


def outcome(planned, loss, steps=8):
    """An outcome that nobody trained."""
    curve = Curve((0, 4, 8), (START, None if loss is None else loss + 0.2, loss), (0.0, 1.0, 2.0))
    status = "diverged" if loss is None else "finished"
    return RunOutcome(planned.variant, planned.seed, None, status, loss, steps, 2.0, curve, reason="finished")


def played(study, losses=mean_loss, noise=0.01, steps=lambda arm: 8):
    """The study with all of its runs, their losses drawn around ``losses(arm, rate)`` by arm, rate and seed."""

    def train(part) -> None:
        for planned in part.pending():
            arm = next(
                (each for each in study.config.variants if planned.variant.startswith(each)), "base"
            )  # a selection's arms and the controls begin with their variant's name
            rate = planned.config.training.optimizer.learning_rate
            mean = losses(arm, rate)
            draw = random.Random(f"{arm} {rate} {planned.seed}")
            loss = None if mean is None else mean + draw.gauss(0, noise) + 0.05 * (planned.seed % 3)
            part.record(planned, outcome(planned, loss, steps(arm)))

    study, signal = select(study, train)
    assert signal is None
    train(study)
    return study


@pytest.fixture
def tuned(create, design):
    """``tuned(**options)``: the study of the arms above, tuned over the rates above, with all its outcomes."""

    def tuned(arms=ARMS, losses=mean_loss, noise=0.01, steps=lambda arm: 8, **options):
        chosen = {"learning_rates": RATES, "seeds": 4} | options
        return played(create(design(arms, **chosen)), losses, noise, steps)

    return tuned


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("glassformer.studies.report.write.PICTURES", (".json",))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def number_after(start: str, sentence: str) -> float:
    assert sentence.startswith(start)
    return float(sentence.removeprefix(start).split()[0])


def test_each_variant_is_said_to_change_what_can_be_reached_or_the_best_rate(tuned):
    numbers = gather(tuned())
    results = numbers.tuned
    assert [row.arm for row in results.rows] == ["base", *ARMS]
    assert {row.arm: row.best.values[RATE] for row in results.rows} == {
        "base": 0.003, "worse": 0.003, "moved": 0.001, "same": 0.003,
    }  # fmt: skip
    assert {row.arm: row.changes for row in results.rows[1:]} == {
        "worse": "reach", "moved": "values", "same": "inconclusive",
    }  # fmt: skip
    found = {each.variant: each for each in answers(numbers)}
    start = "worse changes what can be reached: at a learning rate of 0.003, the best for both, it raises the loss by "
    assert number_after(start, found["worse"].sentence) == pytest.approx(numbers.comparison.row("worse").mean, abs=1e-3)
    losses = numbers.study.losses()
    control = compare(losses["base"], {"it": losses["moved at the baseline's learning_rate"]}).rows[0]
    start = (
        "moved gains from its own learning rate; a change in what can be reached is not shown: at the baseline's "
        "learning rate (0.003) it raises the loss by "
    )
    assert number_after(start, found["moved"].sentence) == pytest.approx(control.mean, abs=1e-3)
    assert "n = 4 pairs, unadjusted); at its own (0.001) the difference is " in found["moved"].sentence
    assert found["same"].sentence.startswith("Whether same changes what can be reached is inconclusive: at a learning")
    assert headline(answers(numbers)) == (
        "worse changes what can be reached; moved gains from its own learning rate; same is inconclusive."
    )


def test_a_variant_may_change_both_and_its_own_rate_says_how_much_of_it(tuned):
    def both(arm, rate):
        return {0.001: 2.3, 0.003: 2.8}.get(rate, 3.0) if arm == "worse" else mean_loss(arm, rate)

    numbers = gather(tuned({"worse": ARMS["worse"]}, both))
    (answer,) = answers(numbers)
    assert answer.verdict == "changes what can be reached, gaining from its own learning rate"
    assert ": even at its own best learning rate (0.001; baseline: 0.003), it raises the loss by 0.3" in answer.sentence
    assert answer.control.startswith("At the baseline's learning rate it raises the loss by 0.8")
    assert "Its own learning rate instead of the baseline's lowers the loss of worse by 0.4" in answer.control


@pytest.mark.parametrize(("seeds", "verdict"), [(2, "no interval"), (4, "gains from its own learning rate")])
def test_so_few_runs_as_have_no_interval_show_no_divergence_either(tuned, seeds, verdict):
    def gone(arm, rate):
        return {0.001: 2.0, 0.003: None}.get(rate) if arm == "moved" and rate >= 0.001 else mean_loss(arm, rate)

    (answer,) = answers(gather(tuned({"moved": ARMS["moved"]}, gone, seeds=seeds)))
    assert answer.verdict == verdict


def test_a_variant_that_diverges_at_the_baseline_s_rate_is_better_at_its_own(tuned):
    def gone(arm, rate):
        return {0.001: 2.0, 0.003: None}.get(rate) if arm == "moved" and rate >= 0.001 else mean_loss(arm, rate)

    numbers = gather(tuned({"moved": ARMS["moved"]}, gone))
    (answer,) = answers(numbers)
    assert answer.verdict == "gains from its own learning rate"
    assert "at the baseline's learning rate (0.003) it diverged in 4 of 4 runs; at its own (0.001)" in answer.sentence


def test_a_variant_that_diverges_everywhere_is_said_to(tuned):
    numbers = gather(tuned({"moved": ARMS["moved"]}, lambda arm, rate: None if arm == "moved" else 2.0))
    (answer,) = answers(numbers)
    assert answer.verdict == "diverges"
    assert answer.sentence.startswith("moved diverges: at ")
    assert answer.sentence.endswith(", 4 of 4 runs diverged.")
    row = numbers.tuned.row("moved")
    assert (row.sensitivity.mean, row.sensitivity_difference) == (None, None)
    assert selection_chart(numbers.tuned) is not None


def test_where_seeds_were_added_a_divergence_has_its_rate(tuned):
    study = tuned({"moved": ARMS["moved"]}, lambda arm, rate: None if arm == "moved" else 2.0, until_decided=True)
    numbers = gather(study)
    (answer,) = answers(numbers)
    assert answer.verdict == "diverges"
    assert numbers.decisions["moved"].sentence() in answer.control
    assert "divergence rate" in answer.control


def test_a_baseline_that_diverges_is_said_to(tuned):
    study = tuned({"worse": ARMS["worse"]}, until_decided=True)
    for planned in study.plan:
        if planned.variant == "base":
            study.record(planned, outcome(planned, None))
    (answer,) = answers(gather(study))
    assert answer.sentence.startswith("worse cannot be compared with the baseline at a learning rate of 0.003")
    assert "the baseline diverged at 4 of 4 seeds" in answer.sentence
    assert "None" not in answer.text


def test_runs_that_are_in_no_pair_are_named(tuned):
    study = tuned({"worse": ARMS["worse"]})
    for planned in study.plan:
        if (planned.variant, planned.seed) == ("base", 2):
            study.record(planned, outcome(planned, None))
    (answer,) = answers(gather(study))
    assert "The baseline diverged in 1 of 4 runs (seed 2); that pair is excluded." in answer.detail
    assert "n = 3 pairs" in answer.sentence


def test_the_controls_are_in_no_family(tuned):
    study = tuned()
    summary = summarise(study)
    assert [row.variant for row in summary.comparison.rows] == [*ARMS]
    assert {row.comparisons for row in summary.comparison.rows} == {3}
    rows = {row["variant"]: row for row in rows_of(variants_csv(gather(study)))}
    assert {row["role"] for row in rows.values()} == {"baseline", "variant", "control"}
    control = rows["moved at the baseline's learning_rate"]
    assert control["role"] == "control"
    assert control["p_holm"] == ""
    assert float(control["low"]) < float(control["difference"]) < float(control["high"])


def test_sensitivity_is_over_the_values_that_all_arms_share(tuned):
    results = gather(tuned()).tuned
    assert [point[RATE] for point in results.shared] == RATES  # the grid of "moved" was extended below
    assert any(results.extended(point) for point in results.selection.points)
    for row in results.rows:
        points = {point.values[RATE]: point.losses for point in results.selection.points if point.arm == row.arm}
        for seed, found in row.sensitivity.by_seed.items():
            assert found == pytest.approx(sensitivity_of([points[rate][seed] for rate in RATES], START))
        assert row.sensitivity.n == 3
    assert results.row("moved").sensitivity_difference.interval[0] > 0
    assert results.row("worse").sensitivity_difference.mean == pytest.approx(0.2 / 3, abs=0.03)


def test_the_files_hold_the_same_numbers(tuned):
    study = tuned()
    summary = summarise(study)
    results = summary.tuned
    written = json.loads(json.dumps(summary.to_dict()))["arms_at_best"]
    rows = rows_of(tuning_csv(results))
    for row, line, tree in zip(results.rows, rows, written, strict=True):
        assert line["variant"] == tree["variant"] == row.arm
        assert float(line[f"best_{RATE}"]) == tree["best"][RATE] == row.best.values[RATE]
        assert line["sensitivity"] == repr(tree["sensitivity"]["mean"]) == repr(row.sensitivity.mean)
        for name, key, cost in (("own", "cost_at_own", row.own), ("at_baselines", "cost_at_baselines", row.control)):
            assert line[f"cost_{name}"] == ("" if cost is None else repr(cost.mean))
            assert tree[key] == (None if cost is None else tree[key] | {"mean": cost.mean, "n": cost.n})
    selection = rows_of(selection_csv(results))
    assert len(selection) == sum(len(point.losses) for point in results.selection.points)
    assert {row["loss_at_initialisation"] for row in selection} == {repr(START)}
    assert {row["variant"] for row in selection if row["diverged"] == "True"} == {"moved"}


def points_of(chart) -> list[dict]:
    """What a chart of layers or panels draws."""
    spec = chart.build(LIGHT).to_dict()
    return [row for row in spec["datasets"][spec["data"]["name"]] if row["kind"] != "edge"]


def test_the_picture_has_every_seed_the_best_and_the_diverged_runs(tuned):
    results = gather(tuned()).tuned
    values = points_of(selection_chart(results))
    seeds = [row for row in values if row["kind"] == "seed"]
    off = [row for row in values if row["kind"] == "off"]
    assert len(seeds) + len(off) == sum(len(point.losses) for point in results.selection.points)
    assert {(row["key"], row["x"]) for row in off} == {("moved", 0.01)}
    assert {row["text"] for row in off} == {"diverged"}
    best = {row["key"]: row["x"] for row in values if row["kind"] == "mean" and row["best"]}
    assert best == {row.arm: row.best.values[RATE] for row in results.rows}
    assert {row["key"] for row in values if row["extended"]} == {"moved"}
    dark = selection_chart(results).build(DARK).to_dict()
    assert dark["config"]["background"] == DARK.background


def test_losses_above_the_one_at_initialisation_stand_with_the_diverged(tuned):
    def high(arm, rate):
        return 9.0 if rate == 0.01 else mean_loss("base", rate)

    results = gather(tuned({"worse": ARMS["worse"]}, high)).tuned
    values = points_of(selection_chart(results))
    off = [row for row in values if row["kind"] == "off"]
    assert {row["x"] for row in off} == {0.01}
    assert all(row["text"].endswith("above the loss at initialisation") for row in off)


@pytest.mark.parametrize("settings", [1, 2, 3])
def test_other_settings_are_tuned_and_drawn_the_same_way(tuned, settings):
    names = ["training.optimizer.weight_decay", "training.schedule.warmup_steps", "training.optimizer.beta2"]
    grids = [[0.0, 0.1], [1, 2], [0.9, 0.95]]
    grid = dict(zip(names[:settings], grids, strict=False))
    study = tuned({"worse": ARMS["worse"]}, learning_rates=None, tune=grid)
    numbers = gather(study)
    chart = selection_chart(numbers.tuned)
    assert (chart is None) == (settings == 3)
    if chart is not None:
        spec = chart.build(LIGHT).to_dict()
        assert ("facet" in spec) == (settings == 2)
        assert chart.title == "Final loss against weight decay"
    said = basis(study.config, numbers.tuned)
    assert said.startswith("All arms were trained at a learning rate of ")  # which was not tuned
    assert ("weight decay (0, 0.1)" if settings > 1 else "weight decay, chosen from 0 and 0.1") in said
    page = (write_report(study, open_pages=False, take_out=False).parent / "report.md").read_text()
    assert "Selection runs" in page


def test_a_tuned_study_says_over_what_on_which_seeds_and_that_others_are_compared(tuned):
    study = tuned(seeds=[4, 5, 6], selection_seeds=[7, 8])
    said = basis(study.config, gather(study).tuned)
    assert said.startswith(
        "Every arm was trained at its own best learning rate, chosen from 0.001, 0.003 and 0.01 by the mean final loss "
        "of selection runs with seeds 7, 8; values between them were not tried. The comparison uses fresh seeds (4, 5, "
        "6)."
    )


def test_an_untuned_study_says_first_which_rate_all_arms_had(create, design):
    study = create(design(["model.residual=none"], seeds=3))
    for planned in study.plan:
        study.record(
            planned, outcome(planned, 2.0 + planned.seed / 10 + (0.3 + planned.seed / 99) * (planned.variant != "base"))
        )
    rate = study.config.base.training.optimizer.learning_rate
    first = (
        f"All arms were trained at a learning rate of {rate:g}, which was not tuned for any of them: a difference may "
        "be due to the variant or to how well that rate suits it."
    )
    assert summarise(study).basis == first
    text = (write_report(study, open_pages=False, take_out=False).parent / "report.md").read_text()
    assert text.index("## Result") < text.index(first) < text.index("raises the loss by")
    assert not (study.path / "tuning.csv").exists()


@pytest.mark.parametrize(
    ("vary", "start"),
    [
        ([f"{RATE}=0.01|0.02"], "The learning rate is what this study varies: 0.001 (baseline), 0.01 ("),
        (
            [f"{RATE}=0.01", "model.residual=none"],
            "The learning rate is among what this study varies: 0.001 (baseline)",
        ),
        (
            {"both": {RATE: 0.01, "model.residual": "none"}},
            "The arms were trained at different learning rates, none of them tuned: 0.001 (baseline) and 0.01 (both).",
        ),
        ([f"{RATE}=0.01|0.02|0.03|0.04|0.05"], "The learning rate is what this study varies: from 0.001 to 0.05 (base"),
    ],
)
def test_where_arms_have_different_rates_that_is_said(design, vary, start):
    config = design(vary, set={RATE: 0.001}, seeds=3)
    assert basis(config, None).startswith(start)


def test_steps_stand_in_the_table_where_arms_differ_in_them(tuned):
    study = tuned({"worse": ARMS["worse"]}, steps=lambda arm: 12 if arm == "worse" else 8)
    numbers = gather(study)
    assert numbers.steps == {"base": 8.0, "worse": 12.0}
    text = (write_report(study, open_pages=False, take_out=False).parent / "report.md").read_text()
    assert text.count("| steps |") >= 2
    assert "steps" in [column.header for column in _table(summarise(study)).columns]
    assert gather(tuned({"worse": ARMS["worse"]}, name="equal")).steps == {}


def test_intervals_of_controls_hold_at_every_look_where_seeds_were_added(tuned):
    study = tuned(until_decided=True, seeds=5)
    results = gather(study).tuned
    assert not results.fixed
    row = results.row("moved")
    losses = study.losses()
    fixed = compare(losses["base"], {"it": losses["moved at the baseline's learning_rate"]}).rows[0]
    assert row.control.interval[0] < fixed.interval[0]
    assert row.control.interval[1] > fixed.interval[1]
    assert "valid at every look" in row.control.support


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_the_answer_stands_in_the_first_screen(tuned, open_page, size):
    study = tuned({"worse": ARMS["worse"], "moved": ARMS["moved"]})
    width, height = size
    page = write_report(study, open_pages=False, take_out=False)
    tab = open_page(page, viewport={"width": width, "height": height})
    for lead in tab.locator(".gf-lead").all():
        box = lead.bounding_box()
        assert box["y"] + box["height"] <= height
        assert box["x"] + box["width"] <= width
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for answer in answers(gather(study)):
        assert answer.sentence in tab.locator("#section-0").inner_text()
    assert tab.locator("#section-0 .gf-figure").count() == 1


def test_a_study_whose_selection_has_not_ended_says_so(create, design):
    from glassformer.errors import RunError

    study = create(design(ARMS, learning_rates=RATES, seeds=3))
    with pytest.raises(RunError, match="selection"):
        write_report(study)
