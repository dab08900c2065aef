"""Prepared data are what they were when they were made, or they are prepared again."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from glassformer.data import content
from glassformer.data.config import DataConfig
from glassformer.data.language_modeling import LanguageModelingData, prepare
from glassformer.data.prepared_folders import DamagedError, is_whole, open_manifest
from glassformer.data.translation import TranslationData, prepare_translation
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import DataError


@pytest.fixture(params=["text", "pairs"])
def prepared(request, tmp_path):
    """``prepared()`` opens the data of a text or of pairs, which are made at the first call."""
    if request.param == "text":
        (tmp_path / "text").write_text("some words of a text, again and again\n" * 60)
        return lambda: prepare(DataConfig(source=str(tmp_path / "text")), cache=tmp_path / "cache")
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"source {number}\tZiel {number}\n" for number in range(80)))
    return lambda: prepare_translation(TranslationConfig(source=str(path)), tmp_path / "cache")


def reopened(folder):
    kind = LanguageModelingData if (folder / "train.bin").exists() else TranslationData
    return kind(folder)


def changed_byte(path):
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def edited(path, change):
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


DAMAGES = {
    "a byte, size and time as before": lambda folder, tokens: changed_byte(tokens),
    "cut short": lambda folder, tokens: os.truncate(tokens, tokens.stat().st_size // 2),
    "emptied": lambda folder, tokens: os.truncate(tokens, 0),
    "longer": lambda folder, tokens: tokens.write_bytes(tokens.read_bytes() + b"\0\0"),
    "missing": lambda folder, tokens: tokens.unlink(),
    "other bytes": lambda folder, tokens: tokens.write_bytes(os.urandom(tokens.stat().st_size)),
    "the tokenizer": lambda folder, tokens: changed_byte(folder / "tokenizer.json"),
    "no tokenizer": lambda folder, tokens: (folder / "tokenizer.json").unlink(),
    "a count": lambda folder, tokens: edited(folder / "manifest.json", lambda tree: tree.update(vocab_size=3)),
    "no splits": lambda folder, tokens: edited(folder / "manifest.json", lambda tree: tree.pop("splits")),
    "no files": lambda folder, tokens: edited(folder / "manifest.json", lambda tree: tree.update(files={})),
    "no seal": lambda folder, tokens: edited(folder / "manifest.json", lambda tree: tree.pop("seal")),
    "a list": lambda folder, tokens: (folder / "manifest.json").write_text("[]"),
    "not JSON": lambda folder, tokens: (folder / "manifest.json").write_text("{"),
    "deep": lambda folder, tokens: (folder / "manifest.json").write_text("[" * 100_000),
    "no manifest": lambda folder, tokens: (folder / "manifest.json").unlink(),
    "no UTF-8": lambda folder, tokens: (folder / "manifest.json").write_bytes(b"\xff"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_data_are_never_used_are_made_again_and_that_is_said(prepared, damage):
    data = prepared()
    assert data.warnings == []
    good = {path.name: path.read_bytes() for path in data.folder.iterdir()}
    tokens = next(data.folder.glob("train.*bin" if (data.folder / "train.bin").exists() else "train.source.ids.npy"))
    DAMAGES[damage](data.folder, tokens)
    with pytest.raises(DataError):
        reopened(data.folder)
    assert not is_whole(data.folder)
    again = prepared()
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == good
    assert "were damaged" in again.warnings[0]
    assert again.notes[0] == again.warnings[0]
    assert prepared().warnings == []


def test_data_of_an_earlier_format_are_made_again_without_a_word(prepared):
    folder = prepared().folder
    edited(folder / "manifest.json", lambda tree: tree.update(format=1))
    assert not is_whole(folder)
    assert prepared().warnings == []
    assert is_whole(folder)


def test_the_same_content_elsewhere_is_the_same_data(prepared, tmp_path):
    data = prepared()
    source = tmp_path / data.config.source
    other = source.with_name("other" + source.suffix)
    shutil.copy(source, other)
    config = data.config.override({"source": str(other)})
    cache = tmp_path / "cache"
    again = prepare(config, cache=cache) if isinstance(config, DataConfig) else prepare_translation(config, cache)
    assert (again.folder, again.fingerprint) == (data.folder, data.fingerprint)
    assert again.config.source == str(other)
    assert len([path for path in cache.iterdir() if path.name != "hashes"]) == 1


def test_a_large_file_is_not_hashed_at_each_start_and_a_change_is_seen_all_the_same(prepared, monkeypatch, tmp_path):
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(content, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(content, "SETTLED_NS", -1)
    folder = prepared().folder
    reopened(folder)
    read = []
    plain = content._hashed
    monkeypatch.setattr(content, "_hashed", lambda path: read.append(path) or plain(path))
    reopened(folder)
    assert read == []
    changed_byte(next(path for path in folder.iterdir() if path.name.startswith("validation")))
    with pytest.raises(DamagedError, match="has another SHA-256"):
        reopened(folder)
    assert len(read) == 1


def test_what_prepared_the_data_is_recorded(prepared):
    made_with = open_manifest(prepared().folder)["made_with"]
    assert made_with["python"].count(".") == 2
    assert {"unicode", "tokenizers"} <= set(made_with)


def test_a_sealed_manifest_that_lacks_what_it_should_say_is_a_data_error(prepared):
    from glassformer.data import prepared_folders

    folder = prepared().folder
    whole = json.loads((folder / "manifest.json").read_text())
    for key in ("files", "splits", "config", "fingerprint"):
        body = {name: value for name, value in whole.items() if name not in (key, "seal")}
        sealed = body | {"seal": prepared_folders._seal(body)}
        (folder / "manifest.json").write_text(json.dumps(sealed))
        with pytest.raises(DataError, match=r"damaged|lacks"):
            reopened(folder)
