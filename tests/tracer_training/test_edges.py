"""What a hostile trial found, each with its right value."""

import os
import pickle
import random

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer.errors import TracerError
from tracer_training.optimizers.line_search import Point, cubic_minimum

X = np.random.default_rng(0).standard_normal((50, 3), dtype=np.float32)
Y = (X[:, 0] > 0).astype(int)


def mlp():
    tracer.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def states(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def same_bits(model, other):
    for name, array in model.state_dict().items():
        assert array.tobytes() == other.state_dict()[name].tobytes(), name


def test_names_do_not_bring_gradients_of_another_model():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    before = states(first)
    optimizer = training.SGD([*first.named_parameters(), *second.named_parameters()], lr=1.0)
    with tracer.Tape() as tape:
        loss = second(np.ones((1, 2), np.float32)).sum()
    optimizer.step(tape.backward(loss, optimizer.quantities))
    for name, array in before.items():
        np.testing.assert_array_equal(first.state_dict()[name], array)
    alone = training.SGD(first.named_parameters())
    with pytest.raises(TracerError, match="no parameter that"):
        alone.step(tape.backward(loss, alone.quantities))


#: those that take no steps by themselves, or are of matrices
OTHERS = ("LBFGS", "Loss", "Muon", "Optimizer")


@pytest.mark.parametrize("name", sorted({*training.optimizers.__all__} - {*OTHERS}))
def test_a_parameter_without_axes_is_stepped(name):
    weights = {}
    for shape in ((), (1,)):
        w = tracer.parameter(np.full(shape, 2.0), "w")
        optimizer = getattr(training, name)([w])
        for _ in range(3):
            with tracer.Tape() as tape:
                loss = (w * w).sum() * 0.7
            optimizer.step(tape.backward(loss, optimizer.quantities))
        assert w.shape == shape
        weights[shape] = float(w.data.reshape(-1)[0])
    assert weights[()] == pytest.approx(weights[(1,)], rel=1e-12)
    assert weights[()] != 2


class Stop:
    def __init__(self, step):
        self.last = step

    def end_step(self, run):
        if run.step == self.last:
            raise KeyboardInterrupt


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("batches", ["loader", "list"])
def test_accumulated_batches_and_lists_go_on_to_the_same_bits(tmp_path, accumulate, batches):
    def train(path, last):
        model = mlp()
        data = training.DataLoader(training.ArrayDataset(X, Y), 8, batches == "loader", rng=0)
        history = training.fit(
            model,
            nn.cross_entropy,
            data if batches == "loader" else list(data),
            optimizer=training.Adam(model.parameters(), lr=0.05),
            epochs=2,
            accumulate=accumulate,
            checkpoint=training.Checkpoint(path, every_steps=1),
            resume=True,
            callbacks=[Stop(last)],
            progress=False,
        )
        return model, history

    wanted, history = train(tmp_path / "whole", None)
    assert history["step"].tolist() == [-(-7 // accumulate), 2 * -(-7 // accumulate)]
    for last in range(1, history[-1]["step"]):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / str(last), last)
        found, again = train(tmp_path / str(last), None)
        same_bits(found, wanted)
        assert again["loss"].tolist() == history["loss"].tolist()


def test_what_waits_at_the_end_is_stepped_with():
    model = mlp()
    before = states(model)
    history = training.fit(
        model,
        nn.cross_entropy,
        [(X[:8], Y[:8])] * 5,
        optimizer=training.SGD(model.parameters(), lr=0.1),
        epochs=1,
        accumulate=6,
        progress=False,
    )
    assert history[-1]["step"] == 1
    assert history[-1]["lr"] == 0.1
    assert (model.state_dict()["0.weight"] != before["0.weight"]).any()


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("size", [300.0, 1e-4])
def test_norms_of_half_precision_are_taken_in_single(norm, size):
    results = {}
    for dtype in (np.float16, np.float64):
        layer = nn.Linear(3, 2).to(dtype=dtype)
        layer.weight.data = np.full((2, 3), size, dtype)
        getattr(nn.utils, norm)(layer)
        layer(np.zeros((1, 3), dtype))  # which iterates to the singular vectors
        results[dtype] = layer.eval().weight.data
    np.testing.assert_allclose(results[np.float16], results[np.float64], rtol=4e-3)


def test_states_of_sophia_are_single_for_parameters_of_half():
    layer = nn.Linear(3, 4).to(dtype=np.float16)
    optimizer = training.Sophia(layer.parameters(), curvature="diag_ggn_exact")
    with tracer.Tape() as tape:
        loss = nn.mse_loss(layer(np.full((5, 3), 1e-3, np.float16)), np.zeros((5, 4), np.float16))
    optimizer.step(tape.backward(loss, optimizer.quantities))
    assert all(
        value.dtype == np.float32
        for state in optimizer.state.values()
        for value in state.values()
        if hasattr(value, "dtype")
    )


def test_buffers_of_an_average_are_applied_too():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    average = training.ExponentialMovingAverage(model, 0.5, use_buffers=True)
    average.update_parameters(model)
    training.update_bn([(X, Y)], average)
    model.eval()
    average.eval()
    own = model(X).data
    with average.applied(model):
        np.testing.assert_array_equal(model(X).data, average(X).data)
    np.testing.assert_array_equal(model(X).data, own)


def test_the_best_epoch_is_found_beside_values_that_are_no_numbers(tmp_path):
    checkpoint = training.Checkpoint(tmp_path / "c", best="test_loss")

    class Run:
        history = training.History()

    for value, best in ((np.nan, False), (1.0, True), (np.nan, False), (0.5, True), (0.7, False)):
        Run.history.append({"test_loss": value})
        assert checkpoint._is_best(Run) is best


def test_a_transform_of_a_batch_that_is_one_array():
    loader = training.DataLoader(
        training.ArrayDataset(np.arange(10.0), np.arange(10)),
        5,
        collate_fn=lambda samples: np.stack([x for x, _ in samples]),
        transform=lambda x, rng: x * 100,
    )
    assert [batch.tolist() for batch in loader][1] == [500, 600, 700, 800, 900]
    loader.collate_fn = lambda samples: {"x": 1}
    with pytest.raises(TracerError, match="collate_fn makes dicts"):
        next(iter(loader))


def test_gradients_that_share_memory_are_clipped_once():
    g = np.full(4, 10.0)
    for gradients in ({"a": g, "b": g}, {"a": g, "b": g[:2]}, {"a": g[::2], "b": g[1::2]}):
        values = {name: array.copy() for name, array in gradients.items()}
        norm = np.sqrt(sum((array**2).sum() for array in values.values()))
        clipped = dict(gradients)
        training.clip_grad_norm(clipped, 1.0)
        for name, array in values.items():
            np.testing.assert_allclose(clipped[name], array / (norm + 1e-6))
    for bound in (-1.0, "a", np.nan):
        with pytest.raises(TracerError, match="max_norm is a number from 0"):
            training.clip_grad_norm({"a": g}, bound)


def test_paths_of_arrays_are_told_apart(tmp_path):
    extra = {
        "a.b": np.array([1.0]),
        "a": {"b": np.array([2.0])},
        "d": {1: np.array([3.0]), "1": np.array([4.0])},
    }
    training.save_checkpoint(tmp_path / "c", extra=extra)
    found = training.load_checkpoint(tmp_path / "c")
    assert (found["a.b"], found["a"]["b"], found["d"][1], found["d"]["1"]) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "value", [{(1, 2): 3}, np.complex64(1), np.longdouble(1), np.array(["2020"], "M8[D]")]
)
def test_what_a_checkpoint_cannot_keep_is_said_when_it_is_written(tmp_path, value):
    with pytest.raises(TracerError, match=r"extra\.x"):
        training.save_checkpoint(tmp_path / "c", extra={"x": value})
    assert not (tmp_path / "c").exists()


def test_texts_that_could_not_be_read_again_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tracer.arrays.safetensors.LONGEST_HEADER", 10_000)
    training.save_checkpoint(tmp_path / "c")
    with pytest.raises(TracerError, match="keep large values as arrays"):
        training.save_checkpoint(tmp_path / "c", extra={"log": [0.123456789] * 2000})
    training.load_checkpoint(tmp_path / "c")


def test_a_failed_load_leaves_the_generators(tmp_path):
    saved, other = nn.Dropout(0.5), nn.Dropout(0.5)
    saved.source = np.random.Generator(np.random.PCG64(0))
    other.source = np.random.Generator(np.random.MT19937(0))
    training.save_checkpoint(tmp_path / "c", model=saved)
    tracer.seed(1)
    wanted = tracer.extend.generator().random()
    tracer.seed(1)
    with pytest.raises(TracerError, match="does not fit the generators"):
        training.load_checkpoint(tmp_path / "c", model=other)
    assert tracer.extend.generator().random() == wanted


def test_a_link_stays_a_link_and_modes_are_the_systems(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    nn.Linear(2, 2).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    nn.Linear(2, 2).load(tmp_path / "real")
    before = os.umask(0o027)
    try:
        nn.Linear(2, 2).save(tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_a_layer_that_is_unfrozen_later_is_stepped_by_kfac():
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = training.KFAC(model.parameters(), adapt_damping=False, inverse_every=5)
    for step in range(8):
        if step == 2:
            model[0].requires_grad_(True)
            before = model[0].weight.data.copy()
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(X), Y)
        optimizer.step(tape.backward(loss, optimizer.quantities))
    assert (model[0].weight.data != before).any()


# -- a second trial --------------------------------------------------------------------------------


def fitted(model, optimizer, **options):
    data = training.ArrayDataset(X, Y)
    given = {"epochs": 1, "rng": 0, "progress": False, "batch_size": 8, **options}
    return training.fit(model, nn.cross_entropy, data, optimizer=optimizer, **given)


def first(target):
    """The first array of a target; numbers in a list are one."""
    while isinstance(target, dict | tuple | list) and np.ndim(next(iter(target))) == 0:
        if not isinstance(target, dict):
            return np.array(target)
        target = target["y"]
    return target[0] if isinstance(target, tuple | list) else target


@pytest.mark.parametrize(
    "packed",
    [
        lambda y: {"y": y},
        lambda y: (y, y),
        lambda y: [y, y],
        lambda y: {"y": (y, y)},
        lambda y: y.tolist(),
    ],
)
def test_samples_are_counted_in_targets_of_several_arrays(packed):
    parts = [slice(0, 40), slice(40, 50)]
    wanted = [(X[part], Y[part]) for part in parts]
    found = [(X[part], packed(Y[part])) for part in parts]

    def loss(output, target):
        return nn.cross_entropy(
            output,
            np.asarray(
                first(target)
                if type(target) is not list
                else (target[0] if np.ndim(target[0]) else target)
            ),
        )

    models = [mlp(), mlp()]
    for model, data in zip(models, (wanted, found), strict=True):
        optimizer = training.SGD(model.parameters(), lr=0.5)
        options = {"optimizer": optimizer, "epochs": 1, "accumulate": 2, "progress": False}
        training.fit(model, loss, data, **options)
    same_bits(*models)
    losses = [training.evaluate(models[0], loss, data)["loss"] for data in (wanted, found)]
    assert (
        losses[0]
        == losses[1]
        == pytest.approx(training.evaluate(models[0], loss, [(X, Y)])["loss"])
    )


def test_samples_in_place_of_batches_are_told_of():
    layer = nn.Linear(3, 1)
    with pytest.raises(TracerError, match="give batches, as training"):
        training.evaluate(layer, lambda o, y: (o - y).sum(), [(x, 1.0) for x in X])


def test_a_metric_that_some_batches_lack_is_a_mean_over_the_others():
    batches = [
        (np.eye(3, dtype=np.float32)[None].repeat(2, 0)[:, :, :steps], np.zeros((2, steps), int))
        for steps in (1, 2, 3)  # of the last it is not sure which axis has the classes
    ]
    assert training.evaluate(lambda x: x, None, batches) == {"accuracy": 0.75}


@pytest.mark.parametrize("name", ["epoch", "step", "loss", "lr", "seconds"])
def test_a_metric_does_not_take_the_place_of_another_value(name):
    model = mlp()
    optimizer = training.SGD(model.parameters())
    with pytest.raises(TracerError, match=f"a metric is called '{name}'"):
        fitted(model, optimizer, metrics={name: training.accuracy})
    with pytest.raises(TracerError, match="metrics map names to functions"):
        fitted(model, optimizer, metrics=[training.accuracy])


def test_each_training_is_stopped_by_itself():
    early = training.EarlyStopping("test_loss", patience=1, restore_best=True)
    data = training.ArrayDataset(X, Y)
    for rate in (0.5, 1e-9):
        model = mlp()
        begun = training.evaluate(model, nn.cross_entropy, data)["loss"]
        optimizer = training.SGD(model.parameters(), lr=rate)
        history = fitted(model, optimizer, test=data, epochs=3, callbacks=[early])
        found = training.evaluate(model, nn.cross_entropy, data)["loss"]
        assert found == pytest.approx(np.min(history["test_loss"]))
    assert found == pytest.approx(begun, abs=1e-6)


def of_half():
    layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).to(dtype=np.float16)
    layer[0].weight.data = np.full((2, 2), 1.0, np.float16)
    return layer


def test_averages_of_half_precision_move_by_less_than_it_can_tell(tmp_path):
    layer = of_half()
    average = training.ExponentialMovingAverage(layer, 0.999, use_buffers=True)
    average.update_parameters(layer)
    layer[0].weight.data = np.full((2, 2), 1.25, np.float16)
    layer[1].running_var = np.full(2, 1.25, np.float16)
    other = training.ExponentialMovingAverage(of_half(), 0.999, use_buffers=True)
    for step in range(1000):
        if step == 500:  # it goes on to the same bits
            training.save_checkpoint(tmp_path / "c", average=average)
            training.load_checkpoint(tmp_path / "c", average=other)
        average.update_parameters(layer)
        if step >= 500:
            other.update_parameters(layer)
    wanted = 1.25 - 0.25 * 0.999**1000
    for found in (average.module[0].weight.data, average.module[1].running_var):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=1e-3)
    same_bits(average.module, other.module)
    average.module.load_state_dict(layer.state_dict())  # what was kept is of other weights then
    average.update_parameters(layer)
    np.testing.assert_array_equal(average.module[0].weight.data, layer[0].weight.data)


