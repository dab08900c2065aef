"""A study's folder: all the state there is, and what it says of itself."""

from __future__ import annotations

import json
import math
import re
import shutil

import pytest

from glassformer.errors import ConfigError, RunError
from glassformer.registry import load_part_file
from glassformer.runs.folder import Run
from glassformer.runs.metrics import MetricsWriter
from glassformer.studies.bundles import FOLDERS, pack
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import Curve, RunOutcome, failed, read_outcome

PART = """
from torch import nn
from glassformer.registry import register

@register("norm", "of-a-study")
class OfAStudy(nn.LayerNorm):
    def __init__(self, d, *, eps, bias):
        super().__init__(d, eps=eps, bias=bias)
"""


@pytest.fixture
def made(create, design) -> Study:
    return create(design(["model.residual=none"], seeds=2, name="mine"))


def an_outcome(study, planned, **changes) -> RunOutcome:
    run = study.runs / f"{planned.run_key}-20260101-000000"
    return RunOutcome(planned.variant, planned.seed, **({"run": run, "status": "finished", "loss": 1.5} | changes))


def test_a_study_is_found_by_path_name_beginning_and_as_the_latest(made):
    root = made.path.parent
    for words in (made.path, made.name, "mine", "latest"):
        assert Study.open(words, root=root).config == made.config
    with pytest.raises(RunError, match="There is no study 'miné.*', .*Did you mean 'mine"):
        Study.open(made.name.replace("mine", "miné"), root=root)


def test_what_has_an_outcome_waits_no_longer_and_outcomes_move_with_the_folder(made, tmp_path):
    first, *rest = made.plan
    outcome = an_outcome(made, first, curve=Curve((0, 4), (2.5, None), (0.0, 0.5)), accuracy=0.5)
    made.record(first, outcome)
    assert made.pending() == rest
    assert made.outcome(first) == outcome
    moved = Study.open(made.path.rename(tmp_path / "elsewhere"))
    assert moved.outcomes()[0].run == moved.runs / outcome.run.name
    assert str(tmp_path) not in (moved.path / "outcomes" / f"{first.run_key}.json").read_text()


def test_the_table_pairs_diverged_runs_as_none_and_leaves_failed_ones_out(made):
    base_0, none_0, base_1, none_1 = made.plan
    made.record(base_0, an_outcome(made, base_0, loss=1.25))
    made.record(none_0, an_outcome(made, none_0, loss=None, status="diverged"))
    made.record(base_1, failed("base", 1, "no room"))
    assert made.losses() == {"base": {0: 1.25}, "residual=none": {0: None}}
    made.clear_failures()
    assert made.pending() == [base_1, none_1]


def test_seeds_can_be_added_and_what_is_made_stays_made(made):
    first = made.plan[0]
    made.record(first, an_outcome(made, first))
    more = made.extended([5, 9])
    assert more.config.seeds == (0, 1, 5, 9)
    assert len(more.pending()) == 2 * 4 - 1
    assert Study.open(made.path).config == more.config
    with pytest.raises(ConfigError, match="seeds has 5 twice"):
        more.extended([5])


def test_folders_that_a_copy_left_out_for_they_were_empty_are_made_again(made):
    for name in FOLDERS:
        shutil.rmtree(made.path / name)
    with made.lock_study(), made.lock_run(made.plan[0]):
        made.record(made.plan[0], an_outcome(made, made.plan[0]))
    assert made.outcome(made.plan[0]) is not None
    assert all((made.path / name).is_dir() for name in FOLDERS)


def test_what_a_kill_left_of_a_folder_is_no_run_and_is_cleared(made):
    first = made.plan[0]
    half = made.runs / f"{first.run_key}-20260101-000000"
    (half / "checkpoints").mkdir(parents=True)
    other = made.runs / f"{first.run_key}0-20260101-000000"  # of seed 00, say: not this run's
    other.mkdir()
    assert made.run_of(first) is None
    longer = (
        made.runs / f"{first.run_key}-more.seed-0-20260101-000000"
    )  # of a variant whose name begins like this run's
    longer.mkdir()
    made.clear_half_begun(first)
    assert not half.exists()
    assert other.exists()
    assert longer.exists()


