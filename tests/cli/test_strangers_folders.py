"""A folder from a stranger runs nothing: not when it is opened, not when it lies beside what is opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from seals import resealed, unsealed

from glassformer import registry, trust
from glassformer.cli.main import COMMANDS, main
from glassformer.cli.scale import COMMANDS as SCALE_COMMANDS
from glassformer.studies.design import study
from glassformer.studies.folder import Study

PART = """
from pathlib import Path
from torch import nn
from glassformer import register
Path({mark!r}).touch()

@register("norm", "strangers")
class Strangers(nn.LayerNorm):
    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__(d_model, eps=eps, bias=bias)
"""
OWN = {"model.norm.kind": "strangers"}


@pytest.fixture(scope="session")
def made_elsewhere(tmp_path_factory, trained, small, shared_cache):
    """A run and a study whose norm is a part file that leaves a mark when it runs; made with a memory of their own."""
    place = tmp_path_factory.mktemp("elsewhere")
    mark, part = place / "ran", place / "theirs.py"
    part.write_text(PART.format(mark=str(mark)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(shared_cache))
        patch.setenv("GLASSFORMER_STATE", str(place / "state"))
        patch.setattr("glassformer.speed.SECONDS", 0.01)
        settings = [*small, "--set", f"model.part_files={part}", "--set", "model.norm.kind=strangers"]
        words = ["train", "nanogpt-shakespeare-cpu", "--data", trained.parents[1] / "letters.txt", "--steps", "8"]
        assert main([str(word) for word in [*words, "--runs", place / "runs", "--name", "theirs", *settings]]) == 0
        (run,) = (place / "runs").iterdir()
        config = study(
            "gpt-nano",
            vary=[OWN | {"model.part_files": str(part)}],
            data=str(trained.parents[1] / "letters.txt"),
            steps=1,
        )
        folder = Study.create(config, data=dict.fromkeys(config.arms, "none"), command=["test"], root=place / "studies")
    part.unlink()
    return run, folder.path, mark


@pytest.fixture
def strangers(place, made_elsewhere, monkeypatch):
    """Copies of both in ``runs`` and ``studies`` of the working directory, and the mark; nothing of them is known."""
    run, study_folder, mark = made_elsewhere
    monkeypatch.setattr(registry, "_loaded_files", {})
    monkeypatch.setattr(trust, "_in_this_process", set())
    monkeypatch.setattr(registry, "_parts", {kind: dict(named) for kind, named in registry._parts.items()})
    registry._parts["norm"].pop("strangers", None)
    mark.unlink(missing_ok=True)
    shutil.copytree(run, place / "runs" / run.name)
    shutil.copytree(study_folder, place / "studies" / study_folder.name)
    return place / "runs" / run.name, place / "studies" / study_folder.name, mark


OPENING = {
    "sample": "sample {run} -n 2",
    "evaluate": "evaluate {run}",
    "inspect": "inspect {run} --text abc",
    "info": "info {run}",
    "info of a file": "info {run}/config.json",
    "convert": "convert {run} --to-hf out",
    "resume": "resume {run}",
    "train from a file": "train {run}/config.json",
    "train from toml": "train theirs.toml",
    "scale fit": "scale fit {run}",
    "study": "study {study}",
    "study from toml": "study theirs_study.toml",
    "report": "report {study}",
    "scale plan": "scale plan --compute 1e9 --preset {run}/config.json",
}


@pytest.fixture
def files(strangers):
    """Files that name the part of the run beside them."""
    run, _, _ = strangers
    (part,) = (run / "parts").iterdir()
    tree = json.loads((run / "config.json").read_text())
    tree["model"]["part_files"] = [str(part.absolute())]
    (run / "config.json").write_text(json.dumps(tree))
    setting = f'"model.part_files" = ["{part.absolute()}"]\n"model.norm.kind" = "strangers"\n'
    Path("theirs.toml").write_text(f'preset = "gpt-nano"\ndata = "words.txt"\n[set]\n{setting}')
    Path("theirs_study.toml").write_text(f'preset = "gpt-nano"\ndata = "words.txt"\n[variants.theirs]\n{setting}')


@pytest.mark.parametrize("command", OPENING.values(), ids=OPENING)
def test_opening_it_executes_nothing_and_the_refusal_says_what_to_do(say, strangers, files, command):
    run, study_folder, mark = strangers
    if "config.json" not in command:  # the run as it was made, and its seal
        shutil.copy(run / "parts" / "theirs.py", "theirs.py")
        tree = json.loads((run / "config.json").read_text())
        tree["model"]["part_files"] = ["anywhere/theirs.py"]
        (run / "config.json").write_text(json.dumps(tree))
        resealed(Path(), run)
    answer = say(*command.format(run=run, study=study_folder).split())
    assert not mark.exists()
    assert answer.status == 2
    assert "theirs.py" in answer.err
    assert trust.sha256_of(run / "parts" / "theirs.py") in answer.err.replace("\n", "")
    assert "--trust-parts" in answer.err


TRUSTED = ["sample", "evaluate", "inspect", "info", "convert", "scale fit", "resume", "report"]


@pytest.mark.parametrize("name", TRUSTED)
def test_it_opens_for_those_who_trust_it(say, strangers, name):
    run, study_folder, mark = strangers
    answer = say(*OPENING[name].format(run=run, study=study_folder).split(), "--trust-parts")
    assert mark.exists()
    assert "was not executed" not in answer.err
    if name in ("sample", "evaluate", "inspect", "info", "resume"):
        assert answer.status == 0, answer.err


BESIDE = {
    "chart of it": "chart {run} -o loss.svg",
    "scale noise": "scale noise {run}",
    "translate": "translate {run} --text abc",
    "presets": "presets",
    "claims": "claims",
    "train": "train nanogpt-shakespeare-cpu --data words.txt --steps 2 {small}",
    "study": "study nanogpt-shakespeare-cpu --data words.txt --steps 2 --seeds 1 --no-report --workers 1 {small} "
    "--vary model.residual=none",
    "latest": "sample latest -n 2",
    "scale fit of all": "scale fit runs",
    "demo": "info gpt2",
}


@pytest.mark.parametrize("command", BESIDE.values(), ids=BESIDE)
def test_nothing_is_executed_by_a_command_beside_it(say, strangers, small, command):
    run, _, mark = strangers
    answer = say(*command.format(run=run, small=" ".join(small)).split())
    assert not mark.exists()
    assert answer.status in (0, 2), answer.err


def test_every_command_that_opens_anything_is_tried():
    opening = {name for name, row in COMMANDS.items() if row.opens}
    opening |= {f"scale {name}" for name, row in SCALE_COMMANDS.items() if row.opens}
    tried = {
        line.split()[0] if not line.startswith("scale") else " ".join(line.split()[:2]) for line in OPENING.values()
    }
    assert opening - tried == {"translate", "fill", "scale ladder"}  # of other families; of a ladder: as study does


@pytest.mark.parametrize("name", ["presets", "doctor", "chart", "claims"])
def test_commands_that_open_no_model_do_not_take_the_option(say, place, name):
    assert "No such option" in say(name, "--trust-parts").err


@pytest.mark.filterwarnings("ignore:.*names code of its own")  # which says that it is not executed
@pytest.mark.filterwarnings("ignore:.*own code")
def test_a_hugging_face_folder_runs_no_code(say, place):
    pytest.importorskip("transformers")
    folder = place / "theirs"
    folder.mkdir()
    mark = place / "ran"
    (folder / "modeling_theirs.py").write_text(f"open({str(mark)!r}, 'w')\n")
    config = {"model_type": "gpt2", "auto_map": {"AutoModel": "modeling_theirs.Theirs"}, "trust_remote_code": True}
    (folder / "config.json").write_text(json.dumps(config))
    for command in ("inspect theirs --text abc", "convert theirs --to-run mine"):
        assert say(*command.split()).status == 2
    assert not mark.exists()


# ---------------------------------------------------------------------------------------------------------- the seal


def edited_config(run):
    tree = json.loads((run / "config.json").read_text())
    tree["model"]["attention"]["n_heads"] = 4
    (run / "config.json").write_text(json.dumps(tree))


def edited_tokenizer(run):
    path = run / "tokenizer" / "tokenizer.json"
    tree = json.loads(path.read_text())
    tree["characters"] = tree["characters"].replace("a", "A")
    tree["characters"] = "".join(sorted(tree["characters"]))
    path.write_text(json.dumps(tree))


CHANGES = {
    "config.json has changed": edited_config,
    "tokenizer/tokenizer.json has changed": edited_tokenizer,
    "tokenizer/tokenizer.json is missing": lambda run: (run / "tokenizer" / "tokenizer.json").unlink(),
    "tokenizer/other.json was added": lambda run: (run / "tokenizer" / "other.json").write_text("{}"),
    "parts/own.py was added": lambda run: ((run / "parts").mkdir(), (run / "parts" / "own.py").write_text("")),
}


@pytest.mark.parametrize("command", ["sample {} -n 2", "evaluate {}", "inspect {} --text abc", "info {}", "resume {}"])
@pytest.mark.parametrize(("message", "change"), CHANGES.items(), ids=CHANGES)
def test_a_run_whose_files_are_not_those_of_its_checkpoints_is_not_opened(say, run, message, change, command):
    change(run)
    answer = say(*command.format(run).split())
    assert answer.status == 2
    assert message in answer.err.replace("\n", " ")


def test_the_seal_is_of_the_content_and_old_checkpoints_have_none(say, run):
    tree = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(tree, indent=7, sort_keys=True) + "\r\n")
    assert say("sample", run, "-n", 2).status == 0
    unsealed(Path(), run)
    edited_config(run)
    assert say("sample", run, "-n", 2).status == 0  # nothing can be compared
