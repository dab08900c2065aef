"""Deciding a claim: the time it takes, the circumstances, and the record that is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from glassformer.claims.budget import BudgetName
from glassformer.claims.claim import Claim
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.verdicts import VerdictRecord, circumstances, record


def decide(
    claim: Claim, budget: BudgetName, claim_studies: ClaimStudies, *, folder: Path, command: Sequence[str]
) -> VerdictRecord:
    """Decide a claim within a budget and keep the verdict in ``folder``.

    Raises:
        GlassformerError: a study cannot be made, or was stopped; what was made of it is kept, and found again.
        RunError: the verdict cannot be kept.
    """
    before = claim_studies.n_runs, claim_studies.n_reused
    start = time.perf_counter()
    result = claim.decide(claim.budget(budget), claim_studies)
    about = circumstances(
        claim,
        budget,
        data=claim_studies.data if result.evidence else "",
        runs=claim_studies.n_runs - before[0],
        reused=claim_studies.n_reused - before[1],
        seconds=time.perf_counter() - start,
        command=command,
    )
    verdict = VerdictRecord.of(claim, result, about)
    record(folder, verdict)
    return verdict
