"""Seeds one at a time: until every variant is decided, the budget is spent, or a run fails; and on after a kill."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.statistics.sequential import decide
from glassformer.studies.adding_seeds import next_seed, sequential_results, until_decided
from glassformer.studies.outcomes import RunOutcome, failed
from glassformer.studies.study_file import read_study
from glassformer.studies.summary import NOT_FIXED, summarise


def noise(variant: str, seed: int, spread: float) -> float:
    return random.Random(f"{variant} {seed}").gauss(0, spread)


LOSSES = {
    "base": lambda seed: 2.0 + noise("base", seed, 0.1),
    "far": lambda seed: 2.5 + noise("base", seed, 0.1) + noise("far", seed, 0.01),
    "near": lambda seed: 2.0 + noise("base", seed, 0.1) + noise("near", seed, 0.01),
    "same": lambda seed: 2.0 + noise("base", seed, 0.1),
    "wild": lambda seed: None,
}
"""What a run of each variant ends at. Seeds are shared, so far and near are known well and base is not."""

CHANGES = {
    "far": {"model.n_layers": 1},
    "near": {"model.dropout": 0.1},
    "same": {"training.telemetry.log_every": 1},
    "wild": {"training.grad_clip": 2.0},
}


class Losses:
    """ "Training" that writes real outcomes with constructed losses, and can be stopped or fail at a run."""

    def __init__(self, stop_after: int | None = None, fail_at: str | None = None) -> None:
        self.stop_after, self.fail_at, self.made = stop_after, fail_at, []

    def __call__(self, study):
        for planned in study.pending():
            if len(self.made) == self.stop_after:
                return "SIGTERM"
            loss = LOSSES[planned.variant](planned.seed)
            status = "diverged" if loss is None else "finished"
            outcome = RunOutcome(planned.variant, planned.seed, None, status, loss=loss, steps=8)
            if planned.run_key == self.fail_at:
                outcome = failed(planned.variant, planned.seed, "the disk is full")
            with study.lock_run(planned):
                study.record(planned, outcome)
            self.made.append(planned.run_key)
        return None


@pytest.fixture
def begin(create, design):
    """``begin(["far"], seeds=1)``: a study of these variants that adds seeds."""

    def begin(names, **options):
        return create(design({name: CHANGES[name] for name in names}, until_decided=True, **options))

    return begin


def test_seeds_are_added_one_at_a_time_until_every_variant_is_decided(begin):
    train = Losses()
    study, signal = until_decided(begin(["far"], seeds=1), train)
    assert signal is None
    assert train.made == [f"{variant}.seed-{seed}" for seed in range(3) for variant in ("base", "far")]
    (sequential_result,) = sequential_results(study)
    assert (sequential_result.decision.verdict, sequential_result.decision.n) == ("different", 3)
    assert json.loads((study.path / "study.json").read_text())["seeds"] == [0, 1, 2]


def test_a_small_difference_is_decided_by_the_margin_and_by_nothing_else(begin):
    study, _ = until_decided(begin(["near", "far"], seeds=3, margin=0.05), Losses())
    assert [sequential_result.decision.verdict for sequential_result in sequential_results(study)] == [
        "equivalent",
        "different",
    ]
    assert 3 <= len(study.config.seeds) < 20
    losses = study.losses()
    base = losses.pop("base")
    assert tuple(each.decision for each in sequential_results(study)) == decide(
        base, losses, seeds=study.config.seeds, margin=0.05
    )
    shorter = study.config.seeds[:-1]
    before = decide(base, losses, seeds=shorter, margin=0.05)
    assert len(shorter) < 3 or not all(decision.decided for decision in before)  # not one seed more than needed


def test_the_budget_ends_what_nothing_decides(begin):
    study, signal = until_decided(begin(["near", "far"], seeds=2, budget_seeds=5), Losses())
    assert (signal, len(study.config.seeds)) == (None, 5)
    near, far = sequential_results(study)
    assert (near.decided, near.decision.available, far.decided) == (False, 5, True)


def test_a_variant_that_diverges_at_every_seed_is_settled_after_three_and_says_how_many(begin):
    study, _ = until_decided(begin(["wild"], seeds=1, budget_seeds=20), Losses())
    assert study.config.seeds == (0, 1, 2)
    summary = summarise(study)
    said = (
        "wild diverged at 3 of 3 seeds, and the baseline at none of them (divergence rate 29 % to 100 %, 95 % "
        "Clopper-Pearson interval)."
    )
    assert summary.sentence(summary.comparison.row("wild")).startswith(said)
    (decision,) = json.loads(json.dumps(summary.to_dict(), allow_nan=False))["decisions"]
    assert (decision["verdict"], decision["settled"]) == ("diverges", True)
    assert decision["divergence"] == {
        "seeds": 3, "base": 0, "variant": 3,
        "base_rate": [0.0, pytest.approx(1 - 0.025 ** (1 / 3))], "variant_rate": [pytest.approx(0.025 ** (1 / 3)), 1.0],
    }  # fmt: skip


def test_a_settled_divergence_leaves_the_others_their_seeds_and_takes_no_more(begin):
    losses = Losses()
    study, _ = until_decided(begin(["wild", "near"], seeds=2, budget_seeds=5), losses)
    wild, near = sequential_results(study)
    assert len(study.config.seeds) == 5
    assert (wild.decision.verdict, near.decision.verdict) == ("diverges", "undecided")
    assert "3 of 3 seeds" in wild.sentence()
    assert [made for made in losses.made if made.startswith("wild")] == [f"wild.seed-{seed}" for seed in range(3)]
    assert study.config.settled == {"wild": 3}
    assert study.config.n_runs == len(study.plan) == len(losses.made) == 13
    assert not study.pending()
    assert "Seeds 3, 4 were run in one of the two arms only" in (summary := summarise(study)).sentence(
        summary.comparison.row("wild")
    )


def test_a_baseline_that_diverges_at_every_seed_ends_the_study(begin, monkeypatch):
    monkeypatch.setitem(LOSSES, "base", lambda _seed: None)
    study, _ = until_decided(begin(["far", "wild"], seeds=1), Losses())
    assert study.config.seeds == (0, 1, 2)
    assert {each.decision.verdict for each in sequential_results(study)} == {"baseline diverges"}
    said = [each.sentence() for each in sequential_results(study)]
    assert said[0].startswith("far cannot be compared: the baseline diverged at 3 of 3 seeds (divergence rate 29 %")
    assert said[0].endswith("and far at none of them.")
    assert said[1].endswith("and wild at 3 of them.")


def test_a_variant_that_diverges_now_and_then_is_decided_by_its_pairs_and_the_count_is_said(begin, monkeypatch):
    monkeypatch.setitem(LOSSES, "wild", lambda seed: LOSSES["far"](seed) if seed in (2, 5) else None)
    study, _ = until_decided(begin(["wild", "near"], seeds=2, budget_seeds=6), Losses())
    assert len(study.config.seeds) == 6
    summary = summarise(study)
    wild = summary.sequential_result("wild")
    assert (wild.decided, wild.decision.available) == (False, 2)
    assert "wild diverged in 4 of 6 runs" in summary.sentence(summary.comparison.row("wild"))
    assert (wild.decision.divergence.variant, wild.decision.divergence.seeds) == (4, 6)


class InMemory:
    """A study whose runs end as a table of losses says: by seed and arm, None for diverged."""

    def __init__(self, table, seeds, budget, margin) -> None:
        self.table, self.trained = table, ()
        rule = SimpleNamespace(budget_seeds=budget, margin=margin)
        arms = tuple(table[0])
        self.config = SimpleNamespace(until_decided=rule, seeds=seeds, arms=arms, variants=arms[1:], tuning=None)
        self.settled = {}

    def losses(self):
        trained = {arm: self.trained[: self.settled.get(arm, len(self.trained))] for arm in self.config.arms}
        return {arm: {seed: self.table[seed][arm] for seed in seeds} for arm, seeds in trained.items()}

    def outcomes(self):
        return [SimpleNamespace(status="finished")]

    def extended(self, seeds, settled):
        self.settled = dict.fromkeys(settled, len(self.config.seeds)) | self.settled
        self.config.seeds += tuple(seeds)
        return self

    def train(self, _study) -> None:
        self.trained = self.config.seeds


ending = st.one_of(st.none(), st.floats(1, 3))


@settings(max_examples=200, deadline=None)
@given(
    table=st.lists(st.fixed_dictionaries({"base": ending, "one": ending, "other": ending}), min_size=12, max_size=12),
    diverging=st.sets(st.sampled_from(["base", "one", "other"])),
    begun=st.integers(1, 4),
    budget=st.integers(4, 12),
    margin=st.one_of(st.none(), st.floats(0.01, 3)),
)
def test_the_rule_ends_and_never_leaves_a_pair_undecided_while_seeds_are_left(table, diverging, begun, budget, margin):
    table = [row | dict.fromkeys(diverging) for row in table]
    study, _ = until_decided(made := InMemory(table, tuple(range(begun)), budget, margin), made.train)
    used = study.config.seeds
    assert used == tuple(range(len(used)))
    assert begun <= len(used) <= budget
    for result in sequential_results(study):
        variant = result.decision.variant
        rows = [(table[seed]["base"], table[seed][variant]) for seed in used[: study.settled.get(variant, len(used))]]
        pairs = sum(None not in row for row in rows)
        verdict = result.decision.verdict
        assert result.decision.available == pairs
        assert result.decided or len(used) == budget
        if pairs:
            assert verdict in ("different", "equivalent", "undecided")
        if verdict == "diverges":
            assert {loss for _, loss in rows} == {None}
            assert sum(base is not None for base, _ in rows) >= 3
        if verdict == "baseline diverges":
            assert {base for base, _ in rows} == {None}
            assert len(rows) >= 3
    if "base" in diverging:
        assert len(used) == max(begun, 3)


def test_a_variant_that_is_the_base_again_needs_no_more_seeds(begin):
    study, _ = until_decided(begin(["same", "far"], seeds=1), Losses())
    assert len(study.config.seeds) == 3
    same = sequential_results(study)[0]
    assert same.identical
    assert same.decided
    assert (same.decision.available, same.decision.mean) == (3, 0.0)


def test_no_seed_is_added_after_a_run_that_failed(begin):
    study, _ = until_decided(begin(["far"], seeds=2), Losses(fail_at="far.seed-1"))
    assert study.config.seeds == (0, 1)


@pytest.mark.parametrize("stop_after", range(9))
def test_stopped_anywhere_it_goes_on_to_the_same_decision(begin, stop_after):
    options = {"seeds": [5, 1], "margin": 0.05, "budget_seeds": 6}
    whole, _ = until_decided(begin(["far", "near"], **options), Losses())
    first, second = Losses(stop_after=stop_after), Losses()
    study, signal = until_decided(begin(["far", "near"], **options), first)
    assert signal == "SIGTERM"
    study, signal = until_decided(type(study).open(study.path), second)
    assert signal is None
    assert study.config.seeds == whole.config.seeds
    assert study.config.seeds[:4] == (5, 1, 0, 2)[: len(study.config.seeds)]
    assert sorted(first.made + second.made) == sorted(planned.run_key for planned in study.plan)
    assert summarise(study).to_dict()["decisions"] == summarise(whole).to_dict()["decisions"]


def test_results_hold_the_decisions_and_no_fixed_p(begin):
    study, _ = until_decided(begin(["far"], seeds=3), Losses())
    results = summarise(study).to_dict()
    json.dumps(results, allow_nan=False)
    (decision,) = results["decisions"]
    assert decision["verdict"] == "different"
    assert decision["interval"][0] < 0.5 < decision["interval"][1]
    (row,) = results["comparison"]["rows"]
    assert {row[name] for name in ("p", "p_holm", "interval", "t")} == {None}
    assert results["note"] == NOT_FIXED


def test_a_study_of_fixed_seeds_has_no_decisions(create, design):
    study = create(design({"far": CHANGES["far"]}, seeds=3))
    Losses()(study)
    assert sequential_results(study) == ()
    results = summarise(study).to_dict()
    assert "decisions" not in results
    assert results["comparison"]["rows"][0]["p"] is not None


def test_a_study_file_says_it_too(tmp_path, text):
    path = tmp_path / "mine.toml"
    rule = "until_decided = true\nbudget_seeds = 7\nmargin = 0.25"
    path.write_text(f"preset = 'gpt-nano'\ndata = '{text}'\nvary = ['model.residual=none']\n{rule}\n")
    config = read_study(path)
    assert config.until_decided.to_dict() == {"budget_seeds": 7, "margin": 0.25}
    path.write_text(path.read_text().replace("0.25", "'a little'"))
    with pytest.raises(ConfigError, match="margin is 'a little'; expected"):
        read_study(path)


def test_the_next_seed_is_the_smallest_that_is_not_there(design):
    assert next_seed(design(["model.n_layers=1"], seeds=[0, 1, 3])) == 2
    assert next_seed(design(["model.n_layers=1"], seeds=[7])) == 0


WRONG = {
    "a margin of nothing": ({"until_decided": True, "margin": 0.0}, "margin is 0"),
    "a margin below": ({"until_decided": True, "margin": -1.0}, "margin is -1"),
    "a margin without end": ({"until_decided": True, "margin": float("inf")}, "margin is inf"),
    "no margin": ({"until_decided": True, "margin": float("nan")}, "margin is nan"),
    "no budget": ({"until_decided": True, "budget_seeds": 2}, "budget_seeds is 2; expected 3 to 200"),
    "a budget without end": ({"until_decided": True, "budget_seeds": 10**9}, "expected 3 to 200"),
    "more seeds than the budget": ({"until_decided": True, "budget_seeds": 3, "seeds": 4}, "4 seeds .* 3"),
    "a margin for nothing": ({"margin": 0.1}, "margin only matter.* until_decided"),
    "both for nothing": ({"margin": 0.1, "budget_seeds": 5}, "budget_seeds and margin only matter"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_rule_is_refused(design, case):
    options, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        design(["model.n_layers=1"], **options)