class Turned:
    """A schedule of one's own, which counts by itself."""

    def __init__(self, optimizer, every):
        self.optimizer, self.every, self.count = optimizer, every, 0

    def step(self):
        self.count += 1
        self.optimizer.param_groups[0]["lr"] = 0.1 / (1 + self.count // self.every)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Derived(training.Schedule):
    def __init__(self, optimizer):
        self.shrunk = np.ones(2)
        super().__init__(optimizer)

    def rates(self):
        self.shrunk = self.shrunk * 0.9
        return [rate * 0.9 for rate in self.current()]


class Decay:
    def __init__(self):
        self.factor, self.calls = np.ones(2), 0

    def __call__(self, step):
        self.calls += 1
        self.factor = self.factor * 0.9
        return float(self.factor[0])


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: Turned(optimizer, 3),
        Derived,
        lambda optimizer: training.SequentialLR(
            optimizer, [training.StepLR(optimizer, 2), Derived(optimizer)], [4]
        ),
        lambda optimizer: training.LambdaLR(optimizer, Decay()),
        lambda optimizer: training.CyclicLR(
            optimizer, 0.01, 0.1, 3, scale_fn=Decay(), cycle_momentum=False
        ),
    ],
)
def test_schedules_that_keep_values_of_their_own_go_on(tmp_path, schedule):
    histories = []
    for path, parts in (("whole", (2,)), ("parts", (1, 2))):
        for epochs in parts:
            model = mlp()
            optimizer = training.SGD(model.parameters(), lr=0.1)
            options = {"checkpoint": tmp_path / path, "resume": True, "epochs": epochs}
            history = fitted(model, optimizer, schedule=schedule(optimizer), **options)
        histories.append((history["loss"].tolist(), history["lr"].tolist()))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("name", ["SGD", "Adafactor", "Muon"])
