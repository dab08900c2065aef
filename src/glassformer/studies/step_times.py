"""How long an update of each arm of a study takes: measured side by side, now.

Times that were taken at different moments compare what else the machine was doing as well as the arms. Here the arms
take turns: in every round each makes the same few updates on the study's own data, one arm right after the other and in
the reverse order every second time. Other load then slows all arms of a round, and their ratio stays:

    times = step_times({"base": base, "one layer": variant}, samples)
    times["one layer"].ratio    # of the first arm's time: the median over the rounds

A run of one thread is timed by the processor's clock, which stands still while other processes have the core: what it
counts is the time on a core of its own. Elsewhere (several threads, a GPU) it is the wall clock.

Nothing is measured before every arm has made some updates: compiling, and whatever else a first update costs, is not a
step's cost. What is timed is an update alone, not validating, recording or saving.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

from glassformer import speed
from glassformer.tasks.opening import find_device
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import TrainingData
from glassformer.training.memory import device_memory, state_bytes
from glassformer.training.update_time import WARM_UP, Updates

ROUNDS = 21
"""Odd, so that the median is one of them."""

TURN_SECONDS = 0.03
"""Updates of a turn: as many as take the fastest arm so long, the same number for every arm."""

MOST_UPDATES = 100
"""Of a turn."""

SHARE_OF_MEMORY = 0.25
"""What the arms that take turns may hold of the device's memory, in weights, gradients and optimizer state."""

Update = Callable[[int], object]
"""Makes the update of a step."""


@dataclass(frozen=True)
class StepTime:
    """An arm's time per update.

    Attributes:
        seconds: per update, on a core of its own where a run has one thread; the median over the rounds.
        ratio: of the first arm's time in the same round, the median over the rounds.
        low, high: the smallest and the largest of these ratios.
        rounds: how many there were.
    """

    seconds: float
    ratio: float
    low: float
    high: float
    rounds: int


def step_times(
    configs: Mapping[str, RunConfig],
    samples: Mapping[str, TrainingData],
    rounds: int = ROUNDS,
    *,
    clock: Callable[[], float] | None = None,
    prepare: Callable[[RunConfig, TrainingData], Update] = Updates,
) -> dict[str, StepTime]:
    """The time per update of every arm, measured alternately with torch's threads as they are.

    Args:
        configs: the arms by name, with their data's vocabulary. The first is the one that ratios are of.
        samples: the data of each arm.
        clock: seconds; of the processor or the wall, as above, unless given.
        prepare: makes an arm's updates.

    Raises:
        GlassformerError: an arm cannot be trained here.
    """
    first = next(iter(configs))
    others = {name: config for name, config in configs.items() if name != first}
    found: dict[str, StepTime] = {}
    device = find_device(configs[first].training.device)
    if clock is None:
        clock = _clock(device)
    if device == "cpu":
        speed.keep_freed_memory()  # as in a worker
    with torch.random.fork_rng(devices=[]):
        for group in _groups(configs[first], others, device_memory(device)):
            updates = {name: prepare(configs[name], samples[name]) for name in (first, *group)}
            found = _in_turns(updates, rounds, clock) | found
            del updates
            _free()
    return {name: found[name] for name in configs}


def _free() -> None:
    """Free the models of the arms that have been timed, for the next ones and for the study's workers."""
    gc.collect()  # models and what trains them refer to each other
    speed.return_freed_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _clock(device: str) -> Callable[[], float]:
    """The processor's clock for one thread on it, where it is fine enough (it is not on Windows); else the wall's."""
    one = device == "cpu" and torch.get_num_threads() == 1
    fine = time.get_clock_info("process_time").resolution < TURN_SECONDS / 1000
    return time.process_time if one and fine else time.perf_counter


def _groups(first: RunConfig, others: Mapping[str, RunConfig], memory: int | None) -> list[list[str]]:
    """The arms beside the first, as many at a time as may be held with it, but at least one; of none, one group."""
    budget = math.inf if memory is None else SHARE_OF_MEMORY * memory
    groups: list[list[str]] = [[]]
    held = state_bytes(first)
    for name, config in others.items():
        size = state_bytes(config)
        if groups[-1] and held + size > budget:
            groups.append([])
            held = state_bytes(first)
        groups[-1].append(name)
        held += size
    return groups


def _in_turns(updates: Mapping[str, Update], rounds: int, clock: Callable[[], float]) -> dict[str, StepTime]:
    """The times of arms that take turns; the first is the one that ratios are of."""
    names = list(updates)
    fastest = min(_warm_up(update, clock) for update in updates.values())
    count = min(MOST_UPDATES, max(1, math.ceil(TURN_SECONDS / fastest))) if fastest > 0 else MOST_UPDATES
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            seconds[name].append(_turn(updates[name], WARM_UP + index * count, count, clock) / count)
    ratios = {name: [own / of for own, of in zip(seconds[name], seconds[names[0]], strict=True)] for name in names}
    return {name: StepTime(median(seconds[name]), median(of), min(of), max(of), rounds) for name, of in ratios.items()}


def _warm_up(update: Update, clock: Callable[[], float]) -> float:
    """Make an arm's first updates; the seconds of one more."""
    for step in range(WARM_UP):
        update(step)
    return _turn(update, WARM_UP, 1, clock)


def _turn(update: Update, start: int, count: int, clock: Callable[[], float]) -> float:
    """The seconds of so many updates."""
    began = clock()
    for step in range(start, start + count):
        update(step)
    return clock() - began
