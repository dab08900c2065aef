from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from glassformer.data.config import DataConfig
from glassformer.data.language_modeling import LanguageModelingData, prepare
from glassformer.data.preparation import encode_source
from glassformer.data.prepared_folders import is_whole
from glassformer.data.spool import Spool
from glassformer.data.tokenizers import ByteTokenizer
from glassformer.errors import DataError

KOREAN = "옛날 옛적에 호랑이가 살았다. Once upon a time 😀.\r\n" * 40


@pytest.fixture
def korean(tmp_path):
    path = tmp_path / "korean.txt"
    path.write_bytes(KOREAN.encode())
    return path


def split_texts(data: LanguageModelingData) -> tuple[str, str]:
    return tuple(data.tokenizer.decode(tokens[0 : len(tokens)]) for tokens in (data.train, data.validation))


def test_tinyshakespeare_is_split_as_nanogpt_splits_it(glassformer_data, tmp_path):
    data = prepare(DataConfig(source="tinyshakespeare"), cache=tmp_path)
    text = (glassformer_data / "tinyshakespeare" / "input.txt").read_text()
    assert (len(data.train), len(data.validation)) == (1_003_854, 111_540)
    assert split_texts(data) == (text[:1_003_854], text[1_003_854:])


@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "bpe", "gpt2"])
@pytest.mark.parametrize("fraction", [0.1, 0.37])
def test_the_splits_are_the_first_and_the_last_characters_with_every_tokenizer(
    request, korean, tmp_path, tokenizer, fraction
):
    if tokenizer == "gpt2":
        request.getfixturevalue("glassformer_data")
    settings = {"source": str(korean), "tokenizer": tokenizer, "validation_fraction": fraction}
    data = prepare(DataConfig.build(settings), cache=tmp_path / "cache")
    text = KOREAN.replace("\r\n", "\n")
    cut = int(len(text) * (1 - fraction))
    assert split_texts(data) == (text[:cut], text[cut:])
    for split, part in (("train", text[:cut]), ("validation", text[cut:])):
        counts = data.manifest["splits"][split]
        content = (data.folder / counts["file"]).read_bytes()
        assert (counts["characters"], counts["bytes"]) == (len(part), len(part.encode()))
        assert counts["tokens"] == len(content) / 2
        assert counts["sha256"] == hashlib.sha256(content).hexdigest()
        assert data.bytes_per_token(split) == pytest.approx(len(part.encode()) / counts["tokens"])
    data.verify()


def test_prepared_data_are_reused_until_something_changes(korean, tmp_path):
    config = DataConfig(source=str(korean))
    first = prepare(config, cache=tmp_path / "cache")
    written = first.folder.stat().st_mtime_ns
    assert prepare(config, cache=tmp_path / "cache").folder == first.folder
    assert first.folder.stat().st_mtime_ns == written
    folders = {first.folder}
    folders.add(prepare(config.override({"validation_fraction": 0.2}), cache=tmp_path / "cache").folder)
    folders.add(prepare(config.override({"tokenizer": "bytes"}), cache=tmp_path / "cache").folder)
    korean.write_text(KOREAN + "a time")
    folders.add(prepare(config, cache=tmp_path / "cache").folder)
    assert len(folders) == 4
    assert sorted((tmp_path / "cache").iterdir()) == sorted(folders)


def test_the_manifest_is_the_same_whenever_it_is_made(korean, tmp_path):
    config = DataConfig(source=str(korean), tokenizer="bpe", bpe_vocab_size=300)
    manifests = [(prepare(config, cache=tmp_path / name).folder / "manifest.json").read_bytes() for name in "ab"]
    assert manifests[0] == manifests[1]
    assert LanguageModelingData(prepare(config, cache=tmp_path / "a").folder).config == config


def test_vocabularies_come_from_the_training_text_alone(tmp_path):
    path = tmp_path / "text"
    path.write_text("ab" * 45 + "abcdxabcd!")
    with pytest.raises(DataError, match=r"'c' \(U\+0063\) at position 2.*'x'.*'!'.*data\.unknown=replace"):
        prepare(DataConfig(source=str(path), unknown="error"), cache=tmp_path / "cache")
    data = prepare(DataConfig(source=str(path), unknown="replace"), cache=tmp_path / "cache")
    assert data.tokenizer.decode(data.validation[0:10]) == "ab\ufffd\ufffd\ufffdab\ufffd\ufffd\ufffd"
    assert data.vocab_size == 3
    assert data.manifest["splits"]["validation"]["unknown"] == 6
    assert "6 characters of the validation text (60.00%)" in data.notes[0]


