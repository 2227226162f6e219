"""Training on a device: the same numbers, arrays that stay there, and no waiting for steps."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer import registry
from tracer_training.data import transforms

sys.path.append(str(Path(__file__).parents[1]))
import device

PLACE = "double"


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 1, 4, 4), dtype=np.float32)
    return x, x[:, 0, :3, 0].argmax(1)


def model_at(place):
    tracer.seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    return model if place is None else model.to(place)


def on_host(value):
    return value.get() if isinstance(value, device.DeviceArray) else np.asarray(value)


OPTIMIZERS = [
    name for name in training.optimizers.__all__ if name not in ("Loss", "Optimizer", "LBFGS")
]
OPTIONS = {
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "RMSprop": {"centered": True, "momentum": 0.5},
}


def optimizer_of(name, model):
    wanted = [p for p in model.parameters() if name != "Muon" or p.ndim == 2]
    return getattr(training, name)(wanted, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_host_and_nothing_waits(name):
    x, y = data()
    models = [model_at(place) for place in (None, PLACE)]
    for place, model in zip((None, PLACE), models, strict=True):
        optimizer = optimizer_of(name, model)
        inputs, targets = (x, y) if place is None else tracer.to_device((x, y), place)
        for _ in range(3):
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(model(inputs), targets)
            results = tape.backward(loss, optimizer.quantities)
            with device.watched() as waits:
                training.clip_grad_norm(results, 0.5)
                optimizer.step(results)
            assert not waits, waits
        kind = device.DeviceArray if place else np.ndarray
        states = [v for state in optimizer.state.values() for v in state.values()]
        assert all(isinstance(v, kind) for v in states if hasattr(v, "shape"))
        assert all(isinstance(p.data, kind) for p in model.parameters())
    for host, there in zip(*(model.parameters() for model in models), strict=True):
        np.testing.assert_allclose(on_host(there.data), host.data, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", [*OPTIMIZERS, "LBFGS"])
def test_states_go_from_the_host_to_the_device_and_back(name):
    x, y = data()
    there, host = model_at(PLACE), model_at(None)
    one, other = optimizer_of(name, there), optimizer_of(name, host)

    inputs, targets = tracer.to_device((x, y), PLACE)

    def closure():
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(there(inputs), targets)
        return tape.backward(loss, one.quantities)

    one.step(closure(), closure)
    other.load_state_dict(one.state_dict())
    for p, q in zip(there.parameters(), host.parameters(), strict=True):
        if p in one.state:
            for key, value in one.state[p].items():
                if hasattr(value, "shape"):
                    assert type(other.state[q][key]) is np.ndarray
                    np.testing.assert_array_equal(other.state[q][key], on_host(value))


def test_fit_is_that_of_the_host(tmp_path):
    x, y = data()
    histories = []
    for place in (None, PLACE):
        model = model_at(place)
        optimizer = training.AdamW(model.parameters(), lr=0.01)
        loader = training.DataLoader(
            training.ArrayDataset(x, y),
            7,
            True,
            rng=0,
            num_workers=2,
            device=place,
            transform=transforms.RandomShift(1),
        )
        path = tmp_path / f"{place}.safetensors"
        options = {"clip_norm": 1.0, "progress": False, "checkpoint": path, "resume": True}
        for epochs in (2, 4):  # the second goes on from the checkpoint of the first
            history = training.fit(
                model,
                nn.cross_entropy,
                loader,
                loader,
                optimizer=optimizer,
                epochs=epochs,
                **options,
            )
        histories.append(history)
    for name in ("loss", "accuracy", "test_loss"):
        np.testing.assert_allclose(histories[1][name], histories[0][name], rtol=1e-4)


def test_a_step_of_fit_waits_for_nothing_that_is_not_recorded():
    x, y = tracer.to_device(data(), PLACE)
    model = model_at(PLACE)
    waited = []

    class Counts:
        def begin_epoch(self, run):
            self.watching = device.watched()
            self.counter = self.watching.__enter__()

        def end_step(self, run):
            waited.append((run.step, dict(self.counter)))
            self.counter.clear()

        def end_run(self, run):
            self.watching.__exit__(None, None, None)

    batches = [(x[i : i + 6], y[i : i + 6]) for i in range(0, 24, 6)]
    training.fit(
        model,
        nn.cross_entropy,
        batches,
        optimizer=training.AdamW(model.parameters()),
        epochs=1,
        clip_norm=1.0,
        callbacks=[Counts()],
        progress=False,
    )
    assert [step for step, _ in waited] == [1, 2, 3, 4]
    assert [waits for _, waits in waited[1:]] == [{}] * 3


def of_a_device():
    return training.ArrayDataset(*tracer.to_device(data(), PLACE))


@pytest.mark.parametrize(
    "made",
    [
        of_a_device,
        lambda: training.Subset(of_a_device(), range(20)),
        lambda: training.stratified_split(of_a_device(), 0.8, 0)[0],
        lambda: training.Subset(training.random_split(of_a_device(), [0.9, 0.1], 0)[0], [3, 1, 2]),
    ],
    ids=["arrays", "subset", "stratified", "nested"],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_data_on_a_device_are_shuffled_there_without_waiting(made, workers):
    dataset = made()
    loader = training.DataLoader(dataset, 5, True, rng=0, num_workers=workers)
    wanted = [on_host(dataset[numbers][1]) for numbers in np.split(loader.order(0), [5, 10, 15])]
    found = []
    with device.watched() as waits:
        loop = iter(loader)
        found += next(loop, None)[1:]
        waits.clear()  # the order was sent
        for batch, labels in loop:
            assert isinstance(batch, device.DeviceArray)
            assert isinstance(labels, device.DeviceArray)
            found.append(labels)
    assert not waits
    np.testing.assert_array_equal(
        np.concatenate([on_host(y) for y in found]), np.concatenate(wanted)
    )


def test_data_sets_in_a_row_stay_on_a_device():
    row = training.ConcatDataset(of_a_device(), of_a_device())
    x, y = data()
    images, labels = row[[30, 2, 47, 24]]
    assert isinstance(images, device.DeviceArray)
    np.testing.assert_array_equal(on_host(images), x[[6, 2, 23, 0]])
    np.testing.assert_array_equal(on_host(labels), y[[6, 2, 23, 0]])


@pytest.mark.parametrize(
    "name", ["quadratic_deep", "mnist_logreg", "cifar10_3c3d", "fmnist_vae", "tolstoi_char_rnn"]
)
def test_test_problems_are_there_what_they_are_on_the_host(name):
    found = []
    for place in (None, PLACE):
        tracer.seed(0)
        problem = getattr(training.problems, name)(data=PROBLEM_DATA.get(name))
        model = problem.model.eval() if place is None else problem.model.eval().to(place)
        *inputs, target = next(iter(problem.loader(rng=0)))
        inputs, target = (tuple(inputs) or (target,)), target
        if place is not None:
            inputs, target = tracer.to_device((inputs, target), place)
        with tracer.Tape() as tape:
            loss = problem.loss(model(*inputs), target)
        gradient = tape.backward(loss)["grad"]
        found.append([on_host(loss.data), *(on_host(g) for g in gradient.values())])
    for host, there in zip(*found, strict=True):
        np.testing.assert_allclose(there, host, rtol=1e-4, atol=1e-5 * abs(host).max())


def images(*shape):
    x = np.random.default_rng(0).random((4, *shape), dtype=np.float32)
    return (training.ArrayDataset(x, np.arange(4)),) * 2


PROBLEM_DATA = {
    "mnist_logreg": images(1, 28, 28),
    "cifar10_3c3d": images(3, 32, 32),
    "fmnist_vae": images(1, 28, 28),
    "tolstoi_char_rnn": (training.datasets.Text("a few words that go on and on. " * 90),) * 2,
}
