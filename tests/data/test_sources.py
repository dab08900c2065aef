from __future__ import annotations

import os
import shutil
import string
import subprocess
import sys

import pytest

from glassformer.data.sources import open_source
from glassformer.errors import DataError, DependencyError


def text_of(name: str, **options) -> str:
    return "".join(open_source(name, **options).texts())


def test_the_standard_library_is_much_printable_ascii_text_without_tests():
    text = text_of("python-stdlib")
    assert len(text) > 5_000_000
    assert set(text) == set(string.ascii_letters + string.digits + string.punctuation + " \n")
    assert "class IncrementalDecoder" in text
    assert "class TestCase(" in text  # unittest itself belongs to the library
    assert "test.support import" not in text.replace("from test.support import", "", 20)


def test_the_standard_library_has_the_same_text_and_fingerprint_in_another_process():
    program = (
        "import hashlib; from glassformer.data.sources import open_source; s = open_source('python-stdlib');"
        "print(hashlib.sha256(''.join(s.texts()).encode()).hexdigest(), s.fingerprint())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    runs = [
        subprocess.run([sys.executable, "-c", program], env=environment | {"PYTHONHASHSEED": seed}, check=True,
                       capture_output=True, text=True).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]


def test_tinyshakespeare_is_the_published_text(glassformer_data):
    text = text_of("tinyshakespeare")
    assert len(text) == 1_115_394
    assert len(set(text)) == 65


def test_a_file_is_its_text(tmp_path):
    path = tmp_path / "한글.txt"
    path.write_text("안녕하세요\nno newline at the end", encoding="utf-8")
    assert text_of(str(path)) == "안녕하세요\nno newline at the end"


def test_a_fingerprint_changes_with_the_file_and_only_then(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = open_source(str(path)).fingerprint()
    assert open_source(str(path)).fingerprint() == before
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert open_source(str(path)).fingerprint() != before


def test_a_folder_is_every_text_below_it_and_says_what_it_skipped(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "sub" / "b.md").write_text("second\n")
    (tmp_path / "sub" / "noending").write_text("third\n")
    (tmp_path / ".hidden" / "c.txt").write_text("never")
    (tmp_path / ".d.txt").write_text("never")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9")
    (tmp_path / "empty.txt").write_text("")
    source = open_source(str(tmp_path))
    text = "".join(source.texts())
    assert sorted(text.splitlines()) == ["first", "second", "third"]
    assert sorted(entry.split()[0] for entry in source.skipped) == ["2", "empty.txt", "image.png", "latin1.txt"]
    assert "2 hidden files and folders (the name begins with a dot)" in source.skipped
    assert "".join(source.texts()) == text


def test_a_folders_fingerprint_sees_new_removed_and_changed_files(tmp_path):
    (tmp_path / "a").write_text("a")
    seen = {open_source(str(tmp_path)).fingerprint()}
    (tmp_path / "b").write_text("b")
    seen.add(open_source(str(tmp_path)).fingerprint())
    (tmp_path / "b").write_text("bb")
    seen.add(open_source(str(tmp_path)).fingerprint())
    (tmp_path / "b").rename(tmp_path / "c")
    seen.add(open_source(str(tmp_path)).fingerprint())
    assert len(seen) == 4


def test_empty_files_and_folders_without_text_are_refused(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        text_of(str(tmp_path / "empty.txt"))
    with pytest.raises(DataError, match=r"all 1 files were skipped: empty\.txt"):
        text_of(str(tmp_path))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="it has no files"):
        text_of(str(tmp_path / "nothing"))


def test_a_missing_source_suggests_the_nearest_built_in_or_file(tmp_path):
    with pytest.raises(DataError, match="Did you mean 'tinyshakespeare'"):
        open_source("tinyshakespear")
    (tmp_path / "corpus.txt").write_text("x")
    with pytest.raises(DataError, match=r"Did you mean '.*corpus\.txt'"):
        open_source(str(tmp_path / "corpsu.txt"))
    with pytest.raises(DataError, match="python-stdlib"):
        open_source("/no/such/folder/at/all")


@pytest.fixture
def local_dataset(tmp_path):
    pytest.importorskip("datasets")
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "train.jsonl").write_text(
        '{"story": "옛날 옛적에", "title": "one"}\n{"story": "second\\r\\nline\\n", "title": "two"}\n', encoding="utf-8"
    )
    return folder


def test_a_data_set_streams_the_named_column(local_dataset):
    assert text_of(f"hf:{local_dataset}", text_column="story") == "옛날 옛적에\nsecond\nline\n"


def test_a_data_set_of_plain_text_needs_no_column(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "train.txt").write_text("one\ntwo\n")
    assert text_of(f"hf:{tmp_path}") == "one\ntwo\n"


@pytest.mark.parametrize("column", [None, "stroy"])
def test_an_unclear_or_missing_column_lists_those_there_are(local_dataset, column):
    with pytest.raises(DataError, match="story, title"):
        text_of(f"hf:{local_dataset}", text_column=column)


def test_a_data_sets_fingerprint_changes_with_its_files_and_column(local_dataset):
    name = f"hf:{local_dataset}"
    seen = {open_source(name).fingerprint(), open_source(name, text_column="story").fingerprint()}
    (local_dataset / "train.jsonl").write_text('{"story": "x"}\n')
    seen.add(open_source(name).fingerprint())
    assert len(seen) == 3


def test_without_the_datasets_package_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)  # what Python does when a package is not there
    with pytest.raises(DependencyError, match=r"pip install 'glassformer\[hf\]'"):
        text_of(f"hf:{tmp_path}")


def test_a_damaged_data_set_is_a_data_error(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "train.jsonl").write_text("{not json")
    with pytest.raises(DataError, match="cannot be read"):
        text_of(f"hf:{tmp_path}")


def test_a_data_set_of_ones_own_is_the_same_wherever_its_folder_lies(local_dataset, tmp_path):
    before = open_source(f"hf:{local_dataset}", text_column="story").fingerprint()
    shutil.copytree(local_dataset, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "train.jsonl", ns=(1, 1))
    assert open_source(f"hf:{tmp_path / 'copy'}", text_column="story").fingerprint() == before
    text = (tmp_path / "copy" / "train.jsonl").read_text(encoding="utf-8")
    (tmp_path / "copy" / "train.jsonl").write_text(text.replace("second", "Second"), encoding="utf-8")
    assert open_source(f"hf:{tmp_path / 'copy'}", text_column="story").fingerprint() != before
