"""What a study is tuned over: from what a user writes to its selection, its arms and its cost; and wrong inputs."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from glassformer.config import flat
from glassformer.errors import ConfigError
from glassformer.studies.adding_seeds import next_seed
from glassformer.studies.checking import check
from glassformer.studies.cost import measured_times, study_cost
from glassformer.studies.design import BASE, StudyConfig, plan
from glassformer.studies.step_times import StepTime
from glassformer.studies.study_file import read_study
from glassformer.studies.tuning import LEARNING_RATE, UNTUNABLE, Tuning
from glassformer.studies.tuning_options import grid_around

BARE = {"no skip": {"model.residual": "none"}}
DECAY = "training.optimizer.weight_decay"
RATES = [1e-3, 3e-3, 1e-2]


def test_a_tuned_study_has_selection_seeds_of_its_own_and_no_plan_until_values_are_chosen(design):
    config = design(BARE, seeds=3, learning_rates=RATES)
    assert config.tuning == Tuning(grid={LEARNING_RATE: (1e-3, 3e-3, 1e-2)})
    assert config.tuning.seeds == (1000, 1001, 1002)
    assert plan(config) == []
    assert (config.n_selection_runs, config.n_runs) == (18, 9)
    assert StudyConfig.build(config.to_dict()) == config


def test_default_selection_seeds_are_never_the_study_s(design):
    config = design(BARE, seeds=[1000, 1002], learning_rates=RATES, selection_seeds=3)
    assert config.tuning.seeds == (1001, 1003, 1004)
    assert design(BARE, learning_rates=RATES, selection_seeds=[7, 9]).tuning.seeds == (7, 9)
    assert design(BARE, learning_rates=RATES, selection_seeds="7,9").tuning.seeds == (7, 9)
    assert design(BARE, learning_rates=RATES, selection_seeds="2").tuning.seeds == (1000, 1001)


def test_added_seeds_are_never_selection_seeds(design):
    config = design(BARE, seeds=[0, 1], learning_rates=RATES, selection_seeds=[2, 3], until_decided=True)
    assert next_seed(config) == 4


def test_the_selection_is_an_ordinary_study_of_every_arm_at_every_value(design):
    config = design(BARE, learning_rates=RATES, tune={DECAY: [0.0, 0.1]}, selection_seeds=2)
    selection = config.selection_study()
    assert (selection.tuning, selection.seeds) == (None, (1000, 1001))
    settings = {
        (arm.model.residual, arm.training.optimizer.learning_rate, arm.training.optimizer.weight_decay)
        for arm in map(selection.arm, selection.arms)
    }
    assert settings == {(skips, rate, decay) for skips in ("both", "none") for rate in RATES for decay in (0.0, 0.1)}
    assert len(selection.arms) == 12
    assert len(plan(selection)) == config.n_selection_runs == 24
    assert "no skip, optimizer.learning_rate=0.003, optimizer.weight_decay=0.1" in selection.arms


@pytest.mark.parametrize(
    "options",
    [
        {"tune": {DECAY: [0.1, 1]}},
        {"tune": f"{DECAY}=0.1|1"},
        {"tune": [f"{DECAY}=0.1|1.0"]},
        {"tune": [{DECAY: ("0.1", 1.0)}]},
    ],
)
def test_values_are_read_however_they_are_given(design, options):
    assert design(BARE, **options).tuning.grid == {DECAY: (0.1, 1.0)}


def test_learning_rates_may_be_a_text(design):
    assert design(BARE, learning_rates="1e-3,3e-3").tuning.grid == {LEARNING_RATE: (1e-3, 3e-3)}


def test_integers_stay_integers(design):
    (values,) = design(BARE, tune={"training.schedule.warmup_steps": ["1", 2, "4"]}).tuning.grid.values()
    assert [(value, type(value)) for value in values] == [(1, int), (2, int), (4, int)]
    (values,) = design(BARE, tune={DECAY: ["0", 2]}).tuning.grid.values()
    assert [(value, type(value)) for value in values] == [(0.0, float), (2.0, float)]


@pytest.mark.parametrize("tune", [True, LEARNING_RATE, [LEARNING_RATE], {LEARNING_RATE: True}])
def test_without_values_the_grid_lies_around_the_baseline_s_value(design, tune):
    config = design(BARE, tune=tune, set={LEARNING_RATE: 1e-3})
    assert config.tuning.grid == {LEARNING_RATE: (1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2)}


def test_a_grid_around_an_integer_or_near_a_bound_has_the_values_that_fit(base):
    assert grid_around(base.override({"training.batch_size": 4}), "training.batch_size") == (1, 4, 13, 40)
    assert grid_around(base.override({"model.dropout": 0.2}), "model.dropout") == (0.02, 0.063, 0.2, 0.63)


def test_chosen_values_make_the_arms_and_the_controls(design):
    variants = BARE | {"shallow": {"model.n_layers": 1}}
    config = design(variants, learning_rates=RATES)
    chosen = {BASE: {LEARNING_RATE: 3e-3}, "no skip": {LEARNING_RATE: 1e-3}, "shallow": {LEARNING_RATE: 3e-3}}
    made = StudyConfig.build(config.to_dict() | {"chosen": chosen})
    control = "no skip at the baseline's learning_rate"
    assert made.arms == (BASE, "no skip", "shallow", control)
    assert made.controls == {control: "no skip"}
    rates = {name: made.arm(name).training.optimizer.learning_rate for name in made.arms}
    assert rates == {BASE: 3e-3, "no skip": 1e-3, "shallow": 3e-3, control: 3e-3}
    assert made.arm(control).model.residual == "none"
    assert made.arm(control) == made.at_the_baselines("no skip") != made.arm("no skip")
    assert config.at_the_baselines("no skip") == config.arm("no skip")
    assert made.n_runs == 4 * 3 == len(plan(made))
    assert made.unchosen == config
    several = design(variants, learning_rates=RATES, tune={DECAY: [0.0, 0.1]})
    assert "no skip at the baseline's settings" in several._possible_controls()


def test_chosen_values_that_no_selection_gives_are_rejected(design):
    config = design(BARE, learning_rates=RATES)
    for chosen in ({BASE: {LEARNING_RATE: 1e-3}}, {BASE: {}, "no skip": {}}):
        with pytest.raises(ConfigError, match="chosen has not one value of each tuned setting for each arm"):
            StudyConfig.build(config.to_dict() | {"chosen": chosen})
    with pytest.raises(ConfigError, match="chosen has not one value"):
        StudyConfig.build(design(BARE).to_dict() | {"chosen": {BASE: {}, "no skip": {DECAY: 1.0}}})


def test_selection_steps_are_a_share_of_each_arm_s_steps(design):
    config = design({"longer": {"training.max_steps": 16}}, learning_rates=RATES, selection_steps=4)
    selection = config.selection_study()
    assert {selection.arm(name).training.max_steps for name in selection.arms if name.startswith("base")} == {4}
    assert {selection.arm(name).training.max_steps for name in selection.arms if name.startswith("longer")} == {8}


def test_arms_that_few_selection_steps_make_alike_are_reported_before_there_is_a_folder(design):
    config = design({"longer": {"training.max_steps": 9}}, learning_rates=RATES, selection_steps=1)
    with pytest.raises(ConfigError, match=r"selection: variant 'longer, .*' is the same run as 'baseline"):
        check(config)


def test_the_batch_can_be_tuned_over_runs_of_a_number_of_tokens(design):
    tokens = {"training.max_steps": None, "training.max_tokens": 999}
    assert design(BARE, tune="training.batch_size=2|4", set=tokens).tuning.grid == {"training.batch_size": (2, 4)}


@pytest.mark.parametrize("matched", ["parameters", "flops", "seconds"])
def test_tuning_combines_with_matching(design, matched, monkeypatch):
    def times(configs, _samples, *_):
        return {name: StepTime(0.1, 1.0 if name == BASE else 0.5, 0.5, 0.5, 1) for name in configs}

    monkeypatch.setattr("glassformer.studies.matching.match.__defaults__", (times,))
    config = design({"shallow": {"model.n_layers": 1}}, learning_rates=RATES, matched=matched, selection_steps=4)
    found = check(config).config
    assert found.adjusted.keys() == {"shallow"}
    selection = found.selection_study()
    shallow = [selection.arm(name) for name in selection.arms if name.startswith("shallow")]
    ratio = found.arm("shallow").training.max_steps / found.base.training.max_steps
    assert {arm.training.max_steps for arm in shallow} == {round(4 * ratio)}
    assert all(arm.model == found.arm("shallow").model for arm in shallow)


def test_the_cost_counts_both_phases_and_the_time_of_every_arm(design):
    config = design(BARE, learning_rates=RATES, seeds=5, selection_seeds=2, selection_steps=4)
    cost = study_cost(config, {BASE: 1.0, "no skip": 0.5})
    assert (cost.selection_runs, cost.most_selection_runs, cost.most_comparison_runs) == (12, 24, 15)
    assert cost.seconds == 3 * 2 * 4 * 1.5 + 5 * 8 * (1.0 + 2 * 0.5)
    assert cost.most_seconds == 6 * 2 * 4 * 1.5 + 5 * 8 * 2.0
    said = "\n".join(cost.lines(workers=2))
    for part in (
        "2 arms × 3 values × 2 selection seeds = 12 runs of 4 steps; at most 24",
        "about 58.0 s",
        "1 min 16 s",
    ):
        assert part in said
    assert "at most 1 control × 5 fresh seeds = at most 15 runs of 8 steps" in said
    deciding = design(BARE, learning_rates=RATES, until_decided=True, budget_seeds=9, controls=False)
    assert study_cost(deciding).most_comparison_runs == 18
    assert "control" not in "\n".join(study_cost(deciding).lines(1))
    assert study_cost(deciding).seconds is None
    untimed = design(BARE, learning_rates=RATES, set={"training.max_steps": None, "training.max_tokens": 99})
    assert study_cost(untimed, {BASE: 1.0, "no skip": 1.0}).seconds is None


def test_the_time_of_an_update_is_measured_for_every_arm(design):
    checked = check(design(BARE, learning_rates=RATES))
    times = measured_times(checked)
    assert times.keys() == {BASE, "no skip"}
    assert all(seconds > 0 for seconds in times.values())
    assert "samples" not in repr(replace(checked))


TOML = """
    preset = "tiny-transformer"
    data = "{text}"
    steps = 20
    learning_rates = [1e-3, 3e-3]
    selection_seeds = 2
    selection_steps = 10
    controls = false
    vary = ["model.norm.kind=none"]
    [tune]
    training.optimizer.weight_decay = [0.0, 0.1]