def test_runs_of_seeds_that_begin_alike_are_told_apart(create, design):
    study = create(design(["model.residual=none"], seeds=[1, 11]))
    run = Run.create(study.runs, study.plan[2].run_key, study.plan[2].config.to_dict(), command=["test"])
    assert study.plan[2].seed == 11
    assert study.run_of(study.plan[0]) is None
    assert study.run_of(study.plan[2]).path == run.path


def test_a_study_keeps_its_own_copies_of_part_files(create, design, tmp_path):
    part = tmp_path / "parts.py"
    part.write_text(PART)
    load_part_file(part)
    study = create(design({"own": {"model.norm.kind": "of-a-study", "model.part_files": [str(part)]}}))
    part.unlink()
    again = Study.open(study.path)
    (kept,) = again.config.arm("own").model.part_files
    assert kept == str(study.path / "parts" / "parts.py")
    assert again.config.base.model.part_files == ()


def test_what_another_machine_made_takes_the_place_of_what_was_begun_here_and_of_no_outcome(made, tmp_path):
    first = made.plan[0]
    begun = Run.create(made.runs, first.run_key, first.config.to_dict(), command=["here"])

    def there(name, loss):
        folder = tmp_path / name
        run = Run.create(folder / "runs", first.run_key, first.config.to_dict(), command=[name])
        (folder / "outcomes").mkdir()
        outcome = RunOutcome(first.variant, first.seed, run.path, "finished", loss=loss)
        (folder / "outcomes" / f"{first.run_key}.json").write_text(json.dumps(outcome.to_dict(folder)))
        return pack(folder, [run.path, folder / "outcomes" / f"{first.run_key}.json"])

    made.adopt(first, there("far", 1.5))
    assert made.run_of(first).environment()["command"] == ["far"]
    assert made.outcome(first).loss == 1.5
    assert not begun.path.exists() or begun.path == made.run_of(first).path
    made.adopt(first, there("late", 9.5))  # a station that was given up for dead, after another had ended the run
    assert made.run_of(first).environment()["command"] == ["far"]
    assert made.outcome(first).loss == 1.5
    assert list(made.path.glob("arriving-*")) == []
    (made.path / "arriving-killed").mkdir()
    with made.lock_study():
        assert list(made.path.glob("arriving-*")) == []


def test_one_process_at_a_time_drives_a_study(made):
    with made.lock_study(), pytest.raises(RunError, match="is being run already, by process"), made.lock_study():
        pass


@pytest.mark.parametrize("content", ['{"name": "mi', "[]", '{"variant": "base"}'])
def test_a_damaged_outcome_is_said_to_be(made, content):
    first = made.plan[0]
    (made.path / "outcomes" / f"{first.run_key}.json").write_text(content)
    with pytest.raises(RunError, match=rf"{re.escape(first.run_key)}\.json.* is damaged"):
        made.outcomes()


@pytest.mark.parametrize(
    ("nonsense", "told"),
    [
        ({"loss": "low"}, "'low' is not a number"),
        ({"status": "lost"}, "status is 'lost'"),
        ({"curve": {"steps": [0, 4], "losses": [4.0], "seconds": [0.0]}}, "its curve"),
        ({"curve": {"steps": ["0"], "losses": [4.0], "seconds": [0.0]}}, "'0' is not a number"),
        ({"curve": []}, "is damaged"),
        ({"loss": None}, "a run has a final loss if it finished"),
        ({"loss": True}, "True is not a number"),
        ({"seed": "0"}, "seed is '0'"),
        ({"seed": 1}, "it is of another run"),
        ({"variant": "residual=none"}, "it is of another run"),
        ({"variant": ["base"]}, r"variant is \['base'\]"),
        ({"reused": "yes"}, "reused is 'yes'"),
        ({"reason": 3}, "reason is 3"),
        ({"run": 3}, "run is 3"),
        ({"run": "/etc"}, "lies outside the study's folder"),
        ({"run": "../../elsewhere"}, "lies outside the study's folder"),
        ({"more": 1}, "is damaged"),
    ],
)
def test_an_outcome_that_no_run_has_is_said_to_be_damaged(made, nonsense, told):
    first = made.plan[0]
    path = made.path / "outcomes" / f"{first.run_key}.json"
    made.record(first, an_outcome(made, first))
    path.write_text(json.dumps(json.loads(path.read_text()) | nonsense))
    with pytest.raises(RunError, match=told):
        made.outcomes()


