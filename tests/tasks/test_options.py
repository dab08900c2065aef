"""Options are read from the fields of configurations, so that an option, its type and its help are one fact."""

from __future__ import annotations

import pytest

from glassformer.cli.evaluate import OPTIONS, check_options
from glassformer.errors import ConfigError
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.decoding import DecodingConfig
from glassformer.generation.sampling import SamplingConfig
from glassformer.tasks.options import field_options, value_type
from glassformer.tasks.registry import task_with, tasks
from glassformer.tasks.search_options import SEARCH, SETTINGS, search_config

BUILT_IN = ("language-modeling", "translation", "synthetic")


@pytest.mark.parametrize("config", [SamplingConfig, BeamSearchConfig, DecodingConfig])
def test_every_setting_has_an_option_with_its_help(config):
    options = field_options(config, config.model_fields)
    assert [option.name for option in options] == list(config.model_fields)
    for option in options:
        assert option.help.startswith(" ".join(config.model_fields[option.name].description.split()))


def test_types_are_read_through_unions_and_limits():
    kinds = {name: value_type(field.annotation) for name, field in BeamSearchConfig.model_fields.items()}
    assert (kinds["beam_size"], kinds["top_k"], kinds["top_p"]) == (int, int, float)
    assert (kinds["sample"], kinds["stopping"]) == (bool, str)


def test_a_command_s_own_default_stands_in_the_help():
    (option,) = field_options(SamplingConfig, ["temperature"], defaults={"temperature": 0.8})
    assert option.help.endswith("0.8 unless given.")


@pytest.mark.parametrize("option", [option.name for option in SEARCH])
def test_every_option_of_a_search_reaches_its_setting(option):
    values = {"beam": 7, "n_best": 2, "length_penalty_form": "power", "stopping": "heuristic", "sample": True}
    numbers = {"length_penalty": 0.0, "max_length_factor": 2.0, "temperature": 0.5, "top_p": 0.5}
    value = {**values, **numbers}.get(option, 3)
    sampled = {"sample": True} if option in ("temperature", "top_k", "top_p", "seed") else {}
    assert getattr(search_config({option: value, **sampled}), SETTINGS[option]) == value


def test_an_option_of_another_task_is_named_and_its_own_pass():
    for task in (each for each in tasks() if each.name in BUILT_IN):
        own = {option.name for option in task.evaluation_options}
        check_options(task, "run", dict.fromkeys(own, 1))
        for name in OPTIONS.keys() - own:
            with pytest.raises(ConfigError, match=f"{OPTIONS[name].flag} has no effect: run has learned from"):
                check_options(task, "run", {name: 1})


def test_built_in_data_lead_to_their_task():
    for task in tasks():
        assert all(task_with(name, task.config.families[0]) is task for name in task.built_in)
    assert task_with("my-own-file.txt") is None
