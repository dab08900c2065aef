"""Which ladder a request comes to: the base, the rungs that the budget pays for, the target, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from glassformer import machine
from glassformer.errors import ConfigError, nearest
from glassformer.numbers import NumberError, read_number
from glassformer.scaling.ladders.ladder_budget import (
    PACKED,
    Budget,
    Pace,
    Prices,
    guessed_flops,
    pace_of,
    read_budget,
    why_no_rung,
)
from glassformer.scaling.ladders.ladder_design import (
    NOISE,
    Candidate,
    Design,
    DesignProblem,
    Prior,
    SumOfPowers,
    choose,
)
from glassformer.scaling.ladders.ladder_fit import LAW, PATH_LAW
from glassformer.scaling.ladders.ladder_rungs import (
    FACTOR,
    OWN,
    PATH,
    RATE,
    SIZES,
    SMALLEST,
    LadderRun,
    RunGrid,
    base_of,
    batch_for,
    rate_for,
)
from glassformer.scaling.ladders.rate_sweep import FACTORS, RateSweep
from glassformer.scaling.laws.units import flops
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import PrepareProgress, TrainingData

REACH = 10.0
"""How far beyond its largest rung a ladder looks, unless a target is given; and how large the run is that verifies it.
"""

MOST_REACH, MOST_TARGET = 1e6, 1e30
TARGET = f"expected FLOPs (1e15, at most {MOST_TARGET:g}) or a multiple above 1 (10x, at most {MOST_REACH:g}x)."
"""Beyond these the target is a slip of the keyboard."""

MOST_SEEDS = 1000
LEAST_RATIO, MOST_RATIO = 1e-3, 1e6
"""Tokens per parameter that a run can have."""

MOST_TIMED = 1e15
"""FLOPs of the largest run whose model is timed on a CPU: a larger one takes minutes, for the same time per FLOP."""

LARGEST = 1 / 3
"""Of the budget, what the largest rung may cost: the others must fit too."""

LAWS = (LAW, PATH_LAW)


@dataclass(frozen=True)
class LadderRequest:
    """What is asked for. Two equal requests are one ladder.

    Attributes:
        budget: FLOPs, or time on the clock (``20min``).
        target: FLOPs, or a multiple of the largest rung's (``10x``).
        seeds: runs of each rung, and of each of its variants.
        vary: variants by name, as dotted changes.
        law: "chinchilla" or "power-floor"; the former unless there are variants.
        ratio: tokens per parameter along the path, and of the target.
    """

    preset: str
    budget: str
    data: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    target: str = f"{REACH:g}x"
    seeds: int = 1
    vary: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    law: str | None = None
    ratio: float = PATH

    def __post_init__(self) -> None:
        complaints = []
        if not 1 <= self.seeds <= MOST_SEEDS:
            complaints.append(f"--seeds is {self.seeds}; expected 1 to {MOST_SEEDS:,}.")
        if not LEAST_RATIO <= self.ratio <= MOST_RATIO:
            complaints.append(
                f"--tokens-per-parameter is {self.ratio:g}; expected a number from {LEAST_RATIO:g} to {MOST_RATIO:g}."
            )
        if self.law is not None and self.law not in LAWS:
            complaints.append(f"--law is {self.law!r}. {nearest(self.law, LAWS)}")
        if self.law == LAW and self.vary:
            complaints.append(f"variants are compared along one path of compute, where --law {PATH_LAW} is fitted.")
        complaints += [
            f"--vary {name} changes {path}, which each rung has its own of."
            for name, changes in self.vary.items()
            for path in changes
            if path in OWN or path in SIZES
        ]
        if complaints:
            raise ConfigError(complaints, subject="ladder")

    @property
    def arms(self) -> int:
        """Runs of each rung."""
        return self.seeds * (1 + len(self.vary))

    @property
    def formula(self) -> str:
        """The law that is to be fitted."""
        return self.law or (PATH_LAW if self.vary else LAW)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; :meth:`of` reads it back."""
        return asdict(self)

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` gave. Raises TypeError for anything else."""
        return cls(**tree)


@dataclass(frozen=True)
class LadderPlan:
    """A ladder before it is begun.

    Attributes:
        runs: the rungs, the largest first, as the study will make them.
        target: the run that is predicted.
        verification: the run that can put it to the test: at most :data:`REACH` times the largest rung.
        pace: measured, where the budget is time.
        sweep: of the learning rate; None where it was set.
        entropies: "unigram" and "bigram" of the training text, nats per token.
    """

    request: LadderRequest
    base: RunConfig
    runs: tuple[LadderRun, ...]
    target: LadderRun
    verification: LadderRun
    design: Design
    budget: Budget
    workers: int
    pace: Pace | None
    notes: tuple[str, ...]
    sweep: RateSweep | None = None
    entropies: Mapping[str, float] = field(default_factory=dict)

    def with_sweep(self, sweep: RateSweep) -> Self:
        """The same ladder at the learning rates that were measured.

        Raises:
            ConfigError: every rate diverged.
        """
        factor = sweep.best
        if factor is None:
            raise ConfigError(f"{sweep.sentence} Set one: --set {RATE}=VALUE.", subject="ladder")

        def at_rate(run: LadderRun) -> LadderRun:
            width = run.changes.get("model.d_model", self.base.model.d_model)
            return replace(run, changes={**run.changes, RATE: rate_for(factor, width)})

        runs = tuple(map(at_rate, self.runs))
        target, verification = at_rate(self.target), at_rate(self.verification)
        return replace(self, runs=runs, target=target, verification=verification, sweep=sweep)

    def cost(self, run: LadderRun) -> float:
        """Of a rung with all its seeds and variants, or of another run alone; in the budget's unit."""
        found = {rung.candidate.label: rung.candidate.cost * self.design.seeds for rung in self.design.rungs}
        if run.name in found:
            return found[run.name]
        if self.pace is None:
            return run.c
        return self.pace.seconds(run, run.d / run.steps, self.base.training.telemetry.validation_tokens or 0)

    def to_dict(self) -> dict[str, Any]:
        """What ``ladder.json`` holds."""
        return {
            "request": self.request.to_dict(),
            "base": self.base.to_dict(),
            "runs": [asdict(run) for run in self.runs],
            "target": asdict(self.target),
            "verification": asdict(self.verification),
            "design": self.design.to_dict(),
            "budget": asdict(self.budget),
            "workers": self.workers,
            "pace": None if self.pace is None else asdict(self.pace),
            "notes": list(self.notes),
            "sweep": None if self.sweep is None else self.sweep.to_dict(),
            "entropies": dict(self.entropies),
        }

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` gave."""
        return cls(
            LadderRequest.of(tree["request"]),
            RunConfig.build(tree["base"]),
            tuple(LadderRun(**run) for run in tree["runs"]),
            LadderRun(**tree["target"]),
            LadderRun(**tree["verification"]),
            Design.of(tree["design"]),
            Budget(**tree["budget"]),
            tree["workers"],
            None if tree["pace"] is None else Pace(**tree["pace"]),
            tuple(tree["notes"]),
            None if tree.get("sweep") is None else RateSweep.of(tree["sweep"]),  # not in ladders of earlier versions
            tree.get("entropies", {}),
        )


def plan_ladder(
    request: LadderRequest, *, workers: int | None = None, progress: PrepareProgress | None = None
) -> LadderPlan:
    """Choose the rungs. Prepares the data, and measures this machine where the budget is time.

    Args:
        workers: runs at a time; one for each core unless given.

    Raises:
        ConfigError: the budget is too small, or the request makes no sense; with what to do.
        GlassformerError: the data cannot be had.
    """
    from glassformer.tasks.opening import find_device
    from glassformer.tasks.registry import prepare_samples

    budget = read_budget(request.budget)
    factor_of_target, fixed = _target(request.target)
    base, rate_set = base_of(request.preset, data=request.data, settings=request.settings)
    device = find_device(base.training.device)
    workers = workers or (machine.usable_cores() if device.startswith("cpu") else 1)
    guess = guessed_flops(budget, workers, device) * LARGEST / request.arms
    base, _ = base_of(request.preset, data=request.data, settings=request.settings, batch_tokens=batch_for(guess))
    samples = prepare_samples(base, progress)
    base = samples.with_vocabulary(base)
    factor = base.training.optimizer.learning_rate * base.model.d_model if rate_set else FACTOR
    run_grid = RunGrid(base, samples, factor, request.ratio)
    prices = Prices(run_grid, _pace(run_grid, guess, device) if budget.timed else None)

    afford = budget.amount * (workers * PACKED if budget.timed else 1.0)
    payable, sweep = prices.payable(LARGEST * afford / request.arms, fixed), None
    if payable and not rate_set:
        afford -= len(FACTORS) * prices(_cheapest_rung(payable, prices))
        payable = prices.payable(LARGEST * afford / request.arms, fixed)
    if payable and not rate_set:  # of the ladder that is left, whose cheapest rung is no dearer
        run = _cheapest_rung(payable, prices)
        sweep = RateSweep(run, base.override(run.changes).model.d_model, len(FACTORS) * prices(run), {})
    most = LARGEST * afford / request.arms
    if not payable or prices(payable[-1]) < SMALLEST * min(most, fixed or math.inf):
        raise ConfigError(why_no_rung(request.budget, budget, prices, most, fixed), subject="ladder")
    top = payable[-1]
    others = run_grid.grid(top.c) if request.formula == LAW else run_grid.path(top.c)
    candidates = [top, *(run for run in others if run.name != top.name and prices(run) <= most)]
    target = run_grid.at(fixed or factor_of_target * top.c)
    verification = target if target.c <= 1.5 * REACH * top.c else run_grid.at(REACH * top.c)
    inputs, about = _inputs(request.formula), samples.describe()
    problem = DesignProblem(
        [Candidate(inputs(run), prices(run) * (1 + len(request.vary)), run.name) for run in candidates],
        inputs(target),
        _prior(request.formula, [inputs(run) for run in candidates], about, base.model.vocab_size),
        noise=NOISE,
        seeds=request.seeds,
        must=(0,),
    )
    design = choose(problem, afford)
    chosen = sorted((candidates[rung.number] for rung in design.rungs), key=lambda run: -run.c)
    notes = [*samples.notes, *_repetition(target, verification, samples)]
    return LadderPlan(
        request,
        base,
        tuple(chosen),
        target,
        verification,
        design,
        budget,
        workers,
        prices.pace,
        tuple(notes),
        sweep,
        {name: float(about[name]) for name in ("unigram", "bigram") if about.get(name)},
    )


def _cheapest_rung(payable: Sequence[LadderRun], prices: Prices) -> LadderRun:
    """Of a ladder whose largest rung is the last of these."""
    return min((run for run in payable if run.c >= SMALLEST * payable[-1].c), key=prices)


def _pace(run_grid: RunGrid, guess: float, device: str) -> Pace:
    """Measured with models of the sizes that ``guess`` FLOPs may pay for, with the threads that a worker has."""
    from glassformer.studies.checking import torch_threads

    if device.startswith("cpu"):
        guess = min(guess, MOST_TIMED)
    with torch_threads(1 if device.startswith("cpu") else None):
        return pace_of(run_grid.base, run_grid.samples, run_grid.at(guess * SMALLEST), run_grid.at(guess))


def _repetition(target: LadderRun, verification: LadderRun, samples: TrainingData) -> list[str]:
    """A note for a large run that sees its text more than once."""
    named = {"target": target} | ({} if verification == target else {"verifying run": verification})
    return [
        f"the {what} sees its text {run.steps / samples.steps_per_epoch:.1f} times, the rungs once at most; up to 4 "
        "times, repetition costs little (Muennighoff et al. 2023), and the law knows nothing of it"
        for what, run in named.items()
        if run.steps > samples.steps_per_epoch
    ]


def _target(text: str) -> tuple[float, float | None]:
    """A multiple of the largest rung's compute, or FLOPs."""
    written = text.strip().rstrip("x×").strip()
    if written != text.strip():
        try:
            factor = read_number(written)
        except NumberError as error:
            raise ConfigError(f"--target is {text!r}; {TARGET} {error}", subject="ladder") from None
        if not 1 < factor <= MOST_REACH:
            raise ConfigError(f"--target is {text!r}; {TARGET}", subject="ladder")
        return factor, None
    fixed = flops(text, subject="--target")
    if fixed > MOST_TARGET:
        raise ConfigError(f"--target is {text!r}; {TARGET}", subject="ladder")
    return REACH, fixed


def _inputs(formula: str) -> Any:
    """What the law sees of a run."""
    return (lambda run: (float(run.n), float(run.d))) if formula == LAW else (lambda run: (float(run.c),))


def _prior(formula: str, inputs: Sequence[tuple[float, ...]], about: Mapping[str, Any], vocabulary: int) -> Prior:
    """A weak prior about the smallest run: it has learned more than the frequencies of tokens, and not much more."""
    anchor = tuple(min(each[k] for each in inputs) for k in range(len(inputs[0])))
    unigram = float(about.get("unigram") or math.log(vocabulary))
    floor, rest = 0.2 * unigram, 0.6 * unigram
    theta: tuple[float, ...]
    sd: tuple[float, ...]
    if formula == LAW:
        theta = (floor, math.log(rest / 2), 0.35, math.log(rest / 2), 0.37)
        sd = (0.15 * unigram, 0.5, 0.1, 0.5, 0.1)
    else:
        theta, sd = (floor, math.log(rest), 0.18), (0.15 * unigram, 0.4, 0.07)
    return Prior(SumOfPowers(anchor, theta), sd)