def test_weights_lie_in_memory_as_they_did(tmp_path, name):
    """Sums and products round as the axes lie: those of `orthogonal_` are the other way round."""
    data = np.random.default_rng(0).standard_normal((40, 785), dtype=np.float32)

    def run(path, epochs):
        tracer.seed(0)
        model = nn.Sequential(nn.Linear(785, 130, bias=False), nn.Linear(130, 2, bias=False))
        nn.init.orthogonal_(model[0].weight)
        optimizer = getattr(training, name)(model.parameters(), lr=0.01)
        options = {"epochs": epochs, "checkpoint": path, "resume": True, "progress": False}
        batches = [(data[i : i + 1], Y[i : i + 1]) for i in range(4)]
        training.fit(model, nn.cross_entropy, batches, optimizer=optimizer, **options)
        return model

    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 1)
    again = run(tmp_path / "parts", 3)
    assert again[0].weight.data.strides == whole[0].weight.data.strides
    same_bits(again, whole)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4).transpose(order)
        for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0))
    ]
    + [np.arange(12.0)[::2], np.arange(6.0)[::-1], np.broadcast_to(1.0, (2, 3)), np.ones((0, 2)).T],
)
def test_arrays_of_any_layout_are_kept(tmp_path, array):
    training.save_checkpoint(tmp_path / "c", extra={"x": array})
    found = training.load_checkpoint(tmp_path / "c")["x"]
    np.testing.assert_array_equal(found, array)
    if array.base is None or array.ndim == 3:
        assert found.strides == array.strides


