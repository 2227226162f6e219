"""Test problems: DeepOBS's sizes, initial values and settings, and data that are there."""

import inspect

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer.errors import TracerError
from tracer_training import problems
from tracer_training.problems import same_padding, sources

NAMES = [name for name in problems.__all__ if name != "Problem"]


def normal_images(classes, shape, count=12):
    """Data sets `(train, test)` of noise, in which every class is."""
    rng = np.random.default_rng(0)
    images = rng.random((count, *shape), dtype=np.float32)
    return (training.ArrayDataset(images, np.arange(count) % classes),) * 2


def small_text():
    text = training.datasets.Text("the quick brown fox jumps over the lazy dog. " * 120)
    return text, text


#: data that take no time to be made
SMALL = {
    "mnist_logreg": normal_images(10, (1, 28, 28)),
    "mnist_mlp": normal_images(10, (1, 28, 28)),
    "fmnist_2c2d": normal_images(10, (1, 28, 28)),
    "fmnist_vae": normal_images(10, (1, 28, 28)),
    "cifar10_3c3d": normal_images(10, (3, 32, 32)),
    "cifar100_allcnnc": normal_images(100, (3, 32, 32), 4),
    "quadratic_deep": None,
    "tolstoi_char_rnn": small_text(),
    "char_transformer": small_text(),
}


def small(name, rng=0):
    return getattr(problems, name)(rng=rng, data=SMALL[name])


# -- sizes and settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("quadratic_deep", 100),
        ("mnist_logreg", 7_850),
        ("mnist_mlp", 1_336_610),
        ("fmnist_2c2d", 3_274_634),
        ("cifar10_3c3d", 895_210),
        ("cifar100_allcnnc", 1_387_108),
    ],
)
def test_there_are_as_many_parameters_as_in_deepobs(name, count):
    assert sum(p.data.size for p in small(name).model.parameters()) == count


def test_the_characters_of_war_and_peace_are_as_many_as_those_of_the_synthetic_text():
    train, test, source = sources.text(None, 50, "War and Peace")
    assert len(train.vocabulary) == len(test.vocabulary) == 83
    assert source == "a synthetic text of 83 characters, in place of War and Peace"
    assert len(np.unique(train.numbers)) == 83  # none is there for nothing


@pytest.mark.parametrize(
    ("name", "batch_size", "epochs", "weight_decay"),
    [
        ("quadratic_deep", 128, 100, 0),
        ("mnist_logreg", 128, 50, 0),
        ("mnist_mlp", 128, 100, 0),
        ("fmnist_2c2d", 128, 100, 0),
        ("cifar10_3c3d", 128, 100, 0.002),
        ("cifar100_allcnnc", 256, 350, 5e-4),
        ("fmnist_vae", 64, 100, 0),
        ("tolstoi_char_rnn", 50, 200, 0),
    ],
)
def test_settings_are_those_of_deepobs(name, batch_size, epochs, weight_decay):
    problem = small(name)
    found = problem.batch_size, problem.epochs, problem.weight_decay
    assert found == (batch_size, epochs, weight_decay)


@pytest.mark.parametrize("name", NAMES)
def test_a_problem_is_called_as_it_is_made_and_takes_a_seed_and_data(name):
    make = getattr(problems, name)
    assert list(inspect.signature(make).parameters) == ["rng", "data"]
    assert small(name).name == name


@pytest.mark.parametrize("name", ["cifar10_3c3d", "cifar100_allcnnc"])
def test_weights_decay_and_biases_do_not(name):
    problem = small(name)
    weights, biases = problem.groups()
    assert weights["weight_decay"] == problem.weight_decay
    assert biases["weight_decay"] == 0
    assert {n.rpartition(".")[2] for n, _ in weights["params"]} == {"weight"}
    assert {n.rpartition(".")[2] for n, _ in biases["params"]} == {"bias"}
    assert len(weights["params"]) + len(biases["params"]) == len(list(problem.model.parameters()))


# -- initial values --------------------------------------------------------------------------------


def values(problem, kind, end):
    """All weights or biases of one kind of layer, flat."""
    found = [getattr(m, end).data.ravel() for m in problem.model.modules() if isinstance(m, kind)]
    return np.concatenate(found)


@pytest.mark.parametrize(
    ("name", "deviation", "bias"), [("mnist_mlp", 0.03, 0.0), ("fmnist_2c2d", 0.05, 0.05)]
)
def test_truncated_normal_weights(name, deviation, bias):
    problem = small(name)
    kinds = (nn.Linear, nn.Conv2d)
    weights = values(problem, kinds, "weight")
    assert abs(weights).max() <= np.float32(2 * deviation)
    assert abs(weights).max() > 1.99 * deviation
    # that of a standard normal number within 2 is sqrt(1 - 4 phi(2) / (2 Phi(2) - 1))
    np.testing.assert_allclose(weights.std(), 0.8796 * deviation, rtol=5e-3)
    np.testing.assert_allclose(weights.mean(), 0, atol=5e-3 * deviation)
    assert set(values(problem, kinds, "bias")) == {np.float32(bias)}


