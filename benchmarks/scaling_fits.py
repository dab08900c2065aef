"""How fast scaling laws are fitted, and how well, beside the PyPI package `chinchilla`.

    python benchmarks/scaling_fits.py [--draws 1000] [--rounds 5] [--grid 3]

    1. the whole suite, in 2 processes: the 240 points of Besiroglu et al. 2024, the 15 configurations of Porian et al.
       2024 and kyo-takano's points. Each is fitted (E + A/N^α + B/D^β, Huber on ln L) and bootstrapped; of Porian's the
       IsoFLOP minima are found too, under as many draws of seed noise. Promised: less than 60 s on 2 cores.
    2. standard errors of the 240 points beside those that Besiroglu et al. print. Promised: within 10 %. Theirs are of
       4,000 draws; of so many, that of B depends on the seed by 8 %, as a few large draws make most of it. So here are
       40,000, and the spread between ten groups of 4,000.
    3. kyo-takano's points by its package and here, by its own objective (10·|r| above a point, |r| below, on L), taking
       turns in one process. Promised: our objective is never higher, our time at most a fifth of its.

The data are read from $GLASSFORMER_DATA. Part 3 needs `pip install chinchilla` (it brings pandas, seaborn and more: a
virtual environment of its own does no harm); without it, it is left out. The package is given GRID⁵ starts, spread over
the ranges of its readme, which has 5 in each direction; fewer make it faster. It uses all cores, we use one.

The exit status is 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from alternating import alternate, circumstances

from glassformer.scaling.fits.bootstrap import bootstrap
from glassformer.scaling.fits.fitting import Fit, fit
from glassformer.scaling.fits.isoflop import isoflop_minima
from glassformer.scaling.fits.points import Points
from glassformer.scaling.fits.reading import read_points

CORES = 2
SECONDS = 60.0
FASTER = 5.0
CLOSE = 0.1
DROPPED = 5
"""The points of highest loss, which Besiroglu et al. leave out."""

BESIROGLU = {"A": 124.5, "B": 1293.0, "E": 0.026, "alpha": 0.0154, "beta": 0.0206, "a": 0.020}
BESIROGLU_DRAWS = 4000
GROUPS = 10

broken: list[str] = []


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grid", type=int, default=3)
    arguments = parser.parse_args()
    data = Path(os.environ.get("GLASSFORMER_DATA", "")) / "scaling"
    if not data.is_dir():
        sys.exit(f"There is no {data}: $GLASSFORMER_DATA must name the folder of the data.")
    print(circumstances())
    suite(data, arguments.draws)
    standard_errors(data)
    beside_the_package(data, arguments.rounds, arguments.grid)
    if broken:
        sys.exit("Broken: " + "; ".join(broken))


def promise(what: str, kept: bool) -> None:
    """Note a promise that is not kept."""
    if not kept:
        broken.append(what)


# ------------------------------------------------------------------------------------------------- 1. the suite


def besiroglu_points(data: Path) -> Points:
    """The 240 points: all but those of highest loss."""
    points = read_points(data / "epoch_chinchilla" / "svg_extracted_data.csv")
    return points[np.sort(np.argsort(points.loss)[:-DROPPED])]


def porian_points(data: Path, config: str) -> Points:
    """One configuration. With one learning rate schedule for all budgets, rows of a size are of one run."""
    of_run = {} if "chinchilla" in config else {"run": "params"}
    path = data / "porian2024" / "isoflop_points.csv"
    columns = {"n": "params", "d": "tokens", "c": "flops", "loss": "loss"}
    return read_points(path, columns=columns | of_run, where={"config": config})


def read(data: Path, name: str) -> Points:
    """The points of a data set by its name."""
    if name == "Besiroglu":
        return besiroglu_points(data)
    if name == "kyo-takano":
        return read_points(data / "kyo_takano_chinchilla" / "df.csv")
    return porian_points(data, name)


def fitted(data: Path, name: str, draws: int) -> tuple[str, int, dict[str, float], dict[str, float], float | None]:
    """One data set: its name, rows, parameters, their standard errors, and the exponent by IsoFLOP minima."""
    points = read(data, name)
    trust = bootstrap(fit(points), draws=draws)
    exponent = None
    if "/" in name:
        law = isoflop_minima(points, method="interpolation", draws=draws).parameters_law
        exponent = None if law is None else law.exponent
    return name, len(points), trust.fit.parameters, trust.standard_errors, exponent


def suite(data: Path, draws: int) -> None:
    """Part 1."""
    with (data / "porian2024" / "isoflop_points.csv").open(newline="") as file:
        configurations = dict.fromkeys(row["config"] for row in csv.DictReader(file))
    names = ["Besiroglu", "kyo-takano", *configurations]
    start, before = time.perf_counter(), children_seconds()
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(fitted, [data] * len(names), names, [draws] * len(names)))
    seconds, processor = time.perf_counter() - start, children_seconds() - before
    print(f"\n1. {len(found)} data sets, {draws:,} draws each, {CORES} processes (± standard error)")
    for name, rows, parameters, errors, exponent in found:
        cells = [f"{key} {parameters[key]:.3f} ± {errors[key]:.3f}" for key in ("alpha", "beta", "E")]
        told = "" if exponent is None else f"   IsoFLOP a {exponent:.4f}"
        print(f"   {name:<36} {rows:>4} rows   " + "   ".join(cells) + told)
    print(f"   {seconds:.1f} s, {processor:.1f} s of processor time (apart by more than a half: the machine was busy)")
    promise(f"the suite took {seconds:.0f} s, promised {SECONDS:.0f}", seconds < SECONDS)


def children_seconds() -> float:
    """Processor time of the processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


