from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data.synthetic import SyntheticData
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import TASKS
from glassformer.data.synthetic_tokenizer import SymbolTokenizer
from glassformer.data.tokenizers import load_tokenizer
from glassformer.errors import DataError


def tokenizer(kind: str = "copy", **settings) -> SymbolTokenizer:
    return SyntheticData(SyntheticConfig(kind=kind, n_validation=1, **settings)).tokenizer


def test_a_problem_can_be_typed_with_or_without_spaces():
    compact = tokenizer()
    assert compact.encode("a b c | ").tolist() == compact.encode("abc|").tolist() == [0, 1, 2, 16]
    assert compact.decode([0, 1, 2, 16]) == "abc|"
    assert tokenizer("addition").encode("85 + 50 = 531").tolist() == [8, 5, 11, 5, 0, 10, 5, 3, 1]
    assert tokenizer("associative-recall").encode("aB|").tolist() == [0, 9, 16]


def test_where_letters_do_not_suffice_names_are_numbers_with_spaces_between():
    large = tokenizer(vocab_size=60)
    assert large.encode("3 59 | 3").tolist() == [3, 59, 60, 3]
    assert large.decode([3, 59, 60]) == " 3 59 |"
    assert large.token_text(59) == "59"
    assert tokenizer("associative-recall", vocab_size=60).encode("k3 v29 |").tolist() == [3, 59, 60]


@given(st.sampled_from(list(TASKS)), st.sampled_from([16, 60]), st.lists(st.integers(0, 11), min_size=1))
def test_what_is_decoded_encodes_to_the_same_tokens(kind, vocabulary, ids):
    names = TASKS[kind](vocabulary, 2).names
    made = SymbolTokenizer(names)
    assert made.encode(made.decode(ids)).tolist() == ids
    assert made.byte_lengths.sum() == len(made.decode(range(len(names))).encode())


@pytest.mark.parametrize("kind", TASKS)
def test_a_saved_tokenizer_is_the_same_when_loaded(kind, tmp_path):
    made = tokenizer(kind)
    made.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, SymbolTokenizer)
    assert loaded.names == made.names


def test_signs_that_the_task_does_not_have_are_named_with_their_places():
    with pytest.raises(DataError, match=r"'x' at position 2, 'é' at position 6.*Its signs are a b") as caught:
        tokenizer().encode("a x b é x")
    assert "position 8" not in str(caught.value), "each once, where it stands first"
    with pytest.raises(DataError, match="no sign of the task"):
        tokenizer().encode(" \n")


@pytest.mark.parametrize("names", [["a", "a"], [], ["a b"], [""], [3], None])
def test_a_damaged_file_is_called_so(names, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"kind": "symbols", "names": names}))
    with pytest.raises(DataError, match="damaged"):
        load_tokenizer(tmp_path)
