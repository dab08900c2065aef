from __future__ import annotations

import subprocess
import sys

import pytest

from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import TASKS
from glassformer.errors import ConfigError


def complaints(**settings) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        SyntheticConfig.build(settings)
    return caught.value.complaints


def test_it_is_read_back_from_what_it_writes():
    config = SyntheticConfig(kind="selective-copy", length=6, min_length=2, vocab_size=9, blanks=4, seed=2**63)
    assert SyntheticConfig.build(config.to_dict()) == config
    assert config.to_dict()["task"] == "synthetic"


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_that_is_only_named_works(kind):
    config = SyntheticConfig(kind=kind)
    assert config.length is None
    assert config.shortest == config.longest == config.rules.usual_length
    assert config.n_positions <= 64, "the smallest preset reads 64 tokens"


def test_the_length_is_the_task_s_own_until_it_is_given():
    assert SyntheticConfig(kind="sort").override({"kind": "addition"}).longest == 2
    assert SyntheticConfig(kind="sort", length=5).override({"kind": "addition"}).longest == 5


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "addition", "vocab_size": 20}, "vocab_size=20 has no effect: the symbols of addition"),
        ({"kind": "copy", "blanks": 3}, "blanks=3 has no effect: it needs kind=selective-copy, not copy"),
        ({"kind": "copy", "length": 3, "min_length": 4}, "min_length is 4, more than the length of 3"),
        ({"kind": "copy", "min_length": 13}, "min_length is 13, more than the length of 12"),
        ({"kind": "associative-recall", "length": 9}, "set vocab_size to at least 18, or length to at most 8"),
        ({"kind": "associative-recall", "vocab_size": 3, "length": 1}, "takes at least 4 symbols"),
        ({"kind": "induction", "length": 17}, "set vocab_size to at least 17, or length to at most 16"),
        ({"kind": "induction", "length": 1}, "length is 1, and a problem takes at least 2"),
        ({"kind": "induction", "min_length": 1}, "length is 1, and a problem takes at least 2"),
        ({"length": 0}, "length is 0"),
        ({"vocab_size": 1}, "vocab_size is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"lenght": 3}, "Did you mean 'length'?"),
        ({"kind": "coppy"}, "kind is 'coppy'; expected 'copy'"),
    ],
)
def test_what_cannot_work_or_has_no_effect_is_refused(settings, told):
    (complaint,) = complaints(**settings)
    assert told in complaint


def test_all_complaints_come_at_once():
    assert len(complaints(kind="associative-recall", blanks=3, vocab_size=3, length=4, min_length=5)) == 4


def test_every_setting_says_what_it_is():
    assert all(len(field.description or "") > 20 for field in SyntheticConfig.model_fields.values())


def test_reading_a_configuration_is_light():
    code = "import sys, glassformer.data.synthetic_config; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "tokenizers", "pooch"):
        assert f"'{heavy}'" not in loaded