def test_xavier_weights_normal_of_convolutions_and_uniform_of_maps():
    problem = small("cifar10_3c3d")
    for module in problem.model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight = module.weight.data
            places = np.prod(weight.shape[2:])
            deviation = np.sqrt(2 / (places * (weight.shape[0] + weight.shape[1])))
            np.testing.assert_allclose(weight.std(), deviation, rtol=0.05)
            within = abs(weight).max() <= np.sqrt(3) * deviation * (1 + 1e-6)
            assert within == isinstance(module, nn.Linear)
            assert not module.bias.data.any()


def test_xavier_weights_and_biases_of_all_cnn_c():
    problem = small("cifar100_allcnnc")
    for module in problem.model.modules():
        if isinstance(module, nn.Conv2d):
            out, into, *kernel = module.weight.shape
            deviation = np.sqrt(2 / (np.prod(kernel) * (out + into)))
            np.testing.assert_allclose(module.weight.data.std(), deviation, rtol=0.05)
    assert set(values(problem, nn.Conv2d, "bias")) == {np.float32(0.1)}


def test_xavier_uniform_weights_of_the_autoencoder():
    problem = small("fmnist_vae")
    for kind in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d):
        for module in problem.model.modules():
            if isinstance(module, kind):
                one, other, *kernel = module.weight.shape
                bound = np.sqrt(6 / (np.prod(kernel) * (one + other)))
                largest = abs(module.weight.data).max()
                assert 0.95 * bound < largest <= bound * (1 + 1e-6)
                assert not module.bias.data.any()


def test_logistic_regression_begins_at_zero_and_the_quadratic_at_one():
    assert not any(p.data.any() for p in small("mnist_logreg").model.parameters())
    assert (small("quadratic_deep").model.theta.data == 1).all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"mnist_logreg", "quadratic_deep"}))
def test_initial_values_are_of_the_seed_and_of_nothing_else(name):
    def drawn(rng):
        return np.concatenate([p.data.ravel() for p in small(name, rng).model.parameters()])

    tracer.seed(1)
    first = drawn(3)
    state = tracer.extend.generator().bit_generator.state
    tracer.seed(1)
    assert state == tracer.extend.generator().bit_generator.state
    np.testing.assert_array_equal(first, drawn(np.random.default_rng(3)))
    assert (first != drawn(4)).any()


# -- padding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (28, 5, 1, (2, 2)),
        (28, 3, 2, (0, 1)),
        (28, 4, 2, (1, 1)),
        (7, 4, 1, (1, 2)),
        (4, 1, 2, (0, 0)),
    ],
)
def test_same_padding_is_tensorflows(size, kernel, stride, expected):
    assert same_padding.same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize(("size", "kernel", "stride"), [(5, 3, 2), (6, 3, 2), (7, 4, 1), (6, 4, 2)])
def test_windows_lie_as_with_tensorflows_same(size, kernel, stride):
    """Output t has the inputs from `t stride - before` on, those outside being zero."""
    rng = np.random.default_rng(0)
    layer = same_padding.SameConv2d(1, 1, kernel, stride, rng=rng).double()
    pool = same_padding.SameMaxPool2d(kernel, stride)
    x = rng.random((1, 1, size, size))
    before = same_padding.same_padding(size, kernel, stride)[0]
    padded = np.pad(x[0, 0], ((before, kernel), (before, kernel)))
    places = range(0, -(-size // stride) * stride, stride)
    windows = np.array([[padded[i : i + kernel, j : j + kernel] for j in places] for i in places])
    expected = np.einsum("ijkl,kl->ij", windows, layer.weight.data[0, 0]) + layer.bias.data
    np.testing.assert_allclose(layer(x).data[0, 0], expected, atol=1e-12)
    np.testing.assert_array_equal(raw(pool(x))[0, 0], windows.max((2, 3)))


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 4, 2), (7, 4, 1), (5, 3, 1), (4, 3, 2)])
def test_a_transposed_convolution_is_the_transpose_of_one_with_the_same_padding(
    size, kernel, stride
):
    rng = np.random.default_rng(0)
    forth = same_padding.SameConv2d(2, 3, kernel, stride, rng=rng).double()
    back = same_padding.SameConvTranspose2d(3, 2, kernel, stride, rng=rng).double()
    back.weight.data = forth.weight.data
    for layer in (forth, back):
        layer.bias.data = np.zeros_like(layer.bias.data)
    x = rng.standard_normal((1, 2, stride * size, stride * size))
    y = rng.standard_normal((1, 3, size, size))
    assert back(y).shape == x.shape
    np.testing.assert_allclose(np.sum(forth(x).data * y), np.sum(x * back(y).data), rtol=1e-12)


