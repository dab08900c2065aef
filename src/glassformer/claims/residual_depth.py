"""What 20 and 50 layers leave of the embedding, with the residual connection and without it; untrained and trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import all_of, mean_over_seeds, worded
from glassformer.claims.trained import trained_models, validation_tokens
from glassformer.inspection.depth import SMALL, Arm, depth_picture, stream_measures
from glassformer.studies.design import BASE

NOTHING_TO_DO = 0.1
"""A cosine similarity to the embedding below this: the output has nothing to do with the input."""

CLOSE = 0.5
"""Above this the output is close to the input."""

STARTS = {
    "pre-norm, GPT-2's start": {"norm.placement": "pre", "norm.final": True, "initialisation.scheme": "gpt2"},
    "post-norm, torch's start": {"norm.placement": "post", "norm.final": False, "initialisation.scheme": "torch"},
}

TRAINED_LAYERS = 20


@dataclass(frozen=True)
class Similarity:
    """Cosine similarity of the last layer's output to the embedding, the mean over tokens, of each seed.

    A stream that has vanished has no direction; it counts as 0.
    """

    with_residual: tuple[float, ...]
    without: tuple[float, ...]


def measure(depths: tuple[int, ...], seeds: int) -> dict[str, Similarity]:
    """At starting weights, for each start and depth."""
    found = {}
    for start, changes in STARTS.items():
        picture = depth_picture(SMALL.override(changes), depths=depths, seeds=range(seeds))
        for depth in depths:
            found[f"{depth} layers, {start}"] = Similarity(
                _last(picture.arm(depth, "both")), _last(picture.arm(depth, "none"))
            )
    return found


def _last(arm: Arm) -> tuple[float, ...]:
    return tuple(arm.to_embedding[:, -1].nan_to_num(0.0).tolist())


def measure_trained(budget: Budget, claim_studies: ClaimStudies) -> tuple[dict[str, Similarity], Path]:
    """After training, on a text of the validation split: 20 pre-norm layers."""
    changes = {"model.n_layers": TRAINED_LAYERS, "model.norm.placement": "pre", "model.norm.final": True}
    base = claim_studies.base(budget, changes)
    study = claim_studies.study("claim-residual-depth", base, {"none": {"model.residual": "none"}}, budget)
    tokens = validation_tokens(study, rows=2)
    only = ("embedding.output", "blocks.*.after_feedforward")
    last = {
        arm: [
            float(stream_measures(model.trace(tokens, only=only))[0, -1].nan_to_num(0.0))
            for model in trained_models(study, arm).values()
        ]
        for arm in study.config.arms
    }
    found = {f"{TRAINED_LAYERS} layers, pre-norm, trained": Similarity(tuple(last[BASE]), tuple(last["none"]))}
    return found, study.path


def judge(found: Mapping[str, Similarity], evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """Every seed's similarity without the residual is within ±NOTHING_TO_DO; with it, above CLOSE."""
    lost = {name: _every(abs(value) <= NOTHING_TO_DO for value in each.without) for name, each in found.items()}
    kept = {name: _every(value >= CLOSE for value in each.with_residual) for name, each in found.items()}
    numbers: dict[str, Measurement] = {}
    for name, each in found.items():
        numbers[f"{name}: with the residual"] = mean_over_seeds(each.with_residual, "cosine")
        numbers[f"{name}: without"] = mean_over_seeds(each.without, "cosine")
    clauses = "; ".join(
        f"{name}: {worded(numbers[f'{name}: with the residual'], '.2f')} with it, "
        f"{worded(numbers[f'{name}: without'], '.2f')} without"
        for name in found
    )
    far = [name for name, is_kept in kept.items() if is_kept is False]
    return ClaimResult(
        {
            "without the residual the output has nothing to do with the input": all_of(list(lost.values())),
            **{f"with the residual it stays close to the input ({name})": is_kept for name, is_kept in kept.items()},
        },
        f"Cosine similarity of the last layer's output to the embedding: {clauses}.",
        "It stays close wherever it was measured."
        if not far
        else "Whether the residual keeps it close depends on the norm's place and the starting weights: not with "
        f"{'; '.join(far)}, where what is added drowns what was there.",
        numbers,
        evidence,
    )


def _every(seeds: Iterable[bool]) -> bool | None:
    """Whether it is so at every seed; None where there is no seed, for every run diverged."""
    known = list(seeds)
    return all(known) if known else None


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths at starting weights; trained only where the budget has steps."""
    found = measure(budget.levels, budget.seeds)
    if not budget.steps:
        return judge(found)
    trained, path = measure_trained(budget, claim_studies)
    return judge(found | trained, (path,))


CLAIM = Claim(
    "residual-depth",
    "Small changes pile up: at 20 to 50 layers the output has nothing to do with the input; the residual keeps it "
    "close.",
    NOTES,
    "measured",
    "Similarity of the last layer's output to the embedding, with the residual and without, at starting weights; "
    "with the full budget also trained.",
    decide,
    quick=Budget(seeds=3, levels=(20, 50)),
    full=Budget(seeds=8, steps=300, levels=(20, 50)),
)
