from __future__ import annotations

import subprocess
import sys

import pytest

from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import ConfigError


def complaints(**settings) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        TranslationConfig.build(settings)
    return caught.value.complaints


def test_it_is_read_back_from_what_it_writes():
    config = TranslationConfig(source="a.de,a.en", validation="b.tsv", tokenizer="words", joint=False, reverse=True)
    assert TranslationConfig.build(config.to_dict()) == config
    assert config.to_dict()["task"] == "translation"
    assert complaints(task="language-modeling") == ["task is 'language-modeling'; expected 'translation'."]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "characters"),
        ({"source": "multi30k-de-en"}, "bpe"),
        ({"source": "pairs.tsv"}, "bpe"),
        ({"tokenizer": "bpe"}, "bpe"),
        ({"source": "pairs.tsv", "tokenizer": "words"}, "words"),
    ],
)
def test_auto_is_characters_for_dates_and_bpe_for_everything_else(settings, kind):
    assert TranslationConfig(**settings).tokenizer_kind == kind


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"vocab_size": 500}, "needs tokenizer=bpe, not characters, which auto is for dates"),
        ({"source": "a.tsv", "tokenizer": "words", "vocab_size": 500}, "needs tokenizer=bpe, not words"),
        ({"source": "a.tsv", "locales": "de_DE"}, "locales=de_DE has no effect: it needs source=dates, not 'a.tsv'"),
        ({"source": "a.tsv", "n_pairs": 9}, "n_pairs=9 has no effect"),
        ({"source": "multi30k-de-en", "seed": 1}, "seed=1 has no effect"),
        ({"validation": "b.tsv"}, "validation has no effect: the source 'dates' brings its own splits"),
        ({"source": "multi30k-de-en", "test": "b.tsv"}, "test has no effect"),
        ({"source": "multi30k-de-en", "source_column": "de"}, "source_column has no effect"),
        ({"target_column": "de"}, "target_column has no effect"),
        ({"validation_fraction": 0.2}, "validation_fraction has no effect"),
        ({"source": "a.tsv", "validation": "b.tsv", "validation_fraction": 0.2}, "validation names the pairs"),
        ({"source": "hf:owner/name", "test": "b.tsv"}, "test has no effect: a data set of the hub"),
        ({"reverse": True}, "an ISO date has many right writings"),
        ({"tokenizer": "bpe", "vocab_size": 299}, "vocab_size is 299; expected greater than or equal to 300"),
        ({"max_length": 1}, "max_length is 1"),
        ({"min_count": 0}, "min_count is 0"),
        ({"tokeniser": "bpe"}, "Did you mean 'tokenizer'?"),
    ],
)
def test_an_option_without_effect_is_refused(settings, told):
    (complaint,) = complaints(**settings)
    assert told in complaint


def test_all_complaints_come_at_once():
    found = complaints(source="a.tsv", tokenizer="words", vocab_size=500, locales="all", n_pairs=3)
    assert len(found) == 3


def test_every_setting_says_what_it_is():
    assert all(len(field.description or "") > 20 for field in TranslationConfig.model_fields.values())


def test_reading_a_configuration_is_light():
    code = "import sys, glassformer.data.translation_config; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "tokenizers", "pooch"):
        assert f"'{heavy}'" not in loaded