def test_the_best_epoch_is_not_lost_between_two_files(tmp_path, monkeypatch):
    checkpoint = training.Checkpoint(tmp_path / "c", best="loss")
    model = mlp()
    written = []

    def save(path, **parts):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        training.save_checkpoint(path, **parts)

    monkeypatch.setattr("tracer_training.loop.saving.save_checkpoint", save)
    with pytest.raises(KeyboardInterrupt):
        fitted(model, training.SGD(model.parameters()), checkpoint=checkpoint)
    monkeypatch.undo()
    model = mlp()
    fitted(model, training.SGD(model.parameters()), checkpoint=checkpoint, resume=True)
    found = mlp()
    found.load(checkpoint.best_path)
    same_bits(found, model)


def test_an_epoch_is_kept_though_its_best_value_has_no_such_name(tmp_path):
    checkpoint = training.Checkpoint(tmp_path / "c", best="test_acuracy")
    model = mlp()
    with pytest.raises(TracerError, match="the history has no 'test_acuracy'"):
        fitted(model, training.SGD(model.parameters()), checkpoint=checkpoint)
    assert checkpoint.path.exists()


@pytest.mark.parametrize(
    ("name", "option", "value", "kept"),
    [
        ("Adam", "amsgrad", True, "max_exp_avg_sq"),
        ("AdamW", "amsgrad", True, "max_exp_avg_sq"),
        ("RMSprop", "momentum", 0.9, "momentum_buffer"),
        ("RMSprop", "centered", True, "grad_avg"),
        ("SGD", "momentum", 0.9, "momentum_buffer"),
    ],
)
def test_options_may_be_switched_on_later(name, option, value, kept):
    model = mlp()
    optimizer = getattr(training, name)(model.parameters())
    for step in range(4):
        if step == 2:
            optimizer.param_groups[0][option] = value
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(X), Y)
        optimizer.step(tape.backward(loss, optimizer.quantities))
    assert all(abs(state[kept]).sum() > 0 for state in optimizer.state.values())
    again = getattr(training, name)(model.parameters())
    again.load_state_dict(optimizer.state_dict())
    again.step(tape.backward(loss, optimizer.quantities))


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.sources = [np.random.default_rng(1), (np.random.RandomState(2),)]
        self.by_name = {"a": {"b": random.Random(3)}}
        self.by_name["itself"] = self.by_name

    def forward(self, x):
        noise = self.sources[0].random() + self.sources[1][0].random()
        return self.linear(x) + np.float32(noise + self.by_name["a"]["b"].random())


