"""What a hostile trial found, each with its right value."""

import os

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer.errors import TracerError

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
