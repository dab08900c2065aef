"""Folders as nobody should make them: real ones, damaged systematically, and the commands that open them.

    place = Place.make(empty_folder)               # a run, a translator, a study, two Hugging Face folders
    for case in cases(place):                      # the same ones in the same order, every time
        outcome = place.attempt(case)              # on a copy
        assert wrong(case, outcome) == []

Three kinds of damage: to a file as a whole (gone, cut, a FIFO, binary); to one value of a JSON file, for every key in
it; and to the header of a file of tensors. Where a manifest vouches for a file, each is tried as chance would have it,
and *sealed*: with the hashes made anew, as whoever makes a folder to deceive would do it.

``python tests/hostile_folders.py [EVERY [WORDS]]`` tries every EVERY-th case that has the words in its description,
prints what is wrong, and the counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import outcomes

from glassformer.cli.main import main
from glassformer.errors import GlassformerError
from glassformer.models.presets import preset
from glassformer.runs.files import FileRecord
from glassformer.runs.manifest import MANIFEST, _sealed
from glassformer.runs.seal import seal_of
from glassformer.studies.checking import check
from glassformer.studies.design import study
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import read_outcome
from glassformer.studies.reuse import reuse
from glassformer.tasks.run_config import RunConfig
from glassformer.training import session

BASE = {
    "model.d_model": 16, "model.n_layers": 1, "model.max_seq_len": 16, "model.attention.n_heads": 2,
    "training.batch_size": 4, "training.max_steps": 6, "training.compile": "off", "training.schedule.warmup_steps": 2,
    "training.telemetry.log_every": 2, "training.telemetry.validate_every": 3,
    "training.telemetry.validation_tokens": 64, "training.telemetry.gradients_every": 3,
    "training.telemetry.noise_scale_every": 2, "training.checkpoints.every": 3, "training.checkpoints.keep_last": 2,
}  # fmt: skip
TRANSLATOR = {
    "model.d_model": 16, "model.n_layers": 1, "model.n_encoder_layers": 1, "model.max_seq_len": 16,
    "model.attention.n_heads": 2, "model.feedforward.d_ff": 16, "data.tokenizer": "words", "data.max_length": 16,
    "training.batch_tokens": 128, "training.max_steps": 4, "training.compile": "off",
    "training.schedule.warmup_steps": 2, "training.telemetry.log_every": 2, "training.telemetry.validate_every": 4,
    "training.telemetry.gradients_every": None, "training.checkpoints.every": 2,
}  # fmt: skip

# ------------------------------------------------------------------------------------------------------ damages


def _whole(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: [path.write_bytes(change(path.read_bytes()))][0] and None


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _flip(where: float) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        at = int(where * (len(content) - 1))
        return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]

    return flip


FILE_DAMAGES: dict[str, Callable[[Path], None]] = {
    "deleted": lambda path: path.unlink(),
    "empty": _whole(lambda content: b""),
    "cut in half": _whole(lambda content: content[: len(content) // 2]),
    "its first byte gone": _whole(lambda content: content[1:]),
    "[]": _whole(lambda content: b"[]"),
    '"abc"': _whole(lambda content: b'"abc"'),
    "null": _whole(lambda content: b"null"),
    "{}": _whole(lambda content: b"{}"),
    "a number": _whole(lambda content: b"7"),
    "400 digits": _whole(lambda content: b"9" * 400),
    "5,000 digits": _whole(lambda content: b"9" * 5000),
    "nested deep": _whole(lambda content: b"[" * 100_000 + b"]" * 100_000),
    "objects nested deep": _whole(lambda content: b'{"model":' * 900 + b"1" + b"}" * 900),
    "NaN": _whole(lambda content: b"NaN"),
    "binary": _whole(lambda content: bytes(range(256)) * 20),
    "UTF-16": _whole(lambda content: content.decode("latin-1").encode("utf-16")),
    "with a byte order mark": _whole(lambda content: b"\xef\xbb\xbf" + content),
    "with CRLF": _whole(lambda content: content.replace(b"\n", b"\r\n")),
    "with a null byte": _whole(lambda content: content[: len(content) // 2] + b"\0" + content[len(content) // 2 :]),
    "a bit flipped near its beginning": _whole(_flip(0.01)),
    "a bit flipped in the middle": _whole(_flip(0.5)),
    "a bit flipped at its end": _whole(_flip(0.99)),
    "a line of 17 MB": _whole(lambda content: b'{"step": 1, "pad": "' + b"x" * 17 * 2**20 + b'"}\n'),
    "3 GB of nothing": _instead(lambda path: [path.touch(), os.truncate(path, 3 * 2**30)]),
    "a FIFO": _instead(os.mkfifo),
    "a folder": _instead(lambda path: path.mkdir()),
    "a link to itself": _instead(lambda path: path.symlink_to(path)),
    "a link to nothing": _instead(lambda path: path.symlink_to(path.with_name("gone"))),
    "a link to a device": _instead(lambda path: path.symlink_to("/dev/zero")),
}
"""To a file as a whole."""

ODD: tuple[Any, ...] = (
    None, [], {}, "abc", "", "\x1b[31mred", -1, 0, 2**31, 2**62, int("9" * 400), 1e308, 0.5, True, [[1]], {"a": [None]},
    float("nan"), "../../x", ["a", 1],
)  # fmt: skip
"""In the place of one value."""

BUDGETS = ("max_steps", "max_tokens", "max_epochs", "max_seconds", "patience", "seeds")
"""Settings in which a large number is not wrong, and long."""

WALL = 120.0
"""Seconds after which a command hangs. What it may take of the processor is less: other work may hold that up."""
HEAVY = ("study", "report", "report latest", "inspect")
"""Commands that take seconds where nothing is wrong."""
DIVERGED = "The update was not made"
MANY = 24
UNREAD = ("generation_config.json", "tokenizer_config.json", "tokenizer.json")
"""Files of a Hugging Face folder that are written, and not read."""

HEADERS: dict[str, Callable[[dict[str, Any], str], object]] = {
    "a shape of 0 × 2^62 × 2^62": lambda header, name: header[name].update(
        shape=[0, 2**62, 2**62], data_offsets=[header[name]["data_offsets"][0]] * 2
    ),
    "a shape of 2^62": lambda header, name: header[name].update(shape=[2**62, 2**62]),
    "a negative shape": lambda header, name: header[name].update(shape=[-1, -16]),
    "a shape of fractions": lambda header, name: header[name].update(shape=[1.5, 2]),
    "a shape that is no list": lambda header, name: header[name].update(shape="16"),
    "a shape of another rank": lambda header, name: header[name].update(shape=[1, *header[name]["shape"]]),
    "a shape turned round": lambda header, name: header[name].update(shape=header[name]["shape"][::-1]),
    "an unknown dtype": lambda header, name: header[name].update(dtype="F7"),
    "a dtype that is a list": lambda header, name: header[name].update(dtype=["F32"]),
    "integers for floats": lambda header, name: header[name].update(dtype="I32"),
    "offsets of 2^63": lambda header, name: header[name].update(data_offsets=[2**63, 2**63 + 4]),
    "offsets the wrong way round": lambda header, name: header[name].update(
        data_offsets=header[name]["data_offsets"][::-1]
    ),
    "three offsets": lambda header, name: header[name].update(data_offsets=[0, 1, 2]),
    "no offsets": lambda header, name: header[name].pop("data_offsets"),
    "an entry that is a list": lambda header, name: header.update({name: [1, 2]}),
    "another name": lambda header, name: header.update({"\x1b[31mevil": header.pop(name)}),
    "no tensors": lambda header, name: header.clear(),
    "metadata that is a list": lambda header, name: header.update(__metadata__=[1]),
}
"""To the header of a file of tensors."""


@dataclass(frozen=True)
class Case:
    """One damage and one command.

    Attributes:
        folder: run, translator, study, gpt2 or marian.
        file: in it.
        damage: in words.
        command: a name in COMMANDS[folder].
        apply: does the damage to the file.
        sealed: whether the manifests vouch for it afterwards.
    """

    folder: str
    file: str
    damage: str
    command: str
    apply: Callable[[Path], None]
    sealed: bool

    def __str__(self) -> str:
        return f"{self.command} of a {self.folder}: {self.file} {self.damage}{', sealed' * self.sealed}"


COMMANDS: dict[str, dict[str, list[str]]] = {
    "run": {
        "sample": ["sample", "{it}", "-n", "3"],
        "evaluate": ["evaluate", "{it}"],
        "inspect": ["inspect", "{it}", "--text", "the sum", "-o", "page.html"],
        "info": ["info", "{it}"],
        "chart": ["chart", "{it}", "-o", "loss.html"],
        "convert": ["convert", "{it}", "--to-hf", "out"],
        "resume": ["resume", "{it}"],
        "scale fit": ["scale", "fit", "{it}"],
        "scale noise": ["scale", "noise", "{it}"],
        "sample latest": ["sample", "latest", "-n", "3"],
        "chart of its neighbour": ["chart", "good", "-o", "loss.html"],
        "reuse": ["reuse"],
    },
    "translator": {
        "translate": ["translate", "{it}", "--text", "one two"],
        "evaluate": ["evaluate", "{it}", "--split", "validation"],
        "inspect": ["inspect", "{it}", "--text", "one", "-o", "page.html"],
        "info": ["info", "{it}"],
        "convert": ["convert", "{it}", "--to-hf", "out"],
        "resume": ["resume", "{it}"],
        "sample": ["sample", "{it}", "-n", "3"],
    },
    "study": {
        "report": ["report", "{it}"],
        "report latest": ["report", "latest"],
        "scale fit": ["scale", "fit", "{it}"],
        "study": ["study", "{it}"],
        "reuse": ["reuse"],
    },
    "gpt2": {
        "inspect": ["inspect", "{it}", "--text", "the sum", "-o", "page.html"],
        "convert": ["convert", "{it}", "--to-run", "imported"],
    },
    "marian": {
        "inspect": ["inspect", "{it}", "--text", "one", "-o", "page.html"],
        "convert": ["convert", "{it}", "--to-run", "imported"],
    },
}
NEIGHBOURS = ("sample latest", "chart of its neighbour", "reuse")
"""Commands that are not about the damaged folder, and must not be stopped by it (but "latest" may be it)."""


# -------------------------------------------------------------------------------------------------------- cases


def cases(place: Place) -> Iterator[Case]:
    """Every case. Each damage goes to some of the commands in turn, so that together they meet all of them."""
    turn = 0
    for folder, commands in COMMANDS.items():
        names = list(commands)
        for file, damage, apply, sealed, much in _damages(place, folder):
            for _ in range(min(much, len(names))):
                turn += 1
                command = names[turn % len(names)]
                starts = command in ("study", "resume") and any(name in damage for name in BUDGETS)
                if starts or (command == "study" and "outcomes" in file):  # it would begin to train, as it should
                    continue
                yield Case(folder, file, damage, command, apply, sealed)


def _damages(place: Place, folder: str) -> Iterator[tuple[str, str, Callable[[Path], None], bool, int]]:
    """(file, damage, what does it, sealed, with how many commands)."""
    root = place.folders[folder]
    for file in place.files(folder):
        for damage, apply in FILE_DAMAGES.items():
            yield file, damage, apply, False, 2
        if file.endswith((".json", ".jsonl")):
            for damage, apply in _value_damages(root / file, every=place.thin[folder]):
                yield file, damage, apply, True, 1
        if file.endswith(".safetensors"):
            for damage, change in HEADERS.items():
                yield file, damage, _in_header(change), True, 2
            yield file, "a header of 2^62 bytes", _whole(lambda b: (2**62).to_bytes(8, "little") + b[8:]), True, 1


def _value_damages(path: Path, every: int) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Every value of a JSON file (or of lines of it) in turn gone, or an odd one: every so many-th of these."""
    turn = 0
    for line, tree in _trees(path):
        for where in _paths(tree):
            budget = where[-1] in BUDGETS
            for value in ODD:
                turn += 1
                large = isinstance(value, int | float) and not isinstance(value, bool) and value > 100
                if turn % every == 0 and not (large and budget):
                    yield _named(line, where, value), _put(line, where, value, gone=False)
            if not budget:
                yield _named(line, where, "gone"), _put(line, where, None, gone=True)