def test_generators_of_all_kinds_go_on(tmp_path):
    losses = []
    for path, parts in (("whole", (2,)), ("parts", (1, 2))):
        for epochs in parts:
            tracer.seed(0)
            model = Noisy()
            options = {"checkpoint": tmp_path / path, "resume": True, "epochs": epochs}
            data = [(X, X[:, :2])]
            optimizer = training.SGD(model.parameters(), lr=0.1)
            history = training.fit(
                model, nn.mse_loss, data, optimizer=optimizer, progress=False, **options
            )
        losses.append(history["loss"].tolist())
    assert losses[0] == losses[1]


class Recorder:
    def __init__(self):
        self.begun = self.finished = 0

    def run(self, name, config):
        self.begun += 1
        return self

    def finish(self):
        self.finished += 1

    # what a run has is asked for by its name
    def __getattr__(self, name):
        if name == "log" and self.begun:
            return lambda step, **values: None
        raise AttributeError(name)


class FailsAtTheEnd:
    def begin_run(self, run):
        run.stop()

    def end_run(self, run):
        raise ValueError("at the end")


def test_runs_of_a_recorder_are_begun_when_a_training_is_and_finished(tmp_path):
    recorder, model = Recorder(), mlp()
    (tmp_path / "c").write_text("another file")
    with pytest.raises(TracerError, match="there is a checkpoint"):
        fitted(
            model, training.SGD(model.parameters()), recorder=recorder, checkpoint=tmp_path / "c"
        )
    assert (recorder.begun, recorder.finished) == (0, 0)
    with pytest.raises(ValueError, match="at the end"):
        fitted(
            model, training.SGD(model.parameters()), recorder=recorder, callbacks=[FailsAtTheEnd()]
        )
    assert (recorder.begun, recorder.finished) == (1, 1)


