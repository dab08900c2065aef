"""Wrong inputs of ``glassformer inspect``: status 2, one message that says what to do, and nothing left behind."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest

ROWS = {
    "no text": ("inspect {run}", "--text is missing"),
    "an empty text": ("inspect {run} --text ''", "text is empty; give"),
    "a letter outside the vocabulary": ("inspect {run} --text abQd", "'Q'"),
    "a text longer than the context": (
        "inspect {run} --text 'abc bad abc bad abc'",
        r"19 tokens.*small-\S+ .*16 \(max_seq_len\)",
    ),
    "a source longer than the context": (
        "inspect {translator} --text '" + "one " * 32 + "'",
        "The source has 33 tokens",
    ),
    "a target longer than the context": (
        "inspect {translator} --text one --target '" + "eins " * 32 + "'",
        "The target has 33 tokens",
    ),
    "a target for a language model": ("inspect {run} --text abc --target abc", "it reads one text"),
    "a layer that does not exist": (
        "inspect {run} --text abc --layer 1",
        "has 1 layers, numbered from 0; there is no layer 1",
    ),
    "several layers that do not exist": ("inspect {run} --text abc --layer 3 --layer -1", "for 2 reasons"),
    "no such run": ("inspect smal-x --text abc", "smal-x"),
    "no such checkpoint": ("inspect {run} --text abc --checkpoint 5", "no checkpoint of step 5"),
    "a checkpoint that is no number": ("inspect {run} --text abc --checkpoint newest", "'newest'"),
    "a folder with another model": ("inspect hf --text abc", "bert"),
    "a GPT-2 folder without weights": ("inspect gpt2 --text abc", "gpt2"),
    "a checkpoint of a folder": ("inspect gpt2 --text abc --checkpoint 5", "gpt2"),
    "a page and no run": ("inspect page.html --text abc", "'page.html' is a page, and no run is named"),
    "a run where the page should be": (
        "inspect {run} --run {run} --run {run} --text abc",
        "the first argument is the page to write",
    ),
    "three runs": ("inspect page.html --run {run} --run {run} --run {run} --text abc", "sets 2 side by side"),
    "a page named twice": ("inspect page.html --run {run} -o other.html --text abc", "leave -o other.html away"),
    "everything at once": ("inspect page.html -o page.svg", "for 3 reasons"),
    "a page that is no page": ("inspect {run} --text abc -o page.svg", "one file of HTML"),
    "a page in a place that is a file": ("inspect {run} --text abc -o words.txt/page.html", "cannot be written"),
    "a run that is damaged": ("inspect {damaged} --text abc", "checkpoint"),
    "a run that is damaged throughout": ("inspect {damaged} --text abc --checkpoint all", "checkpoint"),
    "no such device": ("inspect {run} --text abc --device tpu", "tpu"),
}


@pytest.fixture
def scene(place, run, translator):
    for name, kind in (("hf", "bert"), ("gpt2", "gpt2")):
        (place / name).mkdir()
        (place / name / "config.json").write_text(json.dumps({"model_type": kind}))
    damaged = place / "runs" / "damaged-20260101-000000"
    shutil.copytree(run, damaged)
    for weights in damaged.glob("checkpoints/*/*.safetensors"):
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    return {"run": run, "translator": translator, "damaged": damaged}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_wrong_input_ends_with_one_clear_message_and_leaves_nothing(say, place, scene, row):
    command, expected = row
    before = {path for path in place.rglob("*") if path.name != ".lock"}
    said = say(*(word.format(**scene) for word in shlex.split(command)))
    message = re.sub(r"[\s│]+", " ", said.err)
    assert said.status == 2, said
    assert "Traceback" not in said.out + said.err
    assert said.err.count("error: ") == 1, said.err
    assert re.search(expected, message), said.err
    assert said.out == ""
    assert {path for path in place.rglob("*") if path.name != ".lock"} == before
