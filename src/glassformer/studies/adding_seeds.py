"""Seeds one at a time, until every variant of a study is decided or the budget is spent.

A variant whose every run diverges is decided too, and so are all where every run of the baseline does.
``statistics/sequential.py`` has the rule, and intervals that hold however often one looks. What it needs is kept in
``study.json``: the budget and the margin from the beginning, and the seeds in the order in which they were added. So a
study that was killed resumes to the same decision.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from glassformer.statistics.boundaries import FIRST_LOOK
from glassformer.statistics.comparison import no_spread, paired_by_seed
from glassformer.statistics.sequential import Decision, decide
from glassformer.studies.design import BASE, StudyConfig
from glassformer.studies.folder import Study
from glassformer.wording import counted

Train = Callable[[Study], str | None]
"""Makes every run of a study that has no outcome; gives the signal that stopped it, or None."""


@dataclass(frozen=True)
class SequentialResult:
    """A variant's decision, or that it is identical to the baseline."""

    decision: Decision
    identical: bool
    """At least three pairs, and all of them equal or apart by one and the same amount: no seed would change that."""

    @property
    def decided(self) -> bool:
        """Whether this variant needs no more seeds."""
        return self.identical or self.decision.decided

    def sentence(self) -> str:
        """The decision as a sentence."""
        if not self.identical:
            return self.decision.sentence()
        mean, pairs = self.decision.mean, counted(self.decision.available, "pair")
        by = "equals the baseline" if not mean else f"differs from the baseline by {mean:+.4g} nats"
        return f"{self.decision.variant} {by} in every pair (n = {pairs}): more seeds would not change that."

    def to_dict(self) -> dict[str, Any]:
        """What ``results.json`` holds."""
        return asdict(self.decision) | {"identical": self.identical, "settled": self.decided}


def sequential_results(study: Study) -> tuple[SequentialResult, ...]:
    """Where every variant stands; none for a study whose seeds were fixed beforehand."""
    rule = study.config.until_decided
    if rule is None:
        return ()
    all_losses, seeds = study.losses(), study.config.seeds
    base, losses = all_losses[BASE], {variant: all_losses[variant] for variant in study.config.variants}
    found = []
    for decision in decide(base, losses, seeds=seeds, margin=rule.margin):
        variant = losses[decision.variant]
        pairs = paired_by_seed(base, variant, [seed for seed in seeds if seed in base and seed in variant])
        identical = decision.available >= FIRST_LOOK and no_spread(pairs)
        found.append(SequentialResult(decision, identical))
    return tuple(found)


def until_decided(study: Study, train: Train) -> tuple[Study, str | None]:
    """Train the planned seeds, then one more at a time, the base and every variant with each.

    Seeds are added while a variant is not decided (by its pairs, or because every run of it or of the baseline
    diverged), no run has failed (others would fail too) and the budget lasts. A variant that is settled because every
    run of it diverged is trained with none of them.

    Args:
        train: makes the waiting runs.

    Returns:
        The study with all its seeds, and the signal that stopped ``train``, if one did.
    """
    assert study.config.until_decided is not None, "its seeds were fixed beforehand"
    while (signal := train(study)) is None:
        ended = {outcome.status for outcome in study.outcomes()}
        results = sequential_results(study)
        decided = all(result.decided for result in results)
        if decided or "failed" in ended or len(study.config.seeds) >= study.config.until_decided.budget_seeds:
            break
        diverging = [each.decision.variant for each in results if each.decision.verdict == "diverges"]
        study = study.extended([next_seed(study.config)], diverging)
    return study, signal


def next_seed(config: StudyConfig) -> int:
    """The smallest seed that the study has not, nor its selection: fixed beforehand, whatever the runs say."""
    taken = {*config.seeds, *(() if config.tuning is None else config.tuning.seeds)}
    return next(seed for seed in itertools.count() if seed not in taken)