def test_a_reused_run_lies_where_it_was_made(made, tmp_path):
    first = made.plan[0]
    made.record(first, an_outcome(made, first, run=tmp_path / "elsewhere", reused=True))
    assert made.outcome(first).run == tmp_path / "elsewhere"


def test_a_file_in_the_place_of_a_folder_is_a_clear_message(made):
    (made.path / "claims").rmdir()
    (made.path / "claims").touch()
    with pytest.raises(RunError, match=r"claims"), made.lock_study():
        pass
    with pytest.raises(RunError, match=r"claims"), made.lock_run(made.plan[0]):
        pass
    shutil.rmtree(made.runs)
    with pytest.raises(RunError, match="cannot be listed"):
        made.run_of(made.plan[0])


def test_two_folders_of_one_run_are_named(made):
    first = made.plan[0]
    for moment in ("20260101-000000", "20260101-000001"):
        (made.runs / f"{first.run_key}-{moment}").mkdir()
        (made.runs / f"{first.run_key}-{moment}" / "config.json").write_text("{}")
    with pytest.raises(RunError, match="has 2 folders of"):
        made.run_of(first)


@pytest.fixture
def told(tmp_path):
    """``told(records)``: a run's folder whose metrics say so."""

    def told(*records):
        run = Run.create(tmp_path, "run", {}, command=["test"])
        with MetricsWriter(run.metrics_path) as writer:
            for record in records:
                writer.append(record)
        return run

    return told


def validation(step, loss):
    return {"kind": "validation", "step": step, "loss": loss, "seconds": step / 8}


END = {"event": "end", "step": 8, "reason": "finished", "seconds": 2.0}
START = {"event": "start", "step": 0}


def test_a_finished_run_ends_with_its_last_validation(told):
    outcome = read_outcome(told(START, validation(0, 3.0), validation(8, 1.5), END), "base", 0)
    assert (outcome.status, outcome.loss, outcome.steps, outcome.seconds) == ("finished", 1.5, 8, 2.0)
    assert outcome.curve == Curve((0, 8), (3.0, 1.5), (0.0, 1.0))


def test_a_run_that_is_not_at_its_end_has_no_outcome(told):
    stopped = {"event": "end", "step": 4, "reason": "SIGTERM", "seconds": 1.0}
    assert read_outcome(told(START, validation(0, 3.0)), "base", 0) is None
    assert read_outcome(told(START, validation(0, 3.0), stopped), "base", 0) is None
    assert read_outcome(told(START, validation(0, 3.0), END, START), "base", 0) is None


def test_a_run_that_diverged_has_no_loss_and_says_where(told):
    bad = {"event": "not finite", "step": 3, "message": "The loss of step 3 is not finite."}
    outcome = read_outcome(told(START, validation(0, 3.0), bad), "base", 0)
    assert (outcome.status, outcome.loss, outcome.steps) == ("diverged", None, 3)
    assert outcome.reason == bad["message"]
    late = read_outcome(told(START, validation(0, 3.0), validation(8, math.nan), END), "base", 0)
    assert (late.status, late.loss, late.curve.losses) == ("diverged", None, (3.0, None))
    json.dumps(late.to_dict(late.run.parent), allow_nan=False)
