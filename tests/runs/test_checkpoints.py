from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
import string
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import CheckpointError
from glassformer.runs.checkpoints import (
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    open_checkpoint,
    prune,
    save_checkpoint,
)
from glassformer.runs.manifest import _sealed
from glassformer.runs.tensors import DTYPES


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())


def assert_identical(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert one[name].shape == other[name].shape
        assert bits(one[name]) == bits(other[name]), name


def arbitrary_bits(shape, dtype, seed=0):
    """A tensor with random bytes: NaNs with payloads, negative zeros and subnormal numbers among them."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).to(torch.bool)
    raw = torch.randint(0, 256, (math.prod(shape) * dtype.itemsize,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).reshape(shape) if raw.numel() else torch.empty(shape, dtype=dtype)


def groups(step: int, size: int = 1500) -> dict[str, dict[str, torch.Tensor]]:
    return {
        "model": {"weight": arbitrary_bits((size,), torch.float32, step), "bias": torch.tensor(float(step))},
        "optimizer": {"weight.exp_avg": arbitrary_bits((size,), torch.bfloat16, step + 1)},
    }


def save(folder: Path, step: int, **options) -> Path:
    return save_checkpoint(folder, step, groups(step), {"loss": 1 / (step + 1), "seed": step}, **options)


def damage(path: Path, name: str = "model.safetensors") -> None:
    content = bytearray((path / name).read_bytes())
    content[-3] ^= 4
    (path / name).write_bytes(content)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_dtype_comes_back_bit_for_bit(tmp_path, dtype):
    tensors = {"matrix": arbitrary_bits((7, 5), dtype), "scalar": arbitrary_bits((), dtype), "none": torch.empty(0, 3)}
    path = save_checkpoint(tmp_path, 1, {"model": tensors}, {})
    assert_identical(load_checkpoint(path).tensors["model"], tensors)


def test_state_comes_back_as_json_holds_it(tmp_path):
    state = {
        "float": 0.1 + 0.2,
        "tiny": 5e-324,
        "big": 2**80,
        "text": "한국어 \ud800 \n",
        "nested": [{"a": None}, True],
    }
    checkpoint = load_checkpoint(save_checkpoint(tmp_path, 12, {}, state, is_best=True))
    assert checkpoint.state == state
    assert (checkpoint.step, checkpoint.is_best, checkpoint.tensors) == (12, True, {})


def test_state_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        save_checkpoint(tmp_path / "checkpoints", 1, {}, {"best": math.inf})
    assert not (tmp_path / "checkpoints").exists()


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda s: s != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(names, st.tuples(shapes, st.sampled_from(list(DTYPES.values()))), max_size=6), st.integers(0, 99)
)
def test_any_names_and_shapes_come_back(tmp_path_factory, described, seed):
    tensors = {name: arbitrary_bits(shape, dtype, seed) for name, (shape, dtype) in described.items()}
    folder = tmp_path_factory.mktemp("any")
    path = save_checkpoint(folder, seed, {"model": tensors}, {"seed": seed})
    assert_identical(load_checkpoint(path).tensors["model"], tensors)
    assert_identical(safetensors.torch.load_file(path / "model.safetensors"), tensors)
    shutil.rmtree(folder)


def test_views_and_shared_memory_are_written_in_full(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"transposed": base.T, "row": base[1], "again": base, "strided": base[:, ::2], "parameter": base + 0}
    tensors["parameter"].requires_grad_()
    loaded = load_checkpoint(save_checkpoint(tmp_path, 0, {"model": tensors}, {})).tensors["model"]
    assert_identical(loaded, tensors)
    loaded["again"].zero_()
    assert loaded["row"].tolist() == [4, 5, 6, 7]


def test_tensors_come_back_in_memory_of_their_own_aligned_like_any_other(tmp_path):
    tensors = {f"t{n}": torch.ones(n) for n in range(1, 40)}
    loaded = load_checkpoint(save_checkpoint(tmp_path, 0, {"model": tensors}, {})).tensors["model"]
    assert all(tensor.data_ptr() % 64 == 0 for tensor in loaded.values())
    assert len({tensor.untyped_storage().data_ptr() for tensor in loaded.values()}) == len(tensors)


# ------------------------------------------------------------------------------------------------- mutations


def flip_a_bit(rng, folder, files):
    file = rng.choice(files)
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def zero_a_page(rng, folder, files):
    file = rng.choice(files)
    content = bytearray(file.read_bytes())
    start = rng.randrange(0, len(content), 4096)
    length = len(content[start : start + 4096])
    content[start : start + length] = bytes(length)
    file.write_bytes(content)


def truncate(rng, folder, files):
    file = rng.choice(files)
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def append(rng, folder, files):
    with rng.choice(files).open("ab") as file:
        file.write(rng.choice([b"\0", b" ", b"\n", rng.randbytes(rng.randint(1, 9))]))


def swap(rng, folder, files):
    one, other = rng.sample(files, 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def remove(rng, folder, files):
    rng.choice(files).unlink()


def duplicate(rng, folder, files):
    file = rng.choice(files)
    shutil.copy(file, folder / f"{file.stem}-{rng.randrange(100)}{file.suffix}")


def add(rng, folder, files):
    name = "".join(rng.choices(string.ascii_lowercase, k=6)) + rng.choice([".json", ".safetensors", "", ".tmp"])
    (folder / name).write_bytes(rng.randbytes(rng.randrange(20)))


def take_from_another(rng, folder, files):
    file = rng.choice(files)
    shutil.copy(folder.parent / "step-00000008" / file.name, file)


def cut_out(rng, folder, files):
    file = rng.choice(files)
    content = file.read_bytes()
    start = rng.randrange(len(content))
    file.write_bytes(content[:start] + content[start + rng.randint(1, 64) :])


MUTATIONS = [
    *[flip_a_bit] * 4,
    *(zero_a_page, truncate, append, swap, remove, duplicate, add, take_from_another, cut_out),
]


@pytest.mark.parametrize(
    "count", [400, pytest.param(2000, marks=pytest.mark.slow(reason="opens a damaged checkpoint 2000 times"))]
)
def test_mutations_are_all_detected(tmp_path, count):
    path = save(tmp_path, 7, is_best=True)
    save(tmp_path, 8)
    original = {file: file.read_bytes() for file in sorted(path.iterdir())}
    expected = groups(7)
    rng = random.Random(20240229)
    seen: dict[str, int] = {}
    while sum(seen.values()) < count:
        mutate = rng.choice(MUTATIONS)
        mutate(rng, path, list(original))
        now = {file: file.read_bytes() for file in sorted(path.iterdir())}
        if now == original:  # a page that held zeros before, say
            continue
        with pytest.raises(CheckpointError, match="step-00000007 is damaged: "):
            load_checkpoint(path)
        seen[mutate.__name__] = seen.get(mutate.__name__, 0) + 1
        for file in now.keys() - original.keys():
            file.unlink()
        for file, content in original.items():
            if now.get(file) != content:
                file.write_bytes(content)
    assert min(seen.values()) >= count // 20
    assert len(seen) == len(set(MUTATIONS))
    assert_identical(load_checkpoint(path).tensors["model"], expected["model"])


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(1, marks=pytest.mark.slow(reason="opens a checkpoint once for each bit"), id="every bit"),
        pytest.param(9, id="a bit of nearly every byte"),
    ],
)
def test_every_single_bit_of_the_manifest_matters(tmp_path, step):
    path = save_checkpoint(tmp_path, 3, {"model": {}}, {})
    manifest = path / "manifest.json"
    original = manifest.read_bytes()
    for position in range(0, 8 * len(original), step):
        content = bytearray(original)
        content[position // 8] ^= 1 << position % 8
        manifest.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"manifest\.json is not what was written"):
            load_checkpoint(path)


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    path = save(tmp_path, 7)
    (path / "state.json").unlink()
    (path / "notes.txt").touch()
    (path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(path)
    assert all(part in str(raised.value) for part in ["state.json is missing", "notes.txt does not belong", "0 bytes"])


def test_a_folder_in_a_files_place_is_detected(tmp_path):
    path = save(tmp_path, 7)
    (path / "state.json").unlink()
    (path / "state.json").mkdir()
    with pytest.raises(CheckpointError, match=r"state\.json is not a file"):
        load_checkpoint(path)


def test_a_checkpoint_under_another_steps_name_is_detected(tmp_path):
    path = save(tmp_path, 7).rename(tmp_path / "step-00000009")
    with pytest.raises(CheckpointError, match="holds step 7"):
        load_checkpoint(path)
    assert load_checkpoint(path.rename(tmp_path / "my-favourite")).step == 7


def test_a_checkpoint_of_a_later_format_says_so_and_is_never_pruned(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr("glassformer.runs.manifest.FORMAT", 2)
        path = save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"has format 2.*reads format 1"):
        load_checkpoint(path)
    save(tmp_path, 2)
    assert prune(tmp_path, keep_last=1) == []


def sealed(path: Path, **changes) -> None:
    """Change a manifest (None: the entry is gone) and seal it anew, as whoever makes a folder to deceive can."""
    body = json.loads((path / "manifest.json").read_text()) | changes
    (path / "manifest.json").write_bytes(
        _sealed({key: body[key] for key in body if body[key] is not None and key != "sha256"})
    )


RECORD = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}


@pytest.mark.parametrize(
    "changes",
    [
        {"files": None},
        {"files": []},
        {"files": {"../x": RECORD}},
        {"files": {"/etc/passwd": RECORD}},
        {"files": {"manifest.json": RECORD}},
        {"files": {".hidden": RECORD}},
        {"files": {"": RECORD}},
        {"files": {"state.json": None}},
        {"files": {"state.json": []}},
        {"files": {"state.json": {"bytes": "0", "sha256": "x"}}},
        {"files": {"state.json": {"bytes": -1, "sha256": "x"}}},
        {"step": None},
        {"step": "7"},
        {"step": -7},
        {"step": True},
        {"is_best": "yes"},
        {"is_best": None},
        {"seal": ["config.json"]},
        {"seal": {"config.json": 3}},
    ],
    ids=str,
)
def test_a_manifest_that_is_sealed_and_makes_no_sense_is_damage(tmp_path, changes):
    save(tmp_path, 6)
    path = save(tmp_path, 7)
    sealed(path, **changes)
    with pytest.raises(CheckpointError, match=r"is damaged: manifest\.json"):
        load_checkpoint(path)
    checkpoint, warnings = latest_checkpoint(tmp_path)
    assert checkpoint.step == 6
    assert len(warnings) == 1
    assert path not in prune(tmp_path, keep_last=1)


@pytest.mark.parametrize("written", [None, "1", [], {}, 10**18, 1.5])
def test_a_manifest_of_an_unknown_format_is_of_another_version(tmp_path, written):
    path = save(tmp_path, 7)
    sealed(path, format=written)
    with pytest.raises(CheckpointError, match="has format .*reads format 1"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "holds a list"),
        (b'"abc"', "holds a str"),
        (b"null", "holds a NoneType"),
        (b"7", "holds a int"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a": NaN}', "NaN"),
        (b"\xff", "decode"),
    ],
)
def test_a_state_that_is_sealed_and_no_json_object_is_damage(tmp_path, content, reason):
    path = save(tmp_path, 7)
    (path / "state.json").write_bytes(content)
    files = json.loads((path / "manifest.json").read_text())["files"]
    files["state.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    sealed(path, files=files)
    with pytest.raises(CheckpointError, match=rf"state\.json is not what was written \(.*{reason}"):
        load_checkpoint(path)


def test_a_file_that_is_neither_state_nor_tensors_is_damage(tmp_path):
    path = save(tmp_path, 7)
    (path / "run.py").write_bytes(b"")
    sealed(path, files={"run.py": RECORD} | json.loads((path / "manifest.json").read_text())["files"])
    with pytest.raises(CheckpointError, match=r"run\.py is not what was written"):
        load_checkpoint(path)


def test_what_a_whole_checkpoint_does_not_hold_is_asked_for_by_name(tmp_path):
    checkpoint = load_checkpoint(save(tmp_path, 7))
    with pytest.raises(CheckpointError, match="has no 'progress' among its state.json"):
        checkpoint.state["progress"]
    with pytest.raises(CheckpointError, match="has no 'encoder' among its tensors"):
        checkpoint.tensors["encoder"]
    assert "encoder" not in checkpoint.tensors


# -------------------------------------------------------------------------------------------- latest and others


def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(tmp_path):
    for step in (10, 20, 30, 40):
        save(tmp_path, step)
    damage(tmp_path / "step-00000040")
    (tmp_path / "step-00000030" / "manifest.json").write_bytes(b"")
    checkpoint, warnings = latest_checkpoint(tmp_path)
    assert checkpoint.step == 20
    assert_identical(checkpoint.tensors["model"], groups(20)["model"])
    assert len(warnings) == 2
    assert "step-00000040 is damaged: model.safetensors" in warnings[0]
    assert "step-00000030 is damaged: manifest.json" in warnings[1]
    assert all("Went back to step-00000020" in warning for warning in warnings)
    assert len(list_checkpoints(tmp_path)) == 4, "damaged ones are left alone"


def test_an_undamaged_newest_gives_no_warning(tmp_path):
    save(tmp_path, 10)
    save(tmp_path, 20)
    checkpoint, warnings = latest_checkpoint(tmp_path)
    assert (checkpoint.step, warnings) == (20, [])


def test_no_checkpoint_and_no_good_checkpoint_are_told_apart(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        latest_checkpoint(tmp_path / "nowhere")
    damage(save(tmp_path, 1))
    with pytest.raises(CheckpointError, match=r"can be used:\n.*step-00000001 is damaged"):
        latest_checkpoint(tmp_path)


def test_a_checkpoint_is_found_by_step_best_and_latest(tmp_path):
    for step, best in ((5, True), (10, True), (15, False), (123456789, False)):
        save(tmp_path, step, is_best=best)
    assert open_checkpoint(tmp_path, "latest")[0].step == 123456789
    assert open_checkpoint(tmp_path, "best")[0].step == 10
    for name in (15, "15", "step-00000015"):
        assert open_checkpoint(tmp_path, name)[0].step == 15
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 16 .* Steps saved: 5, 10, 15, 123456789"):
        open_checkpoint(tmp_path, 16)
    with pytest.raises(CheckpointError, match="'newest' is none of them"):
        open_checkpoint(tmp_path, "newest")


def test_no_other_is_handed_out_under_the_name_of_the_best(tmp_path):
    save(tmp_path, 5)
    save(tmp_path, 10, is_best=True)
    assert open_checkpoint(tmp_path, "best")[1] == []
    damage(save(tmp_path, 15, is_best=True))
    with pytest.raises(CheckpointError, match="step-00000015 is damaged"):
        open_checkpoint(tmp_path, "best")


def test_where_no_checkpoint_is_the_best_the_latest_is_used_and_said_to_be(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        open_checkpoint(tmp_path, "best")
    save(tmp_path, 5)
    save(tmp_path, 10)
    checkpoint, (note,) = open_checkpoint(tmp_path, "best")
    assert (checkpoint.step, checkpoint.is_best) == (10, False)
    assert "No checkpoint is marked as the best" in note
    assert "latest, of step 10" in note


def test_saving_a_step_again_replaces_a_damaged_or_different_one_only(tmp_path):
    path = save(tmp_path, 5)
    before = path.stat().st_ino
    save(tmp_path, 5)
    assert path.stat().st_ino == before, "the same again is left alone"
    damage(path)
    save(tmp_path, 5)
    assert load_checkpoint(path).step == 5
    save_checkpoint(tmp_path, 5, {}, {"other": 1})
    assert load_checkpoint(path).state == {"other": 1}
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".tmp")] == []


# ------------------------------------------------------------------------------------------------------- prune


def steps(folder: Path) -> list[int]:
    return [int(path.name[5:]) for path in list_checkpoints(folder)]


def test_prune_keeps_the_last_the_best_and_every_nth(tmp_path):
    for step in range(10, 110, 10):
        save(tmp_path, step, is_best=step in (20, 30))
    removed = prune(tmp_path, keep_last=2, keep_best=True, keep_every=40)
    assert steps(tmp_path) == [30, 40, 80, 90, 100]
    assert [path.name[-3:] for path in removed] == ["010", "020", "050", "060", "070"]
    prune(tmp_path, keep_last=1, keep_best=False)
    assert steps(tmp_path) == [100]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "step-00000100"]


def test_prune_never_removes_the_last_good_one(tmp_path):
    for step in (10, 20, 30, 40):
        save(tmp_path, step)
    damage(tmp_path / "step-00000040")  # at a glance it looks well
    (tmp_path / "step-00000030" / "state.json").unlink()  # visibly damaged: it does not count
    prune(tmp_path, keep_last=1)
    assert steps(tmp_path) == [20, 30, 40]
    assert latest_checkpoint(tmp_path)[0].step == 20


# ----------------------------------------------------------------------------------------- readers and memory


def test_two_readers_and_a_pruning_writer_do_not_disturb_each_other(tmp_path):
    save(tmp_path, 0)
    failures, done = [], threading.Event()

    def read():
        seen = 0
        while not done.is_set():
            checkpoint, warnings = latest_checkpoint(tmp_path)
            assert warnings == []
            assert checkpoint.step >= seen
            assert_identical(checkpoint.tensors["model"], groups(checkpoint.step)["model"])
            seen = checkpoint.step

    def watch():
        try:
            read()
        except BaseException as error:  # noqa: BLE001 - to be raised in the test's own thread
            failures.append(error)

    readers = [threading.Thread(target=watch) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(1, 60):
        save(tmp_path, step)
        prune(tmp_path, keep_last=1)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


MEMORY = """
import json, resource, sys
from pathlib import Path
import torch
from glassformer.runs.checkpoints import load_checkpoint, save_checkpoint
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
folder = Path(sys.argv[1])
save_checkpoint(folder, 0, {"model": {"warm": torch.ones(9)}}, {})
tensors = {str(i): torch.full((8, 2**20), float(i)) for i in range(6)}   # 6 x 32 MiB
before = peak()
path = save_checkpoint(folder, 1, {"model": tensors}, {})
saving = peak() - before
del tensors
tensors = load_checkpoint(path).tensors      # into the memory just freed
print(json.dumps({"saving": saving, "loading": peak() - before}))
"""


def test_saving_and_loading_hold_no_second_copy_of_the_model(tmp_path):
    if sys.platform != "linux":
        pytest.skip("ru_maxrss has another unit elsewhere")
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    grown = json.loads(done.stdout)
    assert grown["saving"] < 30, grown  # MiB, of 192
    assert grown["loading"] < 60, grown