"""


def test_a_study_file_says_it_too(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(TOML.format(text=text))
    tuning = read_study(path).tuning
    assert tuning.grid == {LEARNING_RATE: (1e-3, 3e-3), DECAY: (0.0, 0.1)}
    assert (tuning.seeds, tuning.steps, tuning.controls) == ((1000, 1001), 10, False)
    for line, grid in (("tune = true", LEARNING_RATE), (f"tune = '{DECAY}'", DECAY), (f"tune = ['{DECAY}']", DECAY)):
        alone = TOML.replace("learning_rates = [1e-3, 3e-3]", line).partition("[tune]")[0]
        path.write_text(alone.format(text=text))
        assert list(read_study(path).tuning.grid) == [grid]


# ------------------------------------------------------------------------------------------------------ wrong inputs

R = {"learning_rates": RATES}
WRONG = {
    "one value": ({"learning_rates": [1e-3]}, "has 0.001 to choose from; expected at least 2"),
    "no value": ({"learning_rates": []}, "has nothing to choose from; expected at least 2"),
    "a value twice": ({"learning_rates": [1e-3, 1e-3, 1e-2]}, "has 0.001 twice"),
    "a value twice in two notations": ({"learning_rates": "1e-3,0.001"}, "has 0.001 twice"),
    "values that fall": ({"learning_rates": [1e-2, 1e-3]}, "not in ascending order; write 0.001 and 0.01"),
    "a value in words": ({"learning_rates": [1e-3, "much"]}, "tuned over 'much': 'much' is not a number"),
    "a decimal comma": ({"tune": f"{DECAY}=0,1|1"}, "0,1' has a decimal comma. Write 0.1"),
    "a value that is none": ({"tune": {DECAY: [None, 1.0]}}, "tuned over None: expected a number"),
    "a true value": ({"tune": {DECAY: [0.1, True]}}, "tuned over True: expected a number"),
    "not a number": ({"tune": {DECAY: [0.1, float("nan")]}}, "tuned over nan: expected a finite number"),
    "an infinite value": ({"tune": f"{DECAY}=0.1|inf"}, "expected a finite number"),
    "a table of values": ({"tune": {DECAY: {"a": 1}}}, "expected a list of numbers"),
    "a tuning that is a number": ({"tune": 3}, "tune is 3; expected a setting"),
    "no setting": ({"tune": ""}, "'' is not a setting"),
    "an unknown setting": ({"tune": "training.optimizer.learning_rat"}, "Did you mean 'learning_rate'"),
    "an unknown setting with values": ({"tune": "training.optimiser.lr=1|2"}, "Did you mean 'optimizer'"),
    "a group": ({"tune": "model.norm=1|2"}, "'model.norm' is a group of settings"),
    "a setting of words": ({"tune": "model.norm.kind=1|2"}, "model.norm.kind is"),
    "a setting of words without values": ({"tune": "model.norm.kind"}, "grid is made around a positive number"),
    "zero without values": ({"tune": "model.dropout", "set": {"model.dropout": 0.0}}, "dropout is 0.0 in the baseline"),
    "values that it cannot have": ({"tune": "model.dropout=0.5|1.5"}, "model.dropout is 1.5; expected"),
    "values that a variant cannot have": (
        {"tune": "model.attention.n_heads=2|8", "vary": {"narrow": {"model.d_model": 4}}},
        "variant 'narrow': d_model 4 does not divide into 8 heads",
    ),
    "a setting twice": (R | {"tune": f"{LEARNING_RATE}=1|2"}, "learning_rate is tuned twice"),
    "the seed": ({"tune": "training.seed=1|2"}, "training.seed cannot be tuned: the study's seeds"),
    "the vocabulary": ({"tune": "model.vocab_size=10|20"}, "vocab_size cannot be tuned"),
    "the data": ({"tune": "data.validation_fraction=0.1|0.2"}, "tuned: it changes what the loss is measured on"),
    "the budget": ({"tune": "training.max_steps=4|8"}, "cannot be tuned: it sets how long a run trains"),
    "the batch at a number of steps": ({"tune": "training.batch_size=2|4"}, "a larger batch is more training"),
    "what is recorded": ({"tune": "training.telemetry.log_every=4|8"}, "cannot be tuned: it changes what is recorded"),
    "a setting without effect": (
        {"tune": "model.positions.theta=10|20"},
        "positions.theta is tuned without effect: model.positions.theta=20.0 has no effect",
    ),
    "what a variant varies": (
        {"tune": f"{DECAY}=0.1|1", "vary": {"decay": {DECAY: 0.3}}},
        "weight_decay is tuned, and the variant 'decay' sets it",
    ),
    "the study's seeds": (R | {"selection_seeds": [1, 7], "seeds": [0, 1]}, "seed 1 is both chosen on and compared on"),
    "all of the study's seeds": (R | {"selection_seeds": [0, 1], "seeds": 2}, "seeds 0 and 1 are both chosen"),
    "a selection seed twice": (R | {"selection_seeds": [7, 7]}, "the selection seeds have 7 twice"),
    "no selection seed": (R | {"selection_seeds": 0}, "selection_seeds is 0; expected a number from 1"),
    "no selection seed listed": (R | {"selection_seeds": []}, "selection_seeds is empty"),
    "selection seeds in words": (R | {"selection_seeds": "many"}, "selection_seeds is 'many'; expected"),
    "selection seeds without end": (R | {"selection_seeds": 10**9}, "expected a number from 1 to 10,000"),
    "a negative selection seed": (R | {"selection_seeds": [-1]}, "selection_seeds has -1; expected"),
    "a selection seed in words": (R | {"selection_seeds": ["a"]}, "selection_seeds has 'a'; expected"),
    "no selection steps": (R | {"selection_steps": 0}, "selection_steps is 0; expected"),
    "selection steps without effect": (R | {"selection_steps": 8}, "8 steps are no shorter than .*8 steps"),
    "longer selection runs": (R | {"selection_steps": 80}, "80 steps are no shorter"),
    "selection steps of runs without steps": (
        R | {"selection_steps": 3, "set": {"training.max_steps": None, "training.max_tokens": 999}},
        "shorten training.max_steps, which is none",
    ),
    "selection seeds for nothing": ({"selection_seeds": 3}, "selection_seeds only matters where arms are tuned"),
    "options for nothing": (
        {"selection_steps": 3, "controls": False},
        "selection_steps and controls only matter where",
    ),
    "too many selection runs": (R | {"selection_seeds": 2000}, "24,000 selection runs may be needed"),
    "parameters unmatched by it": (
        {"tune": "model.feedforward.d_ff=16|32", "matched": "parameters"},
        "would undo the matching in parameters",
    ),
    "FLOPs unmatched by it": ({"tune": "training.batch_size=4|8", "matched": "flops"}, "undo the matching in flops"),
    "a control's name": (
        R | {"vary": BARE | {"no skip at the baseline's learning_rate": {"model.n_layers": 1}}},
        "would share its name with a control",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_tuning_says_what_is_wrong(design, case):
    options, message = WRONG[case]
    options = dict(options)
    with pytest.raises(ConfigError) as caught:
        design(options.pop("vary", BARE), **options)
    assert re.search(message, str(caught.value)), caught.value
    assert len(caught.value.complaints) == (2 if case == "a setting of words" else 1), caught.value


def test_everything_that_is_wrong_with_a_tuning_comes_at_once(design):
    with pytest.raises(ConfigError) as caught:
        design(
            {"no skip": {"model.residul": "none"}, "decay": {DECAY: 1.0}},
            learning_rates=["much", 1e-2, 1e-3],
            tune=["training.optimizer.lr=1|2", f"{DECAY}=0.1|0.1|1", "training.seed=1|2", "model.dropout=0.1"],
            selection_seeds=[0, 9, 9],
            selection_steps=99,
            seeds=[0],
        )
    said = str(caught.value)
    for part in (
        "model.residul",
        "'much' is not a number",
        "not in ascending order; write 0.001 and 0.01",
        "'training.optimizer.lr' is not a setting",
        "has 0.1 twice among its values",
        "'decay' sets it",
        "training.seed cannot be tuned",
        "model.dropout has 0.1 to choose from",
        "the selection seeds have 9 twice",
        "seed 0 is both chosen on and compared on",
        "selection runs of 99 steps",
    ):
        assert part in said, part


@pytest.mark.parametrize("start", UNTUNABLE)
def test_what_cannot_be_tuned_exists(base, start):
    assert any(setting.startswith(start) for setting in flat(base.to_dict()))
