"""Do the intervals of a fit hold what they promise? Planted laws, and how often each interval holds the truth.

    python benchmarks/scaling_coverage.py [--sets 500] [--draws 400] [--seed 0] [--objective huber] [--part 1]

Every data set is planted: E + A/N^α + B/D^β with constants drawn around those of Besiroglu et al. 2024, 60 to 240 runs
over 2 to 3 decades of N and D (scattered, or on IsoFLOP curves), and noise in ln L of 0.5 to 2 %, normal or (3 in 10)
of Student's t with 3 degrees of freedom. Each is fitted and bootstrapped as a user would. Printed is how often the
95 % intervals hold the truth, with the exact binomial interval of that share (Clopper & Pearson 1934):

    1. the default interval and, from the same draws, those it was chosen from, for α, β, E, the exponent a, and the
       law's loss at the best size for 10 times the largest compute;
    2. the prediction interval, for a new run there;
    3. the same in parts: few and many runs, IsoFLOP and scattered, normal and heavy tails, less and more noise;
    4. the same where each run gives 4 rows with a common error, drawn together, and (beside it) as if independent.

The exit status is 1 if a coverage of the default interval in part 1 or 2 is outside 93 to 97 %, by more than the
simulation's own error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from scipy import stats

from glassformer.scaling.fits.bootstrap import Bootstrap, bootstrap
from glassformer.scaling.fits.fitting import fit
from glassformer.scaling.fits.points import Array, Points
from glassformer.scaling.laws.law import ParametricLoss
from glassformer.statistics.prediction import resampled

LEVEL = 0.95
PROMISED = (0.93, 0.97)
HORIZON = 10
"""How many times the largest compute of the data predictions are made for."""

CHECKPOINTS = 4
STARTS = 6
QUANTITIES = ("alpha", "beta", "E", "a", "loss at 10·C")

Ends = tuple[Array, Array]


@dataclass(frozen=True)
class Planted:
    """A data set of which the truth is known."""

    law: ParametricLoss
    points: Points
    noise: float
    heavy: bool
    isoflop: bool

    @property
    def target(self) -> tuple[float, float]:
        """N and D of the best size at ``HORIZON`` times the largest compute."""
        best = self.law.optimum(HORIZON * float(self.points.c.max()))
        return best.parameters, best.tokens

    @property
    def truth(self) -> Array:
        """Of ``QUANTITIES``."""
        law = self.law
        return np.array([law.alpha, law.beta, law.E, law.a, np.log(law.loss(*self.target))])


def plant(rng: np.random.Generator, *, checkpoints: int = 1) -> Planted:
    """A data set: a design, a law and its noise, all drawn."""
    alpha, beta = rng.uniform(0.28, 0.42, size=2)
    a, b = rng.uniform(0.15, 0.35, size=2)  # what N = 1e9 and D = 2e10 leave above E, in nats
    law = ParametricLoss.of(
        E=rng.uniform(1.5, 2.0), A=a * 1e9**alpha, B=b * 2e10**beta, alpha=alpha, beta=beta, source="planted"
    )
    runs = int(rng.integers(60, 241)) // checkpoints
    decades, isoflop = rng.uniform(2, 3), bool(rng.random() < 0.5)
    if isoflop:
        budgets = np.logspace(18.5, 18.5 + decades, int(rng.integers(6, 10)))
        c = budgets[rng.integers(len(budgets), size=runs)]
        best = np.array([law.optimum(float(each)).parameters for each in c])
        n = best * 10 ** rng.uniform(-0.8, 0.8, runs)
        d = c / (6 * n)
    else:
        n, d = 10 ** rng.uniform(8, 8 + decades, runs), 10 ** rng.uniform(9.3, 9.3 + decades, runs)
    noise, heavy = float(np.exp(rng.uniform(np.log(0.005), np.log(0.02)))), bool(rng.random() < 0.3)
    labels = np.repeat(np.arange(runs), checkpoints)
    errors = drawn_noise(rng, runs, heavy)[labels]
    if checkpoints > 1:
        n = n[labels]
        d = d[labels] * np.tile(np.geomspace(0.25, 1, checkpoints), runs)
        errors = 0.8 * errors + 0.6 * drawn_noise(rng, len(labels), heavy)
    loss = np.asarray(law.loss(n, d)) * np.exp(noise * errors)
    return Planted(law, Points.of(n, d, loss, run=labels), noise, heavy, isoflop)


def drawn_noise(rng: np.random.Generator, size: int, heavy: bool) -> Array:
    """Of standard deviation 1; heavy: t with 3 degrees of freedom, whose standard deviation is √3."""
    return rng.standard_t(3, size) / np.sqrt(3) if heavy else rng.normal(size=size)


# ------------------------------------------------------------------------------------------------- the intervals


def default(trust: Bootstrap, target: tuple[float, float]) -> Ends:
    """The interval of ``Bootstrap``."""
    pairs = [trust.interval(name, LEVEL) for name in QUANTITIES[:-1]]
    low, high = trust.confidence_interval(*target, LEVEL)
    pairs.append((float(np.log(low)), float(np.log(high))))
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


def others(trust: Bootstrap, target: tuple[float, float]) -> dict[str, Ends]:
    """The intervals that it was chosen from."""
    draws = np.column_stack([*(trust.draws(name) for name in QUANTITIES[:-1]), np.log(trust.predict(*target))])
    named = trust.fit.parameters
    a = named["beta"] / (named["alpha"] + named["beta"])
    at = [named["alpha"], named["beta"], named["E"], a, float(np.log(trust.fit.predict(*target)))]
    estimate = np.array(at)
    z = float(stats.norm.isf((1 - LEVEL) / 2))
    wide = resampled(trust.runs, len(trust.names), LEVEL)
    bias = stats.norm.ppf((draws < estimate).mean(axis=0)).clip(-1, 1)

    def percentile(sides: float, bias: Array | float = 0.0) -> Ends:
        shares = stats.norm.cdf(2 * bias + np.array([[-sides], [sides]]))
        shares = np.broadcast_to(shares, (2, len(QUANTITIES)))
        low, high = (np.array([np.quantile(draws[:, i], share[i]) for i in range(len(QUANTITIES))]) for share in shares)
        return low, high

    low, high = percentile(z)
    error = draws.std(axis=0, ddof=1)
    middle = stats.median_abs_deviation(draws, axis=0, scale="normal")
    return {
        "percentile": (low, high),
        "basic": (2 * estimate - high, 2 * estimate - low),
        "bias-corrected": percentile(z, bias),
        "expanded": percentile(wide, bias),
        "t, standard error": (estimate - wide * error, estimate + wide * error),
        "t, median deviation": (estimate - wide * middle, estimate + wide * middle),
    }


# ------------------------------------------------------------------------------------------------- counting


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--objective", default="huber")
    parser.add_argument("--part", type=int, default=None, help="4: only the rows of one run; 1: only the others")
    arguments = parser.parse_args()
    start = time.perf_counter()
    print(
        f"{arguments.sets} data sets, {arguments.draws} draws each, seed {arguments.seed}, objective "
        f"{arguments.objective}; numpy {np.__version__}, scipy {scipy.__version__}"
    )
    broken = independent_runs(arguments) if arguments.part in (None, 1, 2, 3) else []
    if arguments.part in (None, 4):
        rows_of_runs(arguments)
    print(f"\n{time.perf_counter() - start:.0f} s")
    if broken:
        sys.exit("Broken: " + "; ".join(broken))


def trusts(
    arguments: argparse.Namespace, sets: int, **how: int
) -> Iterator[tuple[Planted, Bootstrap, np.random.Generator]]:
    """Each data set with its bootstrap, and the generator that goes on."""
    for index in range(sets):
        rng = np.random.default_rng((arguments.seed, index))
        planted = plant(rng, **how)
        found = fit(planted.points, objective=arguments.objective, starts=STARTS)
        yield planted, bootstrap(found, draws=arguments.draws, seed=index), rng


def independent_runs(arguments: argparse.Namespace) -> list[str]:
    """Parts 1 to 3. Returns which promises are broken."""
    hits: dict[str, list[Array]] = {}
    widths: dict[str, list[Array]] = {}
    new_runs: list[bool] = []
    kinds: list[tuple[bool, ...]] = []
    for planted, trust, rng in trusts(arguments, arguments.sets):
        every = {"default": default(trust, planted.target)} | others(trust, planted.target)
        for name, (low, high) in every.items():
            hits.setdefault(name, []).append((low <= planted.truth) & (planted.truth <= high))
            widths.setdefault(name, []).append(high - low)
        low, high = trust.prediction_interval(*planted.target, LEVEL)
        new = planted.law.loss(*planted.target) * np.exp(planted.noise * drawn_noise(rng, 1, planted.heavy)[0])
        new_runs.append(bool(low <= new <= high))
        kinds.append((len(planted.points) < 120, planted.isoflop, planted.heavy, planted.noise < 0.01))

    print("\n1. 95 % intervals that hold the truth (in brackets: median width)")
    print(f"   {'':<20}" + "".join(f"{name:>22}" for name in QUANTITIES))
    for name, each in hits.items():
        shares, median = np.mean(each, axis=0), np.median(widths[name], axis=0)
        cells = [f"{share:.1%} ({width:.4f})" for share, width in zip(shares, median, strict=True)]
        print(f"   {name:<20}" + "".join(f"{cell:>22}" for cell in cells))
    counts = np.sum(hits["default"], axis=0)
    print(f"   {'of the default':<20}" + "".join(f"{spread(int(k), arguments.sets):>22}" for k in counts))
    print(f"\n2. Prediction intervals that hold a new run: {sum(new_runs) / arguments.sets:.1%}", end=" ")
    print(f"({spread(sum(new_runs), arguments.sets)})")
    in_parts(np.array(hits["default"]), np.array(kinds))
    named = dict(zip((*QUANTITIES, "a new run"), (*counts.tolist(), sum(new_runs)), strict=True))
    return [f"{name}: {k / arguments.sets:.1%}" for name, k in named.items() if not kept(int(k), arguments.sets)]


def in_parts(hits: Array, kinds: Array) -> None:
    """Part 3."""
    print("\n3. The default in parts")
    pairs = (
        ("under 120 runs", "120 or more"),
        ("IsoFLOP", "scattered"),
        ("heavy tails", "normal"),
        ("under 1 %", "more"),
    )
    for column, names in enumerate(pairs):
        for name, chosen in zip(names, (kinds[:, column], ~kinds[:, column]), strict=True):
            cells = "".join(f"{share:>22.1%}" for share in hits[chosen].mean(axis=0))
            print(f"   {name:<14} {chosen.sum():>4} {cells}")


def rows_of_runs(arguments: argparse.Namespace) -> None:
    """Part 4: rows of one run share an error."""
    sets = max(arguments.sets // 2, 1)
    hits: dict[str, list[Array]] = {"drawn by run": [], "drawn by row": []}
    for planted, trust, _ in trusts(arguments, sets, checkpoints=CHECKPOINTS):
        points = planted.points
        alone = Points.of(points.n, points.d, points.loss)
        by_row = bootstrap(fit(alone, objective=arguments.objective, starts=STARTS), draws=arguments.draws)
        for name, each in (("drawn by run", trust), ("drawn by row", by_row)):
            low, high = default(each, planted.target)
            hits[name].append((low <= planted.truth) & (planted.truth <= high))
    print(f"\n4. {sets} data sets of 15 to 60 runs with {CHECKPOINTS} rows each")
    for name, found in hits.items():
        print(f"   {name:<20}" + "".join(f"{share:>22.1%}" for share in np.mean(found, axis=0)))
    counts = np.sum(hits["drawn by run"], axis=0)
    print(f"   {'by run':<20}" + "".join(f"{spread(int(k), sets):>22}" for k in counts))


def exact(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share of k in n."""
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, k, n - k + 1) if k else 0.0
    high = stats.beta.isf(tail, k + 1, n - k) if k < n else 1.0
    return float(low), float(high)


def spread(k: int, n: int) -> str:
    """That interval in words."""
    low, high = exact(k, n)
    return f"{low:.1%} to {high:.1%}"


def kept(k: int, n: int) -> bool:
    """Whether a coverage between 93 and 97 % is compatible with k hits in n."""
    low, high = exact(k, n)
    return low <= PROMISED[1] and high >= PROMISED[0]


if __name__ == "__main__":
    main()
