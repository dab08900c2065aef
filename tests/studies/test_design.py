"""Designs: from what a user writes to the list of runs."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.studies.checking import check, worker_count
from glassformer.studies.design import BASE, StudyConfig, plan, run_key_of, safe_name, study
from glassformer.studies.study_file import read_study
from glassformer.tasks.opening import build_model
from glassformer.tasks.registry import prepare_samples
from glassformer.training.recipes import configuration


def test_one_change_at_a_time_is_a_variant_each(design):
    config = design(["model.residual=none", "model.norm.kind=rmsnorm|none"], seeds=2)
    assert config.variants == {
        "residual=none": {"model.residual": "none"},
        "norm.kind=rmsnorm": {"model.norm.kind": "rmsnorm"},
        "norm.kind=none": {"model.norm.kind": "none"},
    }
    assert config.arm("norm.kind=rmsnorm").model.norm.kind == "rmsnorm"
    assert config.arm(BASE) == config.base


def test_one_variant_may_change_several_settings(design):
    config = design(["model.norm.kind=rmsnorm,model.norm.final=no"])
    arm = config.arm("norm.kind=rmsnorm, norm.final=no")
    assert (arm.model.norm.kind, arm.model.norm.final) == ("rmsnorm", False)


def test_a_grid_is_every_combination_but_the_bases_own(design):
    config = design(["model.n_layers=1|2|4", "model.residual=both|none"], grid=True)
    assert list(config.variants) == [
        "n_layers=1, residual=both",
        "n_layers=1, residual=none",
        "n_layers=2, residual=none",
        "n_layers=4, residual=both",
        "n_layers=4, residual=none",
    ]


def test_a_plan_has_every_arm_with_every_seed_once_and_whole_pairs_first(design):
    config = design(["model.residual=none"], seeds=[3, 5])
    planned = plan(config)
    assert [(each.variant, each.seed) for each in planned] == [
        (BASE, 3), ("residual=none", 3), (BASE, 5), ("residual=none", 5),
    ]  # fmt: skip
    assert [each.config.training.seed for each in planned] == [3, 3, 5, 5]
    assert len({each.run_key for each in planned}) == 4


def test_the_data_of_a_whole_run_are_changed_by_the_setting_that_names_its_kind():
    problems = configuration("nanogpt-shakespeare-cpu", data="copy", steps=4, seed=None, assignments=[])
    assert study(problems, vary=["model.residual=none"], data="reverse").base.data.kind == "reverse"
    with pytest.raises(ConfigError, match=r"kind is 'nonsense'"):
        study(problems, vary=["model.residual=none"], data="nonsense")
    text = configuration("nanogpt-shakespeare-cpu", data="book.txt", steps=4, seed=None, assignments=[])
    assert study(text, vary=["model.residual=none"], data="other.txt").base.data.source == "other.txt"


def test_a_study_is_kept_as_json_and_read_back(design):
    config = design({"no skip": {"model.residual": "none"}}, seeds=2, matched="flops", name="mine")
    assert StudyConfig.build(config.to_dict()) == config


def test_the_same_seed_gives_the_same_batches_and_the_same_weights_wherever_shapes_agree(design):
    variants = {
        "wider": {"model.feedforward.d_ff": 96},
        "bare": {"model.residual": "none", "model.norm.kind": "none"},
        "shallow": {"model.n_layers": 1},
    }
    config = design(variants, seeds=[7], set={"model.initialisation.scale_residual": False})
    runs = {each.variant: each.config for each in plan(config)}
    batches = {name: prepare_samples(run).batch(3).inputs for name, run in runs.items()}
    weights = {name: build_model(run).named_weights() for name, run in runs.items()}
    for name in variants:
        assert torch.equal(batches[name], batches[BASE])
        pairs = {key: (weights[name][key], weights[BASE][key]) for key in weights[name].keys() & weights[BASE]}
        agreeing = {key: pair for key, pair in pairs.items() if pair[0].shape == pair[1].shape}
        assert len(agreeing) >= 8
        assert [key for key, pair in agreeing.items() if not torch.equal(*pair)] == []
    other = build_model(runs[BASE].override({"training.seed": 8})).named_weights()
    assert not torch.equal(other["embedding.tokens.weight"], weights[BASE]["embedding.tokens.weight"])


def test_weights_that_are_scaled_by_the_number_of_skips_are_told(design):
    config = design(["model.residual=none", "model.norm.kind=none"], seeds=[7])
    runs = {each.variant: build_model(each.config).named_weights() for each in plan(config)}
    found, base = (runs[name]["blocks.1.feedforward.w_2.weight"] for name in ("residual=none", BASE))
    torch.testing.assert_close(found, base * 2)  # four skips: the same draws at √4 times the scale
    (note,) = check(config).notes
    assert re.match(r"residual=none: .*\b0 skip.*\b4\b", note)


def test_every_complaint_about_every_variant_comes_at_once(design):
    vary = [
        "model.norm=none",
        "model.residul=none",
        "model.attention.n_heads=3",
        "model.residual=both",
        "model.residual=none",
        "model.residual=none,model.n_layers=2",
        "training.seed=4",
        "model.vocab_size=9",
    ]
    with pytest.raises(ConfigError) as caught:
        design(vary)
    told = str(caught.value)
    for part in (
        "'norm=none': 'model.norm' is a group of settings, not one value; set one of them, as in model.norm.kind",
        "'residul=none': 'model.residul' is not a setting. Did you mean 'residual'",
        "'attention.n_heads=3': d_model 16 does not divide into 3 heads",
        "'residual=both' is the same run as 'baseline'",
        "'residual=none, n_layers=2' is the same run as 'residual=none'",
        "'seed=4': training.seed cannot be varied",
        "'vocab_size=9': model.vocab_size cannot be varied",
    ):
        assert part in told
    assert len(caught.value.complaints) == 7


MANY = "|".join(map(str, range(1, 200)))
WRONG = {
    "nothing to vary": ([], {}, "nothing to compare"),
    "no seed": (["model.residual=none"], {"seeds": 0}, "seeds is 0"),
    "a milliard of seeds": (["model.residual=none"], {"seeds": 10**9}, "from 1 to 10,000"),
    "a seed twice": (["model.residual=none"], {"seeds": [1, 2, 1]}, "seeds has 1 twice"),
    "too many runs": (["model.residual=none"], {"seeds": 9_999}, "19,998 runs"),
    "a variant twice": (["model.residual=none"] * 2, {}, "given twice"),
    "no value": (["model.residual"], {}, "--vary takes NAME=VALUE"),
    "a setting twice in one": (["model.residual=none,model.residual=attention"], {}, "a setting twice"),
    "a list among several": (["model.n_layers=1|2,model.residual=none"], {}, "add --grid"),
    "a setting twice in the grid": (["model.n_layers=1", "model.n_layers=4"], {"grid": True}, "n_layers twice"),
    "a vast grid": ([f"training.{of}={MANY}" for of in ("batch_size", "max_steps")], {"grid": True}, "39,601 combin"),
    "names for a grid": ({"a": {"model.residual": "none"}}, {"grid": True}, "names already"),
    "a variant called base": ({"base": {"model.residual": "none"}}, {}, "share the name"),
    "a variant called baseline": ({"baseline": {"model.residual": "none"}}, {}, "can be called 'baseline'"),
    "names of one folder": ({"a/b": {"model.residual": "none"}, "a b": {"model.n_layers": 1}}, {}, "share the name"),
    "matched in nothing known": (["model.residual=none"], {"matched": "flop"}, "matched is 'flop'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_design_says_what_is_wrong(design, case):
    vary, options, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        design(vary, **options)


@given(st.text(min_size=1))
def test_every_variant_has_a_name_that_can_name_a_file(variant):
    run_key = safe_name(variant)
    assert run_key
    assert len(run_key) < 80
    assert not set(run_key) & set('/\\:*?"<>|\n\t ')
    assert not run_key.startswith((".", "-"))
    assert safe_name(variant) == run_key


def test_long_names_that_begin_alike_stay_apart():
    assert safe_name("x" * 100 + "a") != safe_name("x" * 100 + "b")


def test_a_name_of_wide_characters_leaves_room_for_the_seed_and_the_moment(tmp_path):
    for letter in "aéß語😀":
        run_key = run_key_of(letter * 60, 2**63)
        (tmp_path / f"{run_key}-20260101-000000-02").mkdir()  # 255 bytes are the most that Linux takes
        assert run_key != run_key_of(letter * 61, 2**63)


TOML = """
    preset = "tiny-transformer"
    data = "{text}"
    steps = 20
    seeds = [1, 4]
    matched = "parameters"
    set."training.batch_size" = 8
    [variants."no norm".model.norm]
    kind = "none"
    [variants.bare]
    "model.residual" = "none"
    "model.norm.kind" = "none"
