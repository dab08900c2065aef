"""A run's data, opened again: what it was trained on, in its own tokens, or a refusal that says what is there now."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest

from glassformer.data.byte_pairs import TrainedBytePairTokenizer
from glassformer.data.tokenizers import CharacterTokenizer
from glassformer.errors import DataError, RunError
from glassformer.runs.folder import Run
from glassformer.scoring.likelihood import evaluate
from glassformer.tasks import opening
from glassformer.tasks.registry import prepare_samples
from glassformer.tasks.run_data import OtherDataError, open_samples, recorded_data
from glassformer.training import session

TEXT = "the quick brown fox jumps over the lazy dog and the cow jumps over the moon again.\n" * 40


@pytest.fixture(params=["text", "pairs", "two files"])
def project(request, tmp_path, monkeypatch, configure):
    """A folder of one's own, in which a run was begun on a file by its relative name: (run, configuration, file)."""
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    draw = random.Random(1)
    sentences = [" ".join(draw.choice(["one", "two", "three", "four"]) for _ in range(5)) for _ in range(120)]
    if request.param == "text":
        (place / "notes.txt").write_text(TEXT)
        changes, base = {"data.source": "notes.txt"}, "nanogpt-shakespeare-cpu"
    elif request.param == "pairs":
        (place / "notes.tsv").write_text("".join(f"{text}\t{text[::-1]}\n" for text in sentences))
        changes, base = {"data.source": "notes.tsv"}, "transformer-tiny"
    else:
        (place / "notes.en").write_text("".join(f"{text}\n" for text in sentences))
        (place / "notes.de").write_text("".join(f"{text[::-1]}\n" for text in sentences))
        changes, base = {"data.source": "notes.en,notes.de"}, "transformer-tiny"
    trainer = session.start(configure(changes, base=base), name="run", root=place / "runs", command=["test"])
    file = next(place.glob("notes.*"))
    return trainer.run, trainer.config, file


def same(samples, run) -> bool:
    return samples.fingerprint == recorded_data(run)["fingerprint"]


def swapped(content: bytes) -> bytes:
    return content.replace(b"o", b"0")


