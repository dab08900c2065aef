"""What is checked before a study begins."""

from __future__ import annotations

from glassformer.studies.checking import check


def test_checking_a_study_again_finds_nothing_to_change(create, design):
    study = create(design(["model.residual=none"], seeds=[0]))
    again = check(study.config)
    assert (again.config, again.data) == (study.config, study.data())
