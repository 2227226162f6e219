"""Data in parts: of functions, folders, mapped files, texts and data sets."""

import numpy as np
import pytest

import tracer_layers as nn
import tracer_scale as scale
import tracer_training as training
from tracer.errors import TracerError

X = np.arange(21.0).reshape(7, 3)
Y = np.arange(7) % 2


def joined(shards):
    parts = [shards[i] for i in range(len(shards))]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def test_a_folder_of_npz_files_has_a_shard_for_each_in_order(tmp_path):
    for i, some in enumerate((slice(0, 3), slice(3, 3), slice(3, 7))):
        np.savez(tmp_path / f"{i}.npz", x=X[some], y=Y[some])
    shards = scale.Shards.npz(tmp_path)
    assert len(shards) == 3
    for array, expected in zip(joined(shards), (X, Y), strict=True):
        np.testing.assert_array_equal(array, expected)
    with pytest.raises(TracerError, match="has no array 'images', but x, y"):
        scale.Shards.npz(tmp_path, names=("images", "y"))[0]
    (tmp_path / "none").mkdir()
    with pytest.raises(TracerError, match=r"holds no \.npz files"):
        scale.Shards.npz(tmp_path / "none")


def test_mapped_files_are_read_where_needed(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    shards = scale.Shards.npy(tmp_path / "x.npy", tmp_path / "y.npy", size=3)
    assert [len(shards[i][0]) for i in range(len(shards))] == [3, 3, 1]
    assert type(shards[0][0]) is np.ndarray  # of its own, and no map of the whole
    for array, expected in zip(joined(shards), (X, Y), strict=True):
        np.testing.assert_array_equal(array, expected)
    np.save(tmp_path / "y.npy", Y[:5])
    with pytest.raises(TracerError, match="as many samples each"):
        scale.Shards.npy(tmp_path / "x.npy", tmp_path / "y.npy", size=3)


def test_a_text_is_windows_of_its_characters(tmp_path):
    text = "to be, or not to be: that is the question"
    (tmp_path / "text.txt").write_text(text)
    shards = scale.Shards.text(tmp_path / "text.txt", length=6, size=4)
    x, y = joined(shards)
    letters = np.array(list(shards.load.vocabulary))
    assert x.shape == y.shape == (6, 6)
    assert "".join(letters[x].reshape(-1)) == text[:36]
    assert "".join(letters[y].reshape(-1)) == text[1:37]
    with pytest.raises(TracerError, match="do not fit"):
        scale.Shards.text(tmp_path / "text.txt", length=41, size=4)


def test_a_data_set_is_cut():
    shards = scale.Shards.of(training.ArrayDataset(X, Y), size=4)
    assert len(shards) == 2
    for array, expected in zip(joined(shards), (X, Y), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scale.Shards(X, 3), "a function load"),
        (lambda: scale.Shards(lambda i: (X, Y), 0), "a number of shards from 1"),
        (lambda: scale.Shards(lambda i: (X, Y[:3]), 1)[0], "arrays of 7 and 3 samples"),
        (lambda: scale.Shards(lambda i: X, 1)[0], r"gives inputs and targets, \(x, y\)"),
        (lambda: scale.Shards(lambda i: (X, 3.0), 1)[0], "an axis of samples"),
        (lambda: scale.Shards.of(training.ArrayDataset(X, Y), size=0), "samples from 1"),
    ],
)
def test_what_makes_no_shards_is_refused(make, message):
    with pytest.raises(TracerError, match=message):
        make()


@pytest.mark.parametrize("content", [b"", b"junk", "cut"])
def test_a_file_that_is_no_archive_is_named_and_not_tried_again(tmp_path, content):
    path = tmp_path / "a.npz"
    np.savez(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:-40] if content == "cut" else content)
    with pytest.raises(
        scale.ShardError, match=r"shard 0 failed: .*a\.npz' is no .npz file, or not"
    ):
        scale.fold(nn.Linear(3, 2), nn.cross_entropy, scale.Shards.npz(tmp_path), engine="here")


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(TracerError, match="there is no folder"):
        scale.Shards.npz(tmp_path / "none")
    with pytest.raises(TracerError, match="there is no text"):
        scale.Shards.text(tmp_path / "none.txt", length=4, size=2)
    with pytest.raises(TracerError, match=r"got list and list: make arrays of lists"):
        scale.Shards(lambda i: (X.tolist(), Y.tolist()), 1)[0]
    with pytest.raises(TracerError, match=r"names of quantities to fold.* got None"):
        scale.fold(
            nn.Linear(3, 2), nn.cross_entropy, scale.Shards(lambda i: (X, Y), 1), quantities=None
        )
