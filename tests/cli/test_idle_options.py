"""An option without effect is refused, by every command, before anything is opened, trained or written."""

from __future__ import annotations

import pytest

STUDY = 'preset = "tiny-transformer"\ndata = "words.txt"\nvary = ["model.residual=none"]\n'
TRAIN = "train tiny-transformer --data words.txt"
DRAWN = "translate numbers --text a --sample"
RUN = 'preset = "tiny-transformer"\ndata = "words.txt"\n'

REFUSED = {
    # a translation that is drawn is not searched for, and one that is searched for is not drawn
    "a beam of draws": ("translate numbers --text a --sample --beam 3", "--beam", "--sample draws"),
    "a single hypothesis of draws": ("translate numbers --text a --sample --beam 1", "--beam", "--sample draws"),
    "a penalty of draws": ("translate numbers --text a --sample --length-penalty 2", "--length-penalty", "scores"),
    "no penalty of draws": ("translate numbers --text a --sample --length-penalty 0", "--length-penalty", "scores"),
    "the default temperature": ("translate numbers --text a --temperature 1", "--temperature", "no --sample"),
    "the default seed": ("translate numbers --text a --seed 0", "--seed", "no --sample"),
    "top-k of a search": ("translate numbers --text a --top-k 3", "--top-k", "no --sample"),
    "top-p of a search": ("translate numbers --text a --top-p 0.5", "--top-p", "no --sample"),
    "precision of 8 bits": ("translate numbers --text a --quantize int8 --precision fp32", "--precision", "int8"),
    # a text
    "a seed of no draws": ("sample small --temperature 0 --seed 3", "--seed", "draws nothing"),
    "the same sample thrice": ("sample small --temperature 0 --samples 3", "--samples", "the same"),
    "precision of 8 bits of text": ("sample small --quantize int8 --precision fp32", "--precision", "int8"),
    # studies
    "a setting beside a study file": ("study mine.toml --set training.seed=1", "--set", "study file"),
    "data beside a study file": ("study mine.toml --data words.txt", "--data", "study file"),
    "a variant beside a study file": ("study mine.toml --vary model.residual=none", "--vary", "study file"),
    "seeds beside a study file": ("study mine.toml --seeds 5", "--seeds", "study file"),
    "a setting beside a study in Python": ("study mine.py --set training.seed=1", "--set", "study file"),
    "a grid of one setting": ("study tiny-transformer --vary model.residual=none|both --grid", "--grid", "one setting"),
    "a variant that has no effect": (
        "study tiny-transformer --data words.txt --vary training.schedule.decay_fraction=0.5",
        "decay_fraction=0.5",
        "trains exactly as",
    ),
    # the rest
    "a checkpoint of a model read in": ("convert folder --to-run x --checkpoint latest", "--checkpoint", "--to-hf"),
    "studies of no study": ("demo --study-steps 0 --studies here", "--studies", "leaves the study out"),
    "studies of a list": ("claims --studies here", "--studies", "without a claim"),
    "studies of an exact claim": ("claims ignore-index --studies here", "--studies", "trains nothing"),
    "a target that is not trained": (
        "scale ladder tiny-transformer --budget 1e12 --dry-run --verify",
        "--verify",
        "trains nothing",
    ),
    "a file that is not written": ("scale plan --compute 1e15 --json --out a.toml", "--out", "no file"),
    "an explanation of JSON": ("scale plan --compute 1e15 --json --explain", "--explain", "every number"),
    "gradients that are not recorded": (
        f"{TRAIN} --show-gradients --set training.telemetry.gradients_every=none",
        "--show-gradients",
        "records none",
    ),
    "the end of a constant rate": (
        f"{TRAIN} --set training.schedule.kind=constant --set training.schedule.final_fraction=0.1",
        "training.schedule.final_fraction=0.1",
        "no effect",
    ),
    "heads without attention": (
        f"{TRAIN} --set model.sublayers=feedforward --set model.attention.n_heads=2",
        "model.attention.n_heads=2",
        "leaves attention out",
    ),
}


@pytest.fixture
def files(place):
    (place / "mine.toml").write_text(STUDY)
    (place / "mine.py").write_text("study = None\n")
    (place / "plan.toml").write_text(RUN)
    return place


@pytest.mark.parametrize(("command", "option", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_an_option_without_effect_is_refused_with_its_reason(say, files, command, option, why):
    before = sorted(path.name for path in files.iterdir())
    said = say(*command.split(" "))
    text = " ".join(said.err.split())
    assert said.status == 2, (said.out, said.err)
    assert option in text
    assert why in text
    assert "Traceback" not in text
    assert sorted(path.name for path in files.iterdir()) == before


def test_every_idle_option_is_named_at_once(say, files):
    said = say(*f"{DRAWN} --beam 0 --length-penalty 99 --top-p 2".split())
    assert said.status == 2
    for words in ("--beam has no effect", "--length-penalty has no effect", "top_p is 2"):
        assert words in said.err


def test_a_file_of_a_run_is_the_base_of_a_study_and_takes_settings(say, files, small):
    said = say("study", "plan.toml", "--vary", "model.residual=none", "--set", "model.n_layers=x")
    assert said.status == 2
    assert "n_layers is 'x'" in said.err
    assert "study file" not in said.err
