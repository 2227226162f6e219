"""Folds that go on from a checkpoint have the bits of those that never stopped."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import folds
import numpy as np
import pytest
from folds import MATRICES, VALUES, Counted, Parts, X, mlp

import tracer_layers as nn
import tracer_scale as scale
from tracer_scale import checkpoint as checkpoints
from tracer_scale import folding

NAMES = (*VALUES, *MATRICES)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Checkpoints are written after every shard."""
    monkeypatch.setattr(checkpoints, "BETWEEN", 0.0)
    monkeypatch.setattr(checkpoints, "RARELY", 0)


def fold(shards, names=NAMES, model=None, loss=nn.cross_entropy, **options):
    model = folds.convnet() if model is None else model
    return scale.fold(model, loss, shards, names, **{"engine": "here", **options})


def loads(folder):
    return sorted(int(path.name.split("-")[0]) for path in folder.glob("*"))


@pytest.mark.parametrize("stop", [16, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 20))])
def test_a_fold_goes_on_with_the_same_bits(tmp_path, stop):
    marks, kept = tmp_path / "marks", tmp_path / "fold"
    marks.mkdir()
    parts = Counted(folds.IMAGES, folds.LABELS, tuple(range(1, 24)), 0.0, str(marks))
    stopped = scale.Shards(Stopping(parts, stop), 23)
    with pytest.raises(scale.ShardError, match=f"shard {stop} failed"):
        fold(stopped, checkpoint=kept, retries=0)
    assert json.loads((kept / "manifest.json").read_text())["shards"] == stop
    stopped.load.stop = 99
    found = fold(stopped, checkpoint=kept)
    after = loads(marks)[:23]
    assert after == list(range(23))  # each once
    expected = fold(Parts(folds.IMAGES, folds.LABELS, tuple(range(1, 24))).shards)
    for name in NAMES:
        folds.assert_same_bits(found[name], expected[name])


class Stopping:
    """Loads parts, and raises from one on, which is no part of what it is."""

    def __init__(self, parts, stop):
        self.parts, self.stop = parts, stop

    def __getstate__(self):
        return {"parts": self.parts, "stop": None}

    def __call__(self, i):
        if i >= self.stop:
            raise OSError("the disk is gone")
        return self.parts(i)


def test_shards_may_be_added_later(tmp_path):
    load = Parts(folds.IMAGES, folds.LABELS, (3, 3, 9, 10, 23))
    fold(scale.Shards(load, 2), checkpoint=tmp_path)
    found = fold(scale.Shards(load, 5), checkpoint=tmp_path)
    again = fold(scale.Shards(load, 5), checkpoint=tmp_path)
    expected = fold(scale.Shards(load, 5))
    for name in NAMES:
        folds.assert_same_bits(found[name], expected[name])
        folds.assert_same_bits(again[name], expected[name])
    with pytest.raises(scale.errors.TracerError, match="of 5 shards, and there are 2"):
        fold(scale.Shards(load, 2), checkpoint=tmp_path)


def test_files_may_be_added_to_a_folder(tmp_path):
    data, kept = tmp_path / "data", tmp_path / "fold"
    data.mkdir()
    load = Parts(folds.IMAGES, folds.LABELS, (5, 9, 23))
    for i in range(3):
        if i == 2:
            fold(scale.Shards.npz(data), "kflr", checkpoint=kept)
        np.savez(data / f"{i}.npz", **dict(zip("xy", load(i), strict=True)))
    found = fold(scale.Shards.npz(data), "kflr", checkpoint=kept)
    folds.assert_same_bits(found, fold(scale.Shards(load, 3), "kflr"))
    np.savez(data / "0.npz", x=folds.IMAGES[:4], y=folds.LABELS[:4])
    with pytest.raises(scale.CheckpointError, match="of another source of shards"):
        fold(scale.Shards.npz(data), "kflr", checkpoint=kept)


def test_a_fold_that_is_done_computes_nothing_again(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    shards = folds.even(4, "convnet", Counted, folder=str(marks))
    fold(shards, ("grad",), checkpoint=tmp_path / "fold")
    fold(shards, ("grad",), checkpoint=tmp_path / "fold")
    assert loads(marks) == [0, 1, 2, 3]


def test_an_interruption_keeps_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "BETWEEN", 1000.0)  # none is due but the last one

    def interrupt(done, total, text):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fold(folds.even(5, "convnet"), ("grad",), checkpoint=tmp_path, progress=interrupt)
    assert json.loads((tmp_path / "manifest.json").read_text())["shards"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("kills", [12])
def test_a_driver_killed_at_any_moment_goes_on(tmp_path, kills):
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import numpy as np, folds, tracer_layers as nn, tracer_scale as scale\n"
        "from tracer_scale import checkpoint\n"
        "checkpoint.BETWEEN = checkpoint.RARELY = 0\n"
        "if __name__ == '__main__':\n"
        "    shards = folds.even(23, kind=folds.Slow, seconds=0.1)\n"
        "    found = scale.fold(folds.mlp(), nn.cross_entropy, shards, ('kfac', 'batch_dot'),\n"
        "        engine='here', checkpoint=sys.argv[1])\n"
        "    np.savez(sys.argv[2], **folds.arrays(found))\n"
    )
    out, kept = tmp_path / "out.npz", tmp_path / "fold"
    rng = np.random.default_rng(kills)
    for _ in range(kills):
        driver = subprocess.Popen([sys.executable, script, kept, out])
        until(lambda ended=driver.poll: (kept / "manifest.json").exists() or ended() is not None)
        time.sleep(rng.uniform(0, 0.3))
        driver.kill()
        driver.wait()
    subprocess.run([sys.executable, script, kept, out], check=True)
    shards = folds.even(23)
    expected = scale.fold(mlp(), nn.cross_entropy, shards, ("kfac", "batch_dot"), engine="here")
    with np.load(out) as arrays:
        for name, array in folds.arrays(expected).items():
            np.testing.assert_array_equal(arrays[name], array)
    names = sorted(path.name.split("-")[0] for path in kept.glob("*") if path.name[0] != ".")
    assert names == ["manifest.json", "states"]


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


