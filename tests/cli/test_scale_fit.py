"""``glassformer scale fit``, as a user types it: a table, a page, a saved fit, and mistakes."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from glassformer.scaling.fits.saved_fit import read_fit

SHORT = ("--draws", 100)


def rows(count: int = 24, *, noise: float = 0.003) -> list[tuple[float, float, float]]:
    """N, D and loss of runs of a known law."""
    draw = np.random.default_rng(0)
    n = np.tile(np.geomspace(1e7, 1e9, 6), 1 + count // 6)[:count]
    d = n * np.repeat(np.geomspace(3, 300, 1 + count // 6), 6)[:count]
    loss = (1.817 + 482.01 / n**0.3478 + 2085.43 / d**0.3658) * np.exp(noise * draw.standard_normal(count))
    return list(zip(n, d, loss, strict=True))


def write(path, table, header=("N", "D", "loss")) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *table])


@pytest.fixture
def runs(place):
    write(place / "runs.csv", rows())
    return place / "runs.csv"


def test_a_table_gives_parameters_a_target_and_how_far_to_trust_it_and_two_files(say, runs, place):
    said = say("scale", "fit", runs, *SHORT, "--target", "1e21")
    assert (said.status, said.err) == (0, "")
    for line in (
        "24 rows of 24 runs; Huber with δ = 0.001 on ln L",
        "L = E + A/N^α + B/D^β",
        "standard error",
        "95 % interval",
        "starts that converged here",
        "condition number",
        "1e21 FLOP",
        "tokens for each parameter",
        "back-test",
        "influence",
        "other choices",
        "page fit.html",
        "fit  fit.json",
    ):
        assert line in said.out, line
    assert (place / "fit.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    saved = json.loads((place / "fit.json").read_text(encoding="utf-8"))
    assert saved["target"] == 1e21
    assert "glassformer" in saved["circumstances"]["versions"]
    again = read_fit(place / "fit.json").fit
    assert {name: entry["value"] for name, entry in saved["parameters"].items()} == again.parameters


def test_json_is_one_object_with_every_number_and_nothing_else(say, runs, place):
    said = say("scale", "fit", runs, *SHORT, "--json", "-o", place / "pages" / "one.html")
    assert said.status == 0
    told = json.loads(said.out)
    assert set(told["parameters"]) == {"E", "A", "B", "alpha", "beta"}
    for entry in told["parameters"].values():
        assert entry["interval"][0] < entry["value"] < entry["interval"][1]
        assert entry["standard_error"] > 0
    assert told["best"]["ratio"] == pytest.approx(told["best"]["tokens"] / told["best"]["parameters"])
    assert told["sensitivity"][0]["made"]
    assert sorted(path.name for path in (place / "pages").iterdir()) == ["one.html", "one.json"]


def test_columns_and_rows_of_a_strange_table_can_be_named(say, place):
    table = [(f"{n:.6g}", f"{d:.6g}", f"{loss:.6g}", "good") for n, d, loss in rows()]
    table += [(1e8, 1e9, 9.9, "bad")] * 3
    write(place / "strange.csv", table, ("Größe", "seen", "val", "kind"))
    named = ("--columns", "N=Größe", "--columns", "D=seen", "--columns", "loss=val", "--where", "kind=good")
    said = say("scale", "fit", "strange.csv", *named, "--objective", "squares", "--formula", "E + A/N**alpha", *SHORT)
    assert said.status == 0, said.err
    assert "24 rows of 24 runs; squares on ln L" in said.out


@pytest.mark.slow(reason="two whole fits; tests/scaling/test_fit_page.py leaves out the same points")
def test_influential_points_are_named_and_kept_or_left_out_when_asked(say, place):
    table = [(n, d, loss * (1.3 if i == 5 else 1)) for i, (n, d, loss) in enumerate(rows(36))]
    write(place / "runs.csv", table)
    kept = say("scale", "fit", "runs.csv", *SHORT, "--objective", "squares")
    assert "36 rows" in kept.out
    assert "They are in the fit." in kept.out
    dropped = say("scale", "fit", "runs.csv", *SHORT, "--objective", "squares", "--drop-influential")
    assert "left out, as --drop-influential asks: line 7" in dropped.out
    assert "36 rows" not in dropped.out


def test_runs_of_one_budget_are_fitted_and_the_file_has_no_number_that_json_has_not(say, place):
    write(place / "runs.csv", [(1e7 * 2**i, 1e18 / 6e7 / 2**i, 3 + 0.01 * (i - 4) ** 2) for i in range(10)])
    said = say("scale", "fit", "runs.csv", *SHORT)
    assert (said.status, said.err) == (0, "")
    saved = json.loads((place / "fit.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert saved["unidentified"]
    assert saved["minimum"]["condition"] is None
    assert read_fit(place / "fit.json").fit.unidentified


def test_runs_without_noise_are_met_to_rounding_and_said_so(say, place):
    """Losses computed from a law: the fit finds it, intervals have no width, and nothing is a fault of ours."""
    exact = [(n, d, 1.817 + 482.01 / n**0.3478 + 2085.43 / d**0.3658) for n, d, _ in rows(12)]
    write(place / "runs.csv", exact)
    said = say("scale", "fit", "runs.csv", *SHORT)
    assert (said.status, said.err) == (0, "")
    assert "residuals are zero to rounding" in said.out
    assert "Intervals are left as they are" in said.out
    saved = json.loads((place / "fit.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    for name, truth in {"E": 1.817, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}.items():
        entry = saved["parameters"][name]
        assert [entry["value"], *entry["interval"]] == pytest.approx([truth] * 3, rel=1e-6)


def test_losses_that_no_exponent_explains_are_fitted_without_a_warning(say, place):
    write(place / "runs.csv", [(n, d, 3 + 1e-6 * i) for i, (n, d, _) in enumerate(rows(12))])
    said = say("scale", "fit", "runs.csv", *SHORT, "--target", "1e20")
    assert (said.status, said.err) == (0, "")
    json.loads((place / "fit.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


MISTAKES = {
    "no file": (("nowhere.csv",), "nowhere.csv"),
    "a folder without runs": (("empty",), "empty"),
    "missing columns": (("headless.csv",), "loss"),
    "too few rows": (("few.csv",), "5 parameters"),
    "a loss that is no number": (("broken.csv",), "broken.csv"),
    "one size only": (("one_size.csv",), "N"),
    "an unknown formula": (("runs.csv", "--formula", "chinchila"), "Did you mean 'chinchilla'?"),
    "a formula of no data": (("runs.csv", "--formula", "a + b"), "depends on none of N, D"),
    "an unknown objective": (("runs.csv", "--objective", "hubert"), "Did you mean 'huber'?"),
    "a delta without huber": (
        ("runs.csv", "--objective", "squares", "--delta", 0.1),
        "--delta is of the objective huber",
    ),
    "a delta of nothing": (("runs.csv", "--delta", 0), "above 0"),
    "an unknown column": (("runs.csv", "--columns", "M=N"), "--columns names 'M'"),
    "a header that is not there": (("runs.csv", "--columns", "N=Size"), "Size"),
    "no pair": (("runs.csv", "--where", "kind"), "expected NAME=VALUE"),
    "an unknown counting": (("runs.csv", "--counting", "totl"), "Did you mean 'total'?"),
    "a target that is none": (("runs.csv", "--target", "much"), "'much'"),
    "too few draws": (("runs.csv", "--draws", 10), "100 or more"),
    "endless draws": (("runs.csv", "--draws", 999_999_999_999), "at most 100,000 for 24 rows"),
    "draws of 40 digits": (("runs.csv", "--draws", "9" * 40), "at most 100,000"),
    "more draws than memory holds": (("many.csv", "--draws", 60_000), "at most 50,000 for 1,000 rows"),
    "more rows than a fit takes": (("most.csv",), "5,000 at most"),
    "a target with a decimal comma": (("runs.csv", "--target", "1,5e20"), "Write 1.5e20"),
    "a target that could be two": (("runs.csv", "--target", "4,129 PF-days"), "4129 or as 4.129"),
    "a target beyond all": (("runs.csv", "--target", "1e300"), "1e3 to 1e40"),
    "a page of a name too long": (("runs.csv", "-o", "a" * 300 + ".html"), "name too long"),
    "a decimal mark that is none": (("runs.csv", "--decimal", ";"), "--decimal"),
    "a decimal mark of a folder": (("empty", "--decimal", ","), "decimal"),
    "one run again and again": (("one_run.csv",), "there are 1 rows"),
    "a unit that is not one": (("runs.csv", "--columns", "N=N (parsec)"), "parsec"),
    "units that cannot be right": (("millions.csv",), "--columns 'N=N (M)'"),
    "a law that goes below 0": (("runs.csv", "--formula", "A - B*log(C)", "--target", "1e30"), "which none can be"),
    "one column for two things": (
        ("runs.csv", "--columns", "loss=N"),
        "'N' is taken for the loss and for parameters N",
    ),
    "two columns for one thing": (("double.csv",), "--columns N=params"),
    "a number beyond all computing": (("huge.csv",), "no law can be computed with it"),
    "a formula that overflows": (("runs.csv", "--formula", "E + A/N**9**9**9**9"), "too large"),
    "a formula that would open a file": (("runs.csv", "--formula", 'E + open("x")'), "no function 'open'"),
    "another encoding": (("latin.csv",), "UTF-8"),
    "a target of nothing": (("runs.csv", "--target", "0"), "--target"),
    "no unique tokens": (("runs.csv", "--formula", "repeated-data"), "--columns U=NAME"),
    "a page of another kind": (("runs.csv", "-o", "page.pdf"), ".html"),
    "a page in a file": (("runs.csv", "-o", "runs.csv/page.html"), "runs.csv/page.html"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_status_2_and_nothing_written(say, place, mistake):
    words, told = MISTAKES[mistake]
    write(place / "runs.csv", rows())
    write(place / "few.csv", rows(3))
    write(place / "headless.csv", [row[:2] for row in rows()], ("N", "D"))
    write(place / "broken.csv", [(*rows()[0][:2], "n/a"), *rows()])
    write(place / "one_size.csv", [(1e8, d, loss) for _, d, loss in rows()])
    write(place / "huge.csv", [*rows(), (1e150, 1e150, 3)])
    write(place / "double.csv", [(row[0], *row) for row in rows()], ("params", "N", "D", "loss"))
    (place / "latin.csv").write_text("N,D,loss,Größe\n1e7,1e9,3,1\n", encoding="latin-1")
    (place / "empty").mkdir()
    write(place / "one_run.csv", [rows()[0]] * 30)
    write(place / "many.csv", [(1e7 + i, 1e9 + i, 3) for i in range(1_000)])
    write(place / "most.csv", [(1e7 + i, 1e9 + i, 3) for i in range(5_001)])
    write(place / "millions.csv", [(n / 1e6, d, loss) for n, d, loss in rows()])
    before = sorted(place.rglob("*"))
    said = say("scale", "fit", *words)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("error: "), said.err
    assert told in said.err
    assert "Traceback" not in said.err
    assert sorted(place.rglob("*")) == before


def test_constants_are_fixed_and_named_in_the_formula(say, runs, place):
    said = say("scale", "fit", runs, *SHORT, "--fix", "alpha=0.3478,beta=0.3658", "--fix", "E=1.817")
    assert (said.status, said.err) == (0, "")
    assert "L = 1.817 + A/N^0.3478 + B/D^0.3658" in said.out
    saved = json.loads((place / "fit.json").read_text(encoding="utf-8"))
    assert saved["formula"]["fixed"] == {"alpha": 0.3478, "beta": 0.3658, "E": 1.817}
    assert [*saved["parameters"]] == ["A", "B"]
    assert read_fit(place / "fit.json").fit.names == ("A", "B")


def test_constants_that_cannot_be_fixed_are_refused_together(say, runs):
    said = say("scale", "fit", runs, "--fix", "alpha", "--fix", "A=1,5e3")
    assert said.status == 2
    assert "'alpha'" in said.err
    assert "'5e3'" in said.err
    assert "no parameter 'F'" in say("scale", "fit", runs, "--fix", "F=3").err