# -- losses ----------------------------------------------------------------------------------------


def swept(problem, quantities=("grad",), count=6):
    inputs, (target,) = problem.example_inputs(), problem.targets()
    inputs, target = [x[:count] for x in inputs], target[:count]
    with tracer.Tape() as tape:
        loss = problem.loss(problem.model(*inputs), target)
    return float(loss.data), tape.backward(loss, quantities)


def test_the_quadratic_is_its_formula_and_q_its_curvature():
    problem = problems.quadratic_deep()
    root = problem.model.root.astype(float)
    hessian = root @ root.T
    (x,) = problem.example_inputs()
    d = 1 - x[:6].astype(float)
    loss, results = swept(problem, ("grad", "diag_ggn_exact", "kflr"))
    np.testing.assert_allclose(
        loss, 0.5 * np.einsum("ni,ij,nj->n", d, hessian, d).mean(), rtol=1e-5
    )
    gradient = (d @ hessian).mean(0)
    np.testing.assert_allclose(results["grad"]["theta"], gradient, rtol=1e-3, atol=1e-3)
    diagonal = hessian.diagonal()
    np.testing.assert_allclose(results["diag_ggn_exact"]["theta"], diagonal, rtol=1e-4)
    np.testing.assert_allclose(results["kflr"]["theta"].dense(), hessian, rtol=1e-3, atol=1e-3)


def test_the_spectrum_of_the_quadratic():
    root = problems.quadratic_deep().model.root.astype(float)
    eigenvalues = np.linalg.eigvalsh(root @ root.T)
    assert ((eigenvalues[:90] > 0) & (eigenvalues[:90] < 1)).all()
    assert ((eigenvalues[90:] > 30) & (eigenvalues[90:] < 60)).all()


def test_the_data_of_the_quadratic():
    problem = problems.quadratic_deep()
    for part in (problem.train, problem.test):
        (x,) = part[:]
        assert x.shape == (1000, 100)
        np.testing.assert_allclose(x.std(), 0.6, rtol=0.01)


def test_the_loss_of_the_autoencoder_is_its_formula():
    problem = small("fmnist_vae")
    rng = np.random.default_rng(0)
    images, target = rng.random((2, 3, 1, 28, 28))
    mean, log_deviation = rng.standard_normal((2, 3, 8))
    deviation = np.exp(log_deviation)
    divergence = -0.5 * (1 + 2 * log_deviation - mean**2 - deviation**2)
    expected = ((images - target) ** 2).sum((1, 2, 3)) + divergence.sum(1)
    found = problem.loss((images, mean, log_deviation), target)
    np.testing.assert_allclose(np.asarray(found), expected.mean())
    # and that divergence is E[log q(z) - log p(z)] under q
    z = mean[0, 0] + deviation[0, 0] * rng.standard_normal(1_000_000)
    logs = 0.5 * z**2 - 0.5 * ((z - mean[0, 0]) / deviation[0, 0]) ** 2 - log_deviation[0, 0]
    np.testing.assert_allclose(logs.mean(), divergence[0, 0], rtol=0.01)


# -- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_is_trained_by_fit_and_by_hand(name):
    problem = small(name)
    data = problem.loader(rng=0)
    data = [batch for _, batch in zip(range(1), data, strict=False)]
    history = training.fit(
        problem.model,
        problem.loss,
        data,
        optimizer=training.SGD(problem.groups(), lr=1e-4),
        epochs=1,
        metrics=problem.metrics,
        progress=False,
    )
    assert np.isfinite(history["loss"]).all()
    assert ("accuracy" in history[0]) == bool(problem.metrics)
    loss, results = swept(problem, count=4)
    assert np.isfinite(loss)
    assert set(results["grad"]) == {name for name, _ in problem.model.named_parameters()}


def test_logistic_regression_learns_what_there_is():
    problem = problems.mnist_logreg()
    history = training.fit(
        problem.model,
        problem.loss,
        problem.loader(rng=0),
        problem.test,
        optimizer=training.SGD(problem.groups(), lr=0.02, momentum=0.9),
        epochs=5,
        metrics=problem.metrics,
        progress=False,
    )
    assert history["test_accuracy"][-1] > 0.85


# -- the state that is carried ---------------------------------------------------------------------


