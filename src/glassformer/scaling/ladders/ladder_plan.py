"""Which ladder a request comes to: the base, the rungs that the budget pays for, the target, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from typing import Any, Self

from glassformer import machine
from glassformer.errors import ConfigError, nearest
from glassformer.numbers import NumberError, read_number
from glassformer.scaling.ladders.ladder_budget import PACKED, Budget, Pace, guessed_flops, pace_of, read_budget
from glassformer.scaling.ladders.ladder_design import (
    NOISE,
    Belief,
    Candidate,
    Design,
    Problem,
    Rung,
    SumOfPowers,
    choose,
)
from glassformer.scaling.ladders.ladder_fit import LAW, PATH_LAW
from glassformer.scaling.ladders.ladder_rungs import (
    OWN,
    PATH,
    SIZES,
    SMALLEST,
    Family,
    Run,
    base_of,
    batch_for,
)
from glassformer.scaling.laws.units import flops
from glassformer.training.config import RunConfig
from glassformer.training.samples import PrepareProgress, TrainingData

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
class Plan:
    """A ladder before it is begun.

    Attributes:
        runs: the rungs, the largest first, as the study will make them.
        target: the run that is predicted.
        verification: the run that can put it to the test: at most :data:`REACH` times the largest rung.
        pace: measured, where the budget is time.
    """

    request: LadderRequest
    base: RunConfig
    runs: tuple[Run, ...]
    target: Run
    verification: Run
    design: Design
    budget: Budget
    workers: int
    pace: Pace | None
    notes: tuple[str, ...]

    def cost(self, run: Run) -> float:
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
            "design": asdict(self.design),
            "budget": asdict(self.budget),
            "workers": self.workers,
            "pace": None if self.pace is None else asdict(self.pace),
            "notes": list(self.notes),
        }

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` gave."""
        design = dict(tree["design"])
        rungs = [
            Rung(number, Candidate(tuple(candidate["x"]), candidate["cost"], candidate["label"]), promise)
            for number, candidate, promise in map(itemgetter("number", "candidate", "promise"), design["rungs"])
        ]
        return cls(
            LadderRequest.of(tree["request"]),
            RunConfig.build(tree["base"]),
            tuple(Run(**run) for run in tree["runs"]),
            Run(**tree["target"]),
            Run(**tree["verification"]),
            Design(**(design | {"rungs": tuple(rungs)})),
            Budget(**tree["budget"]),
            tree["workers"],
            None if tree["pace"] is None else Pace(**tree["pace"]),
            tuple(tree["notes"]),
        )


def plan_ladder(request: LadderRequest, *, workers: int | None = None, progress: PrepareProgress | None = None) -> Plan:
    """Choose the rungs. Prepares the data, and measures this machine where the budget is time.

    Args:
        workers: runs at a time; one for each core unless given.

    Raises:
        ConfigError: the budget is too small, or the request makes no sense; with what to do.
        GlassformerError: the data cannot be had.
    """
    from glassformer.training.execution import find_device
    from glassformer.training.samples import prepare_samples

    budget = read_budget(request.budget)
    factor, fixed = _target(request.target)
    base, rate_set = base_of(request.preset, data=request.data, settings=request.settings)
    device = find_device(base.training.device)
    workers = workers or (machine.usable_cores() if device.startswith("cpu") else 1)
    guess = guessed_flops(budget, workers, device) * LARGEST / request.arms
    base, _ = base_of(request.preset, data=request.data, settings=request.settings, batch_tokens=batch_for(guess))
    samples = prepare_samples(base, progress)
    base = samples.with_vocabulary(base)
    family = Family(base, samples, rate_set, request.ratio)
    prices = Prices(family, _pace(family, guess, device) if budget.timed else None)

    afford = budget.amount * (workers * PACKED if budget.timed else 1.0)
    most = LARGEST * afford / request.arms
    # a run lasts longer than its FLOPs alone would take, so this is more than ``most`` pays for
    ceiling = most if prices.pace is None else most / prices.pace.per_flop
    ceiling = min(ceiling, fixed / 2) if fixed else ceiling
    payable = [run for run in family.path(ceiling) if prices(run) <= most]
    if not payable:
        raise ConfigError(_no_rung(request.budget, family, ceiling), subject="ladder")
    top = max(payable, key=lambda run: run.c)
    others = family.grid(top.c) if request.formula == LAW else family.path(top.c)
    candidates = [top, *(run for run in others if run.name != top.name and prices(run) <= most)]
    target = family.at(fixed or factor * top.c)
    verification = target if target.c <= 1.5 * REACH * top.c else family.at(REACH * top.c)
    inputs = _inputs(request.formula)
    problem = Problem(
        [Candidate(inputs(run), prices(run) * (1 + len(request.vary)), run.name) for run in candidates],
        inputs(target),
        _belief(request.formula, [inputs(run) for run in candidates], samples.describe(), base.model.vocab_size),
        noise=NOISE,
        seeds=request.seeds,
        must=(0,),
    )
    design = choose(problem, afford)
    chosen = sorted((candidates[rung.number] for rung in design.rungs), key=lambda run: -run.c)
    notes = [*samples.notes, *_repetition(target, verification, samples)]
    return Plan(request, base, tuple(chosen), target, verification, design, budget, workers, prices.pace, tuple(notes))


@dataclass(frozen=True)
class Prices:
    """What a run costs: seconds of one worker where there is a pace, FLOPs where there is none."""

    family: Family
    pace: Pace | None

    def __call__(self, run: Run) -> float:
        if self.pace is None:
            return run.c
        validated = self.family.base.training.telemetry.validation_tokens or 0
        return self.pace.seconds(run, self.family.samples.tokens_per_step, validated)


def _pace(family: Family, guess: float, device: str) -> Pace:
    """Measured with models of the sizes that ``guess`` FLOPs may pay for, with the threads that a worker has."""
    from glassformer.studies.checking import torch_threads

    if device.startswith("cpu"):
        guess = min(guess, MOST_TIMED)
    with torch_threads(1 if device.startswith("cpu") else None):
        return pace_of(family.base, family.samples, family.at(guess * SMALLEST), family.at(guess))


def _repetition(target: Run, verification: Run, samples: TrainingData) -> list[str]:
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


def _no_rung(budget: str, family: Family, ceiling: float) -> str:
    """Why no run costs about ``ceiling`` FLOPs: the text is too short for one, or each costs more."""
    if family.too_short or any(family.path(ceiling / 4**power) for power in range(1, 40)):
        return (
            f"the text is too short for --budget {budget}, whose rungs see it once at most, in updates of "
            f"{family.samples.tokens_per_step:,.0f} tokens. Give less, more text, or a smaller training.batch_size."
        )
    return (
        f"--budget {budget} does not pay for a ladder: its largest rung may cost a third of it, and no run of the "
        "architecture is so cheap. Give more, or make runs smaller (--set training.batch_size, model.max_seq_len)."
    )


def _inputs(formula: str) -> Any:
    """What the law sees of a run."""
    return (lambda run: (float(run.n), float(run.d))) if formula == LAW else (lambda run: (float(run.c),))


def _belief(formula: str, inputs: Sequence[tuple[float, ...]], about: Mapping[str, Any], vocabulary: int) -> Belief:
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
    return Belief(SumOfPowers(anchor, theta), sd)
