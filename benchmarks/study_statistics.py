"""The statistics of studies against truth, with more studies than a test has time for.

    python benchmarks/study_statistics.py [--studies 200000] [--tuned-studies 20000] [--seed 0]

Every study is simulated: a base and its variants share a random effect of the seed, and each run adds its own noise,
all normal. Printed are, with two standard errors of the simulation:

    1. how often the 95 % intervals hold the true difference (promised: 95 %), beside ±1.96 standard errors and the
       percentile bootstrap;
    2. how often a table of 10 variants without effect shows one (promised: at most 5 %), with and without Holm;
    3. how often anything is shown falsely when one looks after every seed (promised: at most 5 %);
    4. how many seeds deciding takes, and the boundaries of |t|, beside the t test of a single look and beside the
       t-mixture martingale of Wang & Ramdas 2024 at three mixing widths;
    5. the same promises where each arm's rate was chosen first, on other seeds, and how often a variant that is equal
       at its own best is called different, since neither a grid nor a choice is perfect;
    6. what goes wrong where the seeds that chose judge too, and where one rate serves all arms;
    7. tuned studies that add seeds until all is decided;
    8. what choosing costs, by selection seeds and by the grid's spacing.

The exit status is 1 if a promise is broken by more than three standard errors.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import scipy
from scipy import optimize, stats
from tuned_statistics import more_to_choose_from, price_of_choosing, sequential, shortcuts, tuned

from glassformer.statistics.boundaries import FIRST_LOOK, critical_values, spent
from glassformer.statistics.paired import Floats, holm, paired_t
from glassformer.statistics.sequential import repeated_intervals

PAIRS = (3, 5, 8)
VARIANTS = 10
LOOKS = 30
EFFECTS = (0.5, 1.0, 2.0, 4.0, 8.0)
TRUTH = 0.04
RUN_NOISE = 0.01
SEED_NOISE = 0.03
AT_ONCE = 20_000

broken: list[str] = []


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=200_000)
    parser.add_argument("--tuned-studies", type=int, default=20_000, help="of every setting in parts 5 to 8")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.perf_counter()
    print(
        f"{arguments.studies:,} studies each, seed {arguments.seed}; numpy {np.__version__}, scipy {scipy.__version__}"
    )
    for part in (coverage, family_wise_error, peeking, seeds_to_decide):
        part(np.random.default_rng(arguments.seed), arguments.studies)
    boundaries()
    rng, studies = np.random.default_rng(arguments.seed), arguments.tuned_studies
    tuned(rng, studies, promise)
    shortcuts(rng, studies)
    more_to_choose_from(rng, studies, promise)
    sequential(rng, studies, promise)
    price_of_choosing(rng, studies)
    print(f"\n{time.perf_counter() - start:.0f} s")
    if broken:
        sys.exit("Broken: " + "; ".join(broken))


def differences(rng: np.random.Generator, studies: int, variants: int, n: int, truth: float = 0.0) -> Floats:
    """Variant − base, [studies, variants, n]: the variants of a study share the base's runs."""
    of_seed = rng.normal(1.7, SEED_NOISE, (studies, 1, n))
    base = of_seed + rng.normal(0, RUN_NOISE, (studies, 1, n))
    return of_seed + truth + rng.normal(0, RUN_NOISE, (studies, variants, n)) - base


def in_parts(studies: int) -> list[int]:
    """How many to simulate at a time, to bound memory."""
    whole, rest = divmod(studies, AT_ONCE)
    return [AT_ONCE] * whole + [rest] * bool(rest)


def share(hits: int, studies: int) -> str:
    """A share with two standard errors."""
    p = hits / studies
    return f"{p:7.2%} ± {2 * (p * (1 - p) / studies) ** 0.5:.2%}"


def promise(what: str, hits: int, studies: int, *, at_most: float) -> None:
    """Note a share that exceeds what is promised by more than three standard errors."""
    if hits / studies > at_most + 3 * (at_most * (1 - at_most) / studies) ** 0.5:
        broken.append(f"{what}: {hits / studies:.2%}, promised at most {at_most:.2%}")


def coverage(rng: np.random.Generator, studies: int) -> None:
    """Intervals of a handful of seeds."""
    print("\n1. Intervals that hold the true difference\n   n        t interval         ±1.96 s.e.          bootstrap")
    for n in PAIRS:
        hits = np.zeros(3, dtype=int)
        for part in in_parts(studies):
            values = differences(rng, part, 1, n, TRUTH)[:, 0]
            test = paired_t(values)
            half = 1.96 * test.sd / np.sqrt(n)
            hits[0] += np.sum((test.low <= TRUTH) & truth_below(test.high))
            hits[1] += np.sum(np.abs(test.mean - TRUTH) <= half)
        sample = min(studies, 5000)  # 500 resamples each
        values = differences(rng, sample, 1, n, TRUTH)[:, 0]
        drawn = rng.integers(n, size=(sample, 500, n))
        means = np.take_along_axis(values[:, None, :], drawn, axis=2).mean(axis=2)
        low, high = np.quantile(means, [0.025, 0.975], axis=1)
        hits[2] = np.sum((low <= TRUTH) & truth_below(high))
        print(f"   {n}  {share(hits[0], studies)}  {share(hits[1], studies)}  {share(hits[2], sample)}")
        promise(f"intervals of {n} pairs that miss", studies - hits[0], studies, at_most=0.05)


