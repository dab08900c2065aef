"""Points: checked as a whole, read from the field's tables without options, and exact from runs of our own trainer."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import DataError
from glassformer.scaling.fits.points import Points, join
from glassformer.scaling.fits.reading import read_points

positive = st.floats(1e-3, 1e15)


# ------------------------------------------------------------------------------------------------- numbers


@given(st.lists(st.tuples(positive, positive, st.floats(0.1, 10)), min_size=1, max_size=20))
def test_two_of_n_d_and_c_give_the_third(rows):
    n, d, loss = map(np.array, zip(*rows, strict=True))
    whole = Points.of(n, d, loss)
    assert whole.c == pytest.approx(6 * n * d)
    assert Points.of(n, c=whole.c, loss=loss).d == pytest.approx(d)
    assert Points.of(d=d, c=whole.c, loss=loss).n == pytest.approx(n)


def test_given_flops_are_kept():
    points = Points.of([1e6], [2e7], [3.0], c=[1.5e14])
    assert points.c.tolist() == [1.5e14]


def test_every_complaint_comes_at_once_and_names_its_row():
    with pytest.raises(DataError) as raised:
        Points.of([1e6, -1, 1e6, 1e6], [1e7, 1e7, 0, 1e7], [3, 3, 3, float("nan")], unique=[1e7, 1e7, 1e7, 2e7])
    message = str(raised.value)
    assert "for 5 reasons" in message
    for part in ("row 2: parameters N is -1", "row 3: training tokens D is 0", "row 4: the loss is nan",
                 "row 4: 2e+07 unique tokens are more than the 1e+07 trained on", "row 3: 1e+07 unique"):  # fmt: skip
        assert part in message
    with pytest.raises(
        DataError, match=r"the loss is missing.*(?s:.)*training tokens D and training FLOPs C are missing"
    ):
        Points.of([1e6])
    with pytest.raises(DataError, match=r"n \[2\], d \[1\], loss \[2\]"):
        Points.of([1e6, 2e6], [1e7], [3, 3])
    with pytest.raises(DataError, match="there are no rows"):
        Points.of([], [], [])


def test_many_complaints_are_cut_short_but_counted():
    with pytest.raises(DataError, match=r"for 100 reasons(?s:.)*and 80 more"):
        Points.of(np.full(100, -1.0), np.full(100, 1e7), np.full(100, 3.0))


def test_rows_are_chosen_by_mask_and_by_index_as_often_as_asked():
    points = Points.of([1, 2, 3], [10, 20, 30], [3, 2, 1], run=["b", "a", "b"], unique=[5, 6, 7])
    assert points[[2, 2, 0]].n.tolist() == [3, 3, 1]
    assert points[[2, 2, 0]].unique.tolist() == [7, 7, 5]
    assert points[points.loss < 2.5].run.tolist() == ["a", "b"]
    assert len(points[:2]) == 2
    assert points.clusters.tolist() == [0, 1, 0]
    assert points.to_rows()[1] == {"run": "a", "n": 2, "d": 20, "c": 240, "loss": 2, "unique": 6}


def test_points_cannot_be_changed_and_do_not_change_what_they_came_from():
    n = np.array([1e6, 2e6])
    points = Points.of(n, [1e7, 1e7], [3, 3])
    with pytest.raises(ValueError, match="read-only"):
        points.n[0] = 5
    n[0] = 7
    assert points.n[0] == 1e6


def test_joined_points_keep_runs_and_notes_and_reject_two_ways_of_counting():
    one = Points.of([1e6], [1e7], [3], notes=["a note."])
    other = Points.of([1e6], [1e7], [3], unique=[5e6], run=["x"], notes=["a note.", "b."])
    both = join([one, other])
    assert both.unique.tolist() == [1e7, 5e6]
    assert both.notes == ("a note.", "b.")
    with pytest.raises(DataError, match="recount"):
        join([one, Points.of([1e6], [1e7], [3], counting="non-embedding")])


# ------------------------------------------------------------------------------------------------- tables

CONFIGS_MIXED = "The column 'config' holds 15 different values, and all were read: choose one with where."


@pytest.mark.parametrize(
    ("file", "rows", "note"),
    [
        ("epoch_chinchilla/svg_extracted_data.csv", 245, "D is not in the table; it is computed by C = 6·N·D."),
        ("kyo_takano_chinchilla/df.csv", 234, None),
        ("porian2024/isoflop_points.csv", 1745, CONFIGS_MIXED),
    ],
)
def test_the_fields_tables_are_read_without_any_option(glassformer_data, file, rows, note):
    points = read_points(glassformer_data / "scaling" / file)
    assert len(points) == rows
    assert points.notes == (() if note is None else (note,))
    assert points.c == pytest.approx(6 * points.n * points.d, rel=1e-3)
    assert 1 < points.loss.min() < points.loss.max() < 11


def test_one_configuration_of_a_table_is_chosen_and_its_curves_are_runs(glassformer_data):
    path = glassformer_data / "scaling" / "porian2024" / "isoflop_points.csv"
    config = "rw/base/long/kaplan/kaplan/train"
    points = read_points(path, where={"config": config}, columns={"run": "config, params"})
    assert len(points) == 107
    assert points.notes == ()
    assert points.clusters.max() + 1 == len(set(points.n)) == 16
    with pytest.raises(DataError, match="no row is left: config holds"):
        read_points(path, where={"config": "rw/base"})


def write(tmp_path, text, name="runs.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "N,D,loss\n70000000,1400000000,3.5\n",
        "Parameters,Tokens,Validation Loss\n70M,1.4B,3.5\n",
        "params (M),tokens (B),loss\n70,1.4,3.5\n",
        "params (M);training FLOPs;val_loss\n70;5.88e17;3.5\n",
        "n_params\tcompute [EFLOP]\tfinal-loss\n7e7\t0.588\t3.5\n",
        "\ufeffModel Size,flops,loss (bits)\n70_000_000,588 PFLOP,5.04943264\n\n",
    ],
)
def test_names_and_units_in_use_are_understood(tmp_path, text):
    (row,) = read_points(write(tmp_path, text)).to_rows()
    assert row["n"] == pytest.approx(7e7)
    assert row["d"] == pytest.approx(1.4e9)
    assert row["c"] == pytest.approx(5.88e17)
    assert row["loss"] == pytest.approx(3.5)


def test_columns_of_other_names_are_named(tmp_path):
    path = write(
        tmp_path, "taille (M),jetons,perte,perte 2,essai,vus\n70,1.4e9,3.5,3.6,a,1e9\n70,2.8e9,3.3,3.4,a,1e9\n"
    )
    columns = {"N": "taille (M)", "D": "jetons", "L": "perte", "run": "essai", "unique": "vus"}
    points = read_points(path, columns=columns)
    assert points.n.tolist() == [7e7, 7e7]
    assert points.run.tolist() == ["a", "a"]
    assert points.unique.tolist() == [1e9, 1e9]


def test_a_column_of_parameters_without_embeddings_says_so(tmp_path):
    alone = write(tmp_path, "non_embedding_params,tokens,loss\n7e7,1.4e9,3.5\n", "alone.csv")
    assert read_points(alone).counting == "non-embedding"
    assert read_points(alone, columns={"n": "non_embedding_params"}).counting == "non-embedding"
    both = write(tmp_path, "params,non_embedding_params,tokens,loss\n9e7,7e7,1.4e9,3.5\n", "both.csv")
    total, without = read_points(both), read_points(both, counting="non-embedding")
    assert (total.n.tolist(), total.counting) == ([9e7], "total")
    assert (without.n.tolist(), without.counting) == ([7e7], "non-embedding")


def test_flops_that_are_not_6nd_are_told(tmp_path):
    points = read_points(write(tmp_path, "N,D,C,loss\n1e7,1e9,9e16,3\n1e8,1e9,6.6e17,3\n"))
    assert points.notes == ("The FLOPs of the table are 1.1 to 1.5 times 6·N·D.",)
    assert points.c.tolist() == [9e16, 6.6e17]


@pytest.mark.parametrize(
    ("text", "columns", "parts"),
    [
        ("N,D,loss\n7e7,x,3\n7e7,1e9,\n-1,1e9,3\n", {}, ["2 reasons", "line 2: training tokens D is 'x'",
                                                        "line 3: the loss is missing"]),
        ("N,D,loss\n7e7,inf,3\n\n-1,1e9,nan\n", {}, ["3 reasons", "line 2", "line 4: parameters N", "4: the loss"]),
        ("size,D,loss\n1,2,3\n", {}, ["known to be parameters N, training FLOPs C", "'size', 'D', 'loss'"]),
        ("N,D,val_loss,test_loss\n1,2,3,4\n", {}, ["'val_loss', 'test_loss' may each be the loss: name one"]),
        ("N,D,loss\n1,2,3\n", {"n": "M", "x": "N"}, ["'M', and there is no such column", "knows no 'x'"]),
        ("N (parsec),D,loss\n1,2,3\n", {}, ["the unit in 'N (parsec)'", "Known: k, m, b"]),
        ("N,D,loss\n1,2\n", {}, ["line 2 has 2 cells, and there are 3 columns"]),
        ("N,N,loss\n1,2,3\n", {}, ["two columns are called 'N'"]),
        ("", {}, ["is empty"]),
        ("N,D,loss\n", {}, ["no row is left, the file has none"]),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_rejected_with_its_lines(tmp_path, text, columns, parts):
    with pytest.raises(DataError) as raised:
        read_points(write(tmp_path, text), columns=columns)
    assert [part for part in parts if part not in str(raised.value)] == []


def test_a_file_that_is_no_table_is_rejected(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_points(tmp_path / "missing.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\x81\x00\xff\xfe")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_points(binary)


def test_reading_a_table_needs_no_torch(tmp_path):
    path = write(tmp_path, "N,D,loss\n7e7,1.4e9,3.5\n")
    code = (
        "import sys; from pathlib import Path; from glassformer.scaling.fits.reading import read_points; "
        f"read_points(Path({str(path)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ------------------------------------------------------------------------------------------------- our runs

SMALL = {
    "model.d_model": 16,
    "model.n_layers": 2,
    "model.max_seq_len": 16,
    "model.attention.n_heads": 2,
    "training.batch_size": 4,
    "training.max_steps": 8,
    "training.schedule.warmup_steps": 3,
    "training.compile": "off",
    "training.telemetry.log_every": 5,
    "training.telemetry.validate_every": 3,
    "training.telemetry.validation_tokens": 96,
    "training.telemetry.gradients_every": None,
    "training.checkpoints.every": None,
}


@pytest.fixture(scope="module", autouse=True)
def own_places(tmp_path_factory):
    """A cache and folders of our own, and short measurements of this machine."""
    patch = pytest.MonkeyPatch()
    for name in ("CACHE", "RUNS", "STUDIES"):
        patch.setenv(f"GLASSFORMER_{name}", str(tmp_path_factory.mktemp(name.lower())))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run of 8 steps of a small model, on some thousands of characters."""
    from glassformer.models.presets import preset
    from glassformer.tasks.run_config import RunConfig

    draw = random.Random(0)
    words = ["the", "loss", "falls", "as", "a", "power", "of", "what", "was", "spent.\n"]
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(draw.choice(words) for _ in range(1_000)))
    chosen = preset("nanogpt-shakespeare-cpu")
    return RunConfig(model=chosen.model).override(chosen.recipe | SMALL | {"data.source": str(path)})


