"""``glassformer report``: from a study's name to its report, and wrong inputs."""

from __future__ import annotations

import pytest

from glassformer.studies.checking import check
from glassformer.studies.design import study as design
from glassformer.studies.folder import Study
from glassformer.studies.worker import train_run


@pytest.fixture
def study(place, small):
    """A study of one variant and two seeds; nothing of it is trained yet."""
    settings = dict(pair.split("=", 1) for pair in small[1::2])
    config = design(
        "nanogpt-shakespeare-cpu", data="words.txt", set=settings, vary=["model.residual=none"], seeds=2, steps=8
    )
    checked = check(config)
    return Study.create(checked.config, data=checked.data, command=["test"])


def test_a_report_is_written_and_says_what_the_study_found(say, place, study):
    for planned in study.plan:
        train_run(study, planned)
    said = say("report", "latest")
    assert said.status == 0, said.err
    assert "fewer than 3 pairs" in said.out
    assert str(study.path / "report.html") in said.out
    assert {path.name for path in (study.path / "opened").iterdir()} == {"residual=none.html"}
    said = say("report", study.name, "-o", place / "elsewhere", "--no-pages")
    assert said.status == 0, said.err
    names = {path.name for path in (place / "elsewhere").iterdir()}
    assert names == {"report.html", "report.md", "results.csv", "runs.csv", "charts"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("report", "Missing argument 'STUDY'"),
        ("report nothing", "There is no study 'nothing'"),
        ("report words.txt", "There is no study 'words.txt'"),
        ("report latest -o words.txt", "a report is a folder of files; -o is the file 'words.txt'"),
        ("report latest", "There is nothing to report"),
        ("report latest --theme dark", "No such option"),
    ],
)
def test_wrong_inputs_end_with_status_2_and_one_message(say, place, study, words, message):
    said = say(*words.split())
    assert said.status == 2
    assert message in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert not (study.path / "report.html").exists()


def test_a_damaged_outcome_is_said(say, place, study):
    train_run(study, study.plan[0])
    path = study.path / "outcomes" / f"{study.plan[0].run_key}.json"
    path.write_text("{}")
    said = say("report", "latest")
    assert said.status == 2
    assert f"{path.name} is damaged" in said.err