@pytest.mark.parametrize("name", ["train", "test"])
def test_generators_of_batches_are_refused_where_they_are_read_again(name):
    model = mlp()
    options = {"optimizer": training.SGD(model.parameters()), "progress": False}
    data = {"train": [(X, Y)], name: iter([(X, Y)])}
    with pytest.raises(TracerError, match=f"{name} is read in each of 2 epochs"):
        training.fit(model, nn.cross_entropy, **data, epochs=2, **options)
    assert len(training.fit(model, nn.cross_entropy, **data, epochs=1, **options)) == 1


def test_other_batches_do_not_go_on_within_an_epoch():
    data = training.ArrayDataset(X, Y)
    loader = training.DataLoader(data, 8, rng=0)
    for _, (_x, _y) in zip(range(2), loader, strict=False):
        pass
    state = loader.state_dict()
    for other in (
        training.DataLoader(data, 4, rng=0),
        training.DataLoader(training.ArrayDataset(X[:49], Y[:49]), 8, rng=0),
    ):
        with pytest.raises(TracerError, match="other batches are left"):
            other.load_state_dict(state)
        other.load_state_dict({**state, "given": 0})  # a new epoch may have others
    training.DataLoader(data, 8).load_state_dict({"seed": 0, "epoch": 1, "given": 2})


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(np.ones(3)), nn.Parameter(np.zeros(3))

    def forward(self, x):
        return x * self.a + 2 * x[:, ::-1] * self.b


@pytest.mark.parametrize(
    "made",
    [
        lambda parameters: training.HessianFree(parameters, damping=0.1),
        lambda parameters: training.KFAC(
            parameters, damping=0.1, curvature="diag_ggn_exact", adapt_every=1
        ),
    ],
)
def test_one_array_for_two_gradients_is_of_both_parameters(made):
    found = []
    for same in (False, True):
        model, x = Sum(), X.astype(np.float64)
        optimizer = made(model.parameters())

        def results(model=model, optimizer=optimizer, same=same, x=x):
            with tracer.Tape() as tape:
                loss = nn.mse_loss(model(x), np.ones_like(x))
            results = tape.backward(loss, optimizer.quantities)
            if "grad" in results:
                first = results["grad"]["a"] = np.full(3, 0.1)
                results["grad"]["b"] = first if same else first.copy()
            return results

        optimizer.step(results(), results)
        found.append((states(model), optimizer.param_groups[0]["damping"]))
    assert found[0][1] == found[1][1]
    for key, value in found[0][0].items():
        np.testing.assert_array_equal(found[1][0][key], value)