def start(config, root, name):
    from glassformer.training import session

    return session.start(config, root=root, name=name, command=["test"])


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """A folder with two whole runs, one that diverged, and one that a signal stopped."""
    from glassformer.errors import TrainingError

    root = tmp_path_factory.mktemp("trained")
    small, large = (
        start(base, root, "small"),
        start(base.override({"model.d_model": 32, "training.seed": 3}), root, "large"),
    )
    small.train()
    large.train()
    with pytest.raises(TrainingError):
        start(
            base.override({"training.optimizer.learning_rate": 1e30, "training.grad_clip": None}), root, "wild"
        ).train()
    stopped = start(base, root, "stopped")
    update = stopped._update

    def update_then_stop():
        update()
        signal.raise_signal(signal.SIGTERM)

    stopped._update = update_then_stop
    stopped.train()
    return root, small, large


def test_whole_runs_of_a_folder_are_points_exactly_and_the_others_are_told(trained):
    root, *trainers = trained
    points = read_points(root)
    assert len(points) == 2
    by_run = {row["run"]: row for row in points.to_rows()}
    assert sorted(by_run) == sorted(f"{t.run.name}, seed {t.config.training.seed}" for t in trainers)
    for trainer in trainers:
        row = by_run[f"{trainer.run.name}, seed {trainer.config.training.seed}"]
        assert row["n"] == sum(p.numel() for p in trainer.model.parameters())
        assert row["d"] == trainer.progress.tokens == 8 * 4 * 16
        assert row["c"] == trainer.progress.tokens * trainer.flops_per_token
        assert row["loss"] == [r["loss"] for r in trainer.run.metrics() if r["kind"] == "validation"][-1]
    assert len(points.notes) == 2
    assert any("wild" in note and "diverged (The " in note and len(note) < 200 for note in points.notes)
    assert any("stopped" in note and "has not ended" in note for note in points.notes)