# -- what is refused, and left as it is ------------------------------------------------------------


def content(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*")}


def refused(folder, message, shards=None, **options):
    before = content(folder)
    with pytest.raises(scale.CheckpointError, match=message):
        fold(shards or folds.even(4, "convnet"), checkpoint=folder, **{"names": "grad", **options})
    assert content(folder) == before


def other_model():
    model = folds.convnet()
    model[0].bias.data[0] += 1
    return model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": other_model()}, "of another model"),
        ({"names": ("grad", "variance")}, "of another quantities"),
        ({"names": "diag_ggn_exact"}, "of another quantities"),
        ({"loss": partial(nn.cross_entropy, label_smoothing=0.1)}, "of another loss"),
        ({"rng": 1}, "of another rng"),
        (
            {"shards": Parts(-folds.IMAGES, folds.LABELS, (5, 9, 11, 23)).shards},
            "of another source",
        ),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, options, message):
    fold(folds.even(4, "convnet"), "grad", checkpoint=tmp_path)
    refused(tmp_path, message, **options)


def test_a_checkpoint_of_another_version_is_refused(tmp_path, monkeypatch):
    fold(folds.even(4, "convnet"), "grad", checkpoint=tmp_path)
    monkeypatch.setattr(folding, "versions", lambda: {"trace-net": "9.0", "numpy": "9.0"})
    refused(tmp_path, "of another trace-net")


def corrupted(folder, how):
    """Change a checkpoint as a disk, or somebody, may."""
    manifest, states = folder / "manifest.json", next(folder.glob("states-*"))
    if how == "a byte":
        data = bytearray(states.read_bytes())
        data[len(data) // 2] ^= 1
        states.write_bytes(data)
    elif how == "cut off":
        states.write_bytes(states.read_bytes()[:-8])
    elif how == "no states":
        states.unlink()
    elif how == "no JSON":
        manifest.write_text(manifest.read_text()[:-20])
    else:
        document = json.loads(manifest.read_text())
        document.update(how)
        manifest.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a byte", "corrupt: .*sha256"),
        ("cut off", "corrupt"),
        ("no states", "corrupt"),
        ("no JSON", "corrupt: its manifest"),
        ({"format": "trace-net fold 9"}, "another version"),
        ({"masses": [[1, 1.0]]}, "corrupt: it says 4 shards"),
        ({"groups": "?"}, "corrupt"),
        ({"groups": [{"level": 0}]}, "corrupt"),
        ({"identity": 3}, "corrupt: its manifest lacks 'identity'"),
        ({"states": "../../etc/passwd"}, "corrupt"),
    ],
    ids=str,
)
def test_a_corrupt_checkpoint_is_refused_and_left(tmp_path, how, message):
    fold(folds.even(4, "convnet"), "grad", checkpoint=tmp_path)
    corrupted(tmp_path, how)
    refused(tmp_path, message)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("a year's work")
    refused(tmp_path, "is no checkpoint, and holds 'thesis.tex'")


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "fold").write_text("")
    with pytest.raises(scale.CheckpointError, match="is a file"):
        fold(folds.even(4, "convnet"), "grad", checkpoint=tmp_path / "fold")


def test_what_a_killed_driver_left_beside_is_no_matter(tmp_path):
    fold(scale.Shards(folds.even(4, "convnet").load, 2), "grad", checkpoint=tmp_path)
    for name in (".manifest.json.ab12", ".states-3-ab.safetensors.cd", "states-3-ab.safetensors"):
        (tmp_path / name).write_text("half")
    found = fold(folds.even(4, "convnet"), "grad", checkpoint=tmp_path)
    folds.assert_same_bits(found, fold(folds.even(4, "convnet"), "grad"))


@pytest.mark.parametrize("at", ["states", "manifest"])
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch, at):
    fold(scale.Shards(folds.even(4, "convnet").load, 2), "grad", checkpoint=tmp_path)
    before = content(tmp_path)

    def full(*args, **options):
        raise OSError(28, os.strerror(28))

    where = "write_safetensors" if at == "states" else "_write_text"
    monkeypatch.setattr(checkpoints, where, full)
    with pytest.raises(scale.CheckpointError, match=r"No space left on device.*still there"):
        fold(folds.even(4, "convnet"), "grad", checkpoint=tmp_path)
    assert content(tmp_path) == before
    monkeypatch.undo()
    found = fold(folds.even(4, "convnet"), "grad", checkpoint=tmp_path)
    folds.assert_same_bits(found, fold(folds.even(4, "convnet"), "grad"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists() or os.getuid() != 0, reason="needs a small disk")
def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", disk])
    if mounted.returncode:
        pytest.skip("no disk may be mounted here")
    try:
        shards = Parts(X, folds.LABELS, (9, 23)).shards
        with pytest.raises(scale.CheckpointError, match="No space left"):
            fold(shards, "grad_batch", model=mlp(), checkpoint=disk / "fold")
    finally:
        subprocess.run(["umount", disk], check=True)
