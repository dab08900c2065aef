"""Recorded verdicts: what was found, and under which circumstances, in a folder of JSON files.

    claims/residual-loss.quick.json
    claims/residual-loss.full.json

A claim that is decided again with the same budget replaces its own file.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import TypeAdapter

import glassformer
from glassformer import machine
from glassformer.claims.budget import BudgetName
from glassformer.claims.claim import Claim, ClaimResult, Measurement, Verdict
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.errors import RunError
from glassformer.runs.files import replace_durably
from glassformer.runs.folder import json_bytes, read_object
from glassformer.wording import counted


@dataclass(frozen=True)
class Circumstances:
    """How a verdict came about.

    Attributes:
        budget: quick or full; ``seeds``, ``steps`` and ``levels`` are what that meant.
        data: the text that models were trained on; empty where none was.
        runs, reused: runs that the studies have in all, and how many of them had been made before.
        seconds: that deciding took, now.
        date: ISO 8601, UTC.
        rates, selection_seeds, selection_steps: what the studies were tuned over; no rates: they were not.
        seeds_at: seeds of the levels that have a number of their own.
        run_seconds: training time of all the runs, reused ones too; each run has one core.
        tuning_notes: where a grid was extended, or an arm's best rate is still on its grid's edge.
    """

    budget: BudgetName
    seeds: int
    steps: int
    levels: tuple[int, ...]
    data: str
    runs: int
    reused: int
    seconds: float
    date: str
    command: str
    machine: str
    glassformer: str
    rates: tuple[float, ...] = ()
    selection_seeds: int = 0
    selection_steps: int = 0
    seeds_at: dict[int, int] = field(default_factory=dict)
    run_seconds: float = 0.0
    tuning_notes: tuple[str, ...] = ()

    @property
    def tuned_over(self) -> str:
        """What the arms of the studies were tuned over, in words."""
        if not self.runs:
            return "nothing is trained"
        if not self.rates:
            return "one learning rate"
        rates = ", ".join(f"{rate:g}" for rate in self.rates)
        return f"learning rate {rates}: {counted(self.selection_seeds, 'seed')}, {self.selection_steps:,} steps"


@dataclass(frozen=True)
class VerdictRecord:
    """A finding as it is kept."""

    claim: str
    verdict: Verdict
    parts: dict[str, bool | None]
    sentence: str
    condition: str
    numbers: dict[str, Measurement]
    evidence: tuple[str, ...]
    circumstances: Circumstances
    not_tested: str = ""

    @property
    def outcome(self) -> str:
        """The verdict as people read it; the file's "undecided" is "inconclusive", as the parts are."""
        return "inconclusive" if self.verdict == "undecided" else self.verdict

    @classmethod
    def of(cls, claim: Claim, result: ClaimResult, circumstances: Circumstances) -> Self:
        """The verdict that follows from a finding."""
        evidence = tuple(path.as_posix() for path in result.evidence)
        return cls(
            claim.id,
            result.verdict,
            dict(result.parts),
            result.sentence,
            result.condition,
            dict(result.numbers),
            evidence,
            circumstances,
            result.not_tested,
        )

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """What ``asdict`` gave and JSON kept. Raises ValueError for anything else."""
        return TypeAdapter(cls).validate_json(json.dumps(tree), strict=True)


def decide(
    claim: Claim, budget: BudgetName, claim_studies: ClaimStudies, *, folder: Path, command: Sequence[str]
) -> VerdictRecord:
    """Decide a claim within a budget and keep the verdict in ``folder``.

    Raises:
        GlassformerError: a study cannot be made, or was stopped; what was made of it is kept, and found again.
        RunError: the verdict cannot be kept.
    """
    before = claim_studies.n_runs, claim_studies.n_reused, claim_studies.run_seconds
    known_notes = len(claim_studies.tuning_notes)
    start = time.perf_counter()
    result = claim.decide(claim.budget(budget), claim_studies)
    about = circumstances(
        claim,
        budget,
        data=claim_studies.data if result.evidence else "",
        runs=claim_studies.n_runs - before[0],
        reused=claim_studies.n_reused - before[1],
        seconds=time.perf_counter() - start,
        run_seconds=claim_studies.run_seconds - before[2],
        tuning_notes=claim_studies.tuning_notes[known_notes:],
        command=command,
    )
    verdict = VerdictRecord.of(claim, result, about)
    record(folder, verdict)
    return verdict


def record(folder: Path, verdict: VerdictRecord) -> Path:
    """Keep a verdict, in place of the same claim's at the same budget. Raises :class:`RunError` if it cannot be."""
    path = folder / f"{verdict.claim}.{verdict.circumstances.budget}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_durably(path, json_bytes(asdict(verdict)))
    except OSError as error:
        raise RunError(f"The verdict cannot be kept in {folder}: {error.strerror}. Choose another folder.") from error
    return path


def recorded(folder: Path, claim: str) -> list[VerdictRecord]:
    """A claim's verdicts, quick before full; none where it has not been decided.

    Raises:
        RunError: a file is damaged.
    """
    found = []
    for budget in get_args(BudgetName):
        path = folder / f"{claim}.{budget}.json"
        if path.is_file():
            try:
                found.append(VerdictRecord.from_dict(read_object(path)))
            except ValueError as error:
                reason = "; ".join(str(error).splitlines()[1:3]) or str(error)
                raise RunError(
                    f"{path} is damaged ({reason}): delete it, and decide the claim again with "
                    f"glassformer claims {claim} --{budget}."
                ) from error
    return found


def last(folder: Path, claim: str) -> VerdictRecord | None:
    """The verdict that was reached last, whatever its budget."""
    return max(recorded(folder, claim), key=lambda verdict: verdict.circumstances.date, default=None)


def circumstances(
    claim: Claim,
    budget: BudgetName,
    *,
    data: str,
    runs: int,
    reused: int,
    seconds: float,
    run_seconds: float,
    tuning_notes: Sequence[str],
    command: Sequence[str],
) -> Circumstances:
    """The circumstances here and now."""
    spent = claim.budget(budget)
    here = machine.describe()
    return Circumstances(
        budget,
        spent.seeds,
        spent.steps,
        spent.levels,
        data,
        runs,
        reused,
        round(seconds, 2),
        datetime.now(UTC).isoformat(timespec="seconds"),
        " ".join(command),
        f"{here.cpu}, {here.cores} core{'s' * (here.cores != 1)}, torch {here.torch} ({here.torch_build}), "
        f"{platform.system()}",
        glassformer.__version__,
        spent.rates,
        spent.selection_seeds if spent.rates else 0,
        (spent.selection_steps or spent.steps) if spent.rates else 0,
        dict(spent.seeds_at),
        round(run_seconds, 1),
        tuple(tuning_notes),
    )