def test_one_run_is_a_point_and_its_curve_many_of_one_label(trained):
    _, small, _ = trained
    end, curve = read_points(small.run.path), read_points(small.run.path, curves=True)
    assert len(end) == 1
    assert curve.d.tolist() == [3 * 64, 6 * 64, 8 * 64]  # validated after 3, 6 and 8 steps; logged after 5 and 8
    assert len(set(curve.run)) == 1
    assert curve[[-1]].to_rows() == end.to_rows()


def test_parameters_without_embeddings_are_counted_as_kaplan_does(trained):
    _, small, _ = trained
    points = read_points(small.run.path, counting="non-embedding")
    assert points.n.tolist() == [12 * 2 * 16**2]
    assert points.counting == "non-embedding"


def test_runs_that_repeat_their_text_say_how_much_of_it_is_unique(base, tmp_path):
    whole = start(base, tmp_path, "whole")
    whole.train()
    again = start(
        base.override({"training.max_steps": 200, "training.telemetry.validate_every": 200}), tmp_path, "again"
    )
    again.train()
    points = read_points(tmp_path)
    trained_on = len(again.samples.data.train) - 1
    assert points.d.tolist() == [8 * 64, 200 * 64]
    assert points.d[1] > trained_on
    assert points.unique == pytest.approx([8 * 64, trained_on])


