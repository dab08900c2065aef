"""What every verdict that rests on short trainings leaves open, in sentences made of the budget itself."""

from __future__ import annotations

from glassformer.claims.budget import Budget
from glassformer.claims.claim_studies import RECIPE
from glassformer.wording import counted, listed


def training_doubts(budget: Budget) -> tuple[str, ...]:
    """The grid, the number of seeds, the length of training, and the text of a claim's full budget.

    >>> training_doubts(Budget(seeds=3, steps=600))[2]
    'Runs of 600 steps of 16 sequences: longer training may change a difference, or its sign.'
    """
    seeds = counted(budget.seeds, "seed")
    if budget.seeds_at:
        seeds += f" ({listed([f'{number} at {level}' for level, number in budget.seeds_at.items()])})"
    tokens, rows = RECIPE["training.telemetry.validation_tokens"], RECIPE["training.batch_size"]
    return (
        _about_rates(budget),
        f"There are {seeds}, and fewer with the quick budget: the intervals assume that differences are normal.",
        f"Runs of {budget.steps:,} steps of {rows} sequences: longer training may change a difference, or its sign.",
        f"Small models on one text, with the loss of {tokens:,} tokens of its validation split.",
    )


def _about_rates(budget: Budget) -> str:
    if not budget.rates:
        rate = RECIPE["training.optimizer.learning_rate"]
        return f"Every arm has one learning rate, {rate:g}, which may suit one arm better than another."
    rates = listed([f"{rate:g}" for rate in budget.rates])
    return (
        f"The learning rates tried are {rates}, and a step beyond where the best lies on an edge, with "
        f"{counted(budget.selection_seeds, 'seed')} of {budget.selection_steps or budget.steps:,} steps. The best rate "
        "may lie between two of them, and nothing but the rate is tuned."
    )