def truth_below(ends: Floats) -> Floats:
    """Whether the true difference is at or below the upper ends."""
    return ends >= TRUTH


def family_wise_error(rng: np.random.Generator, studies: int) -> None:
    """A table in which nothing has an effect."""
    print(
        f"\n2. Tables of {VARIANTS} variants without effect that show one\n   n        with Holm           unadjusted"
    )
    for n in PAIRS:
        adjusted = raw = 0
        for part in in_parts(studies):
            p = paired_t(differences(rng, part, VARIANTS, n)).p
            adjusted += int(np.sum((holm(p) <= 0.05).any(axis=1)))
            raw += int(np.sum((p <= 0.05).any(axis=1)))
        print(f"   {n}  {share(adjusted, studies)}  {share(raw, studies)}")
        promise(f"false findings among {VARIANTS} variants of {n} pairs", adjusted, studies, at_most=0.05)


def peeking(rng: np.random.Generator, studies: int) -> None:
    """Looking after every seed, for one variant and for several."""
    print(f"\n3. Studies without effect that show one, looking after every seed from {FIRST_LOOK} to {LOOKS}")
    print("   variants   repeated intervals   t interval at each look")
    for variants in (1, 3, VARIANTS):
        wrong = naive = 0
        for part in in_parts(studies):
            values = differences(rng, part, variants, LOOKS)
            low, high = repeated_intervals(values, 0.05 / variants)
            wrong += int(np.sum(((low > 0) | (high < 0)).any(axis=(1, 2))))
            single = stats.t.isf(0.025, np.arange(FIRST_LOOK, LOOKS + 1) - 1) / critical_values(0.05 / variants, LOOKS)
            centre, half = ((high + low) / 2)[..., 2:], ((high - low) / 2)[..., 2:] * single
            naive += int(np.sum((np.abs(centre) > half).any(axis=(1, 2))))
        print(f"   {variants:>8}      {share(wrong, studies)}       {share(naive, studies)}")
        promise(f"false findings under peeking, {variants} variants", wrong, studies, at_most=0.05 * spent(LOOKS))


def seeds_to_decide(rng: np.random.Generator, studies: int) -> None:
    """How soon a true difference is decided."""
    print("\n4. Deciding a true difference of d standard deviations, one variant, looking after every seed")
    print(f"   d     by 3 seeds   by 5   by 8   by {LOOKS}   median n   a single look at 80 % power")
    for effect in EFFECTS:
        low, high = repeated_intervals(rng.normal(effect, 1.0, (min(studies, AT_ONCE), LOOKS)))
        decided = np.logical_or.accumulate((low > 0) | (high < 0), axis=1)
        by = [decided[:, n - 1].mean() for n in (3, 5, 8, LOOKS)]
        median = np.median(np.where(decided[:, -1], decided.argmax(axis=1) + 1, np.inf))
        single = next(
            n for n in range(3, 10_000) if stats.nct.sf(stats.t.isf(0.025, n - 1), n - 1, effect * n**0.5) >= 0.8
        )
        print(f"   {effect:<4}  {by[0]:>10.1%} {by[1]:>6.1%} {by[2]:>6.1%} {by[3]:>7.1%} {median:>10.0f} {single:>12}")


def boundaries() -> None:
    """How large |t| must be."""
    looks = (3, 4, 5, 6, 8, 10, 12, 15, 20, 30)
    for alpha in (0.05, 0.005):
        print(f"\n   |t| needed at α = {alpha}, by n" + "".join(f"{n:>8}" for n in looks))
        rows = {
            "one look only": [stats.t.isf(alpha / 2, n - 1) for n in looks],
            "here, at every look": [critical_values(alpha, LOOKS)[n - FIRST_LOOK] for n in looks],
        }
        rows |= {f"t mixture, c² = {c2}": [mixture(alpha, c2, n) for n in looks] for c2 in (0.01, 0.1, 1.0)}
        for name, values in rows.items():
            print(f"   {name:<30}" + "".join(f"{value:>8.2f}" for value in values))


def mixture(alpha: float, c2: float, n: int) -> float:
    """|t| at which the scale-invariant likelihood ratio, with effect sizes mixed over N(0, 1/c²), reaches 1/α.

    Wang & Ramdas 2024: √(c²/(n + c²)) · ((1 + x) / (1 + x c²/(n + c²)))^(n/2) with x = t²/(n − 1).
    Infinite if it never does.
    """
    shrunk = c2 / (n + c2)

    def excess(x: float) -> float:
        return 0.5 * np.log(shrunk) + n / 2 * (np.log1p(x) - np.log1p(shrunk * x)) + np.log(alpha)

    most = 1e12
    return float(np.sqrt((n - 1) * optimize.brentq(excess, 0, most))) if excess(most) > 0 else np.inf


if __name__ == "__main__":
    main()
