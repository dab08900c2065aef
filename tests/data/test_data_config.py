from __future__ import annotations

import pytest

from glassformer.data.config import DataConfig
from glassformer.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"bpe_vocab_size": 1000}, "bpe_vocab_size"),
        ({"tokenizer": "bytes", "unknown": "replace"}, "unknown"),
        ({"gpt2_files": "somewhere"}, "gpt2_files"),
        ({"text_column": "story"}, "text_column"),
        ({"source": "hf:"}, "hf:"),
        ({"source": ""}, "source"),
        ({"validation_fraction": 0.0}, "validation_fraction"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"tokenizer": "bpe", "bpe_vocab_size": 256}, "bpe_vocab_size"),
        ({"tokenizer": "words"}, "tokenizer"),
    ],
)
def test_what_cannot_work_or_has_no_effect_is_refused_by_name(settings, named):
    with pytest.raises(ConfigError, match=named):
        DataConfig.build(settings)


def test_all_options_without_effect_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        DataConfig.build({"tokenizer": "bytes", "bpe_vocab_size": 999, "unknown": "replace", "gpt2_files": "x"})
    assert len(caught.value.complaints) == 3


def test_every_field_documents_itself():
    assert all(field.description for field in DataConfig.model_fields.values())


def test_a_configuration_survives_its_own_json():
    config = DataConfig(source="hf:a/b", text_column="story", tokenizer="bpe", bpe_vocab_size=300)
    assert DataConfig.build(config.to_dict()) == config
