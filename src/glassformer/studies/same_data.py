"""Whether data are those that a study began with: a pair of runs is one only on the same data."""

from __future__ import annotations

from glassformer.errors import GlassformerError
from glassformer.studies.folder import Study
from glassformer.tasks.run_data import open_samples, recorded_data


def began_with(study: Study, arm: str, fingerprint: str) -> bool:
    """Whether an arm of the study began with data of this fingerprint.

    An older study identifies data by path and time. Then what else a run on these data recorded
    decides whether the present ones are the same.
    """
    begun = study.data().get(arm)
    if begun == fingerprint:
        return True
    for planned in study.plan:
        run = study.run_of(planned)
        recorded = None if run is None else recorded_data(run)
        if run is None or recorded is None or "content" in recorded or recorded["fingerprint"] != begun:
            continue
        try:
            open_samples(run, planned.config)
        except GlassformerError:
            return False
        return True
    return False
