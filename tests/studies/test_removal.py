"""Taken out of a trained model: the variant's model with the base's weights, which is what an intervention computes."""

from __future__ import annotations

import json

import pytest
import torch

from glassformer.errors import CheckpointError
from glassformer.parts.interventions import zero
from glassformer.runs.folder import Run
from glassformer.statistics.comparison import compare
from glassformer.studies.checking import check
from glassformer.studies.design import BASE
from glassformer.studies.design import study as design_of
from glassformer.studies.folder import Study
from glassformer.studies.removal import Removal, _other_question, loss_without, removal, transplanted
from glassformer.studies.report.removal import NOT_MEASURED, TITLE, removal_section, removal_table
from glassformer.studies.report.tables import difference_cell, interval_cell
from glassformer.studies.report.write import write_report
from glassformer.studies.same_data import began_with
from glassformer.studies.worker import train_run
from glassformer.tasks.open_run import open_model

VARIED = ["model.sublayers=feedforward", "model.residual=none", "model.d_model=8", "training.batch_size=2"]


@pytest.fixture(scope="module")
def finished(design, tmp_path_factory):
    """A study of a small model, all its runs trained."""
    checked = check(design(VARIED, seeds=3))
    study = Study.create(checked.config, data=checked.data, command=["test"], root=tmp_path_factory.mktemp("removal"))
    for planned in study.plan:
        assert train_run(study, planned).status == "finished"
    return study


def base_run(study, seed=0):
    return next(Run.open(each.run) for each in study.outcomes() if (each.variant, each.seed) == (BASE, seed))


def test_both_ways_of_removing_are_paired_with_the_same_base(finished):
    found = removal(finished)
    losses = finished.losses()
    assert [row.variant for row in found.trained.rows] == list(finished.config.variants)
    assert [row.variant for row in found.removed.rows] == list(finished.config.variants)[:2]
    for row in found.removed.rows:
        assert row.n == 3
        assert [pair.base for pair in row.pairs] == [losses[BASE][seed] for seed in (0, 1, 2)]
        assert row.interval is not None


def test_what_cannot_be_removed_has_a_reason(finished):
    found = removal(finished)
    wide, batch = list(finished.config.variants)[2:]
    assert "weights" in found.reasons[wide]
    assert "training" in found.reasons[batch]
    assert found.recovered(wide) is None


def test_a_loss_on_other_data_is_no_measure_of_what_was_removed(base, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("what each layer wrote. " * 100)
    for changes in ({"data.source": str(other)}, {"training.seq_len": 8}):
        variant = base.override({"model.residual": "none", **changes})
        assert _other_question(base, variant) != ""
    assert not _other_question(base, base.override({"model.residual": "none", "training.batch_size": 2}))


def test_a_study_that_ran_until_decided_shows_no_t_interval(finished):
    found = removal(finished)
    for table, shown in ((removal_table(found), True), (removal_table(found, fixed=False), False)):
        assert ("95 % interval" in table.markdown()) is shown
        assert difference_cell(found.removed.rows[0].mean, found.removed.rows[0].interval).text in table.markdown()


def test_removing_attention_is_zeroing_its_output(finished):
    run = base_run(finished)
    opened = open_model(run, "latest")
    variant = finished.config.arm(next(iter(finished.config.variants)))
    model = transplanted(opened.model.named_weights(), opened.config.override({"model.sublayers": "feedforward"}))
    tokens = torch.arange(12)[None] % opened.model.config.vocab_size
    zeroed = opened.model.trace(tokens, interventions=[zero("blocks.*.attention.output")])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), zeroed.logits)
    assert (
        loss_without(run, variant)
        == removal(finished).removed.row(next(iter(finished.config.variants))).pairs[0].variant
    )


def test_removing_nothing_gives_the_loss_that_training_recorded(finished):
    run = base_run(finished)
    recorded = finished.losses()[BASE][0]
    assert loss_without(run, finished.config.base) == pytest.approx(recorded, rel=1e-6)


def test_what_training_wins_back_is_a_share_of_what_removing_costs():
    base, seeds = 2.0, range(3)

    def compared(**higher):
        losses = {name: dict.fromkeys(seeds, base + more) for name, more in higher.items()}
        return compare(dict.fromkeys(seeds, base), losses)

    trained = compared(needed=0.4, spare=0.0, harmful=-0.1, own=0.2)
    found = Removal(trained, compared(needed=0.5, spare=1.0, harmful=-0.2), {"own": "it has weights of its own"})
    assert found.recovered("needed") == pytest.approx(0.2)
    assert found.recovered("spare") == pytest.approx(1.0)
    assert found.recovered("harmful") is None  # removing costs nothing
    assert found.recovered("own") is None


def test_weights_of_its_own_are_named(finished):
    run = base_run(finished)
    weights = open_model(run, "latest").model.named_weights()
    with pytest.raises(CheckpointError, match="and 5 more"):
        transplanted(
            {name: weight for name, weight in weights.items() if ".w_" not in name},
            open_model(run, "latest").config,
        )


def test_the_report_has_both_in_one_table(finished, tmp_path):
    found = removal(finished)
    table = removal_section(finished).figures[0].markdown()
    for row in found.removed.rows:
        assert difference_cell(row.mean, row.interval).text in table
        assert interval_cell(row.interval).text in table
    assert found.reasons[list(finished.config.variants)[2]] in removal_section(finished).figures[0].description
    text = write_report(finished, folder=tmp_path, open_pages=False).with_suffix(".md").read_text()
    assert TITLE in text


@pytest.fixture
def on_own_text(base, tmp_path):
    """A study of a text of one's own, all its runs trained, and the text's file."""
    path = tmp_path / "own.txt"
    path.write_text("what each layer wrote, the next layer reads.\n" * 60)
    study_design = design_of(base.override({"data.source": str(path)}), vary=["model.residual=none"], seeds=2)
    checked = check(study_design)
    study = Study.create(checked.config, data=checked.data, command=["test"], root=tmp_path)
    for planned in study.plan:
        assert train_run(study, planned).status == "finished"
    return study, path


def test_on_a_text_that_changed_nothing_is_taken_out_and_the_cell_says_so(on_own_text, tmp_path):
    study, path = on_own_text
    before = removal_table(removal(study)).markdown()
    assert NOT_MEASURED not in before
    path.write_text(path.read_text().replace("w", "e"))
    found = removal(study)
    assert not found.removed.rows
    after = removal_table(found).markdown()
    assert after.count(NOT_MEASURED) == 1
    assert found.other_data == {"residual=none"}
    assert found.reasons["residual=none"].rstrip(".") in removal_table(found).description
    write_report(study, folder=tmp_path / "report", open_pages=True)
    text = (tmp_path / "report" / "report.md").read_text()
    assert NOT_MEASURED in text
    path.write_text("what each layer wrote, the next layer reads.\n" * 60)
    assert removal_table(removal(study)).markdown() == before


def test_a_study_of_before_goes_on_where_its_runs_open(on_own_text):
    study, path = on_own_text
    now = study.data()[BASE]
    (study.path / "data.json").write_text(json.dumps(dict.fromkeys(study.config.arms, "0" * 32)))
    for planned in study.plan:
        run = study.run_of(planned)
        lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
        for line in lines:
            if line.get("event") == "data":
                for name in ("content", "sha256", "made_with"):
                    del line[name]
                line["fingerprint"] = "0" * 32
        run.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert all(began_with(study, arm, now) for arm in study.config.arms)
    path.write_text(path.read_text().replace("w", "e"))
    assert not any(began_with(study, arm, now) for arm in study.config.arms)