def test_a_studys_folder_gives_its_ended_runs_under_variant_and_seed(base, tmp_path):
    from glassformer.studies.checking import check
    from glassformer.studies.design import study
    from glassformer.studies.folder import Study
    from glassformer.studies.worker import train_run

    design = study(base, vary={"wide": {"model.d_model": "32"}}, seeds=2)
    checked = check(design)
    made = Study.create(checked.config, data=checked.data, command=["test"], root=tmp_path)
    for planned in made.plan[:3]:
        train_run(made, planned)
    expected = {f"{each.variant}, seed {each.seed}": made.outcome(each).loss for each in made.plan[:3]}
    points = read_points(made.path)
    assert dict(zip(points.run.tolist(), points.loss.tolist(), strict=True)) == expected
    assert points.n.min() < points.n.max()
    left = made.plan[3]
    assert points.notes == (f"{left.variant}, seed {left.seed} is left out: it has not ended.",)
    assert len(read_points(tmp_path)) == 3  # a folder of studies


def test_a_folder_without_runs_is_rejected(tmp_path):
    with pytest.raises(DataError, match="there is no run in it"):
        read_points(tmp_path)


def test_options_of_the_other_source_are_rejected(tmp_path):
    with pytest.raises(DataError, match="no columns to choose from"):
        read_points(tmp_path, columns={"n": "N"})
    with pytest.raises(DataError, match="no effect on a table"):
        read_points(write(tmp_path, "N,D,loss\n7e7,1.4e9,3.5\n"), curves=True)