def test_a_window_goes_on_where_the_last_one_ended_and_an_epoch_begins_anew():
    problem = small("tolstoi_char_rnn")
    model = problem.model.eval()
    (x, begins, _), (z, goes_on, _) = [b for _, b in zip(range(2), problem.train, strict=False)]
    assert not begins.any()
    assert goes_on.all()
    first, second = (raw(model(*batch)) for batch in ((x, begins), (z, goes_on)))
    outputs, state = model.lstm(model.embedding(np.concatenate([x, z], axis=1)))
    whole = np.swapaxes(raw(model.head(outputs)), 1, 2)
    np.testing.assert_allclose(np.concatenate([first, second], axis=2), whole, atol=1e-5)
    np.testing.assert_allclose(model.hidden, raw(state[0]), atol=1e-5)
    np.testing.assert_allclose(raw(model(x, begins)), first, atol=1e-6)


def raw(value):
    return tracer.extend.raw(value)


@pytest.mark.slow
def test_a_carried_state_is_saved_and_the_training_goes_on_to_the_same_bits(tmp_path):
    def train(stop_after=None):
        tracer.seed(0)
        problem = small("tolstoi_char_rnn")

        class Stop:
            def end_step(self, run):
                if run.step == stop_after:
                    raise KeyboardInterrupt

        return training.fit(
            problem.model,
            problem.loss,
            problem.train,
            optimizer=training.Adam(problem.groups()),
            epochs=2,
            metrics=problem.metrics,
            checkpoint=training.Checkpoint(tmp_path / "run.safetensors", every_steps=1),
            resume=True,
            callbacks=[Stop()],
            progress=False,
        )

    whole = train()["loss"]
    (tmp_path / "run.safetensors").unlink()
    with pytest.raises(KeyboardInterrupt):
        train(stop_after=2)  # in the middle of an epoch of two
    np.testing.assert_array_equal(train()["loss"], whole)


def test_other_numbers_of_windows_begin_at_zero_and_leave_the_state():
    model = small("tolstoi_char_rnn").model.eval()
    model.hidden = model.hidden + 1
    codes, ones = np.zeros((3, 4), int), np.ones(3, np.float32)
    expected = model.head(model.lstm(model.embedding(codes))[0])
    np.testing.assert_array_equal(raw(model(codes, ones)), np.swapaxes(raw(expected), 1, 2))
    assert (model.hidden == 1).all()


# -- data ------------------------------------------------------------------------------------------


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


def test_a_folder_with_files_of_mnist_is_taken(tmp_path):
    for part, count in (("train", 5), ("t10k", 3)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", np.full((count, 28, 28), 255))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(count))
    problem = problems.fmnist_2c2d(data=tmp_path)
    assert (len(problem.train), len(problem.test)) == (5, 3)
    assert problem.source == f"the files in {str(tmp_path)!r}"


def test_a_text_is_taken_by_its_name(tmp_path):
    (tmp_path / "text.txt").write_text("round and round " * 400)
    problem = problems.char_transformer(data=tmp_path / "text.txt")
    assert problem.train.vocabulary == " adnoru"
    assert problem.model.head.weight.shape == (7, 64)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("mnist_mlp", 3, "data is a pair of data sets (train, test) or a path, got 3"),
        ("cifar10_3c3d", "folder", "data is a pair of data sets (train, test), got 'folder'"),
    ],
)
def test_other_data_are_refused(name, data, words):
    with pytest.raises(TracerError) as raised:
        getattr(problems, name)(data=data)
    assert str(raised.value) == words


def test_without_the_digits_of_mnist_enlarged_ones_are_there_and_said_so(monkeypatch):
    def none():
        raise TracerError("not installed")

    monkeypatch.setattr(sources.datasets, "mnist_5k", none)
    problem = problems.mnist_logreg()
    x, y = problem.train[:2]
    assert x.shape == (2, 1, 28, 28)
    small_ones, labels = training.datasets.digits()[0][:2]
    np.testing.assert_array_equal(x[:, :, 3:-2:3, 3:-2:3], small_ones)
    np.testing.assert_array_equal(y, labels)
    assert "1,797 enlarged digits of scikit-learn, in place of MNIST" in repr(problem)


def test_synthetic_images_are_always_the_same_and_of_equal_classes():
    train, test = sources.synthetic_images(10, 50, 20)
    again, _ = sources.synthetic_images(10, 50, 20)
    np.testing.assert_array_equal(train[:][0], again[:][0])
    assert (np.bincount(train[:][1]) == 5).all()
    assert (np.bincount(test[:][1]) == 2).all()
    assert train[0][0].shape == (3, 32, 32)
    assert train[0][0].dtype == np.float32