def _trees(path: Path) -> Iterator[tuple[int, Any]]:
    """What a JSON file holds; of a file of lines, the first line of each kind with its number from 0."""
    if path.suffix != ".jsonl":
        yield 0, _json(path)
        return
    met = set()
    for line, tree in enumerate(map(json.loads, path.read_text().splitlines())):
        kind = tree.get("event", tree.get("kind"))
        if kind not in met:
            yield line, tree
        met.add(kind)


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _named(line: int, where: Sequence[str | int], value: Any) -> str:
    shown = "400 digits" if isinstance(value, int) and value > 2**70 else repr(value)
    return f"[line {line + 1}] {'.'.join(map(str, where))} = {shown}"


def _paths(tree: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every value's place in a JSON tree: of a list the first, of an object with many keys the first three."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(tree, dict):
        inside = list(tree.items()) if len(tree) <= MANY else list(tree.items())[:3]
    elif isinstance(tree, list):
        inside = list(enumerate(tree))[:1]
    for key, value in inside:
        yield (*above, key)
        yield from _paths(value, (*above, key))


def _put(line: int, where: Sequence[str | int], value: Any, *, gone: bool) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        tree = inner = json.loads(lines[line])
        for key in where[:-1]:
            inner = inner[key]
        if gone:
            del inner[where[-1]]
        else:
            inner[where[-1]] = value
        lines[line] = json.dumps(tree)
        path.write_text("\n".join(lines) + "\n")

    return damage


def _in_header(change: Callable[[dict[str, Any], str], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        count = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + count])
        change(header, next(name for name in header if name != "__metadata__"))
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + count :])

    return damage