@pytest.mark.parametrize("bound", [{"clip_norm": 0.05}, {"clip_value": 0.01}])
def test_optimisers_that_look_at_several_points_see_bounded_gradients(bound):
    model, other = mlp(), mlp()
    optimizer = training.LBFGS(model.parameters(), max_iter=5)
    fitted(model, optimizer, batch_size=50, **bound)
    optimizer = training.LBFGS(other.parameters(), max_iter=5)
    order = training.DataLoader(training.ArrayDataset(X, Y), 50, shuffle=True, rng=0)
    x, y = next(iter(order))

    def closure():
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(other(x), y)
        results = tape.backward(loss, optimizer.quantities)
        if "clip_norm" in bound:
            training.clip_grad_norm(results, bound["clip_norm"])
        else:
            training.clip_grad_value(results, bound["clip_value"])
        return results

    optimizer.step(closure(), closure)
    same_bits(model, other)


def test_a_cubic_that_is_a_line_is_halved():
    left, right = (Point(float(t), -float(t), np.zeros(1), -1.0) for t in (0, 1))
    assert 0 <= cubic_minimum(left, right, 0.0, 1.0) <= 1
    flat, same = (Point(float(t), 1.0, np.zeros(1), 0.0) for t in (0, 1))
    assert cubic_minimum(flat, same, 0.0, 1.0) == 0.5


def test_the_weights_of_a_function_are_kept(tmp_path):
    def run(path, epochs, shape=(3, 1)):
        w = tracer.parameter(np.zeros(shape), "w")
        optimizer = training.Adam([w], lr=0.1)
        data = training.ArrayDataset(X.astype(np.float64), X @ np.ones((3, 1)))
        options = {"epochs": epochs, "rng": 0, "checkpoint": path, "resume": True}
        history = training.fit(
            lambda x: x @ w, nn.mse_loss, data, optimizer=optimizer, progress=False, **options
        )
        return w.data.tolist(), history["loss"].tolist()

    wanted = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 1)
    assert run(tmp_path / "parts", 3) == wanted
    with pytest.raises(TracerError, match="the weights are of parameters of shapes"):
        run(tmp_path / "parts", 4, (3, 2))


def test_the_best_weights_of_a_function_are_given_back():
    w = tracer.parameter(np.zeros((3, 1)), "w")
    data = training.ArrayDataset(X.astype(np.float64), X @ np.ones((3, 1)))
    early = training.EarlyStopping("loss", patience=2, restore_best=True)
    optimizer = training.SGD([w], lr=3.0)  # it diverges
    options = {"optimizer": optimizer, "epochs": 4, "progress": False, "callbacks": [early]}
    first = training.fit(lambda x: x @ w, nn.mse_loss, data, **{**options, "epochs": 1})
    after = w.data.copy()
    w.data = np.zeros((3, 1))
    history = training.fit(lambda x: x @ w, nn.mse_loss, data, **options)
    assert history["loss"][0] == pytest.approx(first["loss"][0])
    np.testing.assert_allclose(w.data, after)


def test_half_precision_is_also_of_layers_that_are_not_stepped():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    seen = []
    for module in model:
        module.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    before = states(model)
    fitted(model, training.SGD(model[2].parameters(), lr=0.1), precision="float16")
    assert {*seen} == {np.dtype(np.float16)}
    for name in ("0.weight", "0.bias"):
        np.testing.assert_array_equal(model.state_dict()[name], before[name])


@pytest.mark.parametrize("kind", ["AveragedModel", "ExponentialMovingAverage"])
def test_averages_can_be_pickled(kind):
    model = mlp()
    average = getattr(training, kind)(model)
    average.update_parameters(model)
    again = pickle.loads(pickle.dumps(average))
    for each in (average, again):
        each.update_parameters(of_other_weights())
    same_bits(average.module, again.module)


def of_other_weights():
    model = mlp()
    model[0].weight.data += 1
    return model
