"""Deciding a claim: the time it takes, the circumstances, and the record that is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from glassformer.claims.claim import BudgetName, Claim
from glassformer.claims.laboratory import Laboratory
from glassformer.claims.verdicts import Verdict, circumstances, record


def decide(
    claim: Claim, budget: BudgetName, laboratory: Laboratory, *, folder: Path, command: Sequence[str]
) -> Verdict:
    """Decide a claim within a budget and keep the verdict in ``folder``.

    Raises:
        GlassformerError: a study cannot be made, or was stopped; what was made of it is kept, and found again.
        RunError: the verdict cannot be kept.
    """
    before = laboratory.n_runs, laboratory.n_reused
    start = time.perf_counter()
    finding = claim.decide(claim.budget(budget), laboratory)
    about = circumstances(
        claim,
        budget,
        data=laboratory.data if finding.evidence else "",
        runs=laboratory.n_runs - before[0],
        reused=laboratory.n_reused - before[1],
        seconds=time.perf_counter() - start,
        command=command,
    )
    verdict = Verdict.of(claim, finding, about)
    record(folder, verdict)
    return verdict