def seal(run: Path) -> None:
    """Make every manifest of a run vouch for what is there now, as far as it can be read."""
    try:
        sealed = seal_of(run, json.loads((run / "config.json").read_text()))
    except (OSError, ValueError, TypeError, GlassformerError):
        sealed = None
    for manifest in run.glob(f"checkpoints/step-*/{MANIFEST}"):
        body = json.loads(manifest.read_text())
        if not isinstance(body, dict):
            continue
        files = body.get("files")
        for name, record in files.items() if isinstance(files, dict) else ():
            path = manifest.with_name(name) if isinstance(name, str) and "/" not in name else None
            if path is not None and path.is_file() and isinstance(record, dict):
                content = path.read_bytes()
                record.update(vars(FileRecord(len(content), hashlib.sha256(content).hexdigest())))
        if sealed is not None and isinstance(body.get("seal"), dict) and body["seal"]:
            body["seal"] = sealed
        body.pop("sha256", None)
        manifest.write_bytes(_sealed(body))


# -------------------------------------------------------------------------------------------------------- place


@dataclass
class Place:
    """Whole folders to be copied and damaged, made once in an empty folder."""

    root: Path
    folders: dict[str, Path]
    thin: dict[str, int]
    """Of the odd values, every so many-th is tried in a folder's JSON files."""

    @classmethod
    def make(cls, root: Path) -> Place:
        """Train and write everything; takes seconds. The environment must name no folder of the user's."""
        draw = random.Random(0)
        words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote.\n"]
        (root / "words.txt").write_text(" ".join(draw.choice(words) for _ in range(600)))
        numbers = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs"}
        pairs = dict.fromkeys(tuple(draw.choices(list(numbers), k=draw.randint(1, 4))) for _ in range(200))
        lines = (f"{' '.join(each)}\t{' '.join(numbers[word] for word in each)}\n" for each in pairs)
        (root / "pairs.tsv").write_text("".join(lines), encoding="utf-8")

        chosen = preset("gpt2")
        base = RunConfig(model=chosen.model).override(
            chosen.recipe | BASE | {"data.source": str(root / "words.txt"), "data.tokenizer": "characters"}
        )
        chosen = preset("transformer-tiny")
        translation = {"model": chosen.model, "data": {"task": "translation", "source": str(root / "pairs.tsv")}}
        recipe = {name: value for name, value in chosen.recipe.items() if not name.startswith("data.")}
        pair = RunConfig.build(translation).override(recipe | TRANSLATOR)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            run = _train(base, "damaged", root / "runs")
            longer = root / "runs" / run.name / "config.json"
            tree = _json(longer)
            tree["training"]["max_steps"] += 2  # so that there is something to resume
            longer.write_text(json.dumps(tree, indent=2))
            seal(longer.parent)
            _train(base.override({"training.seed": 1}), "good", root / "good")
            translator = _train(pair, "translator", root / "runs")
            designed = check(study(base.override({"training.max_steps": 4}), vary=["model.residual=none"], seeds=2))
            made = Study.create(designed.config, data=designed.data, command=["test"], root=root / "studies")
            for planned in made.plan:
                trained = session.start(planned.config, name=planned.run_key, root=made.runs)
                trained.train()
                found = read_outcome(trained.run, planned.variant, planned.seed)
                assert found is not None
                made.record(planned, found)
            waiting = check(study(base.override({"training.max_steps": 5}), vary=["model.residual=none"], seeds=1))
            Study.create(waiting.config, data=waiting.data, command=["test"], root=root / "waiting")
            for name, source in (("gpt2", run), ("marian", translator)):
                assert main(["convert", str(source), "--to-hf", str(root / name)]) == 0
        folders = {"run": run, "translator": translator, "study": made.path}
        folders |= {name: root / name for name in ("gpt2", "marian")}
        return cls(root, folders, {"run": 2, "translator": 5, "study": 7, "gpt2": 2, "marian": 2})

    def files(self, folder: str) -> list[str]:
        """The files to damage: of several alike the newest."""
        root = self.folders[folder]
        found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        found = [name for name in found if not name.endswith(".lock") and name not in UNREAD]
        if folder == "study":
            run = next(name.split("/")[1] for name in found if name.startswith("runs/"))
            outcome = next(name for name in found if name.startswith("outcomes/"))
            kept = (f"runs/{run}/config.json", f"runs/{run}/metrics.jsonl", f"runs/{run}/environment.json", outcome)
            return [name for name in found if "/" not in name or name in kept]
        newest = max((name.split("/")[1] for name in found if name.startswith("checkpoints/")), default="")
        return [name for name in found if not name.startswith("checkpoints/") or newest in name]

    def attempt(self, case: Case) -> outcomes.Outcome:
        """Damage a copy and run the command beside it, in a folder of its own."""
        with tempfile.TemporaryDirectory(dir=self.root) as made, ExitStack() as stack:
            here = Path(made)
            source = self.folders[case.folder]
            above = {"study": "studies", "gpt2": "", "marian": ""}.get(case.folder, "runs")
            it = here / above / source.name
            shutil.copytree(source, it)
            if case.command in NEIGHBOURS:
                for good in (self.root / "good").iterdir():
                    shutil.copytree(good, here / "runs" / good.name)
            case.apply(it / case.file)
            if case.sealed and case.folder in ("run", "translator"):
                seal(it)
            stack.enter_context(chdir(here))
            words = [word.format(it=it.relative_to(here)) for word in COMMANDS[case.folder][case.command]]
            if words == ["reuse"]:
                stack.enter_context(mock.patch("outcomes.main", self._reuse))
            began = time.process_time()
            outcome = outcomes.attempt(words, watched=[here], limit=WALL)
            return replace(outcome, seconds=time.process_time() - began)

    def _reuse(self, _: list[str]) -> int:
        """What ``glassformer study`` does in a folder of strangers' runs before it trains."""
        (waiting,) = (self.root / "waiting").iterdir()
        reuse(Study.open(waiting), runs=Path("runs"), studies=Path("studies"), threads=1, report=print)
        return 0


