"""The statistics of tuned studies against truth: the parts of study_statistics.py that choose before they compare.

Every study has a baseline and ``VARIANTS`` variants, each with a curve of its own (``simulated_losses.py``), and all
equal at their own best rates. Each arm's rate is chosen on selection seeds, and the arms are compared on fresh ones,
paired by seed, with the product's statistics. Two truths are kept apart:

    at the chosen rates   the difference of the arms' mean losses at the rates that were chosen
    at the best rates     the difference at their optima, on the grid or off it: here 0

The intervals promise to hold the first. What they miss of the second is the price of a grid, and of choosing by runs
that vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from simulated_losses import NEVER, RATES, Booleans, Curves, best_of, choose, extended

from glassformer.statistics.boundaries import FIRST_LOOK, spent
from glassformer.statistics.comparison import FEWEST_PAIRS
from glassformer.statistics.paired import Floats, holm, paired_t
from glassformer.statistics.sequential import repeated_intervals

VARIANTS = 4
PAIRS = (3, 5, 8)
SELECTION_SEEDS = (2, 3)
LOOKS = 20
FLOOR = 1.7
IDLE = 5
GRID = extended()

Promise = Callable[..., None]
"""``promise(what, hits, studies, at_most=0.05)`` notes a share that is larger than promised."""

Draw = Callable[[np.random.Generator, int], Curves]


def _draw(
    optimum: tuple[float, float],
    curvature: tuple[float, float],
    limit: tuple[float, float] = (NEVER, NEVER),
    *,
    own: bool = True,
) -> Draw:
    """Arms that differ in nothing but in their optimum (log₁₀ of a rate), in how much a rate away from it costs (nats
    per squared decade), and in how many decades above it half of the runs diverge; each drawn from a range, for every
    arm its ``own`` or one for all of a study.
    """

    def draw(rng: np.random.Generator, studies: int) -> Curves:
        shape = (studies, 1 + VARIANTS if own else 1)
        best = rng.uniform(*optimum, shape)
        steepness = np.exp(rng.uniform(math.log(curvature[0]), math.log(curvature[1]), shape))
        drawn = (best, steepness, best + rng.uniform(*limit, shape), np.full(shape, FLOOR))
        return Curves(*(np.broadcast_to(each, (studies, 1 + VARIANTS)) for each in drawn))

    return draw


SETTINGS = {
    "one curve": _draw((-3.4, -2.2), (0.2, 0.5), own=False),
    "usual": _draw((-3.4, -2.2), (0.2, 0.5)),
    "flat": _draw((-3.4, -2.2), (0.02, 0.05)),
    "diverging": _draw((-3.4, -2.2), (0.2, 0.5), (0.2, 0.6)),
    "off the grid": _draw((-4.6, -1.0), (0.2, 0.5)),
}
"""one curve: variants that are the baseline again; usual: optima within the grid; flat: a rate matters a tenth as
much; diverging: half of the runs diverge 0.2 to 0.6 decades above the optimum; off the grid: optima up to a decade
outside, so that grids are extended."""


# --------------------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True)
class Intervals:
    """The comparisons [S, V] of S studies with V variants. Where there are too few pairs, NaN, and p is 1."""

    low: Floats
    high: Floats
    p: Floats
    """Adjusted by Holm for the variants of a study."""

    @classmethod
    def of(cls, losses: Floats, truth: Floats | float = 0.0) -> Intervals:
        """The t intervals of variant − baseline from losses [S, A, K], NaN where one diverged; p against ``truth``."""
        values = losses[:, 1:] - losses[:, :1]
        pairs = np.isfinite(values).sum(axis=-1)
        whole = np.sort(values - np.asarray(truth)[..., None], axis=-1)  # what is no pair comes last
        low, high, p = (np.full(pairs.shape, filler) for filler in (np.nan, np.nan, 1.0))
        for n in range(FEWEST_PAIRS, values.shape[-1] + 1):
            rows = pairs == n
            if rows.any():
                test = paired_t(whole[rows, :n])
                low[rows], high[rows], p[rows] = test.low, test.high, test.p
        return cls(low + truth, high + truth, holm(p))

    def coverage(self, truth: Floats | float) -> Booleans:
        """Whether an interval holds the true difference, of every interval there is."""
        return ((self.low <= truth) & (truth <= self.high))[np.isfinite(self.low)]

    def any_difference(self) -> Booleans:
        """Whether a study [S] calls any variant different."""
        called: Booleans = np.any(self.p <= 0.05, axis=-1)
        return called


def percent(hit: Booleans) -> str:
    """A share."""
    return f"{hit.mean():7.1%}"


# --------------------------------------------------------------------------------------------------------- the parts


def tuned(rng: np.random.Generator, studies: int, promise: Promise) -> None:
    """Choosing on selection seeds, judging on fresh ones."""
    print(
        f"\n5. Tuned studies: a baseline and {VARIANTS} variants that are equal at their own best rates; {studies:,} "
        "studies a row\n"
        "                                      at the chosen rates     at the best rates\n"
        "   curves        selection   pairs    covered  any error     covered  any error   mean |truth|   best rate"
    )
    for name, draw in SETTINGS.items():
        for selection_seeds in SELECTION_SEEDS:
            curves = draw(rng, studies)
            best, _ = choose(curves.at_grid(rng, GRID, selection_seeds, studies))
            chosen = GRID[best]
            truth = differences(curves, chosen)
            right = best == np.abs(GRID - curves.optimum[..., None]).argmin(axis=-1)
            for pairs in PAIRS:
                losses = curves.at_rate(rng, chosen, pairs)
                covered = Intervals.of(losses).coverage(truth)
                wrong = Intervals.of(losses, truth).any_difference()
                misled = Intervals.of(losses)
                print(
                    f"   {name:<14}{selection_seeds:>8}{pairs:>8}    {percent(covered)}    {percent(wrong)}     "
                    f"{percent(misled.coverage(0.0))}    {percent(misled.any_difference())}"
                    f"{np.abs(truth).mean():>13.4f}{right.mean():>14.1%}"
                )
                what = f"{name}, {selection_seeds} selection seeds, {pairs} pairs"
                promise(f"{what}: intervals that miss", int((~covered).sum()), covered.size, at_most=0.05)
                promise(f"{what}: intervals that hold", int(covered.sum()), covered.size, at_most=0.96)
                promise(f"{what}: any false difference", int(wrong.sum()), studies, at_most=0.05)


def shortcuts(rng: np.random.Generator, studies: int) -> None:
    """What tuned studies are instead of: judging on the seeds that chose, and one rate for all arms."""
    print(
        "\n6. The same studies with the seeds that chose judging too; and with the baseline's rate for all arms\n"
        "                          same seeds: at the chosen rates                  one rate: at the best rates\n"
        "   curves          pairs    covered  any error    loss too low by       covered  any error   mean |truth|"
    )
    for name, draw in SETTINGS.items():
        for pairs in PAIRS:
            curves = draw(rng, studies)
            tried = curves.at_grid(rng, GRID, pairs, studies)
            best, _ = choose(tried)
            chosen = GRID[best]
            truth = differences(curves, chosen)
            losses = np.take_along_axis(tried, best[..., None, None], axis=2)[:, :, 0]
            optimism = float(np.nanmean(curves.loss(chosen)[..., None] - losses))
            single = np.repeat(chosen[:, :1], 1 + VARIANTS, axis=1)
            one = Intervals.of(curves.at_rate(rng, single, pairs))
            print(
                f"   {name:<14}{pairs:>8}    {percent(Intervals.of(losses).coverage(truth))}    "
                f"{percent(Intervals.of(losses, truth).any_difference())}{optimism:>18.4f}         "
                f"{percent(one.coverage(0.0))}    {percent(one.any_difference())}"
                f"{np.abs(differences(curves, single)).mean():>13.4f}"
            )


def more_to_choose_from(rng: np.random.Generator, studies: int, promise: Promise) -> None:
    """Variants with a setting that does nothing and is tuned, against a baseline that does not have it."""
    print(
        f"\n   Variants on the baseline's curve, with {IDLE} values of a setting without effect tuned beside the rate\n"
        "                         same seeds                            fresh seeds, 3 for choosing\n"
        "     pairs    covered  any error   mean difference       covered  any error   mean difference"
    )
    for pairs in PAIRS:
        curves = SETTINGS["one curve"](rng, studies)
        columns = []
        for seeds, fresh in ((pairs, False), (3, True)):
            grid = np.repeat(RATES, IDLE)
            tried = curves.at_grid(rng, grid, seeds, studies)
            tried[:, 0, np.arange(len(grid)) % IDLE > 0] = np.nan  # the baseline has every rate once
            best = best_of(tried)
            chosen = grid[best]
            losses = np.take_along_axis(tried, best[..., None, None], axis=2)[:, :, 0]
            losses = curves.at_rate(rng, chosen, pairs) if fresh else losses
            truth = differences(curves, chosen)
            wrong = Intervals.of(losses, truth).any_difference()
            mean = float((losses[:, 1:] - losses[:, :1] - truth[..., None]).mean())
            columns.append(f"{percent(Intervals.of(losses).coverage(truth))}    {percent(wrong)}{mean:>18.4f}")
            if fresh:
                promise(f"more to choose from, {pairs} pairs: any error", int(wrong.sum()), studies, at_most=0.05)
        print(f"   {pairs:>7}    " + "       ".join(columns))


def sequential(rng: np.random.Generator, studies: int, promise: Promise) -> None:
    """Tuned studies to which fresh seeds are added until every variant is decided."""
    print(
        f"\n7. Tuned studies that add fresh seeds one at a time, from {FIRST_LOOK} to {LOOKS}, {VARIANTS} variants\n"
        "   curves        selection   all intervals hold   any error at the chosen rates   at the best rates"
    )
    for name, draw in SETTINGS.items():
        for selection_seeds in SELECTION_SEEDS:
            curves = draw(rng, studies)
            best, _ = choose(curves.at_grid(rng, GRID, selection_seeds, studies))
            chosen = GRID[best]
            truth = differences(curves, chosen)[..., None]
            losses = curves.at_rate(rng, chosen, LOOKS)
            values = losses[:, 1:] - losses[:, :1]
            order = np.argsort(np.isnan(values), axis=-1, kind="stable")  # a pair with a diverged run adds no look
            low, high = repeated_intervals(np.take_along_axis(values, order, axis=-1), 0.05 / VARIANTS)
            missed: Booleans = np.any((truth < low) | (truth > high), axis=(1, 2))
            misled: Booleans = np.any((low > 0) | (high < 0), axis=(1, 2))
            print(
                f"   {name:<14}{selection_seeds:>8}          {percent(~missed)}                "
                f"{percent(missed)}                    {percent(misled)}"
            )
            what = f"{name}, {selection_seeds} selection seeds, added seeds: any error"
            promise(what, int(missed.sum()), studies, at_most=0.05 * spent(LOOKS))


def price_of_choosing(rng: np.random.Generator, studies: int) -> None:
    """How far above the arm's best the chosen rate is, by selection seeds and grid, and what of it the grid costs."""
    numbers = (1, 2, 3, 5, 8)
    print(
        "\n8. Loss of the chosen rate above the arm's best, mean in nats, by selection seeds; then that of the best\n"
        "   rate of the grid; then any error at the best rates with 3 selection seeds and 5 pairs. Each rate of the\n"
        "   grid is 3.2, 1.8 or 1.3 times the one before\n"
        f"   curves        factor{''.join(f'{number:>9}' for number in numbers)}     known   any error"
    )
    for name, draw in SETTINGS.items():
        for factor, rates in (("3.2", 4), ("1.8", 7), ("1.3", 13)):
            grid = extended(np.linspace(RATES[0], RATES[-1], rates))
            costs = []
            for number in numbers:
                curves = draw(rng, studies)
                best, _ = choose(curves.at_grid(rng, grid, number, studies))
                costs.append(float((curves.loss(grid[best]) - FLOOR).mean()))
                if number == 3:
                    misled = Intervals.of(curves.at_rate(rng, grid[best], 5)).any_difference()
            nearest = grid[np.abs(grid - curves.optimum[..., None]).argmin(axis=-1)]
            costs.append(float((curves.loss(nearest) - FLOOR).mean()))
            print(
                f"   {name:<14}{factor:>6}{''.join(f'{cost:>9.4f}' for cost in costs)}   {percent(misled)}", flush=True
            )


def differences(curves: Curves, rates: Floats) -> Floats:
    """The true differences [S, V] of variants and baseline at log rates [S, A]."""
    losses = curves.loss(rates)
    return losses[:, 1:] - losses[:, :1]