def test_notes_name_skipped_files_and_a_vocabulary_that_came_out_smaller(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("some text, some more text\n" * 20)
    (folder / "b.bin").write_bytes(b"\0\1")
    data = prepare(DataConfig(source=str(folder), tokenizer="bpe"), cache=tmp_path / "cache")
    assert any("b.bin" in note for note in data.notes)
    assert any("byte-pair tokens" in note for note in data.notes)


def test_a_text_too_short_to_split_is_refused(tmp_path):
    (tmp_path / "short").write_text("abc")
    with pytest.raises(DataError, match="3 characters"):
        prepare(DataConfig(source=str(tmp_path / "short")), cache=tmp_path / "cache")


def test_a_failed_preparation_leaves_nothing(tmp_path):
    (tmp_path / "latin1").write_bytes(b"a" * 3_000_000 + b"\xe9")
    with pytest.raises(DataError, match="not valid UTF-8"):
        prepare(DataConfig(source=str(tmp_path / "latin1")), cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_data_error(korean, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="GLASSFORMER_CACHE"):
        prepare(DataConfig(source=str(korean)), cache=tmp_path / "file")


@pytest.mark.parametrize("damage", ["cut", "manifest", "missing"])
def test_damaged_prepared_data_are_prepared_again(korean, tmp_path, damage):
    config = DataConfig(source=str(korean))
    folder = prepare(config, cache=tmp_path / "cache").folder
    good = (folder / "train.bin").read_bytes()
    if damage == "cut":
        os.truncate(folder / "train.bin", 10)
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        (folder / "validation.bin").unlink()
    assert not is_whole(folder)
    assert (prepare(config, cache=tmp_path / "cache").folder / "train.bin").read_bytes() == good
    assert list((tmp_path / "cache").iterdir()) == [folder]


def test_verify_finds_one_changed_bit(korean, tmp_path):
    data = prepare(DataConfig(source=str(korean)), cache=tmp_path / "cache")
    content = bytearray((data.folder / "validation.bin").read_bytes())
    content[6] ^= 1
    (data.folder / "validation.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"are damaged: validation\.bin has another SHA-256"):
        data.verify()
    with pytest.raises(DataError, match=r"are damaged: validation\.bin has another SHA-256"):
        LanguageModelingData(data.folder)


PREPARE = """
import sys
from pathlib import Path
from glassformer.data.config import DataConfig
from glassformer.data.preparation import prepare_folder
config = DataConfig(source=sys.argv[1], tokenizer="bytes")
print("started", flush=True)
print(prepare_folder(config, Path(sys.argv[2])))
"""


def start_preparing(source, cache) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PREPARE, source, cache], stdout=subprocess.PIPE, text=True)


def test_processes_that_prepare_at_once_all_get_the_whole(korean, tmp_path):
    korean.write_text(KOREAN * 300)
    processes = [start_preparing(korean, tmp_path / "cache") for _ in range(3)]
    folders = {process.communicate()[0].split()[1] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(folders) == 1
    assert [str(path) for path in (tmp_path / "cache").iterdir()] == list(folders)
    LanguageModelingData(next((tmp_path / "cache").iterdir())).verify()


def test_a_killed_preparation_is_not_taken_for_whole_and_is_cleared_away(korean, tmp_path):
    korean.write_text(KOREAN * 5000)
    cache = tmp_path / "cache"
    process = start_preparing(korean, cache)
    while not list(cache.glob(".preparing-*/text")):
        assert process.poll() is None, "it finished before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [path.name[:11] for path in cache.iterdir()] == [".preparing-"]
    data = prepare(DataConfig(source=str(korean), tokenizer="bytes"), cache=cache)
    data.verify()
    assert list(cache.iterdir()) == [data.folder]


def test_a_source_that_changes_while_it_is_read_is_refused(korean, tmp_path):
    korean.write_text(KOREAN * 1000)

    def change(stage, done, total):
        korean.write_text(KOREAN * 999 + KOREAN.upper())

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(DataConfig(source=str(korean)), cache=tmp_path / "cache", progress=change)


def test_a_write_that_fails_is_a_data_error_and_leaves_nothing(tmp_path):
    pytest.importorskip("resource")
    (tmp_path / "text").write_text("a line of text\n" * 200_000)

    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"  # a megabyte a file
    process = subprocess.run(
        [sys.executable, "-c", limit + PREPARE, tmp_path / "text", tmp_path / "cache"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "DataError: The tokens cannot be written" in process.stderr
    assert "GLASSFORMER_CACHE" in process.stderr
    assert list((tmp_path / "cache").iterdir()) == []


def test_by_default_data_are_prepared_in_the_users_cache(korean, tmp_path, monkeypatch):
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "mine"))
    assert prepare(DataConfig(source=str(korean))).folder.parent == tmp_path / "mine" / "prepared"


def test_progress_tells_reading_and_encoding_to_the_end(korean, tmp_path):
    korean.write_text(KOREAN * 1000)
    told = []
    prepare(DataConfig(source=str(korean)), cache=tmp_path / "cache", progress=lambda *what: told.append(what))
    assert {stage for stage, _, _ in told} == {"reading", "tokenizer", "encoding"}
    size = korean.stat().st_size - KOREAN.count("\r") * 1000
    assert told[-1] == ("encoding", size, size)


@pytest.mark.parametrize("character", [0, 1, 7, 700_000, 1_500_000, 1_999_999, 2_000_000])
def test_the_spool_finds_where_any_character_begins(tmp_path, character):
    text = "aé한😀" * 500_000
    spool = Spool(tmp_path / "text", (text[at : at + 9_999] for at in range(0, len(text), 9_999)), lambda *_: None)
    assert (spool.characters, spool.bytes) == (2_000_000, 5_000_000)
    cut = spool.byte_of(character)
    assert cut == len(text[:character].encode())
    assert "".join(spool.pieces(0, cut)) == text[:character]
    assert "".join(spool.pieces(cut, spool.bytes)) == text[character:]


def test_an_existing_tokenizer_encodes_another_source(korean):
    encoded = encode_source(str(korean), ByteTokenizer())
    text = KOREAN.replace("\r\n", "\n")
    assert bytes(encoded.tokens[0 : len(encoded.tokens)].astype(np.uint8)).decode() == text
    assert (encoded.characters, encoded.bytes, encoded.unknown) == (len(text), len(text.encode()), 0)
    assert encoded.bytes_per_token == 1


def test_prepared_data_hold_no_time_and_no_command(korean, tmp_path):
    manifest = json.loads(
        (prepare(DataConfig(source=str(korean)), cache=tmp_path).folder / "manifest.json").read_text()
    )
    assert set(manifest) == {
        "format", "task", "fingerprint", "config", "source_fingerprint", "tokenizer", "vocab_size", "splits",
        "repeated_lines", "made_with", "notes", "files", "seal",
    }  # fmt: skip


DIGESTS = """
import sys
from pathlib import Path
from glassformer.data.config import DataConfig
from glassformer.data.pair_preparation import prepare_pairs
from glassformer.data.preparation import prepare_folder
from glassformer.data.prepared_folders import open_manifest
from glassformer.data.translation_config import TranslationConfig
text, pairs, cache = sys.argv[1:]
folders = [prepare_folder(DataConfig(source=text, tokenizer="bpe", bpe_vocab_size=400), Path(cache) / "text")]
folders += [prepare_pairs(TranslationConfig(source=pairs, vocab_size=400, lowercase=True), Path(cache) / "pairs")]
for folder in folders:
    print(folder.name, open_manifest(folder)["files"])
"""


def test_threads_hash_order_locale_and_time_zone_change_no_token(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(40):
        (folder / f"İstanbul {number}.txt").write_text(f"{KOREAN[number:]} IŞIK ışık {number}\n" * 3)
    lines = [f"Der {n}. İSTANBUL ABEND in {n % 7} Teilen\tThe {n}th EVENING in {n % 5} parts\n" for n in range(300)]
    (tmp_path / "pairs.tsv").write_text("".join(lines))
    found = set()
    for name, variables in {
        "a": {"PYTHONHASHSEED": "1", "RAYON_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        "b": {"PYTHONHASHSEED": "2", "RAYON_NUM_THREADS": "4", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Seoul"},
    }.items():
        command = [sys.executable, "-c", DIGESTS, str(folder), str(tmp_path / "pairs.tsv"), str(tmp_path / name)]
        environment = {**os.environ, **variables, "PYTHONUTF8": "1"}
        found.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(found) == 1
    assert found.pop().count("train") >= 2
