"""A new kind of data is one file: it is configured, trained, resumed, opened, evaluated and sampled like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glassformer.cli.main import main
from glassformer.data.task_tokenizer import TextTokenizer
from glassformer.errors import ConfigError, DataError, RunError
from glassformer.generation.sampling import SamplingConfig
from glassformer.inspection.subjects import open_subject
from glassformer.models.presets import preset
from glassformer.registry import load_part_file
from glassformer.tasks.open_run import open_model, open_run, open_translator
from glassformer.tasks.registry import task_of, tasks
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.run_data import OtherDataError, open_samples, recorded_data
from glassformer.training import session
from glassformer.training.recipes import configuration
from glassformer.trust import trusting_parts

FILE = Path(__file__).parent / "counting_task.py"
IN_FILES = FILE.with_name("lines_task.py")
SMALL = {
    "model.d_model": 16,
    "model.n_layers": 1,
    "model.max_seq_len": 12,
    "model.attention.n_heads": 2,
    "training.batch_size": 8,
    "training.max_steps": 3,
    "training.compile": "off",
    "training.schedule.warmup_steps": 1,
    "training.telemetry.log_every": 1,
    "training.telemetry.validate_every": 2,
    "training.telemetry.gradients_every": "none",
    "training.checkpoints.every": 1,
}


@pytest.fixture(scope="module", autouse=True)
def registered():
    load_part_file(FILE)
    load_part_file(IN_FILES)


def counting(changes=None) -> RunConfig:
    model = {**preset("nanogpt-shakespeare-cpu").model.to_dict(), "part_files": [str(FILE)]}
    return RunConfig.build({"model": model, "data": {"task": "counting"}}).override(SMALL | (changes or {}))


def test_its_configuration_is_read_written_and_changed_by_name():
    config = counting({"data.modulus": "5"})
    assert (config.data.task, config.data.modulus, config.seq_len) == ("counting", 5, 12)
    assert RunConfig.build(json.loads(config.to_json())) == config
    with pytest.raises(ConfigError, match=r"'data.modulos' is not a setting. Did you mean 'modulus'\?"):
        counting({"data.modulos": 5})


def test_what_it_says_of_a_run_is_checked():
    with pytest.raises(ConfigError, match="counting has no end"):
        counting({"training.max_epochs": 1.0})
    with pytest.raises(ConfigError, match="this is an encoder-decoder model"):
        counting({"model.n_encoder_layers": 1})


def test_it_is_trained_resumed_opened_evaluated_and_sampled(runs, resume, assert_same_end, capfd):
    whole = runs.train(counting())
    stopped = runs.train_until(counting(), 2)
    again, warnings = resume(stopped.run)
    assert not warnings
    assert_same_end(again, whole)

    opened = open_run(whole.run)
    assert opened.tokenizer.decode([1, 2]) == "1 2"
    assert open_model(whole.run).step == 3
    with pytest.raises(RunError, match="is a language model"):
        open_translator(whole.run)
    tokens = task_of(opened.config).generate(opened, ["1 2 3"], SamplingConfig(max_new_tokens=2, temperature=0.0))
    assert len([token.token for token in tokens]) == 2

    capfd.readouterr()
    assert main(["evaluate", str(whole.run.path), "--checkpoint", "latest", "--json"]) == 0
    measured = json.loads(capfd.readouterr().out)
    (*_, last) = [record for record in whole.run.metrics() if record["kind"] == "validation"]
    assert measured == {"accuracy": last["accuracy"], "n_tokens": 7 * 12, "step": 3}
    assert main(["evaluate", str(whole.run.path), "--beam", "3"]) == 2
    assert "has learned from counting" in " ".join(capfd.readouterr().err.split())


def test_it_is_inspected(runs, capfd):
    run = runs.train(counting()).run
    page = run.path / "page.html"
    assert main(["inspect", str(run.path), "--text", "1 2 3", "-o", str(page)]) == 0
    assert page.stat().st_size > 10_000
    subject = open_subject(run.path)
    assert isinstance(subject.tokenizer, TextTokenizer)
    assert subject.read("1 2 3").tokens == ["1", "2", "3"]


def test_a_tokenizer_without_a_method_is_named_with_what_it_should_have(runs, monkeypatch):
    run = runs.train(counting()).run
    digits = type(open_run(run).tokenizer)
    monkeypatch.delattr(digits, "token_text")
    with pytest.raises(DataError, match=r"Digits.*TextTokenizer"):
        open_subject(run.path)


def test_it_learns(runs):
    trainer = runs.train(counting({"training.max_steps": 60, "training.optimizer.learning_rate": 0.02}))
    first, *_, last = [record["accuracy"] for record in trainer.run.metrics() if record["kind"] == "validation"]
    assert first < 0.5
    assert last == 1.0


def test_a_command_line_chooses_it_by_its_name_and_its_data(tmp_path, monkeypatch):
    """The file is named on the same command line, and nothing has executed it before."""
    monkeypatch.setattr("glassformer.tasks.registry._tasks", {each.name: each for each in tasks()})
    monkeypatch.setattr("glassformer.data.kind._kinds", {each.name: each.config for each in tasks()})
    changes = {
        '"counting"': '"counting-anew"',
        "    modulus: int = 7": "    series: str = 'sevens'\n    modulus: int = 7",
        "    config =": "    data_setting = 'series'\n    built_in = ('sevens',)\n    config =",
    }
    source = FILE.read_text()
    for old, new in changes.items():
        assert old in source
        source = source.replace(old, new)
    file = tmp_path / "anew.py"
    file.write_text(source)
    settings = [f"model.part_files={file}", *(f"{path}={value}" for path, value in SMALL.items())]
    with pytest.raises(ConfigError, match="SHA-256"):
        configuration("nanogpt-shakespeare-cpu", data="sevens", steps=None, seed=None, assignments=settings)
    with trusting_parts(True):
        config = configuration("nanogpt-shakespeare-cpu", data="sevens", steps=None, seed=None, assignments=settings)
    assert (config.data.task, config.data.series) == ("counting-anew", "sevens")
    settings.append("data.task=counting-anew")
    again = configuration("nanogpt-shakespeare-cpu", data=None, steps=None, seed=None, assignments=settings)
    assert again.data == config.data


@pytest.mark.parametrize("name", ["countin", "translation"])
def test_a_task_that_a_model_cannot_learn_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=rf"data.task is '{name}'; .*counting"):
        configuration("nanogpt-shakespeare-cpu", data=None, steps=3, seed=None, assignments=[f"data.task={name}"])


@pytest.fixture
def lines(runs, tmp_path, monkeypatch):
    """A run on a file that it knows by a relative name, seen from another folder: (run, configuration, file)."""
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "lines.txt").write_text("one line after another\n" * 20)
    model = {**preset("nanogpt-shakespeare-cpu").model.to_dict(), "part_files": [str(IN_FILES)]}
    config = RunConfig.build({"model": model, "data": {"task": "lines", "book": "lines.txt"}}).override(SMALL)
    trainer = runs.train(config)
    monkeypatch.chdir(tmp_path)
    return trainer.run, trainer.config, place / "lines.txt"


def test_a_kind_whose_data_lie_in_a_file_finds_it_again_from_elsewhere(lines):
    run, config, file = lines
    samples = open_samples(run, config)
    assert samples.fingerprint == samples.data.fingerprint == recorded_data(run)["fingerprint"]
    assert samples.warnings == [f"the run's data are read from {file}"]
    _, warnings = session.resume(run)
    assert warnings == samples.warnings


def test_its_file_with_another_content_is_refused_without_advice_that_it_does_not_take(lines):
    run, config, file = lines
    file.write_text("another line\n" * 20)
    with pytest.raises(OtherDataError, match=r"Trained on: lines\.txt") as caught:
        open_samples(run, config)
    assert str(file) in str(caught.value)
    assert "--data" not in str(caught.value)


def test_data_that_are_made_are_called_by_what_is_learned(runs):
    trainer = runs.train(counting())
    with pytest.raises(OtherDataError, match=r"Trained on: counting .*this version"):
        open_samples(trainer.run, trainer.config.override({"data.modulus": 5}))


def test_the_built_in_tasks_come_first():
    assert [task.name for task in tasks()][:3] == ["language-modeling", "translation", "synthetic"]
