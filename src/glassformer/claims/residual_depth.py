"""What 20 and 50 layers leave of the embedding, with the residual connection and without it; untrained and trained.

That an output has nothing to do with the input is read in two ways, and both are measured: its vectors point nowhere
near the embedding's, and they are the same for any two texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import all_of, mean_over_seeds, worded
from glassformer.claims.trained import trained_models, validation_tokens
from glassformer.claims.tuned import tuned_arms
from glassformer.inspection.depth import SMALL, Arm, depth_picture, stream_measures
from glassformer.studies.design import BASE, arm_label

UNRELATED = 0.1
"""A cosine similarity to the embedding within ±this: the output's direction has nothing to do with the input's."""

SAME = 0.99
"""A cosine similarity between the outputs of two texts above this: the output does not depend on the text."""

CLOSE = 0.5
"""A cosine similarity to the embedding above this: the output is close to the input."""

STARTS = {
    "pre-norm, GPT-2's start": {"norm.placement": "pre", "norm.final": True, "initialisation.scheme": "gpt2"},
    "post-norm, torch's start": {"norm.placement": "post", "norm.final": False, "initialisation.scheme": "torch"},
}

TRAINED_LAYERS = 20
WITHOUT = "none"
VARIANTS = {WITHOUT: {"model.residual": "none"}}


@dataclass(frozen=True)
class Similarity:
    """Cosine similarities of the last layer's output, the mean over tokens, of each seed.

    A stream that has vanished has no direction: it counts as 0 from the embedding and 1 between texts.

    Attributes:
        with_residual, without: to the embedding.
        texts_with, texts_without: between two texts.
    """

    with_residual: tuple[float, ...]
    without: tuple[float, ...]
    texts_with: tuple[float, ...]
    texts_without: tuple[float, ...]


def measure(depths: tuple[int, ...], seeds: int) -> dict[str, Similarity]:
    """At starting weights, for each start and depth."""
    found = {}
    for start, changes in STARTS.items():
        picture = depth_picture(SMALL.override(changes), depths=depths, seeds=range(seeds))
        for depth in depths:
            arms = picture.arm(depth, "both"), picture.arm(depth, "none")
            embedding, texts = ([_last(arm, of) for arm in arms] for of in ("to_embedding", "between_texts"))
            found[f"{depth} layers, {start}"] = Similarity(*embedding, *texts)
    return found


def _last(arm: Arm, of: str) -> tuple[float, ...]:
    values: Tensor = getattr(arm, of)[:, -1]
    return tuple(values.nan_to_num(GONE[of]).tolist())


GONE = {"to_embedding": 0.0, "between_texts": 1.0}
"""What the similarities of a stream that has vanished count as."""


def measure_trained(
    budget: Budget, claim_studies: ClaimStudies
) -> tuple[dict[str, Similarity], dict[str, Measurement], Path]:
    """After training, on two texts of the validation split: 20 pre-norm layers, each arm at its own best rate."""
    changes = {"model.n_layers": TRAINED_LAYERS, "model.norm.placement": "pre", "model.norm.final": True}
    base = claim_studies.base(budget, changes)
    study = claim_studies.study("claim-residual-depth", base, VARIANTS, budget, level=TRAINED_LAYERS)
    tokens = validation_tokens(study, rows=2)
    only = ("embedding.output", "blocks.*.after_feedforward")
    embedding, texts = [], []
    for arm in (BASE, WITHOUT):
        measured = [
            stream_measures(model.trace(tokens, only=only))[:2, -1] for model in trained_models(study, arm).values()
        ]
        embedding.append(tuple(float(each[0].nan_to_num(GONE["to_embedding"])) for each in measured))
        texts.append(tuple(float(each[1].nan_to_num(GONE["between_texts"])) for each in measured))
    name = f"{TRAINED_LAYERS} layers, pre-norm, trained"
    arms = tuned_arms(study)
    numbers = {f"{name}: {arm_label(arm)}, loss": mean_over_seeds(arms.losses[arm].values()) for arm in arms.losses}
    numbers |= {f"{name}: {arm_label(arm)}, best learning rate": measurement(rate) for arm, rate in arms.rates.items()}
    return {name: Similarity(*embedding, *texts)}, numbers, study.path


def judge(
    found: Mapping[str, Similarity],
    evidence: tuple[Path, ...] = (),
    trained: Mapping[str, Measurement] | None = None,
) -> ClaimResult:
    """Of every seed: without the residual within ±UNRELATED of the embedding, and above SAME between two texts; with it
    above CLOSE to the embedding.
    """
    unrelated = [_every(abs(value) <= UNRELATED for value in each.without) for each in found.values()]
    same = [_every(value >= SAME for value in each.texts_without) for each in found.values()]
    kept = {name: _every(value >= CLOSE for value in each.with_residual) for name, each in found.items()}
    numbers: dict[str, Measurement] = {}
    for name, each in found.items():
        numbers[f"{name}: with the residual"] = mean_over_seeds(each.with_residual, "cosine")
        numbers[f"{name}: without"] = mean_over_seeds(each.without, "cosine")
        numbers[f"{name}: between two texts, with"] = mean_over_seeds(each.texts_with, "cosine")
        numbers[f"{name}: between two texts, without"] = mean_over_seeds(each.texts_without, "cosine")
    clauses = "; ".join(
        f"{name}: {worded(numbers[f'{name}: with the residual'], '.2f')} with it, "
        f"{worded(numbers[f'{name}: without'], '.2f')} without (between two texts "
        f"{worded(numbers[f'{name}: between two texts, with'], '.2f')} and "
        f"{worded(numbers[f'{name}: between two texts, without'], '.3f')})"
        for name in found
    )
    far = [name for name, is_kept in kept.items() if is_kept is False]
    return ClaimResult(
        {
            "without the residual the output's direction is unrelated to the embedding's": all_of(unrelated),
            "without the residual the output does not depend on the text": all_of(same),
            **{f"with the residual it stays close to the input ({name})": is_kept for name, is_kept in kept.items()},
        },
        f"Cosine similarity of the last layer's output to the embedding: {clauses}.",
        "It stays close wherever it was measured."
        if not far
        else "Whether the residual keeps it close depends on the norm's place and the starting weights: not with "
        f"{'; '.join(far)}, where what is added drowns what was there.",
        numbers | dict(trained or {}),
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
    trained, numbers, path = measure_trained(budget, claim_studies)
    return judge(found | trained, (path,), numbers)


FULL = Budget(
    seeds=8, steps=300, levels=(20, 50), rates=(3e-4, 1e-3, 3e-3), seeds_at={TRAINED_LAYERS: 4}, controls=False
)

CLAIM = Claim(
    "residual-depth",
    "Small changes pile up: at 20 to 50 layers the output has nothing to do with the input; the residual keeps it "
    "close.",
    NOTES,
    "measured",
    "Similarity of the last layer's output to the embedding and between two texts, with the residual and without, at "
    "starting weights; with the full budget also trained, each arm at its own best learning rate.",
    decide,
    quick=Budget(seeds=3, levels=(20, 50)),
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        (
            f"The seeds are those of the starting weights; the trained models, of {TRAINED_LAYERS} layers, have "
            f"{FULL.seeds_for(TRAINED_LAYERS)}. 50 layers are not trained."
        ),
        (
            "A direction unrelated to the embedding's may still hold all of the input, turned: that the output does "
            "not depend on the text is the stricter reading."
        ),
        "Thresholds of a cosine are conventions; the similarities are given.",
        "Random tokens at starting weights, and one width, 64.",
    ),
)