def _train(config: RunConfig, name: str, root: Path) -> Path:
    trainer = session.start(config, name=name, root=root)
    trainer.train()
    return trainer.run.path


TABLES = ("/results.json", "/results.csv", "/runs.csv")
"""Of a study, written before its pages."""


def wrong(case: Case, outcome: outcomes.Outcome) -> list[str]:
    """Every promise that the outcome breaks. A neighbour is never harmed; a study's table may stand without pages."""
    left = tuple(path for path in outcome.left if not path.endswith(TABLES))
    found = outcomes.faults(replace(outcome, left=left))
    if outcome.seconds > outcomes.LIMIT:
        found.append(f"it took {outcome.seconds:.0f} s of the processor")
    if DIVERGED in outcome.err:  # it was opened, and trained as it says
        found = [reason for reason in found if not reason.startswith("it left behind")]
    if case.command in ("chart of its neighbour", "reuse") and outcome.status != 0:
        found.append("a neighbour stopped it")
    return found


@dataclass
class Tally:
    """What has been tried, and what was wrong."""

    tried: list[outcomes.Outcome]
    found: list[str]

    @classmethod
    def of(cls, place: Place, chosen: Sequence[Case], show: Callable[[str], object] | None = None) -> Tally:
        """Try each; ``show`` gets a line for each that is wrong."""
        tally = cls([], [])
        for case in chosen:
            outcome = place.attempt(case)
            tally.tried.append(outcome)
            if reasons := wrong(case, outcome):
                tally.found.append(f"{case}: {'; '.join(reasons)}\n    {outcome.err.strip()[-300:]}")
                if show is not None:
                    show(tally.found[-1])
        return tally


def _main(every: int, words: str) -> int:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as root:
        for variable in ("CACHE", "STATE", "RUNS", "STUDIES"):
            os.environ[f"GLASSFORMER_{variable}"] = f"{root}/{variable.lower()}"
        del os.environ["GLASSFORMER_RUNS"], os.environ["GLASSFORMER_STUDIES"]
        place = Place.make(Path(root))
        chosen = [case for case in cases(place) if words in str(case)][::every]
        tally = Tally.of(place, chosen, print)
        seconds = time.perf_counter() - began
        print(f"{len(chosen):,} cases in {seconds:,.0f} s: {outcomes.counts(tally.tried)}; {len(tally.found)} wrong")
    return bool(tally.found)


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 1, " ".join(sys.argv[2:])))
