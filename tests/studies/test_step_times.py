"""Times per step are measured alternately, so that what else the machine does slows all arms alike."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.studies import step_times as module
from glassformer.studies.checking import torch_threads
from glassformer.studies.step_times import step_times
from glassformer.tasks.registry import prepare_samples
from glassformer.training.update_time import WARM_UP, Updates

COSTS = {"base": 1.0, "cheaper": 0.9, "dearer": 1.75}


class Machine:
    """A clock, and arms of 1, 2, … layers whose updates move it: by their own cost, times the load at that moment."""

    def __init__(self, base, costs=COSTS, load=lambda _now: 1.0) -> None:
        self.configs = {name: base.override({"model.n_layers": 1 + index}) for index, name in enumerate(costs)}
        self.costs, self.load, self.now, self.made = list(costs.values()), load, 0.0, []

    def update_of(self, config, _samples):
        arm = config.model.n_layers - 1

        def update(step: int) -> None:
            self.made.append((list(self.configs)[arm], step))
            self.now += self.costs[arm] * self.load(self.now)

        return update

    def measure(self, rounds=21):
        samples = dict.fromkeys(self.configs)
        return step_times(self.configs, samples, rounds, clock=lambda: self.now, prepare=self.update_of)


def test_arms_take_turns_at_the_same_updates_in_alternating_order(base):
    machine = Machine(base, {name: cost / 100 for name, cost in COSTS.items()})
    machine.measure(rounds=4)
    assert [name for name, _ in machine.made[:9]] == [name for name in COSTS for _ in range(WARM_UP + 1)]
    found = machine.made[9:]
    count = len(found) // 12
    assert count > 1  # quick updates: several in a turn
    order = [*COSTS, *reversed(COSTS)] * 2
    for turn, name in enumerate(order):
        start = WARM_UP + (turn // 3) * count
        assert found[turn * count : (turn + 1) * count] == [(name, start + index) for index in range(count)]


def test_a_machine_that_is_busy_for_the_first_half_changes_no_ratio(base):
    quiet = Machine(base)
    quiet.measure()
    machine = Machine(base, load=lambda now: 2.0 if now < quiet.now else 1.0)
    found = machine.measure()
    assert machine.now > 1.4 * quiet.now  # it was busy for much of the time
    for name, cost in COSTS.items():
        assert found[name].ratio == pytest.approx(cost)
        assert found[name].low <= found[name].ratio <= found[name].high
        assert found[name].rounds == 21
    one_after_another = Machine(base, load=lambda now: 2.0 if now < 10 else 1.0)
    updates = [one_after_another.update_of(config, None) for config in one_after_another.configs.values()]
    ends = [0.0]
    for update in updates:
        for step in range(5):
            update(step)
        ends.append(one_after_another.now)
    assert (ends[2] - ends[1]) / (ends[1] - ends[0]) < 0.5  # "0.9 times the base's time", timed one after the other


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(st.tuples(st.floats(0, 200), st.floats(0.2, 20)), max_size=10),
    costs=st.lists(st.floats(0.05, 20), min_size=2, max_size=3),
)
def test_however_the_load_changes_in_less_than_half_of_the_rounds_the_ratios_stay(base, changes, costs):
    def load(now: float) -> float:
        return next((level for since, level in sorted(changes, reverse=True) if since <= now), 1.0)

    named = dict(zip(COSTS, costs, strict=False))
    found = Machine(base, named, load).measure(rounds=21)
    for name, cost in named.items():
        assert found[name].ratio == pytest.approx(cost / costs[0])


def test_arms_that_do_not_fit_the_memory_together_are_measured_in_groups_beside_the_base(base, monkeypatch):
    monkeypatch.setattr(module, "device_memory", lambda _device: 1)
    machine = Machine(base)
    found = machine.measure(rounds=3)
    assert list(found) == list(COSTS)
    assert {name for name, _ in machine.made[: len(machine.made) // 2]} == {"base", "cheaper"}
    assert {name for name, _ in machine.made[len(machine.made) // 2 :]} == {"base", "dearer"}
    assert {name: found[name].ratio for name in COSTS} == pytest.approx(COSTS)


def test_real_updates_of_equal_arms_alternate_and_leave_no_trace(base):
    """Nothing is asserted of how long they take."""
    samples = prepare_samples(base, None)
    base = samples.with_vocabulary(base)
    arms = {"base": base, "again": base.override({"training.optimizer.learning_rate": 1e-4})}
    made, state = [], torch.random.get_rng_state()
    weights = []

    def recorded(config, batches):
        name = next(name for name, each in arms.items() if each == config)
        update = Updates(config, batches)
        parameters = update.optimizer.parameters.values()
        weights.append([(parameter, parameter.detach().clone()) for parameter in parameters])

        def update_and_record(step: int) -> None:
            made.append((name, step, torch.get_num_threads()))
            update(step)

        return update_and_record

    with torch_threads(1):
        found = step_times(arms, dict.fromkeys(arms, samples), 4, prepare=recorded)
    count = (len(made) - 2 * (WARM_UP + 1)) // 8
    timed = [name for name, _, _ in made[2 * (WARM_UP + 1) :]]
    assert timed[::count] == ["base", "again", "again", "base"] * 2
    assert {threads for _, _, threads in made} == {1}
    for each in found.values():
        assert 0 < each.low <= each.ratio <= each.high
        assert each.seconds > 0
    assert found["base"].ratio == found["base"].low == found["base"].high == 1
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(now, before) for arm in weights for now, before in arm)


@pytest.mark.parametrize(
    ("device", "threads", "clock"), [("cpu", 1, "process"), ("cpu", 2, "wall"), ("cuda", 1, "wall")]
)
def test_only_one_thread_on_a_processor_is_timed_by_the_processors_clock(device, threads, clock):
    with torch_threads(threads):
        assert module._clock(device) is {"process": time.process_time, "wall": time.perf_counter}[clock]
