"""The commands on data that changed, that are odd, or that hold what training does not: told before a number is."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path

import pytest
import sacrebleu

from glassformer.runs.folder import Run

QUICK = ("--steps", 2, "--set", "training.telemetry.validation_tokens=64")


@pytest.fixture
def begun(say, place, small):
    """A run on ``words.txt``, by its relative name."""
    said = say("train", "nanogpt-shakespeare-cpu", "--data", "words.txt", "--name", "own", *QUICK, *small)
    assert said.status == 0, said
    return min((place / "runs").iterdir())


def test_evaluate_on_a_text_that_changed_exits_2_and_data_measures_it_on_purpose(say, place, begun):
    before = json.loads(say("evaluate", "own", "--json").out)
    text = (place / "words.txt").read_text()
    (place / "words.txt").write_text(text.replace("w", "s"))
    said = say("evaluate", "own", "--json")
    assert (said.status, said.out) == (2, "")
    assert "not those that it was trained on" in said.err
    assert f"glassformer evaluate {begun.name} --data words.txt" in said.err
    on_purpose = json.loads(say("evaluate", "own", "--json", "--data", "words.txt").out)
    assert on_purpose["n_tokens"] == len(text) - 1
    (place / "words.txt").write_text(text)
    assert json.loads(say("evaluate", "own", "--json").out) == before


def test_resume_on_a_text_that_changed_exits_2_and_writes_nothing(say, place, begun):
    config = json.loads((begun / "config.json").read_text())
    records = (begun / "metrics.jsonl").read_bytes()
    shutil.rmtree(begun / "checkpoints")
    (place / "words.txt").write_text((place / "words.txt").read_text().replace("a", "e"))
    assert config["data"]["source"] == "words.txt"
    said = say("resume", "own")
    assert said.status == 2
    assert "not those that it was trained on" in said.err
    assert (begun / "metrics.jsonl").read_bytes() == records


def test_a_run_is_measured_on_its_own_text_from_a_folder_with_another_of_the_name(say, place, begun, monkeypatch):
    expected = json.loads(say("evaluate", "own", "--json").out)
    (place / "other").mkdir()
    (place / "other" / "words.txt").write_text("the sum of what each layer carries\n" * 200)
    monkeypatch.chdir(place / "other")
    said = say("evaluate", begun, "--json")
    assert json.loads(said.out) == expected
    assert f"read from {place / 'words.txt'}" in said.err
    (place / "words.txt").unlink()
    said = say("evaluate", begun)
    assert said.status == 2
    assert str(place / "other" / "words.txt") in said.err


def test_a_damaged_cache_is_made_again_and_that_is_said(say, place, begun, monkeypatch):
    monkeypatch.setenv("GLASSFORMER_CACHE", str(place / "cache"))
    expected = json.loads(say("evaluate", "own", "--json").out)
    (folder,) = [path for path in (place / "cache" / "prepared").iterdir() if path.is_dir()]
    content = bytearray((folder / "validation.bin").read_bytes())
    content[::2] = bytes(len(content[::2]))
    (folder / "validation.bin").write_bytes(content)
    said = say("evaluate", "own", "--json")
    assert json.loads(said.out) == expected
    assert "warning" in said.err
    assert "prepared again" in said.err
    assert say("evaluate", "own", "--json").err == ""


KOREAN = "옛날 옛적에 호랑이가 살았습니다.\n" * 120 + "꿩과 닭과 뱀\n" * 8


def test_a_text_with_characters_in_validation_alone_trains_and_says_how_many(say, place, small):
    (place / "korean.txt").write_text(KOREAN, encoding="utf-8")
    words = ("train", "nanogpt-shakespeare-cpu", "--data", "korean.txt", "--name", "a b", *QUICK, *small)
    said = say(*words)
    assert said.status == 0, said
    cut = int(len(KOREAN) * 0.9)
    train, validation = KOREAN[:cut], KOREAN[cut:]
    unknown = sum(character not in train for character in validation)
    assert f"{unknown} characters of the validation text ({unknown / len(validation):.2%})" in said.out
    advice = next(line for line in said.out.splitlines() if "byte-pair tokenizer knows every text" in line)
    assert "glassformer train nanogpt-shakespeare-cpu --data korean.txt --steps 2 --name 'a b' --set" in advice
    assert advice.endswith("--set data.tokenizer=bpe")
    assert say(*words, "--set", "data.unknown=error").status == 2
    said = say(*words, "--set", "data.tokenizer=bpe")
    assert said.status == 0
    assert "<unk>" not in said.out
    said = say("sample", min((place / "runs").iterdir()), "--prompt", "꿩 옛날", "-n", 3)
    assert said.status == 0
    assert "1 of the prompt's 4 characters are not in the vocabulary" in said.err


@pytest.mark.parametrize("text", ["한글 " * 400, "abc\n" * 500, KOREAN[:1500]])
def test_a_text_that_needs_no_unknown_token_gets_none(say, place, small, text):
    (place / "plain.txt").write_text(text, encoding="utf-8")
    said = say("train", "nanogpt-shakespeare-cpu", "--data", "plain.txt", *QUICK, *small)
    assert said.status == 0, said
    assert "<unk>" not in said.out
    run = Run.open(min((place / "runs").iterdir()))
    assert run.config["model"]["vocab_size"] == len(set(text))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "gzip"])
def test_another_text_is_measured_in_whatever_encoding_it_is(say, place, begun, encoding):
    text = (place / "words.txt").read_text()
    content = gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding)
    (place / "encoded").write_bytes(content)
    found = [json.loads(say("evaluate", "own", "--json", "--data", name).out) for name in ("words.txt", "encoded")]
    assert found[0]["loss"] == found[1]["loss"]
    (place / "bare").write_bytes(text.encode("utf-16-le"))
    said = say("evaluate", "own", "--data", "bare")
    assert said.status == 2
    assert "iconv -f utf-16le -t utf-8" in said.err


@pytest.mark.parametrize("form", ["two files", "tsv"])
def test_empty_references_are_scored_as_sacrebleu_scores_them(say, place, translator, form):
    draw = random.Random(5)
    numbers = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf"}
    sources = [" ".join(draw.choice(list(numbers)) for _ in range(5)) for _ in range(12)]
    targets = [" ".join(numbers[word] for word in source.split()) for source in sources]
    targets[3] = targets[8] = ""
    if form == "tsv":
        rows = zip(sources, targets, strict=True)
        (place / "own.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in rows))
        data = "own.tsv"
    else:
        sources[5] = ""
        (place / "own.en").write_text("".join(f"{source}\n" for source in sources))
        (place / "own.de").write_text("".join(f"{target}\n" for target in targets))
        data = "own.en,own.de"
    said = say("evaluate", translator, "--data", data, "--json", "--beam", 1, "-o", "out", "--metric", "bleu")
    assert said.status == 0, said
    assert "2 of 12 pairs have an empty target" in said.err
    assert ("1 of 12 pairs have an empty source" in said.err) == (form == "two files")
    found = json.loads(said.out)["splits"]["own"]
    assert found["n"] == 12
    written = sorted(path.name for path in (place / "out").iterdir())
    lines = [(place / "out" / name).read_text().removesuffix("\n").split("\n") for name in written]
    assert [len(each) for each in lines] == [12] * len(lines)
    translations = next(each for each in lines if each not in (sources, targets))
    expected = sacrebleu.corpus_bleu(translations, [targets]).score
    assert found["scores"][0]["value"] == pytest.approx(expected, abs=1e-9)


def test_pairs_that_changed_are_not_scored(say, place, translators):
    run = place / "runs" / translators["numbers"].name
    shutil.copytree(translators["numbers"], run)
    config = json.loads((run / "config.json").read_text())
    source = Path(config["data"]["source"])
    content = source.read_text(encoding="utf-8")
    try:
        source.write_text(content.replace("eins", "ains"), encoding="utf-8")
        said = say("evaluate", run, "--beam", 1)
        assert said.status == 2
        assert "not those that it was trained on" in said.err
    finally:
        source.write_text(content, encoding="utf-8")
    assert say("evaluate", run, "--beam", 1).status == 0
