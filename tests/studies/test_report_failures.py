"""A report's numbers are written first, and whatever a part of the user's own raises says so in its place."""

from __future__ import annotations

import csv
import json

import pytest

from glassformer.charts.table import escaped
from glassformer.cli.main import main
from glassformer.errors import DataError
from glassformer.runs.metrics import read_metrics
from glassformer.studies.checking import check
from glassformer.studies.folder import Study
from glassformer.studies.report.failures import FILE, Failures
from glassformer.studies.report.write import write_report
from glassformer.studies.worker import train_run

DYT = '''
import torch
from torch import nn
from glassformer.registry import register


@register("norm", "dynamic-tanh")
class DynamicTanh(nn.Module):
    """weight · tanh(α x) + bias, α a scalar (Zhu et al. 2025, arXiv 2503.10622)."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x):
        y = self.weight * torch.tanh(self.alpha * x)
        return y if self.bias is None else y + self.bias
'''


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def study(design, tmp_path_factory):
    checked = check(design(["model.residual=none"], seeds=2))
    root = tmp_path_factory.mktemp("failing") / "studies"
    made = Study.create(checked.config, data=checked.data, command=["glassformer", "study", "it"], root=root)
    for planned in made.plan:
        train_run(made, planned)
    return made


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """The charts' own files take most of a report's time, and fail in no way of their own."""
    monkeypatch.setattr("glassformer.studies.report.write.PICTURES", (".json",))


ERRORS = {
    "an index": IndexError("tuple index out of range"),
    "no words": ZeroDivisionError(),
    "several lines": RuntimeError("first\nsecond"),
    "an exit": SystemExit(3),
    "memory": MemoryError("too much"),
    "markup": ValueError("<b>|[red]"),
}


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


another_report = pytest.mark.slow(reason="a report for each kind of error; two of them are quick")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(error, id=kind, marks=() if kind in ("an exit", "markup") else another_report)
        for kind, error in ERRORS.items()
    ],
)
def test_a_page_that_raises_says_so_and_the_rest_stands(study, tmp_path, monkeypatch, error):
    monkeypatch.setattr("glassformer.studies.report.row_pages.inspect", raising(error))
    failures = Failures()
    path = write_report(study, folder=tmp_path, take_out=False, failures=failures)
    assert path == tmp_path / "report.html"
    assert list(failures.reasons) == ["model page of residual=none"]
    assert type(error).__name__ in failures.sentence()
    text = (tmp_path / "report.md").read_text()
    (reason,) = failures.reasons.values()
    assert escaped(reason) in text
    assert "Paired differences" in text
    assert "Traceback" in (tmp_path / FILE).read_text()
    assert [row["variant"] for row in rows(tmp_path / "results.csv")] == ["base", "residual=none"]
    assert len(rows(tmp_path / "runs.csv")) == 4


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("glassformer.studies.report.write.charts", "charts"),
        ("glassformer.studies.report.write.removal_section", "removal after training"),
        ("glassformer.charts.page.Page.save", "report.html"),
    ],
)
def test_whatever_fails_the_numbers_are_written(study, tmp_path, monkeypatch, place, what):
    monkeypatch.setattr(place, raising(KeyError("gone")))
    failures = Failures()
    path = write_report(study, folder=tmp_path, open_pages=False, failures=failures)
    assert path.is_file()
    assert list(failures.reasons) == [what]
    assert len(rows(tmp_path / "runs.csv")) == 4
    assert "residual=none" in (tmp_path / "report.md").read_text()


def test_the_numbers_are_there_before_anything_is_run_again(study, tmp_path, monkeypatch):
    seen = []

    def look(*_, **__):
        seen.extend(sorted(path.name for path in tmp_path.iterdir()))
        raise DataError("stopped")

    monkeypatch.setattr("glassformer.studies.report.write.write_row_pages", look)
    with pytest.raises(DataError, match="stopped"):
        write_report(study, folder=tmp_path)
    assert {"report.html", "report.md", "results.csv", "runs.csv", "charts"} <= set(seen)


def test_a_report_that_is_written_again_forgets_the_errors_of_before(study, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("glassformer.studies.report.row_pages.inspect", raising(IndexError("once")))
        write_report(study, folder=tmp_path, take_out=False)
    assert (tmp_path / FILE).is_file()
    failures = Failures()
    write_report(study, folder=tmp_path, take_out=False, failures=failures)
    assert failures.sentence() == ""
    assert not (tmp_path / FILE).exists()


def test_the_command_says_what_is_missing_and_its_status_is_not_0(study, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("glassformer.studies.report.row_pages.inspect", raising(IndexError("tuple index out of range")))
    status = main(["report", str(study.path), "-o", str(tmp_path), "--no-take-out"])
    out, err = capfd.readouterr()
    assert status == 1
    assert "report.html" in out
    assert "1 part " in err
    assert "model page of residual=none: IndexError" in err
    assert "Traceback" not in err


def test_a_part_with_a_scalar_goes_from_a_file_to_a_whole_report(base, tmp_path, monkeypatch, capfd):
    (tmp_path / "dyt.py").write_text(DYT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLASSFORMER_STUDIES", str(tmp_path / "studies"))
    (tmp_path / "base.json").write_text(
        base.override({"training.max_steps": 4, "training.telemetry.gradients_every": 2}).to_json()
    )
    command = ["study", "base.json", "--set", "model.part_files=dyt.py", "--vary", "model.norm.kind=dynamic-tanh"]
    assert main([*command, "--seeds", "2", "--workers", "1", "--name", "dyt"]) == 0, capfd.readouterr().err
    (made,) = (tmp_path / "studies").iterdir()
    assert (made / "opened" / "norm.kind=dynamic-tanh.html").is_file()
    assert not (made / FILE).exists()
    assert len(rows(made / "runs.csv")) == 4
    (run,) = (made / "runs").glob("norm.kind=dynamic-tanh.seed-0*")
    recorded = next(record for record in read_metrics(run / "metrics.jsonl") if record["kind"] == "gradients")
    assert any(name.endswith(".alpha") for name in recorded["parameters"])
    assert json.loads((made / "results.json").read_text())["arms"][1]["n"] == 2
