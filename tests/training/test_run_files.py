"""A run described by a file, as ``glassformer train FILE`` reads it."""

from __future__ import annotations

import json

import pytest

from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.errors import ConfigError
from glassformer.training.recipes import configuration, read_run_file

OPTIONS = {"data": None, "steps": None, "seed": None, "assignments": ()}


def test_a_json_file_holds_every_setting_of_a_run(tmp_path):
    config = configuration("modern-small", **OPTIONS | {"steps": 7, "assignments": ["model.n_layers=2"]})
    (tmp_path / "run.json").write_text(config.to_json())
    assert read_run_file(tmp_path / "run.json") == config
    assert configuration(str(tmp_path / "run.json"), **OPTIONS) == config


def test_a_toml_file_is_a_preset_and_what_is_set(tmp_path):
    (tmp_path / "run.toml").write_text(
        'preset = "tiny-transformer"\ndata = "tinyshakespeare"\nsteps = 9\nseed = 4\n'
        '[set]\n"model.n_layers" = 2\ntraining.grad_clip = "none"\ntraining.optimizer.weight_decay = 0.0\n'
    )
    expected = configuration(
        "tiny-transformer",
        data="tinyshakespeare",
        steps=9,
        seed=4,
        assignments=["model.n_layers=2", "training.grad_clip=none", "training.optimizer.weight_decay=0"],
    )
    assert read_run_file(tmp_path / "run.toml") == expected


def test_the_command_line_changes_what_the_file_says(tmp_path):
    (tmp_path / "run.toml").write_text('preset = "modern-small"\nsteps = 9\n')
    config = configuration(
        str(tmp_path / "run.toml"), data="tinyshakespeare", steps=3, seed=5, assignments=["training.batch_size=2"]
    )
    training = config.training
    assert (config.data.source, training.max_steps, training.seed, training.batch_size) == ("tinyshakespeare", 3, 5, 2)


def test_a_task_takes_the_place_of_a_text_and_the_other_way_round(tmp_path):
    (tmp_path / "text.toml").write_text('preset = "modern-small"\ndata = "tinyshakespeare"\n')
    task = configuration(str(tmp_path / "text.toml"), **OPTIONS | {"data": "copy"})
    assert isinstance(task.data, SyntheticConfig)
    (tmp_path / "task.json").write_text(task.to_json())
    back = configuration(str(tmp_path / "task.json"), **OPTIONS | {"data": "tinyshakespeare"})
    assert back.data.source == "tinyshakespeare"
    assert configuration(str(tmp_path / "task.json"), **OPTIONS).data == task.data


WRONG = {
    "missing": (None, "there is no file"),
    "no JSON": ("{", "cannot be read"),
    "a list": ("[1]", "holds a list"),
    "no model": ("{}", "model is missing"),
    "unknown setting": (json.dumps({"model": {}, "training": {"max_step": 1}}), "Did you mean 'max_steps'?"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_a_json_file_that_is_no_run_is_refused(tmp_path, text, told):
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as error:
        configuration(str(path), **OPTIONS)
    assert told in str(error.value)
    assert "run.json" in str(error.value)


def test_every_complaint_about_a_toml_file_comes_at_once(tmp_path):
    (tmp_path / "run.toml").write_text('presett = "gpt2"\nsteps = "many"\nseed = true\nset = 3\n')
    with pytest.raises(ConfigError) as error:
        read_run_file(tmp_path / "run.toml")
    assert len(error.value.complaints) == 5
    assert "Did you mean 'preset'?" in str(error.value)


def test_a_setting_by_option_and_by_set_in_one_file_is_refused(tmp_path):
    (tmp_path / "run.toml").write_text('preset = "gpt2"\nsteps = 3\n[set]\ntraining.max_steps = 4\n')
    with pytest.raises(ConfigError, match="given twice"):
        read_run_file(tmp_path / "run.toml")