# ------------------------------------------------------------------------------------------------- 2. standard errors


def standard_errors(data: Path) -> None:
    """Part 2."""
    trust = bootstrap(fit(besiroglu_points(data)), draws=GROUPS * BESIROGLU_DRAWS)
    print(f"\n2. Standard errors of the 240 points, {len(trust.parameters):,} draws (of {BESIROGLU_DRAWS:,}: from, to)")
    for name, printed in BESIROGLU.items():
        draws = trust.draws(name)
        ours = float(draws.std(ddof=1))
        groups = [float(group.std(ddof=1)) for group in np.array_split(draws, GROUPS)]
        between = f"({min(groups):.4g} to {max(groups):.4g})"
        print(f"   {name:<6} {ours:>9.4g} {between:<22} printed {printed:<8g} ratio {ours / printed:.3f}")
        promise(f"the standard error of {name} is {ours:.4g}, printed {printed:g}", abs(ours / printed - 1) <= CLOSE)


# ------------------------------------------------------------------------------------------------- 3. the package


def beside_the_package(data: Path, rounds: int, grid: int) -> None:
    """Part 3."""
    try:
        os.environ.setdefault("MPLBACKEND", "Agg")
        from chinchilla import Chinchilla
    except ImportError as reason:
        print(f"\n3. Left out: the package `chinchilla` cannot be imported ({reason}).")
        return
    path = data / "kyo_takano_chinchilla" / "df.csv"
    points = read_points(path)
    starts = {
        "E": np.linspace(1, 2, grid),
        "a": np.linspace(1, 10, grid),
        "b": np.linspace(1, 10, grid),
        "alpha": np.linspace(0.1, 0.7, grid),
        "beta": np.linspace(0.1, 0.7, grid),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "df.csv").write_bytes(path.read_bytes())
        package = Chinchilla(project_dir=folder, param_grid=starts, log_level=50)
        package.visualizer.optim = lambda *_, **__: None  # it would draw a picture after each fit
        theirs: list[float] = []
        ours: list[Fit] = []

        def fit_theirs() -> None:
            package.fit()
            named = {name: float(package.params[name]) for name in ("E", "A", "B", "alpha", "beta")}
            theirs.append(objective(points, **named))

        timing = alternate(
            {"chinchilla": fit_theirs, "here": lambda: ours.append(fit(points, objective="asymmetric"))},
            rounds=rounds,
            warm_up=1,
        )
    package_time, our_time = timing["chinchilla"], timing["here"]
    mine = objective(points, **ours[-1].parameters)
    ratio = our_time.ratio_to(package_time)
    low, high = our_time.ratio_spread(package_time)
    print(f"\n3. kyo-takano's {len(points)} points, its own objective; {rounds} rounds, taking turns")
    print(f"   chinchilla, {grid**5:>3,} starts   mean objective {min(theirs):.10f}   {package_time.median:8.3f} s")
    print(f"   here, {ours[-1].starts.tried:>9,} starts   mean objective {mine:.10f}   {our_time.median:8.3f} s")
    print(f"   {ratio:.1f} times faster (middle half of the rounds: {low:.1f} to {high:.1f})")
    promise(f"our objective {mine:.10f} is above {min(theirs):.10f}", mine <= min(theirs) * (1 + 1e-12))
    promise(f"only {ratio:.1f} times faster", ratio >= FASTER)


def objective(points: Points, **parameters: float) -> float:
    """The package's mean objective, computed the same way for both: 10·|r| where the law is above a point, else |r|."""
    e, a, b = (parameters[name] for name in ("E", "A", "B"))
    law = e + a / points.n ** parameters["alpha"] + b / points.d ** parameters["beta"]
    return math.fsum(10 * r if r > 0 else -r for r in law - points.loss) / len(points)


if __name__ == "__main__":
    main()
