"""Checkpoints hold all of a training, and what does not fit changes nothing."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer.errors import TracerError
from tracer.extend import read_safetensors, write_safetensors
from tracer_training.checkpoints.packing import pack, unpack


def parts(width=3, kind="Adam"):
    model = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
    optimizer = getattr(training, kind)(model.parameters(), lr=0.1)
    schedule = training.StepLR(optimizer, step_size=2)
    loader = training.DataLoader(dataset(), 4, True, rng=0)
    return {"model": model, "optimizer": optimizer, "schedule": schedule, "loader": loader}


def dataset():
    rng = np.random.default_rng(0)
    return training.ArrayDataset(
        rng.standard_normal((12, 2), dtype=np.float32), rng.integers(0, 2, 12)
    )


def trained(parts, steps=3):
    for _, (x, y) in zip(range(steps), parts["loader"], strict=False):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(parts["model"](x), y)
        parts["optimizer"].step(tape.backward(loss))
        parts["schedule"].step()


def bits(parts):
    arrays = {}
    document = {name: pack(part.state_dict(), name, arrays) for name, part in parts.items()}
    return json.dumps(document), {name: array.tobytes() for name, array in arrays.items()}


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(TREES)
def test_nested_states_survive_json(tree):
    assert unpack(json.loads(json.dumps(pack(tree, "", {}))), {}) == tree


def test_what_is_saved_is_loaded(tmp_path):
    saved, loaded = parts(), parts()
    trained(saved, 2)
    training.save_checkpoint(tmp_path / "c", **saved, extra={"best": 0.5, "seen": np.arange(3)})
    drawn = tracer.extend.generator().random()
    extra = training.load_checkpoint(tmp_path / "c", **loaded)
    assert bits(loaded) == bits(saved)
    assert tracer.extend.generator().random() == drawn
    assert extra["best"] == 0.5
    assert extra["seen"].tolist() == [0, 1, 2]
    again = parts()
    training.load_checkpoint(tmp_path / "c", **again)
    trained(again)
    training.load_checkpoint(tmp_path / "c", **loaded)
    trained(loaded)
    assert bits(loaded) == bits(again)


def test_a_file_is_arrays_and_texts_alone(tmp_path):
    training.save_checkpoint(tmp_path / "c", **parts())
    arrays, metadata = read_safetensors(tmp_path / "c")
    assert metadata["format"] == "trace-net checkpoint"
    assert json.loads(metadata["document"]).keys() == {"states", "generators", "extra"}
    np.testing.assert_array_equal(arrays["model.1.weight"], 1)


def spoiled_document(path, change):
    arrays, metadata = read_safetensors(path)
    change(arrays, metadata)
    write_safetensors(path, arrays, metadata)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "no whole safetensors"),
        (lambda path: path.write_bytes(b""), "no whole safetensors"),
        (lambda path: path.write_bytes(pickle.dumps({"model": 1})), "no whole safetensors"),
        (lambda path: write_safetensors(path, {"x": np.zeros(2)}), "is no checkpoint"),
        (
            lambda path: spoiled_document(path, lambda a, m: m.update(version="9")),
            "version 9, and version 1 is known",
        ),
        (
            lambda path: spoiled_document(path, lambda a, m: m.update(document="{")),
            "is corrupt",
        ),
        (
            lambda path: spoiled_document(path, lambda a, m: a.pop("model.0.weight")),
            "does not fit the model",
        ),
        (
            lambda path: spoiled_document(path, lambda a, m: a.pop("optimizer.state.3.exp_avg")),
            "does not fit the optimizer",
        ),
    ],
    ids=range(8),
)
def test_files_that_are_broken_change_nothing(tmp_path, spoil, said):
    saved, loaded = parts(), parts()
    trained(saved)
    trained(loaded, 1)
    training.save_checkpoint(tmp_path / "c", **saved)
    spoil(tmp_path / "c")
    before = bits(loaded)
    with pytest.raises(TracerError, match=said):
        training.load_checkpoint(tmp_path / "c", **loaded)
    assert bits(loaded) == before


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"width": 4}, "does not fit the model"),
        ({"kind": "RMSprop"}, "does not fit the optimizer: the state is of another optimiser"),
    ],
)
def test_a_checkpoint_of_another_model_changes_nothing(tmp_path, other, said):
    saved, loaded = parts(), parts(**other)
    trained(saved)
    training.save_checkpoint(tmp_path / "c", **saved)
    before = bits(loaded)
    with pytest.raises(TracerError, match=said):
        training.load_checkpoint(tmp_path / "c", **loaded)
    assert bits(loaded) == before


def test_a_part_that_is_not_there_is_named(tmp_path):
    training.save_checkpoint(tmp_path / "c", model=parts()["model"])
    with pytest.raises(TracerError, match="has no loader: it holds model"):
        training.load_checkpoint(tmp_path / "c", **parts())


def test_what_cannot_be_kept_is_named(tmp_path):
    with pytest.raises(TracerError, match=r"extra\.f is a function"):
        training.save_checkpoint(tmp_path / "c", extra={"f": lambda: 0})
    assert not list(tmp_path.iterdir())