"""
PYTHON = """
    from glassformer.studies.design import study as make

    study = make(
        "tiny-transformer", data="{text}", steps=20, seeds=[1, 4], matched="parameters", name="mine",
        set={{"training.batch_size": 8}},
        vary={{
            "no norm": {{"model.norm.kind": "none"}},
            "bare": {{"model.residual": "none", "model.norm.kind": "none"}},
        }},
    )
"""


@pytest.fixture
def write(tmp_path, text):
    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(content.format(text=text) if "{text}" in content else content))
        return path

    return write


def test_a_toml_file_and_a_python_file_say_the_same_study(write):
    from_toml, from_python = read_study(write("mine.toml", TOML)), read_study(write("mine.py", PYTHON))
    assert from_toml == from_python
    assert from_toml.name == "mine"
    assert from_toml.base.training.batch_size == 8
    assert from_toml.arm("no norm").model.norm.kind == "none"
    function = PYTHON.replace("study = make(", "def study(): return make(")
    assert read_study(write("mine.py", function)) == from_python


FILES = {
    "no file": ("gone.toml", None, "there is no file"),
    "not TOML": ("a.toml", "preset = ", "cannot be read"),
    "no preset": ("a.toml", "seeds = 3", "preset is missing"),
    "a key of nobody": ("a.toml", 'preset = "gpt2"\nsede = 3', "'sede' is not a setting. Did you mean"),
    "seeds in words": ("a.toml", 'preset = "gpt2"\nseeds = "many"', "seeds is 'many'; expected .* or"),
    "true steps": ("a.toml", 'preset = "gpt2"\nsteps = true', "steps is True; expected"),
    "a variant of nothing": ("a.toml", 'preset = "gpt2"\n[variants]\na = 3', "variants.a is 3; expected"),
    "vary and variants": ("a.toml", 'preset = "gpt2"\nvary = []\n[variants]', "vary and variants"),
    "a number to vary": ("a.toml", 'preset = "gpt2"\nvary = [3]', "vary has 3; expected a text such as"),
    "a seed in words": ("a.toml", 'preset = "gpt2"\nseeds = [0, "a"]', "seeds is .*'a'.*; expected"),
    "a strange preset": ("a.toml", 'preset = "gpt-nanoo"', "Did you mean 'gpt-nano'"),
    "Python that fails": ("a.py", "1 / 0", "ZeroDivisionError"),
    "Python without a study": ("a.py", "stdy = 3", "makes no study"),
    "a study that is none": ("a.py", "study = 3", "makes no study"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_says_what_is_wrong(write, tmp_path, case):
    name, content, message = FILES[case]
    path = tmp_path / name if content is None else write(name, content)
    with pytest.raises(ConfigError, match=message):
        read_study(path)


def test_what_a_run_would_refuse_is_told_before_anything_runs_for_all_variants(design):
    config = design(
        {
            "vast": {"model.d_model": 10**9},
            "no text": {"data.source": "no-such-text.txt"},
        }
    )
    with pytest.raises(ConfigError, match="variant 'no text': .*no-such-text"):
        check(config)
    config = design({"vast": {"model.d_model": 10**9}, "vaster": {"model.n_layers": 2_000, "model.d_model": 10**6}})
    with pytest.raises(
        ConfigError, match="(?s)variant 'vast': .*no matrix can be so large.*variant 'vaster': This training needs"
    ):
        check(config)


def test_checking_sets_the_vocabulary_and_leaves_the_number_of_threads(design, text):
    before = torch.get_num_threads()
    checked = check(design(["model.residual=none"]))
    assert checked.config.base.model.vocab_size == len(set(text.read_text()))
    assert checked.threads == 1
    assert len(set(checked.data.values())) == 1
    assert torch.get_num_threads() == before


def test_there_are_no_more_workers_than_runs_cores_or_memory_allow(monkeypatch):
    monkeypatch.setattr("glassformer.machine.usable_cores", lambda: 8)
    assert worker_count(None, n_runs=3, device="cpu", run_bytes=10**6) == 3
    assert worker_count(None, n_runs=30, device="cpu", run_bytes=10**6) <= 8
    assert worker_count(None, n_runs=30, device="cpu", run_bytes=10**15) == 1
    with pytest.raises(ConfigError, match="4 workers need about .* of memory .* at most 1 fit"):
        worker_count(4, n_runs=30, device="cpu", run_bytes=10**15)
