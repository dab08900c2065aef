"""A study's report: the same numbers on the page, in Markdown and in CSV, in a real browser without a network."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ET
from urllib.parse import unquote

import pytest

from glassformer.errors import DataError, RunError
from glassformer.statistics.comparison import compare
from glassformer.statistics.power import power_line
from glassformer.statistics.sequential import decide
from glassformer.studies.outcomes import Curve, RunOutcome
from glassformer.studies.report.csv_files import runs_csv, variants_csv
from glassformer.studies.report.curves import _curve_rows
from glassformer.studies.report.numbers import gather
from glassformer.studies.report.tables import costs_table
from glassformer.studies.report.text import INCONCLUSIVE, answers, circumstances, subtitle, unfinished
from glassformer.studies.report.write import write_report
from glassformer.studies.summary import summarise
from glassformer.studies.worker import train_run

WILD = {"training.optimizer.learning_rate": 1e30, "training.grad_clip": None}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def recorded(study, losses) -> None:
    """Outcomes that nobody trained, by variant and seed; None diverged, ``"failed"`` failed."""
    for planned in study.plan:
        loss = losses[planned.variant][planned.seed]
        if loss == "failed":
            study.record(planned, RunOutcome(planned.variant, planned.seed, None, "failed", reason="<b>no</b> memory"))
            continue
        curve = Curve((0, 4, 8), (4.0, None if loss is None else loss + 0.2, loss), (0.0, 1.0, 2.0))
        status = "diverged" if loss is None else "finished"
        study.record(
            planned, RunOutcome(planned.variant, planned.seed, None, status, loss, 8, 2.0, curve, reason="finished")
        )


@pytest.fixture(scope="module")
def trained(design, tmp_path_factory):
    """Two variants with three seeds, and one that diverges at every seed, trained for real; its report."""
    from glassformer.studies.checking import check
    from glassformer.studies.folder import Study

    variants = {"residual=none": {"model.residual": "none"}, "a|b <i>": {"model.n_layers": 1}, "wild": WILD}
    checked = check(design(variants, seeds=3))
    root = tmp_path_factory.mktemp("report") / "studies"
    study = Study.create(checked.config, data=checked.data, command=["glassformer", "study", "it"], root=root)
    for planned in study.plan:
        train_run(study, planned)
    write_report(study)
    return study


@pytest.fixture(autouse=True)
def no_pictures(trained, monkeypatch):
    """The charts' own files take most of a report's time; those of the study that was trained are looked at."""
    monkeypatch.setattr("glassformer.studies.report.write.PICTURES", (".json",))


def drawn(tab):
    """The report with everything on it drawn."""
    for figure in tab.locator(".gf-figure").all():
        figure.scroll_into_view_if_needed()
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.gf-figure')].every(figure => figure.dataset.ready === 'true')"
    )
    return tab


@pytest.fixture
def shown(open_page):
    return lambda path, **options: drawn(open_page(path, **options))


@pytest.fixture(scope="module")
def tab_of_trained(trained, open_shared):
    """The report of the study that was trained, as it was opened; tests that only read share it."""
    return drawn(open_shared(trained.path / "report.html"))


def table(tab, title) -> list[list[str]]:
    """The cells of a table on the page, by rows, its head first."""
    rows = tab.get_by_role("table", name=title).locator("tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def test_the_page_holds_the_numbers_of_the_comparison(trained, tab_of_trained):
    tab = tab_of_trained
    losses = trained.losses()
    expected = compare(losses.pop("base"), losses)
    rows = {cells[0]: cells for cells in table(tab, "Paired differences")[1:]}
    assert list(rows) == ["baseline", "residual=none", "a|b <i>", "wild"]  # escaped, as the user wrote them
    for row in expected.rows:
        cells = rows[row.variant]
        if row.variant == "wild":
            assert cells[1:] == ["0", "3", "0", *["–"] * 6]
            continue
        assert cells[1:4] == ["3", "0", "0"]
        whole = [pair.base for pair in row.pairs]
        assert float(cells[4]) == pytest.approx(sum(whole) / 3, abs=5e-5)
        assert row.interval is not None
        half = (row.interval[1] - row.interval[0]) / 2
        low, high = (float(end.replace("−", "-")) for end in cells[7].split(" to "))
        assert float(cells[6].replace("−", "-")) == pytest.approx(row.mean, abs=0.06 * half)
        assert (low, high) == pytest.approx(row.interval, abs=0.06 * half)
        assert float(cells[8].lstrip("< ")) == pytest.approx(row.p_holm, rel=0.06)
        assert float(cells[9].replace("−", "-")) == pytest.approx(row.effect, abs=0.006)
    text = tab.locator("main").inner_text()
    found = answers(gather(trained))
    assert {answer.variant: answer.verdict for answer in found}["wild"] == "diverges"
    for answer in found:
        assert answer.text in text
    assert len(table(tab, "All runs")) == 1 + 12


def test_csv_has_every_digit_and_markdown_the_same_table(trained):
    expected = summarise(trained)
    rows = {row["variant"]: row for row in rows_of((trained.path / "results.csv").read_text())}
    for row in expected.comparison.rows:
        found = rows[row.variant]
        given = (row.mean, *(row.interval or (None, None)), row.p_holm, row.effect)
        names = ("difference", "low", "high", "p_holm", "effect_g_z")
        assert [found[name] for name in names] == ["" if value is None else repr(value) for value in given]
    runs = rows_of((trained.path / "runs.csv").read_text())
    assert [(row["variant"], int(row["seed"]), row["loss"]) for row in runs] == [
        (outcome.variant, outcome.seed, "" if outcome.loss is None else repr(outcome.loss))
        for arm in expected.arms
        for outcome in arm.outcomes
    ]
    assert all((trained.path / row["run"] / "config.json").is_file() for row in runs)
    text = (trained.path / "report.md").read_text()
    assert "| [a\\|b \\<i\\>](opened/" in text
    numbers = gather(trained)
    for name in numbers.study.config.arms:
        assert f"{numbers.arm(name).loss or 0:.4f}" in text or name == "wild"
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(pictures) >= 3
    for picture in pictures:
        assert ET.parse(trained.path / picture).getroot().tag.endswith("svg")
        assert (trained.path / picture).with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_every_row_opens_beside_the_base_on_the_same_text(trained, tab_of_trained, open_page):
    tab = tab_of_trained
    links = [link.get_attribute("href") for link in tab.locator("main table a").all()]
    pages = {trained.path / unquote(link) for link in links}
    assert len(pages) == 2  # the diverged variant has none, and says why
    (missing,) = [page for name, _, page in table(tab, "Pages")[1:] if name == "wild"]
    assert len(missing) > len("none: ")
    texts = set()
    for path in pages:
        opened = open_page(path)
        headings = opened.locator("h1").inner_text()
        assert "baseline, seed 0" in headings
        read = opened.locator(".gf-facts div", has_text="text").first.inner_text()
        assert "16 tokens" in opened.locator(".gf-facts").inner_text()
        assert read
        texts.add(opened.locator(".gf-facts dd").first.inner_text())
    assert len(texts) == 1


def test_the_report_can_be_read_with_the_keyboard_and_sorted(trained, shown):
    tab = shown(trained.path / "report.html")
    button = tab.get_by_role("table", name="All runs").get_by_role("button", name="seed")
    button.focus()
    tab.keyboard.press("Enter")
    seeds = [cells[1] for cells in table(tab, "All runs")[1:]]
    assert seeds == sorted(seeds)
    assert seeds[:4] == ["0"] * 4
    tab.keyboard.press("Enter")
    assert [cells[1] for cells in table(tab, "All runs")[1:]] == sorted(seeds, reverse=True)
    reached = tab.evaluate(
        "() => [...document.querySelectorAll('.gf-table-box, .gf-drawing, main a, main button')]"
        ".every(each => { each.focus(); return document.activeElement === each; })"
    )
    assert reached
    tab.get_by_role("table", name="Paired differences").get_by_role("button", name="difference").click()
    names = [cells[0] for cells in table(tab, "Paired differences")[1:]]
    assert set(names[2:]) == {"baseline", "wild"}  # without a number: last


def test_no_number_without_its_circumstances(trained, tab_of_trained):
    text = tab_of_trained.locator("body").inner_text()
    line = subtitle(trained.config)
    assert line in text
    for fact in ("2 layers", "width 16", "words.txt", "8 steps", "3 seeds"):
        assert fact in line
    for fact in circumstances(gather(trained)).values():
        assert fact in text
    for setting in ("training.optimizer.learning_rate", "1e+30", "model.residual", "attention.n_heads"):
        assert setting in text
    assert str(trained.data()["base"]) in text


def test_costs_are_counted_by_the_runs_own_records(trained):
    numbers = gather(trained)
    rows = {(row["variant"], row["seed"]): row for row in rows_of(runs_csv(numbers))}
    base = rows["base", "0"]
    assert float(base["steps_to_base"]) <= 8
    assert float(base["training_flops"]) == numbers.runs_of("base")[0].flops_per_token * 8 * 4 * 16
    assert float(rows["a|b <i>", "0"]["training_flops"]) < float(base["training_flops"])
    assert numbers.parameters("a|b <i>") < numbers.parameters("base")


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.slow(reason="another report")), 2])
def test_with_fewer_than_three_seeds_no_interval_is_shown_and_why(create, design, shown, n):
    study = create(design(["model.residual=none"], seeds=n))
    recorded(study, {"base": [1.0, 1.1], "residual=none": [1.5, 1.7]})
    tab = shown(write_report(study))
    note = summarise(study).comparison.rows[0].note
    assert note
    assert note in tab.locator("#section-0").inner_text()
    assert table(tab, "Paired differences")[2][7:] == ["–", "–", "–"]
    assert tab.get_by_role("table", name="Power").count() == 0
    assert tab.locator("h1").inner_text().count("model.residual") == 1


def test_equal_differences_and_diverged_and_failed_runs_are_told_apart(create, design, shown):
    study = create(design(["model.residual=none", "model.n_layers=1", "model.norm.kind=none"], seeds=4))
    recorded(
        study,
        {
            "base": [1.0, 1.25, 1.5, None],
            "residual=none": [1.5, 1.75, 2.0, 2.0],  # no spread
            "n_layers=1": [1.1, None, "failed", 1.0],
            "norm.kind=none": [1.01, 1.24, 1.52, 1.0],
        },
    )
    tab = shown(write_report(study))
    text = tab.locator("main").inner_text()
    found = gather(study)
    for row in found.comparison.rows:
        assert row.base_diverged == (3,)
        assert all(each in text for each in row.exclusions())
    assert found.comparison.row("residual=none").note in text
    rows = {cells[0]: cells for cells in table(tab, "Paired differences")[1:]}
    assert rows["n_layers=1"][1:4] == ["1", "1", "1"]
    assert rows["baseline"][1:4] == ["–", "1", "0"]
    assert unfinished(found) in text
    assert "n_layers=1, seed 2: <b>no</b> memory." in text
    assert {each.variant: each.verdict for each in answers(found)}["norm.kind=none"] == INCONCLUSIVE


def test_an_undecided_question_is_said_to_be_with_what_would_settle_it(create, design, shown):
    study = create(design(["model.residual=none"], seeds=3))
    recorded(study, {"base": [1.0, 1.1, 1.2], "residual=none": [1.02, 1.05, 1.26]})
    tab = shown(write_report(study))
    (answer,) = answers(gather(study))
    assert answer.verdict == INCONCLUSIVE
    first = tab.locator("#section-0").inner_text()
    assert answer.sentence in first
    assert answer.detail in first
    line = power_line(summarise(study).comparison.rows[0])
    cells = table(tab, "Power")[1]
    assert [float(cells[2]), float(cells[3])] == pytest.approx([line.sd, line.smallest], rel=0.05)
    assert int(cells[5]) == line.more
    assert line.sentence() in tab.locator("#section-1").inner_text()


@pytest.mark.slow(reason="a report of eight variants")
def test_many_variants_have_a_panel_each(create, design, shown):
    study = create(design(["model.n_layers=1|3|4|5|6|7|8"], seeds=3))
    losses = {name: [1.0 + place / 10 + seed / 7 + place * seed / 90 for seed in range(3)] for place, name in
              enumerate(study.config.arms)}  # fmt: skip
    recorded(study, losses)
    tab = shown(write_report(study))
    assert re.findall(r"\d", tab.locator("h1").inner_text())[:7] == list("1345678")
    words = tab.locator(".gf-figure", has_text="Validation loss of all runs").locator("svg text").all_text_contents()
    assert set(study.config.variants) <= set(words)


def test_the_mean_curve_is_of_the_runs_that_finished(create, design):
    study = create(design(["model.residual=none"], seeds=3))
    recorded(study, {"base": [1.0, 1.1, 1.2], "residual=none": [1.5, None, 1.7]})
    rows = list(_curve_rows(gather(study).runs_of("residual=none"), "residual=none"))
    means = [(row["step"], row["loss"], row["run"]) for row in rows if row["kind"] == "mean"]
    assert means == [(0, 4.0, "mean of 2"), (4, 1.8, "mean of 2"), (8, 1.6, "mean of 2")]
    assert [row["run"] for row in rows if row["kind"] == "end"] == ["residual=none, seed 1"]


def test_a_study_that_is_not_done_says_what_is_missing(create, design, shown):
    study = create(design(["model.residual=none"], seeds=2))
    with pytest.raises(RunError, match="0 of 4 runs have ended"):
        write_report(study)
    outcome = RunOutcome("base", 0, None, "finished", 1.0, 8, 2.0, Curve((0, 8), (4.0, 1.0), (0.0, 2.0)))
    study.record(study.plan[0], outcome)
    tab = shown(write_report(study))
    assert "3 of 4 runs" in tab.locator("#section-0").inner_text()
    assert [each.verdict for each in answers(gather(study))] == ["no pair"]


def test_intervals_of_a_study_that_ran_until_decided_hold_at_every_look(create, design, shown):
    study = create(design(["model.residual=none"], seeds=4, until_decided=True))
    losses = {"base": [1.0, 1.1, 1.2, 1.3], "residual=none": [1.52, 1.6, 1.71, 1.8]}
    recorded(study, losses)
    assert not (study.path / "results.json").exists()  # stopped before its end: no fixed-seed interval all the same
    (decision,) = decide(
        dict(enumerate(losses["base"])), {"residual=none": dict(enumerate(losses["residual=none"]))}, seeds=range(4)
    )
    tab = shown(write_report(study))
    assert decision.sentence() in tab.locator("#section-0").inner_text()
    head, _, row = table(tab, "Paired differences")
    assert head[6:9] == ["difference", "decided at", "95 % interval"]
    assert row[7] == f"{decision.n} pairs"
    low, high = (float(end.replace("−", "-")) for end in row[8].split(" to "))
    assert (low, high) == pytest.approx(decision.interval, abs=0.06 * (high - low))
    (_, written) = rows_of((study.path / "results.csv").read_text())
    held_back = ("low", "high", "t", "p", "p_holm", "smallest_shown", "more_seeds_needed", "mean_loss_low")
    assert {written[name] for name in held_back} == {""}
    assert (float(written["sequential_low"]), float(written["sequential_high"])) == decision.interval


def test_a_study_that_ran_until_decided_tells_what_diverged_and_what_is_the_base_again(create, design):
    study = create(
        design(["model.residual=none", "model.n_layers=1", "model.norm.kind=none"], seeds=3, until_decided=True)
    )
    recorded(
        study,
        {
            "base": [1.0, 1.1, 1.2],
            "residual=none": [None, None, None],
            "n_layers=1": [1.0, 1.1, 1.2],
            "norm.kind=none": [1.5, 1.7, None],
        },
    )
    numbers = gather(study)
    found = {answer.variant: answer for answer in answers(numbers)}
    assert found["residual=none"].verdict == "diverges"
    assert found["n_layers=1"].verdict.startswith("identical")
    assert numbers.summary.sequential_result("n_layers=1").identical
    assert found["norm.kind=none"].verdict == INCONCLUSIVE
    row = numbers.comparison.row("norm.kind=none")
    assert row.variant_diverged == (2,)
    assert all(each in found["norm.kind=none"].sentence for each in row.exclusions())
    settled = numbers.decisions["residual=none"]
    assert settled.by_divergence
    assert (
        found["residual=none"].sentence == settled.sentence()
    )  # which counts the diverged runs: they stand there once


def test_a_run_that_diverged_is_not_counted_as_having_reached_the_base(create, design):
    study = create(design(["model.residual=none"], seeds=2))
    recorded(study, {"base": [3.0, 3.0], "residual=none": [2.5, 2.5]})
    low = Curve((0, 4, 8), (4.0, 2.0, None), (0.0, 1.0, 2.0))
    study.record(
        study.run_by_key["residual=none.seed-1"], RunOutcome("residual=none", 1, None, "diverged", None, 8, 2.0, low)
    )
    numbers = gather(study)
    assert numbers.runs_of("residual=none")[1].reached_steps is not None  # it was there, and then it was gone
    (_, row) = rows_of(variants_csv(numbers))
    assert (row["finished"], row["reached_base"]) == ("1", "1")
    costs = costs_table(numbers).markdown()
    assert "(1 of 1)" in costs
    assert "(2 of 1)" not in costs


def test_a_place_that_cannot_be_written_to_is_said(create, design, tmp_path):
    study = create(design(["model.residual=none"], seeds=1))
    recorded(study, {"base": [1.0], "residual=none": [1.5]})
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="Choose another"):
        write_report(study, folder=blocked / "report")
    assert write_report(study, folder=tmp_path / "new" / "report").is_file()