def rewritten(path, content):
    """Other content of the same size, with the old time."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", ["nothing", "touched", "copied over", "folder moved", "seen from elsewhere"])
def test_the_same_content_is_the_runs_data(project, change, tmp_path, monkeypatch):
    run, config, file = project
    if change == "touched":
        os.utime(file, ns=(1, 1))
    elif change == "copied over":
        shutil.copy(file, tmp_path / "copy")
        file.unlink()
        (tmp_path / "copy").rename(file)
    elif change == "folder moved":
        monkeypatch.chdir(tmp_path)
        (tmp_path / "project").rename(tmp_path / "moved")
        run = Run.open(tmp_path / "moved" / "runs" / run.name)
    elif change == "seen from elsewhere":
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
    samples = open_samples(run, config)
    assert same(samples, run)
    assert bool(samples.warnings) == (change in ("folder moved", "seen from elsewhere"))


@pytest.mark.parametrize("change", ["same size and time", "appended", "truncated", "lines in another order"])
def test_another_content_is_refused_with_what_was_and_what_is_there(project, change):
    run, config, file = project
    content = file.read_bytes()
    changed = {
        "same size and time": swapped(content),
        "appended": content + content.splitlines(keepends=True)[0],
        "truncated": b"".join(content.splitlines(keepends=True)[:-2]),
        "lines in another order": b"".join(content.splitlines(keepends=True)[::-1]),
    }[change]
    if changed == content:
        changed = content.replace(b"the", b"teh")
    rewritten(file, changed)
    with pytest.raises(OtherDataError) as caught:
        open_samples(run, config)
    message = str(caught.value)
    assert recorded_data(run)["fingerprint"] in message
    assert recorded_data(run)["content"][:12] in message
    assert str(file.absolute()) in message
    assert f"evaluate {run.name} --data {config.data.source}" in message
    rewritten(file, content)
    assert same(open_samples(run, config), run)


def test_a_file_of_the_same_name_elsewhere_is_not_taken_for_the_runs_own(project, tmp_path, monkeypatch):
    run, config, file = project
    there = tmp_path / "elsewhere"
    there.mkdir()
    for each in file.parent.glob("notes.*"):
        (there / each.name).write_bytes(swapped(each.read_bytes()))
    monkeypatch.chdir(there)
    samples = open_samples(run, config)
    assert same(samples, run)
    assert str(file) in samples.warnings[0]
    file.unlink()
    with pytest.raises(OtherDataError, match="not those that it was trained on"):
        open_samples(run, config)


def test_a_missing_file_is_said_to_be_missing(project):
    run, config, file = project
    for each in file.parent.glob("notes.*"):
        each.unlink()
    with pytest.raises(OtherDataError, match=f"there is no {config.data.source}"):
        open_samples(run, config)


def test_resuming_before_the_first_checkpoint_refuses_other_data(project):
    run, _, file = project
    content = file.read_bytes()
    rewritten(file, swapped(content))
    with pytest.raises(OtherDataError):
        session.resume(run)
    rewritten(file, content)
    trainer, warnings = session.resume(run)
    assert (trainer.progress.step, warnings) == (0, [])
    assert len([event for event in run.events() if event["event"] == "data"]) == 1


def test_no_name_of_a_user_is_recorded(project, monkeypatch, tmp_path, configure):
    run, config, _ = project
    monkeypatch.setenv("HOME", str(tmp_path))
    other = session.start(config, name="other", root=run.path.parent, command=["test"]).run
    assert recorded_data(other)["folders"] == ["~/project", "../.."]
    assert str(tmp_path) not in json.dumps(recorded_data(other))


def legacy(run, **facts):
    """The run as an earlier version would have left it: with an identity of path and time, and no hash of content."""
    lines = run.metrics_path.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    for event in events:
        if event.get("event") == "data":
            for name in ("content", "sha256", "made_with", "folders"):
                event.pop(name, None)
            event |= {"fingerprint": "0" * 32, **facts}
    run.metrics_path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_a_run_from_an_earlier_version_opens_on_the_data_that_its_numbers_fit(project):
    run, config, file = project
    legacy(run)
    samples = open_samples(run, config)
    assert samples.fingerprint == "0" * 32, "its checkpoints call its data so"
    trainer, _ = session.resume(run)
    assert trainer.samples.fingerprint == "0" * 32
    content = file.read_bytes()
    for changed in (content.replace(b"o", b"e"), swapped(content), content[: len(content) // 2]):
        rewritten(file, changed)
        with pytest.raises(DataError):
            open_samples(run, config)


def test_a_run_from_an_earlier_version_is_refused_where_a_number_that_it_recorded_is_another(project):
    run, config, _ = project
    legacy(run, bytes_per_token=1.25)
    with pytest.raises(OtherDataError, match=r"bytes_per_token 1\.25 then and .* now"):
        open_samples(run, config)


def test_the_text_is_read_with_the_tokenizer_that_the_run_carries(tmp_path, configure):
    """Another version of the library may learn other merges of the same text."""
    (tmp_path / "text").write_text(TEXT)
    changes = {"data.source": str(tmp_path / "text"), "data.tokenizer": "bpe", "data.bpe_vocab_size": 280}
    trainer = session.start(configure(changes), name="run", root=tmp_path / "runs", command=["test"])
    run, config = trainer.run, trainer.config
    learned = trainer.samples.data.tokenizer
    shuffled = TrainedBytePairTokenizer(learned.vocabulary, learned.merges[:-1])
    other = config.override({"model.vocab_size": shuffled.vocab_size})
    prepared = prepare_samples(other, tokenizer=shuffled)
    shuffled.save(run.tokenizer)
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    lines = [line | {"sha256": prepared.data.digests} if line.get("event") == "data" else line for line in lines]
    run.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    samples = open_samples(run, other)
    assert samples.data.tokenizer.to_dict() == shuffled.to_dict() != learned.to_dict()
    assert same(samples, run)
    assert len(samples.data.train) != len(trainer.samples.data.train)


def test_a_tokenizer_that_did_not_make_the_runs_tokens_is_refused(tmp_path, configure):
    (tmp_path / "text").write_text(TEXT)
    trainer = session.start(configure({"data.source": str(tmp_path / "text")}), name="run", root=tmp_path / "runs")
    CharacterTokenizer(trainer.samples.data.tokenizer.characters + "!").save(trainer.run.tokenizer)
    with pytest.raises(OtherDataError, match="the same content gives other tokens"):
        open_samples(trainer.run, trainer.config)


def test_the_standard_library_of_another_python_is_named_as_such(tmp_path, configure):
    config = configure({"data.source": "python-stdlib"})
    run = Run.create(tmp_path, "run", config.to_dict(), command=["test"])
    recorded = {"fingerprint": "1" * 32, "content": "2" * 64, "made_with": {"python": "3.99.1"}}
    with run.metrics_writer() as writer:
        writer.append({"event": "data", **recorded})
    with pytest.raises(OtherDataError, match=r"trained on that of Python 3\.99\.1"):
        open_samples(run, config)


def test_a_run_that_was_imported_does_not_say_what_it_was_trained_on(tmp_path, configure):
    run = Run.create(tmp_path, "run", configure().to_dict(), command=["test"])
    with pytest.raises(DataError, match="was imported, and which data"):
        open_samples(run, configure())


def test_a_task_is_opened_again_and_another_one_is_refused(tmp_path, configure, monkeypatch):
    changes = {"data": {"task": "synthetic", "kind": "copy", "length": 3, "n_validation": 20}}
    tree = configure().to_dict() | changes
    del tree["training"]["seq_len"]
    config = type(configure()).build(tree)
    trainer = session.start(config, name="run", root=tmp_path, command=["test"])
    assert open_samples(trainer.run, trainer.config).fingerprint == trainer.samples.fingerprint
    monkeypatch.setattr("glassformer.data.synthetic.VERSION", 99)
    with pytest.raises(OtherDataError, match="this version"):
        open_samples(trainer.run, trainer.config)


def test_the_loss_of_the_data_opened_again_is_that_of_the_data_trained_on(project):
    run, config, _ = project
    model = opening.build_model(config)
    losses = [
        evaluate(model, samples.validation(64)).loss for samples in (prepare_samples(config), open_samples(run, config))
    ]
    assert losses[0] == losses[1]


ODD = (None, 5, "x", [], [1], {}, {"train": []}, {"python": 3}, "~nobody/x", "\0", "n" * 5_000)


def refusal(run, config) -> str:
    """What is said of the data; empty if they are accepted."""
    try:
        open_samples(run, config)
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("key", ["content", "sha256", "made_with", "folders", "tokens", "bytes_per_token"])
def test_an_odd_record_of_the_data_is_a_refusal_or_does_not_matter(tmp_path, configure, text, key):
    config = configure()
    samples = prepare_samples(config)
    run = Run.create(tmp_path, "run", config.to_dict(), command=["test"])
    samples.save_tokenizer(run.tokenizer)
    for odd in ODD:
        value = [odd] if key == "folders" else odd
        record = {"event": "data", **samples.describe(), "folders": ["~/x"], key: value}
        run.metrics_path.write_text(json.dumps(record) + "\n")
        try:
            run.events()
        except RunError:  # the record is refused as damaged before anything is compared
            continue
        here = refusal(run, config)
        assert ("not those that it was trained on" in here) == (key == "sha256"), (odd, here)
        gone = refusal(run, config.override({"data.source": "gone.txt"}))
        assert "not those that it was trained on" in gone, (odd, gone)
